//! One order with the CA, from the account to the certificate. Every wait has a deadline. Owns no
//! fds but the client's.

use std::time::Duration;

use host::clock;
use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, ChallengeType, Identifier, NewOrder,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use crate::account;
use crate::certificate::Certificate;
use crate::challenge::{Answer, KEPT};
use crate::client::POLL_TIMEOUT;
use crate::error::AcmeError;
use crate::place::{Place, is_token};
use crate::plan::{self, Validity};
use crate::problem::{self, Stage};
use crate::record::{Attempts, Challenge};
use crate::work::Work;

const POLLS: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(500)).backoff(1.5).timeout(POLL_TIMEOUT);

/// An order that goes on.
pub(crate) struct Order<'a> {
    work: &'a Work,
    name: &'a str,
    held: Option<Validity>,
    /// The record of the attempt, as it was last written.
    pub(crate) record: Attempts,
    /// Whether the CA was asked for an order.
    pub(crate) asked: bool,
    /// The keys of the answers that it has written.
    answers: Vec<String>,
}

impl<'a> Order<'a> {
    pub(crate) fn new(
        work: &'a Work,
        name: &'a str,
        record: Attempts,
        held: Option<Validity>,
    ) -> Self {
        Self { work, name, held, record, asked: false, answers: Vec::new() }
    }

    fn failed(&self, error: instant_acme::Error) -> AcmeError {
        problem::of_library(&self.work.client, self.name, Stage::Order, error)
    }

    fn foreign(&self, reason: &str) -> AcmeError {
        let directory = self.work.client.directory().to_owned();
        AcmeError::Foreign { directory, reason: reason.to_owned() }
    }

    /// Says that the CA has not found the challenge answered.
    fn not_leading(&self, detail: String) -> AcmeError {
        let challenge = self.record.challenge.unwrap_or(Challenge::Http01);
        let (name, port) = (self.name.to_owned(), challenge.port());
        AcmeError::Challenge { name, challenge: challenge.name(), port, detail }
    }

    async fn save(&mut self, record: Attempts) -> Result<(), AcmeError> {
        let key = Place::Attempts { ca: &self.work.shelf.ca, name: self.name }.key();
        self.work.shelf.put_record(&key, &record).await?;
        self.record = record;
        Ok(())
    }

