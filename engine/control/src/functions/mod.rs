//! What is deployed on this node, and how that changes.
//!
//! Each part owns its state. [`gate`] has the turn to change, [`store_view`] what the store had
//! when it was read last and [`store_state`] whether it is there, [`publication`] what is served,
//! with the [`catalogue`] and the [`slots`] that workers get of it, and [`trial`] the one version
//! that is being tried, by a [`question`]. [`changes`] is what all changes share of these.
//!
//! On them stand the changes: [`deployments`], of which [`plan`] is the pure half, [`received`] the
//! file, [`progress`] how far it is and [`deployed`] the outcome; [`aliases`], [`domains`],
//! [`schedules`], [`pruning`], [`removal`] and [`secret_changes`]. [`follower`] takes over what other nodes change, as far as
//! it is [`servable`] here, [`listing`] answers what is asked of all this, and [`bundles`] makes
//! programs of it, with the [`standalone`] one in front.
//!
//! Changes are made one at a time. Each step before an alias is written leaves nothing visible
//! behind when it fails.

mod aliases;
mod bundles;
mod catalogue;
mod changes;
mod deployed;
mod deployments;
mod domains;
pub mod error;
mod follower;
mod gate;
mod listing;
mod plan;
mod progress;
mod pruning;
mod publication;
mod question;
mod received;
mod removal;
mod schedules;
mod secret_changes;
mod servable;
mod slots;
mod standalone;
pub mod store_state;
mod store_view;
mod trial;

use std::sync::Arc;

use abi::message::Digest;
use compile::cache::Cache;
use fleet::workers::supervise::Command;
use secrets::Secrets;
use store::contents::Contents;
use store::domains::Domains;
use store::known::Known;
use store::repository::Repository;
use store::retention::Retention;
use store::schedules::Schedules;
use tokio::sync::mpsc::Sender;

use self::changes::Changes;
use self::pruning::Pruning;
use self::standalone::Standalone;
use self::trial::Trials;

pub use self::aliases::Aliases;
pub use self::bundles::Bundles;
pub use self::deployed::Deployed;
pub use self::deployments::{Deployments, Steps, TrialRequest};
pub use self::domains::DomainChanges;
pub use self::error::ChangeError;
pub use self::follower::{Follower, Memory};
pub use self::gate::Closed;
pub use self::listing::Listing;
pub use self::plan::Activation;
pub use self::progress::{Phase, Progress};
pub use self::publication::SealedCatalogue;
pub use self::received::Received;
pub(crate) use self::received::Receiving;
pub use self::removal::Removals;
pub use self::schedules::ScheduleChanges;
pub(crate) use self::schedules::timing;
pub use self::secret_changes::SecretChanges;
pub use self::standalone::ProgramError;

/// What the node is, as far as it matters here.
#[derive(Debug)]
pub struct Surroundings {
    /// How many shared workers there are.
    pub workers: usize,
    /// Which old versions go.
    pub retention: Arc<Retention>,
}

/// What is deployed, by what can be done with it.
#[derive(Debug)]
pub struct Functions {
    pub(crate) deployments: Deployments,
    pub(crate) aliases: Aliases,
    pub(crate) bundles: Bundles,
    pub(crate) domains: DomainChanges,
    pub(crate) removals: Removals,
    pub(crate) schedules: ScheduleChanges,
    pub(crate) secrets: SecretChanges,
    pub(crate) listing: Listing,
    pub(crate) follower: Follower,
    changes: Changes,
}

/// The functions of a node that starts.
#[derive(Debug)]
pub struct Loaded {
    pub functions: Functions,
    /// The first catalogue.
    pub catalogue: SealedCatalogue,
    /// What this node remembers of its store, for [`keep_up`](crate::sync::keep_up).
    pub memory: Memory,
}

