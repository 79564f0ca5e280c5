//! A deploy: inspect, compile, try, keep, publish. [`super::plan`] decides what is made of the
//! function; this carries it out. Owns the received file until the store has it.
//!
//! Each step before an alias is written leaves nothing visible behind when it fails. Only the last
//! two are a change that others wait for: a rollback waits for no compiler and for no trial.

use std::sync::Arc;

use abi::function::Kind;
use api::options::Options;
use bytes::Bytes;
use compile::queue::Step;
use secrets::Secrets;
use store::error::StoreError;
use store::manifest::Manifest;

use super::changes::Changes;
use super::deployed::Deployed;
use super::error::ChangeError;
use super::gate::Turn;
use super::plan::{Activation, Plan, Request, Stamp, plan};
use super::progress::{Phase, Progress};
use super::pruning::Pruning;
use super::question::Question;
use super::received::{Inspected, Received, Receiving};
use super::trial::{TrialTurn, Trials};

/// Whether a version must answer a request before it is deployed, if it has no path for its health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrialRequest {
    Made,
    Skipped,
}

/// How a version is deployed.
#[derive(Debug, Clone)]
pub struct Steps {
    /// Whether it becomes what the function's bare name means.
    pub activation: Activation,
    /// Whether it must answer.
    pub trial: TrialRequest,
    /// The version that must still be the function's foremost one then.
    pub over: Option<Arc<Manifest>>,
}

/// How much of an artefact is written at a time.
const PIECE_BYTES: usize = 1024 * 1024;

/// Deploys versions.
#[derive(Debug)]
pub struct Deployments {
    pub(super) changes: Changes,
    pub(super) trials: Arc<Trials>,
    pub(super) secrets: Arc<Secrets>,
    pub(super) pruning: Pruning,
}

impl Deployments {
    /// Begins to receive an artefact.
    ///
    /// # Errors
    /// [`ChangeError::TakenOver`] when nothing can be deployed, and when there can be no file.
    pub(crate) async fn receive(&self) -> Result<Receiving, ChangeError> {
        self.changes.gate.check()?;
        let artefacts = Arc::clone(self.changes.stored.repository.artefacts());
        let begun = tokio::task::spawn_blocking(move || {
            let file = artefacts.receive()?;
            let path = file.path().to_owned();
            Ok(Receiving::begin(file).map_err(StoreError::io("write to", &path))?)
        });
        begun.await.unwrap_or(Err(ChangeError::Stopping))
    }

    /// Returns the artefact of a version, to deploy it with other options.
    ///
    /// # Errors
    /// When the store does not give it.
    pub(crate) async fn artefact(&self, version: &Manifest) -> Result<Bytes, ChangeError> {
        let artefacts = self.changes.stored.repository.artefacts();
        let path = artefacts.local(&version.artefact).await?;
        let read = tokio::task::spawn_blocking(move || {
            std::fs::read(&path).map_err(StoreError::io("read", &path))
        });
        Ok(read.await.map_err(|_| ChangeError::Stopping)??.into())
    }

    /// Receives a file that is in memory.
    ///
    /// # Errors
    /// As [`Self::receive`], and when it cannot be written.
    pub(crate) async fn received(&self, artefact: &[u8]) -> Result<Received, ChangeError> {
        let mut receiving = self.receive().await?;
        for piece in artefact.chunks(PIECE_BYTES) {
            receiving.take(piece).await.map_err(ChangeError::Received)?;
        }
        receiving.end().await.map_err(ChangeError::Received)
    }

    /// Makes a version of `name` with other options, and the file of its foremost version; if that
    /// is not the foremost any more when the new one is kept, it is refused. Where the options
    /// change nothing, there is no new version. With `only_plan` there is none in any case.
    ///
    /// # Errors
    /// As [`Self::deploy`].
    pub(crate) async fn set_options(
        &self,
        name: &str,
        options: Options,
        (activation, trial): (Activation, TrialRequest),
        only_plan: bool,
    ) -> Result<Deployed, ChangeError> {
        abi::name::check(name)?;
        let function = self.changes.function(name).await?;
        let unknown = || ChangeError::Unknown(name.to_owned());
        let over = function.foremost().cloned().ok_or_else(unknown)?;
        if activation == Activation::Activate && function.active().is_none() {
            return Err(ChangeError::NotActive(name.to_owned()));
        }
        let received = self.received(&self.artefact(&over).await?).await?;
        let Inspected { kind, has_assets, .. } = received.inspect(&options, Some(&over)).await?;
        let request = Request {
            name,
            options: &options,
            activation,
            over: Some(&over),
            kind,
            has_assets,
            digest: received.digest,
            bytes: received.bytes,
        };
        let planned = plan(&function, &request, Stamp::now())?;
        if planned.changes_nothing() {
            let (version, before) = (Arc::clone(&over), Some(over));
            return Ok(Deployed { version, before, options_kept: true, notes: Vec::new() });
        }
        if only_plan {
            let publication = &self.changes.publication;
            publication.check_limits(name, &publication.with(name, &planned.changed))?;
            let Plan { version, before, options_kept, .. } = planned;
            return Ok(Deployed { version, before, options_kept, notes: Vec::new() });
        }
        let steps = Steps { activation, trial, over: Some(over) };
        self.deploy(name, options, steps, received, &Progress::default()).await
    }

    /// Returns how many are before `number` in the line for a compiler.
    pub(crate) fn compilers_ahead(&self, number: u64) -> usize {
        self.changes.publication.cache.ahead(number)
    }