    /// Comes to a certificate, or to an error by which `record` is not changed yet.
    ///
    /// # Errors
    /// Whatever kept it from that.
    pub(crate) async fn run(&mut self) -> Result<Certificate, AcmeError> {
        let (work, name) = (self.work, self.name);
        let account = account::open(&work.shelf, &work.client, &work.settings).await?;
        let mut order = self.open(&account).await?;
        if order.state().authorizations.len() != 1 {
            return Err(self.foreign("an order of one name has not one authorization"));
        }
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| self.failed(error))?;
            if authorization.identifier().to_string() != name {
                return Err(self.foreign("an order is of another name than was asked for"));
            }
            // One that is valid was seen by an earlier order; any other the order's state tells.
            if authorization.status == AuthorizationStatus::Pending {
                self.answer(&mut authorization).await?;
            }
        }
        match order.poll_ready(&POLLS).await {
            Ok(OrderStatus::Ready) => {}
            Ok(_) => {
                let nothing = || self.not_leading("it does not say what".to_owned());
                return Err(self.found(&mut order).await.unwrap_or_else(nothing));
            }
            Err(error) => {
                let failed = self.failed(error);
                return Err(self.found(&mut order).await.unwrap_or(failed));
            }
        }
        let crypto = |error: rcgen::Error| AcmeError::Crypto {
            what: format!("the request for {name}"),
            reason: error.to_string(),
        };
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).map_err(crypto)?;
        parameters.distinguished_name = DistinguishedName::new();
        let key = KeyPair::generate().map_err(crypto)?;
        let request = parameters.serialize_request(&key).map_err(crypto)?;
        // From here on it may be issued, whether or not this node is there to take it.
        self.save(plan::charge(self.record.clone(), self.held, clock::unix_ms())).await?;
        order.finalize_csr(request.der()).await.map_err(|error| self.failed(error))?;
        let pem = order.poll_certificate(&POLLS).await.map_err(|error| self.failed(error))?;
        Certificate::of_answer(name, &key, &pem, clock::unix_ms()).map_err(|reason| {
            let directory = work.client.directory().to_owned();
            AcmeError::Chain { directory, name: name.to_owned(), reason }
        })
    }

    /// Goes on with the order that an earlier attempt has left open, or begins one.
    async fn open(&mut self, account: &Account) -> Result<instant_acme::Order, AcmeError> {
        if let Some(url) = self.record.order.clone() {
            match account.order(url).await {
                Ok(mut order) => {
                    if let OrderStatus::Pending | OrderStatus::Ready = order.state().status {
                        self.asked = true;
                        return Ok(order);
                    }
                }
                Err(error @ instant_acme::Error::Other(_)) => return Err(self.failed(error)),
                // It is over.
                Err(error) => tracing::debug!("the order of {} is over: {error}", self.name),
            }
        }
        self.asked = true;
        let identifiers = [Identifier::Dns(self.name.to_owned())];
        let order = match account.new_order(&NewOrder::new(&identifiers)).await {
            Ok(order) => order,
            Err(error) => {
                if problem::has_no_account(&error) {
                    account::forget(&self.work.shelf).await?;
                }
                return Err(self.failed(error));
            }
        };
        let url = Some(order.url().to_owned());
        self.save(Attempts { order: url, ..self.record.clone() }).await?;
        Ok(order)
    }

    /// Makes a challenge answerable on every node, and tells the CA.
    async fn answer<'h>(
        &mut self,
        authorization: &'h mut AuthorizationHandle<'h>,
    ) -> Result<(), AcmeError> {
        let (work, name) = (self.work, self.name);
        let kind = |challenge| match challenge {
            Challenge::Http01 => ChallengeType::Http01,
            Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        };
        let is_offered = |challenge: &Challenge| {
            authorization.challenges.iter().any(|offered| offered.r#type == kind(*challenge))
        };
        let possible = work.settings.possible;
        let first = self.record.challenge;
        let other = first.and_then(|first| possible.other(first));
        let Some(challenge) = first.into_iter().chain(other).find(is_offered) else {
            let offered =
                authorization.challenges.iter().map(|offered| format!("{:?}", offered.r#type));
            let offered = offered.take(10).collect::<Vec<_>>().join(", ");
            return Err(AcmeError::NoChallenge { name: name.to_owned(), offered });
        };
        let Some(mut handle) = authorization.challenge(kind(challenge)) else {
            return Err(self.foreign("a challenge that it offers is not there"));
        };
        if !is_token(&handle.token) {
            return Err(self.foreign("the token of a challenge is none"));
        }
        let authorization = handle.key_authorization().as_str().to_owned();
        let token = handle.token.clone();
        let place = match challenge {
            Challenge::Http01 => Place::HttpChallenge { token: &token },
            Challenge::TlsAlpn01 => Place::TlsChallenge { name },
        };
        let until_ms =
            clock::unix_ms().saturating_add(u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX));
        let answer = Answer { format: 1, authorization, until_ms };
        self.answers.push(place.key());
        work.shelf.put_record(&place.key(), &answer).await?;
        work.challenges.learn(place, &answer.authorization);
        work.publish_challenges();
        if challenge == Challenge::TlsAlpn01 {
            work.challenges_shown().await;
        }
        if self.record.challenge != Some(challenge) {
            self.save(Attempts { challenge: Some(challenge), ..self.record.clone() }).await?;
        }
        handle.set_ready().await.map_err(|error| match self.failed(error) {
            AcmeError::Refused { detail, .. } => self.not_leading(detail),
            other => other,
        })
    }

    /// Returns what the CA has found in place of the answer, if it says so.
    async fn found(&self, order: &mut instant_acme::Order) -> Option<AcmeError> {
        let mut authorizations = order.authorizations();
        let mut authorization = authorizations.next().await?.ok()?;
        let state = authorization.refresh().await.ok()?;
        let found = state.challenges.iter().find_map(|tried| tried.error.as_ref())?;
        Some(self.not_leading(problem::detail(found)))
    }

    /// Removes the answers, which nobody asks for any more.
    pub(crate) async fn remove_answers(&mut self) {
        for key in self.answers.drain(..) {
            self.work.challenges.forget(&key);
            if let Err(error) = self.work.shelf.objects.delete(&key).await {
                tracing::warn!("{key:?} is not needed any more and cannot be removed: {error}");
            }
        }
        self.work.publish_challenges();
    }
}