impl Functions {
    /// Reads what is deployed, compiles what is not in the cache, and makes the first catalogue.
    ///
    /// While the store is away, what this node remembers of it counts.
    ///
    /// # Errors
    /// When the store cannot be read, or is away and was never seen. A function that does not
    /// compile any more is logged and left out.
    pub async fn load(
        stored: (Repository, Known, Arc<Secrets>, Arc<Domains>, Arc<Schedules>),
        cache: Arc<Cache>,
        supervisor: Sender<Command>,
        surroundings: Surroundings,
    ) -> Result<Loaded, ChangeError> {
        let Surroundings { workers, retention } = surroundings;
        let (repository, known, secrets, domains, schedules) = stored;
        let remembered = known.read();
        match secrets.load().await {
            // There were none: whatever this node remembers of functions, it remembers of their
            // secrets first.
            Err(error) if error.is_away() && remembered.is_some() => {}
            loaded => loaded?,
        }
        let before = remembered.clone().unwrap_or_default();
        let (contents, away) = match (repository.read_all(&before).await, &remembered) {
            (Ok(contents), _) => (contents, None),
            (Err(error), Some(remembered)) if error.is_away() => (remembered.clone(), Some(error)),
            (Err(error), _) => return Err(error.into()),
        };
        match domains.load().await {
            // What this node remembers of them counts.
            Err(error) if error.is_away() && remembered.is_some() => {}
            loaded => loaded?,
        }
        match schedules.load().await {
            // Likewise.
            Err(error) if error.is_away() && remembered.is_some() => {}
            loaded => loaded?,
        }
        let nothing = Contents::new();
        servable::compile(&cache, &contents, &nothing).await;
        let (served, modules) = servable::servable(&cache, &contents, &nothing);
        let publication = publication::Publication::new(
            Arc::clone(&cache),
            Arc::clone(repository.artefacts()),
            (Arc::clone(&secrets), Arc::clone(&domains)),
            supervisor.clone(),
            workers,
        );
        let catalogue = publication.begin(served)?;
        make_ready(cache, modules)?;
        let stored = store_view::StoreView::new(repository, contents, away.as_ref());
        let changes = Changes {
            gate: Arc::default(),
            stored: Arc::new(stored),
            publication: Arc::new(publication),
        };
        let functions = Self::new(changes, (secrets, domains, schedules), retention, supervisor);
        let memory = Memory { known, written: remembered.map(Arc::new) };
        Ok(Loaded { functions, catalogue, memory })
    }

    fn new(
        changes: Changes,
        (secrets, domains, schedules): (Arc<Secrets>, Arc<Domains>, Arc<Schedules>),
        retention: Arc<Retention>,
        supervisor: Sender<Command>,
    ) -> Self {
        let (gate, publication) = (Arc::clone(&changes.gate), Arc::clone(&changes.publication));
        let trials = Arc::new(Trials::new(gate, Arc::clone(&publication), supervisor));
        let pruning = Pruning { changes: changes.clone(), retention: Arc::clone(&retention) };
        Self {
            deployments: Deployments {
                changes: changes.clone(),
                trials: Arc::clone(&trials),
                secrets: Arc::clone(&secrets),
                pruning,
            },
            aliases: Aliases { changes: changes.clone(), trials: Arc::clone(&trials) },
            bundles: Bundles {
                publication: Arc::clone(&publication),
                standalone: Arc::new(Standalone::open()),
            },
            domains: DomainChanges { changes: changes.clone(), domains: Arc::clone(&domains) },
            removals: Removals { changes: changes.clone(), trials, secrets: Arc::clone(&secrets) },
            schedules: ScheduleChanges {
                changes: changes.clone(),
                schedules: Arc::clone(&schedules),
            },
            secrets: SecretChanges { changes: changes.clone(), secrets: Arc::clone(&secrets) },
            listing: Listing { publication },
            follower: Follower { changes: changes.clone(), secrets, domains, schedules, retention },
            changes,
        }
    }

    /// Makes the store one that can be written to, and clears away what a crash left unfinished.
    /// For a start, before anything else is written.
    ///
    /// # Errors
    /// When the store cannot be written to.
    pub async fn prepare(&self) -> Result<(), ChangeError> {
        self.follower.prepare().await
    }

    /// Clears away what no function has any more. Not while another engine serves from the same
    /// folders.
    pub async fn clear_unused(&self) {
        self.follower.clear_unused().await;
    }

    /// Lets no change begin any more, and waits for one that is under way.
    pub async fn close(&self) -> Closed {
        self.changes.gate.close().await
    }
}

/// Reads modules while the node goes on to start. The thread ends by itself, or with the process.
fn make_ready(cache: Arc<Cache>, modules: Vec<Digest>) -> Result<(), ChangeError> {
    let thread = std::thread::Builder::new().name("modules".into());
    thread.spawn(move || cache.make_ready_while_room(&modules)).map_err(ChangeError::Thread)?;
    Ok(())
}
