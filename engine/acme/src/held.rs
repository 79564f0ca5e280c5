//! The certificates that a node serves with, chosen from all in the store. Pure; owns no fds.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::certificate::Certificate;
use crate::challenge::ChallengeCertificate;
use crate::shelf::View;

/// What whoever ends TLS needs: handed over whole whenever it changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// One certificate a name, by the names.
    pub certificates: Vec<Arc<Certificate>>,
    /// Those that answer challenges, for clients that offer `acme-tls/1` alone.
    pub challenges: Vec<Arc<ChallengeCertificate>>,
}

/// How whoever ends TLS says with what: a CA is asked to look for a challenge only once its client
/// can find the answer.
#[derive(Debug, Clone, Default)]
pub struct Shown(pub(crate) watch::Sender<Option<Arc<Held>>>);

impl Shown {
    /// Says that connections from now on find what is `held`.
    pub fn report(&self, held: Arc<Held>) {
        self.0.send_replace(Some(held));
    }
}

impl Held {
    /// Chooses of each name the certificate that ends last, one of the CA `ca` before all others. A
    /// certificate that is over is still there as long as there is no other: a client's error then
    /// says what is wrong.
    pub(crate) fn of(
        view: &View,
        ca: &str,
        challenges: Vec<Arc<ChallengeCertificate>>,
        now_ms: u64,
    ) -> Self {
        let mut best = BTreeMap::new();
        for (name, is_of_ca, certificate) in view.certificates(ca) {
            let ends_ms = certificate.validity.ends_ms;
            let rank = (ends_ms > now_ms, is_of_ca, ends_ms);
            let known = best.entry(name).or_insert((rank, certificate));
            if rank > known.0 {
                *known = (rank, certificate);
            }
        }
        let certificates = best.into_values().map(|(_, certificate)| Arc::clone(certificate));
        Self { certificates: certificates.collect(), challenges }
    }
}
