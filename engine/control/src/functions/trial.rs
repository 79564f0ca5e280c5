//! What a version passes before it counts: a worker instantiates it, and it answers a request. Owns
//! the catalogue of the version that is tried, which is a memfd.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::function::Isolation;
use fleet::core::Pool;
use fleet::workers::supervise::{Command, TrialError};
use store::alias::Alias;
use store::contents::Function;
use store::manifest::Manifest;
use tokio::sync::mpsc::Sender;
use tokio::sync::{Mutex, MutexGuard, oneshot};

use super::catalogue;
use super::error::ChangeError;
use super::gate::ChangeGate;
use super::publication::Publication;
use super::question::{GRACE, Question};

/// How many workers have to die before the version is blamed.
const DEATHS_MAX: u32 = 2;
/// How long a trial waits for a worker that serves, and how often it looks. One that was killed is
/// replaced sooner.
const WORKER_WAIT: Duration = Duration::from_secs(10);
const WORKER_PAUSE: Duration = Duration::from_millis(50);

/// Tries versions.
#[derive(Debug)]
pub(super) struct Trials {
    gate: Arc<ChangeGate>,
    publication: Arc<Publication>,
    supervisor: Sender<Command>,
    /// Guards the order of deploys from their trials on, since there is one candidate at a time. It
    /// is taken before the turn to change, never behind it.
    turn: Mutex<()>,
}

/// The turn to have a candidate, which a deploy has from its trial to its end.
#[derive(Debug)]
pub(super) struct TrialTurn<'a> {
    _turn: MutexGuard<'a, ()>,
}

impl Trials {
    pub(super) fn new(
        gate: Arc<ChangeGate>,
        publication: Arc<Publication>,
        supervisor: Sender<Command>,
    ) -> Self {
        Self { gate, publication, supervisor, turn: Mutex::default() }
    }

    /// Waits for the deploys before this one.
    pub(super) async fn enter(&self) -> TrialTurn<'_> {
        TrialTurn { _turn: self.turn.lock().await }
    }

    /// Has a worker instantiate a version, with what `alias` lays over it. `changed` is its
    /// function as it is to be. A worker that dies meanwhile may have been killed for another
    /// reason, so another one is asked.
    ///
    /// What is to run in a worker of its own runs no code in a shared one, nor in the one that
    /// serves.
    ///
    /// # Errors
    /// [`ChangeError::Trial`] with the reason.
    pub(super) async fn instantiate(
        &self,
        version: &Manifest,
        alias: Option<&Alias>,
        changed: &Function,
    ) -> Result<(), ChangeError> {
        let own = [version.isolation, catalogue::isolation(changed)].contains(&Isolation::Process);
        let pool = if own { Pool::Trial(version.name.clone()) } else { Pool::Shared };
        let key = |artefact: &_, kind| self.publication.cache.key(artefact, kind);
        let catalogue = Arc::new(catalogue::of_one(version, alias, &key).seal()?);
        let (began, mut deaths) = (Instant::now(), 0);
        loop {
            match self.instantiate_once(version, Arc::clone(&catalogue), pool.clone()).await {
                Err(ChangeError::Trial(TrialError::Died)) if deaths + 1 < DEATHS_MAX => deaths += 1,
                Err(ChangeError::Trial(TrialError::NoWorker)) if began.elapsed() < WORKER_WAIT => {
                    tokio::time::sleep(WORKER_PAUSE).await;
                }
                tried => return tried,
            }
        }
    }

    async fn instantiate_once(
        &self,
        version: &Manifest,
        catalogue: Arc<OwnedFd>,
        pool: Pool,
    ) -> Result<(), ChangeError> {
        let (done, tried) = oneshot::channel();
        self.supervisor
            .send(Command::Try { catalogue, pool, done })
            .await
            .map_err(|_| ChangeError::Stopping)?;
        let within = Duration::from_millis(version.limits.timeout_ms.into()) + GRACE;
        let tried =
            tokio::time::timeout(within, tried).await.map_err(|_| TrialError::Slow(within))?;
        Ok(tried.map_err(|_| ChangeError::Stopping)??)
    }

    /// Asks a version that nothing names yet. It is served by its id from then on, until it is kept
    /// or [given up](Self::give_up_candidate).
    ///
    /// # Errors
    /// When the version cannot be published, or does not answer well.
    pub(super) async fn ask(
        &self,
        _: &TrialTurn<'_>,
        version: &Arc<Manifest>,
        question: &Question,
    ) -> Result<(), ChangeError> {
        self.publish_candidate(Some(Arc::clone(version))).await?;
        question.ask(version, &self.supervisor).await
    }

    /// Serves no candidate any more, if there is one.
    pub(super) async fn give_up_candidate(&self, _: &TrialTurn<'_>) {
        if self.publication.has_candidate()
            && let Err(error) = self.publish_candidate(None).await
        {
            tracing::warn!(
                "a version that was not kept is served by its id until the next change: {error}"
            );
        }
    }

    /// Serves this version beside all others, by its id alone.
    async fn publish_candidate(&self, version: Option<Arc<Manifest>>) -> Result<(), ChangeError> {
        let turn = self.gate.enter().await;
        // Without the turn too: then the next change, whoever makes it, publishes it or drops it.
        self.publication.set_candidate(version);
        self.publication.publish_again(&turn?).await
    }
}
