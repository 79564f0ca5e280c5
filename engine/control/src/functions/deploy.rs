//! A deploy: look, compile, try, keep, publish. Owns the received file until the store has it.
//!
//! Only the last two are a change that others wait for: whoever has to go back from a bad version
//! waits for no compiler and for no trial.

use std::sync::Arc;

use abi::choice::ACTIVE;
use abi::limits::VERSIONS_PER_FUNCTION_MAX;

use super::deployed::{Deployed, File, inherited, kind_of};
use super::trial::Question;
use super::{Activation, ChangeError, Functions, Phase, Progress, TrialRequest};
use compile::queue::Step;
use host::files::{self, Temporary};
use store::alias::Alias;
use store::contents::Function;
use store::manifest::Manifest;
use store::options::Options;

/// What a deploy makes of its function, as the store has that at the moment.
struct Planned {
    version: Arc<Manifest>,
    before: Option<Arc<Manifest>>,
    options_kept: bool,
    /// The function with the version, and with the alias that is to mean it.
    changed: Function,
    alias: Option<Alias>,
}

impl Functions {
    /// Deploys a received and synced file under `name`, and returns when every worker serves it. It
    /// has been instantiated here by then, and has answered. `progress` is told each step.
    pub async fn deploy(
        &self,
        name: &str,
        options: Options,
        (activation, trial): (Activation, TrialRequest),
        received: Temporary,
        progress: &Progress,
    ) -> Result<Deployed, ChangeError> {
        abi::name::check(name)?;
        let before =
            self.served.lock().await.get(name).and_then(|function| function.foremost().cloned());
        let kind = {
            let bytes = std::fs::read(received.path()).map_err(ChangeError::Received)?;
            kind_of(&bytes, &options, before.as_deref())?
        };
        options.check(kind)?;
        let (digest, bytes) = files::digest_of(received.path()).map_err(ChangeError::Received)?;
        let tell = |step: Step| progress.enter(step.into());
        let module = self.cache.ensure_from(&digest, kind, received.path(), &tell).await?;
        progress.enter(Phase::WaitingForTrial);
        let _one_at_a_time = self.deploying.lock().await;
        let file = File { kind, digest, bytes, received: &received, progress };
        let deployed = self.try_and_keep(name, &options, (activation, trial), &file).await;
        drop(module);
        match &deployed {
            Ok(deployed) => {
                self.repository.artefacts().keep_copy(&deployed.version.artefact, received).await;
            }
            Err(_) => {
                self.give_up_candidate().await;
                let _no_change = self.changing.lock().await;
                self.forget_unused(&self.served.lock().await.clone());
            }
        }
        deployed
    }

    /// Makes a version of a file, tries it, and keeps it.
    async fn try_and_keep(
        &self,
        name: &str,
        options: &Options,
        (activation, trial): (Activation, TrialRequest),
        file: &File<'_>,
    ) -> Result<Deployed, ChangeError> {
        loop {
            file.progress.enter(Phase::Trying);
            let tried = self.plan(name, options, activation, file).await?;
            self.try_planned(&tried, trial).await?;
            file.progress.enter(Phase::Storing);
            let _no_change = self.turn_to_change().await?;
            let planned = self.plan(name, options, activation, file).await?;
            // Somebody went back, or deployed on another node: it may have other options now.
            if planned.before == tried.before {
                return self.keep(planned, file).await;
            }
        }
    }

    /// The version has the options of the active one where `options` say nothing, as the store has
    /// that now.
    async fn plan(
        &self,
        name: &str,
        options: &Options,
        activation: Activation,
        file: &File<'_>,
    ) -> Result<Planned, ChangeError> {
        let function = self.contents_for(name).await?.get(name).cloned().unwrap_or_default();
        if function.versions().count() >= VERSIONS_PER_FUNCTION_MAX {
            return Err(ChangeError::TooManyVersions(name.to_owned()));
        }
        let before = function.foremost().cloned();
        let (options, options_kept) = inherited(options.clone(), before.as_deref(), file.kind)?;
        let version = Manifest::new(name, file.kind, options, files::hex(&file.digest), file.bytes);
        let version = Arc::new(Manifest { number: function.next_number(), ..version });
        let mut changed = function.as_ref().clone();
        changed.put_version(Arc::clone(&version));
        let alias = (activation == Activation::Activate).then(|| {
            let alias = Alias::of(name, ACTIVE, &version.version);
            function.active().map_or(alias.clone(), |active| active.pointed_at(alias.targets))
        });
        if let Some(alias) = &alias {
            changed.put_alias(Arc::new(alias.clone()));
        }
        Ok(Planned { version, before, options_kept, changed, alias })
    }

    /// Has the version instantiated, and asks it, before anything names it.
    async fn try_planned(&self, planned: &Planned, trial: TrialRequest) -> Result<(), ChangeError> {
        let Planned { version, changed, alias, .. } = planned;
        let served = self.served_with(&version.name, changed).await;
        self.check_limits(&version.name, &served)?;
        self.try_out(version, alias.as_ref(), changed).await?;
        match (&version.health_path, trial) {
            (Some(path), _) => self.ask(version, &Question::Health(path.clone())).await,
            (None, TrialRequest::Made) => self.ask(version, &Question::Trial).await,
            (None, TrialRequest::Skipped) => Ok(()),
        }
    }

    /// Keeps a version that has been tried, and has it served. The caller has the turn to change.
    async fn keep(&self, planned: Planned, file: &File<'_>) -> Result<Deployed, ChangeError> {
        let Planned { version, before, options_kept, changed, alias } = planned;
        let name = version.name.clone();
        let mut contents = self.contents_for(&name).await?;
        let served = self.served_with(&name, &changed).await;
        self.check_limits(&name, &served)?;
        self.secrets.identify(&name, contents.contains_key(&name)).await?;
        self.repository.keep_version(&version, file.received, alias.as_ref()).await?;
        contents.insert(name.clone(), Arc::new(changed));
        *self.contents.lock().await = contents;
        *self.candidate() = None;
        file.progress.enter(Phase::Publishing { workers: self.workers });
        self.publish(served).await?;
        if let Err(error) = self.prune(&name).await {
            tracing::warn!("old versions of function {name:?} stay for now: {error}");
        }
        Ok(Deployed { version, before, options_kept })
    }
}
