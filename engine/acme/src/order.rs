//! One order, from the lease on its name to the certificate in the store. Every wait has a
//! deadline. Owns no fds but the client's.

use std::time::Duration;

use host::clock;
use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, ChallengeType, Identifier, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use tokio::time::timeout;

use crate::account;
use crate::certificate::Certificate;
use crate::challenge::{Answer, KEPT};
use crate::error::AcmeError;
use crate::lease::Lease;
use crate::place::{Place, is_token};
use crate::plan::{self, World};
use crate::problem::{self, Stage};
use crate::record::{Attempts, Challenge};
use crate::shelf::{Content, View};
use crate::work::Work;

/// How long an order may take in all; a lease is longer.
const ORDER_TIMEOUT: Duration = Duration::from_secs(8 * 60);
/// How long the CA may take to look at the challenge, and again to issue.
pub(crate) const POLL_TIMEOUT: Duration = Duration::from_secs(3 * 60);
const POLLS: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(500)).backoff(1.5).timeout(POLL_TIMEOUT);

/// What came of an attempt that has not failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Ordered,
    /// Another node orders.
    Busy,
    /// Another node has ordered meanwhile, or has failed to.
    NotDue,
}

/// An attempt that goes on: its record as it was last written.
struct Running<'a> {
    work: &'a Work,
    name: &'a str,
    record: Attempts,
    view: &'a View,
    /// The keys of the answers that it has written.
    answers: Vec<String>,
}

/// Orders a certificate for `name`, if that is still due by what stands in the store. The view
/// then has what was written.
///
/// # Errors
/// Whatever kept it from that, which by then is recorded.
pub(crate) async fn attempt(work: &Work, view: &mut View, name: &str) -> Result<Done, AcmeError> {
    if work.settings.possible.preferred().is_none() {
        return Err(AcmeError::NoListener { name: name.to_owned() });
    }
    // What is wrong with this node alone is found before anything is written that others go by.
    account::find(&work.shelf).await?;
    let of = (&*work.shelf.ca, name, &*work.node);
    let Some(lease) = Lease::take(&work.shelf.objects, of).await? else { return Ok(Done::Busy) };
    let done = attempt_alone(work, view, name).await;
    lease.end().await;
    done
}

