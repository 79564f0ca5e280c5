//! Certificates by ACME (RFC 8555): ordered and renewed for the node's domains, and kept in the
//! store, so that all nodes of it have them and one of them orders.
//!
//! [`Acme::start`] is told which host names are wanted, and hands over what whoever ends TLS needs,
//! whenever that changes. `plan` decides what to do and `outcome` what is recorded of a failure;
//! both are pure. `run` is the task around them, `attempt` one attempt, `order` the CA's part of
//! it, `lease` which node orders, `challenge` the answers to the CA's challenges on every node.
//! `shelf` is the part of the store, whose keys `place` has; private keys stand in it sealed with
//! the node's key (`sealed`). `client` is HTTP with bounds, `account` the account with the CA,
//! `certificate` checks what it issues, and `copy` is what a start without the store has.
//!
//! Certificates are ordered one a name. Renewal information of a CA (RFC 9773) is not asked for:
//! renewals go by the share of the lifetime that is left. Owns the connections to the CA.

#![expect(
    missing_docs,
    reason = "names of fields say what they are, and each variant of an error has its sentence"
)]

mod account;
mod attempt;
mod certificate;
mod challenge;
mod client;
mod copy;
mod error;
mod held;
mod lease;
mod names;
mod order;
mod outcome;
mod place;
mod plan;
mod problem;
mod record;
mod run;
mod sealed;
mod settings;
mod shelf;
mod status;
mod work;

#[cfg(test)]
mod certificate_tests;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod shelf_tests;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use secrets::KeyFile;
use store::objects::Objects;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::certificate::{Certificate, PrivateKey};
pub use self::challenge::ChallengeCertificate;
pub use self::error::AcmeError;
pub use self::held::{Held, Shown};
pub use self::names::{NameError, check as check_name};
use self::plan::Policy;
pub use self::plan::Validity;
pub use self::record::{Challenge, Possible};
use self::run::{Keeper, Status};
pub use self::settings::{
    ExternalAccount, LETS_ENCRYPT, LETS_ENCRYPT_STAGING, Listening, Settings,
};
pub use self::status::NameStatus;
use self::work::Work;

/// The protocol that a client offers, and offers alone, for a challenge by TLS-ALPN-01.
pub const ACME_TLS_ALPN: &[u8] = b"acme-tls/1";

/// What keeps the certificates of a node. When it is dropped, that ends; an order that goes on then
/// is gone on with after the next start.
#[derive(Debug)]
pub struct Acme {
    work: Arc<Work>,
    status: Status,
    task: JoinHandle<()>,
}

impl Acme {
    /// Starts to keep the certificates of the `wanted` names, on the runtime that this is called
    /// from. The receiver has what is held, at first what this node had when it ran last.
    ///
    /// # Errors
    /// When the settings name a CA or a file that cannot be used, or the node gets no id. Whether
    /// the CA answers is seen later, and reported by [`Self::status`].
    pub fn start(
        settings: Settings,
        objects: Arc<dyn Objects>,
        keys: Arc<KeyFile>,
        wanted: watch::Receiver<Vec<String>>,
    ) -> Result<(Self, watch::Receiver<Arc<Held>>), AcmeError> {
        Self::start_with(Policy::STANDARD, settings, objects, keys, wanted)
    }

    fn start_with(
        policy: Policy,
        settings: Settings,
        objects: Arc<dyn Objects>,
        keys: Arc<KeyFile>,
        wanted: watch::Receiver<Vec<String>>,
    ) -> Result<(Self, watch::Receiver<Arc<Held>>), AcmeError> {
        let work = Arc::new(Work::new(settings, policy, objects, keys)?);
        let held = work.subscribe();
        let status: Status = Arc::new(Mutex::default());
        let keeper = Keeper::new(Arc::clone(&work), Arc::clone(&status));
        let task = tokio::spawn(keeper.run(wanted));
        Ok((Self { work, status, task }, held))
    }

    /// Returns what whoever ends TLS here is to report to. Until it has, nobody waits for it.
    #[must_use]
    pub fn shown(&self) -> Shown {
        self.work.shown.clone()
    }

    /// Returns what `GET /.well-known/acme-challenge/TOKEN` is answered with, as
    /// `application/octet-stream`. Returns `None` if that is not a challenge of this node or of
    /// another one of its store. The store is asked if this node does not know, so it must be
    /// called before anything else answers such a request: whichever node the CA meets, it gets the
    /// answer.
    pub async fn answer(&self, token: &str) -> Option<String> {
        self.work.challenges.http(token).await
    }

    /// Returns the certificate for a client that offers `acme-tls/1` alone and asks for `name`.
    /// Like [`Self::answer`], it asks the store if this node does not know.
    pub async fn challenge_certificate(&self, name: &str) -> Option<Arc<ChallengeCertificate>> {
        self.work.challenges.tls(name).await
    }

    /// Returns the status of each wanted name, by name.
    pub fn status(&self) -> Vec<NameStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Acme {
    fn drop(&mut self) {
        self.task.abort();
    }
}