    /// Deploys a received file under `name`, and returns when every worker serves it. A worker has
    /// instantiated it by then, and it has answered. Each step is noted in `progress`.
    ///
    /// # Errors
    /// When any step fails. Nothing of the version is kept then.
    pub(crate) async fn deploy(
        &self,
        name: &str,
        options: Options,
        steps: Steps,
        received: Received,
        progress: &Progress,
    ) -> Result<Deployed, ChangeError> {
        abi::name::check(name)?;
        let publication = &self.changes.publication;
        let before = publication.served().get(name).and_then(|it| it.foremost().cloned());
        let inspected = received.inspect(&options, before.as_deref()).await?;
        let Inspected { kind, size, has_assets } = inspected;
        options.check(kind)?;
        // Compiled in no turn at all. The module stays while it is held, though no version has it.
        let enter = |step: Step| progress.enter(step.into());
        let file = (received.file.path(), size);
        let module = publication.cache.ensure_from(&received.digest, kind, file, &enter).await?;
        let assets = match has_assets {
            true => {
                let assets =
                    publication.cache.ensure_from(&received.digest, Kind::Static, file, &enter);
                Some(assets.await?)
            }
            false => None,
        };
        progress.enter(Phase::WaitingForTrial);
        let trial_turn = self.trials.enter().await;
        let (digest, bytes) = (received.digest, received.bytes);
        let Steps { activation, trial, over } = steps;
        let (options, over) = (&options, over.as_deref());
        let request = Request { name, options, activation, over, kind, has_assets, digest, bytes };
        let deployed = self.try_and_keep(&trial_turn, &request, trial, (&received, progress)).await;
        drop((module, assets));
        match &deployed {
            Ok(deployed) => {
                let artefacts = self.changes.stored.repository.artefacts();
                artefacts.keep_copy(&deployed.version.artefact, received.file).await;
            }
            Err(_) => {
                self.trials.give_up_candidate(&trial_turn).await;
                // In a turn: another change might have just made what is cleared away here. While
                // another engine takes over there is none, and that engine clears away.
                if let Ok(turn) = self.changes.gate.enter().await {
                    publication.forget_unused(&turn, &publication.served()).await;
                }
            }
        }
        deployed
    }

    /// Makes a version of a file, tries it, and keeps it.
    async fn try_and_keep(
        &self,
        trial_turn: &TrialTurn<'_>,
        request: &Request<'_>,
        trial: TrialRequest,
        (received, progress): (&Received, &Progress),
    ) -> Result<Deployed, ChangeError> {
        loop {
            progress.enter(Phase::Trying);
            let tried = self.plan(request).await?;
            self.try_planned(trial_turn, &tried, trial).await?;
            progress.enter(Phase::Storing);
            let turn = self.changes.gate.enter().await?;
            // The trial was in no turn: somebody may have gone back meanwhile, or deployed on
            // another node. If so the version may get other options now, and is tried with them.
            let planned = self.plan(request).await?;
            if planned.before == tried.before {
                return self.keep(&turn, planned, (received, progress)).await;
            }
        }
    }

    /// Plans a deploy by what the store has now.
    async fn plan(&self, request: &Request<'_>) -> Result<Plan, ChangeError> {
        let function = self.changes.stored.read_function(request.name).await?.unwrap_or_default();
        plan(&function, request, Stamp::now())
    }

    /// Tries a version before anything names it: a worker instantiates it, and it answers.
    async fn try_planned(
        &self,
        trial_turn: &TrialTurn<'_>,
        planned: &Plan,
        trial: TrialRequest,
    ) -> Result<(), ChangeError> {
        let Plan { version, changed, alias, .. } = planned;
        let publication = &self.changes.publication;
        publication.check_limits(&version.name, &publication.with(&version.name, changed))?;
        // What starts a native program may not be there when it is deployed.
        if trial == TrialRequest::Made || !version.kind.is_native() {
            self.trials.instantiate(version, alias.as_ref(), changed).await?;
        }
        let question = match (&version.health_path, trial) {
            (Some(path), _) => Question::Health(path.clone()),
            // A lambda function takes events, and not every one takes those of requests. That it
            // asks for the first is its trial.
            (None, TrialRequest::Made) if version.kind != Kind::Lambda => Question::Trial,
            (None, TrialRequest::Made | TrialRequest::Skipped) => return Ok(()),
        };
        self.trials.ask(trial_turn, version, &question).await
    }

    /// Keeps a version that has been tried, and has it served.
    async fn keep(
        &self,
        turn: &Turn,
        planned: Plan,
        (received, progress): (&Received, &Progress),
    ) -> Result<Deployed, ChangeError> {
        let Plan { version, before, options_kept, changed, alias } = planned;
        let (name, Changes { stored, publication, .. }) = (version.name.as_str(), &self.changes);
        let is_there = stored.read_function(name).await?.is_some();
        let served = publication.with(name, &changed);
        publication.check_limits(name, &served)?;
        // What secrets belong to is there before the function is.
        self.secrets.identify(name, is_there).await?;
        stored.repository.keep_version(&version, &received.file, alias.as_ref()).await?;
        // The version is what the next catalogue has, in place of the one that was tried.
        publication.set_candidate(None);
        progress.enter(Phase::Publishing { workers: publication.workers() });
        self.changes.end(turn, name, Some(Arc::new(changed)), served).await?;
        if let Err(error) = self.pruning.prune(turn, name).await {
            tracing::warn!("old versions of function {name:?} stay for now: {error}");
        }
        let notes = publication.cache.notes(&received.digest, version.kind);
        Ok(Deployed { version, before, options_kept, notes })
    }
}