async fn attempt_alone(work: &Work, view: &mut View, name: &str) -> Result<Done, AcmeError> {
    let shelf = &work.shelf;
    *view = shelf.view(view).await?;
    let (attempts, authority) = view.attempts(&shelf.ca);
    let (held, wanted) = (view.held(&shelf.ca), [name.to_owned()].into());
    let world = World {
        wanted: &wanted,
        held: &held,
        attempts: &attempts,
        authority: &authority,
        seed: work.seed,
    };
    let now_ms = clock::unix_ms();
    if plan::due_ms(world, name, now_ms) > now_ms {
        return Ok(Done::NotDue);
    }
    let held = held.get(name).copied();
    let before = attempts.get(name).cloned().unwrap_or_default();
    let spread = plan::spread(work.seed, name);
    let challenge = before.next_challenge(work.settings.possible);
    let begun = plan::begin(before.clone(), work.policy, spread, held, now_ms);
    let begun = Attempts { challenge, challenge_failed: false, ..begun };
    let keys = [Place::Attempts { ca: &shelf.ca, name }, Place::Authority { ca: &shelf.ca }];
    let [of_name, of_authority] = keys.map(Place::key);
    let charged = plan::charge_account(authority, now_ms);
    // Before the CA is asked for anything: a crash loop must not spend what it allows.
    write(work, view, &of_name, &begun).await?;
    write(work, view, &of_authority, &charged).await?;
    let _ = work.client.take_retry_after();

    let seen = view.clone();
    let mut running = Running { work, name, record: begun, view: &seen, answers: Vec::new() };
    let ordered = match timeout(ORDER_TIMEOUT, running.order()).await {
        Ok(ordered) => ordered,
        Err(_) => Err(AcmeError::Slow {
            directory: work.client.directory().to_owned(),
            name: name.to_owned(),
            seconds: ORDER_TIMEOUT.as_secs(),
        }),
    };
    running.remove_answers().await;
    let record = running.record;
    let ordered = match ordered {
        Ok(certificate) => {
            let validity = certificate.validity;
            let kept = shelf.put_certificate(name, certificate).await;
            kept.map(|(key, content)| (key, content, validity))
        }
        Err(error) => Err(error),
    };
    let now_ms = clock::unix_ms();
    match ordered {
        Ok((key, content, validity)) => {
            view.put(key, content);
            let succeeded = plan::succeeded(record, validity, now_ms);
            record_outcome(work, view, &of_name, succeeded).await;
            if charged.failures > 0 {
                let well = Attempts { failures: 0, not_before_ms: 0, error: None, ..charged };
                record_outcome(work, view, &of_authority, well).await;
            }
            Ok(Done::Ordered)
        }
        Err(error) => {
            let wait = work.client.take_retry_after();
            let wait_ms = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            let text = error.to_string();
            if error.is_of_authority() {
                let failures = charged.failures.saturating_add(1);
                let begun = Attempts { failures, ..charged };
                let of_all = (text.clone(), None);
                let failed =
                    plan::failed(begun, work.policy.of_authority(), (spread, None), of_all, now_ms);
                record_outcome(work, view, &of_authority, failed).await;
            }
            let failed = match &error {
                // It says nothing of the name, so it is as if it had not been tried.
                AcmeError::Away { .. } | AcmeError::Foreign { .. } | AcmeError::Account { .. } => {
                    Attempts {
                        failures: before.failures,
                        not_before_ms: before.not_before_ms,
                        challenge: before.challenge,
                        challenge_failed: before.challenge_failed,
                        error: Some(text),
                        ..record
                    }
                }
                AcmeError::Challenge { .. } | AcmeError::NoChallenge { .. } => {
                    let record = Attempts { challenge_failed: true, ..record };
                    plan::failed(record, work.policy, (spread, held), (text, wait_ms), now_ms)
                }
                _ => plan::failed(record, work.policy, (spread, held), (text, wait_ms), now_ms),
            };
            record_outcome(work, view, &of_name, failed).await;
            Err(error)
        }
    }
}

async fn write(
    work: &Work,
    view: &mut View,
    key: &str,
    record: &Attempts,
) -> Result<(), AcmeError> {
    work.shelf.put_record(key, record).await?;
    view.put(key.to_owned(), Content::Attempts(record.clone()));
    Ok(())
}

/// Writes what came of an attempt. If that fails, the record of its beginning stays, which says that
/// it failed.
async fn record_outcome(work: &Work, view: &mut View, key: &str, record: Attempts) {
    if let Err(error) = write(work, view, key, &record).await {
        tracing::warn!("what came of an attempt is not recorded: {error}");
        // This node goes by it all the same.
        view.put(key.to_owned(), Content::Attempts(record));
    }
}

