//! What orders and passes share. Owns no fds but the client's.

use std::sync::Arc;
use std::time::Duration;

use host::{clock, node_id};
use secrets::KeyFile;
use sha2::{Digest as _, Sha256};
use store::error::StoreError;
use store::objects::Objects;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::challenge::Challenges;
use crate::client::CaClient;
use crate::error::AcmeError;
use crate::held::{Held, Shown};
use crate::place::ca_of;
use crate::plan::Policy;
use crate::settings::Settings;
use crate::shelf::{Shelf, View};

#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) shelf: Shelf,
    pub(crate) client: CaClient,
    pub(crate) settings: Settings,
    pub(crate) challenges: Challenges,
    pub(crate) policy: Policy,
    /// What leases call this node.
    pub(crate) node: String,
    /// What sets this node's times apart from those of others.
    pub(crate) seed: u64,
    held: watch::Sender<Arc<Held>>,
    pub(crate) shown: Shown,
}

/// How long whoever ends TLS may take for a challenge.
const SHOWN_TIMEOUT: Duration = Duration::from_secs(10);

impl Work {
    /// # Errors
    /// When the settings name a CA or a file that cannot be used, or the node gets no id.
    pub(crate) fn new(
        settings: Settings,
        policy: Policy,
        objects: Arc<dyn Objects>,
        keys: Arc<KeyFile>,
    ) -> Result<Self, AcmeError> {
        let client = CaClient::new(&settings.directory, settings.root.as_deref())?;
        // The same after a restart, so that a node does not wait for a lease of its own.
        let node = node_id::get_or_make(&settings.data);
        let node = node.map_err(StoreError::io("write", &node_id::path(&settings.data)))?;
        let digest: [u8; 32] = Sha256::digest(&node).into();
        let seed = digest.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        Ok(Self {
            challenges: Challenges::new(Arc::clone(&objects)),
            shelf: Shelf { objects, keys, ca: ca_of(&settings.directory) },
            client,
            settings,
            policy,
            node,
            seed,
            held: watch::Sender::default(),
            shown: Shown::default(),
        })
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Held>> {
        self.held.subscribe()
    }

    /// Hands over the certificates for challenges as they are now.
    pub(crate) fn publish_challenges(&self) {
        let challenges = self.challenges.certificates();
        self.held.send_if_modified(|known| {
            let is_new = known.challenges != challenges;
            if is_new {
                let certificates = known.certificates.clone();
                *known = Arc::new(Held { certificates, challenges });
            }
            is_new
        });
    }

    /// Resolves when clients find the answers to all challenges by TLS, or after a while.
    pub(crate) async fn challenges_shown(&self) {
        let mut shown = self.shown.0.subscribe();
        if shown.borrow().is_none() {
            return;
        }
        let wanted = self.challenges.certificates();
        let has_all = |shown: &Option<Arc<Held>>| {
            let there = |held: &Arc<Held>| wanted.iter().all(|it| held.challenges.contains(it));
            shown.as_ref().is_some_and(there)
        };
        if timeout(SHOWN_TIMEOUT, shown.wait_for(has_all)).await.is_err() {
            tracing::warn!("the processes that end TLS do not take the answer to a challenge");
        }
    }

    /// Hands over what is in the view, if that is new.
    pub(crate) fn publish(&self, view: &View) {
        let challenges = self.challenges.certificates();
        let held = Held::of(view, &self.shelf.ca, challenges, clock::unix_ms());
        self.held.send_if_modified(|known| {
            let is_new = **known != held;
            if is_new {
                *known = Arc::new(held);
            }
            is_new
        });
    }
}