impl Running<'_> {
    fn failed(&self, error: instant_acme::Error) -> AcmeError {
        problem::of_library(&self.work.client, self.name, Stage::Order, error)
    }

    async fn save(&mut self, record: Attempts) -> Result<(), AcmeError> {
        let key = Place::Attempts { ca: &self.work.shelf.ca, name: self.name }.key();
        self.work.shelf.put_record(&key, &record).await?;
        self.record = record;
        Ok(())
    }

    async fn order(&mut self) -> Result<Certificate, AcmeError> {
        let (work, name) = (self.work, self.name);
        let account = account::open(&work.shelf, &work.client, &work.settings).await?;
        let mut order = self.open(&account).await?;
        let mut challenge = None;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| self.failed(error))?;
            match authorization.status {
                AuthorizationStatus::Valid => {}
                AuthorizationStatus::Pending => {
                    challenge = Some(self.answer(&mut authorization).await?);
                }
                _ => {}
            }
        }
        match order.poll_ready(&POLLS).await {
            Ok(OrderStatus::Ready) => {}
            Ok(_) => return Err(self.why(&mut order, challenge).await),
            Err(instant_acme::Error::Api(_)) if challenge.is_some() => {
                return Err(self.why(&mut order, challenge).await);
            }
            Err(error) => return Err(self.failed(error)),
        }
        let crypto = |error: rcgen::Error| AcmeError::Crypto {
            what: format!("the request for {name}"),
            reason: error.to_string(),
        };
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).map_err(crypto)?;
        parameters.distinguished_name = DistinguishedName::new();
        let key = KeyPair::generate().map_err(crypto)?;
        let request = parameters.serialize_request(&key).map_err(crypto)?;
        let held = self.view.held(&work.shelf.ca).get(name).copied();
        // From here on it may be issued, whether or not this node is there to take it.
        self.save(plan::charge(self.record.clone(), held, clock::unix_ms())).await?;
        order.finalize_csr(request.der()).await.map_err(|error| self.failed(error))?;
        let pem = order.poll_certificate(&POLLS).await.map_err(|error| self.failed(error))?;
        Certificate::of_answer(name, &key, &pem, clock::unix_ms()).map_err(|reason| {
            let directory = work.client.directory().to_owned();
            AcmeError::Chain { directory, name: name.to_owned(), reason }
        })
    }

    /// Goes on with the order that an earlier attempt has left open, or begins one.
    async fn open(&mut self, account: &Account) -> Result<Order, AcmeError> {
        if let Some(url) = self.record.order.clone() {
            match account.order(url).await {
                Ok(mut order) => {
                    if let OrderStatus::Pending | OrderStatus::Ready = order.state().status {
                        return Ok(order);
                    }
                }
                Err(error @ instant_acme::Error::Other(_)) => return Err(self.failed(error)),
                // It is over.
                Err(error) => tracing::debug!("the order of {} is over: {error}", self.name),
            }
        }
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
    async fn answer<'a>(
        &mut self,
        authorization: &'a mut AuthorizationHandle<'a>,
    ) -> Result<Challenge, AcmeError> {
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
        let foreign = |reason: &str| AcmeError::Foreign {
            directory: work.client.directory().to_owned(),
            reason: reason.to_owned(),
        };
        let Some(mut handle) = authorization.challenge(kind(challenge)) else {
            return Err(foreign("a challenge that it offers is not there"));
        };
        if !is_token(&handle.token) {
            return Err(foreign("the token of a challenge is none"));
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
        work.publish(self.view);
        if self.record.challenge != Some(challenge) {
            self.save(Attempts { challenge: Some(challenge), ..self.record.clone() }).await?;
        }
        handle.set_ready().await.map_err(|error| match error {
            instant_acme::Error::Api(found) => {
                not_leading(name, challenge, problem::detail(&found))
            }
            other => problem::of_library(&work.client, name, Stage::Order, other),
        })?;
        Ok(challenge)
    }

    /// Returns why the CA has not found the challenge answered.
    async fn why(&self, order: &mut Order, challenge: Option<Challenge>) -> AcmeError {
        let challenge = challenge.or(self.record.challenge).unwrap_or(Challenge::Http01);
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            if let Ok(state) = authorization.refresh().await {
                let found = state.challenges.iter().find_map(|tried| tried.error.as_ref());
                if let Some(found) = found {
                    return not_leading(self.name, challenge, problem::detail(found));
                }
            }
        }
        not_leading(self.name, challenge, "it does not say what".to_owned())
    }

    async fn remove_answers(&mut self) {
        for key in self.answers.drain(..) {
            self.work.challenges.forget(&key);
            if let Err(error) = self.work.shelf.objects.delete(&key).await {
                tracing::warn!("{key:?} is not needed any more and cannot be removed: {error}");
            }
        }
        self.work.publish(self.view);
    }
}

fn not_leading(name: &str, challenge: Challenge, detail: String) -> AcmeError {
    let (name, port) = (name.to_owned(), challenge.port());
    AcmeError::Challenge { name, challenge: challenge.name(), port, detail }
}
