//! Changes of aliases: what they mean, the way back, and their end. Owns no fds.

use std::sync::Arc;

use abi::choice::ACTIVE;
use abi::limits::ALIASES_PER_FUNCTION_MAX;
use abi::reference::check_alias;
use api::versions::{AliasChange, TargetChange};
use store::alias::{Alias, Target};
use store::contents::{Function, VersionError};
use store::manifest::Manifest;

use super::changes::Changes;
use super::error::ChangeError;
use super::trial::Trials;
use crate::answers;

/// Changes aliases.
#[derive(Debug)]
pub struct Aliases {
    pub(super) changes: Changes,
    pub(super) trials: Arc<Trials>,
}

impl Aliases {
    /// Changes an alias of the function `name`, once a worker has instantiated all that it names.
    ///
    /// # Errors
    /// When the alias cannot be so, a version of it does not run, or the store does not answer.
    pub(crate) async fn set(
        &self,
        name: &str,
        alias: &str,
        change: AliasChange,
    ) -> Result<api::versions::Alias, ChangeError> {
        check_alias(alias)?;
        self.change(name, |function| changed(function, (name, alias), change.clone())).await
    }

    /// Makes the alias `active` name what it named before, or the version that `version` says.
    ///
    /// # Errors
    /// The same, and [`ChangeError::NoPrevious`] when nothing was active before.
    pub(crate) async fn roll_back(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<api::versions::Alias, ChangeError> {
        self.change(name, |function| rolled_back(function, name, version)).await
    }

    /// Makes an alias of the function as it is when the turn has come.
    async fn change(
        &self,
        name: &str,
        make: impl Fn(&Function) -> Result<Alias, ChangeError>,
    ) -> Result<api::versions::Alias, ChangeError> {
        let Changes { gate, stored, publication } = &self.changes;
        // Before the turn, since others would wait while it is compiled, should it have to be.
        let function = self.changes.function(name).await?;
        for target in make(&function)?.targets {
            publication.compile(function.find(name, &target.version)?).await?;
        }
        let turn = gate.enter().await?;
        let function = self.changes.function(name).await?;
        let alias = make(&function)?;
        alias.check()?;
        let versions =
            alias.targets.iter().map(|target| function.find(name, &target.version).cloned());
        let versions: Vec<Arc<Manifest>> = versions.collect::<Result<_, _>>()?;
        if function.alias(&alias.alias).is_none()
            && function.aliases().count() >= ALIASES_PER_FUNCTION_MAX
        {
            return Err(ChangeError::TooManyAliases(name.to_owned()));
        }
        let mut changed = function.as_ref().clone();
        changed.put_alias(Arc::new(alias.clone()));
        for version in &versions {
            // Compiled above as a rule; another node may have changed what the alias is to mean.
            publication.compile(version).await?;
            self.trials.instantiate(version, Some(&alias), &changed).await?;
        }
        let served = publication.with(name, &changed);
        publication.check_limits(name, &served)?;
        stored.repository.put_alias(&alias, &versions).await?;
        let answer = answers::alias(&changed, &alias);
        self.changes.end(&turn, name, Some(Arc::new(changed)), served).await?;
        Ok(answer)
    }

    /// Removes an alias. The versions that it named stay.
    ///
    /// # Errors
    /// When there is no such alias or it is `active`, and when the store does not answer.
    pub(crate) async fn remove(&self, name: &str, alias: &str) -> Result<(), ChangeError> {
        if alias == ACTIVE {
            return Err(ChangeError::ActiveStays(name.to_owned()));
        }
        let Changes { gate, stored, publication } = &self.changes;
        let turn = gate.enter().await?;
        let function = self.changes.function(name).await?;
        if function.alias(alias).is_none() {
            let (name, alias) = (name.to_owned(), alias.to_owned());
            return Err(ChangeError::UnknownAlias { name, alias });
        }
        let mut changed = function.as_ref().clone();
        changed.drop_alias(alias);
        let served = publication.with(name, &changed);
        stored.repository.remove_alias(name, alias).await?;
        self.changes.end(&turn, name, Some(Arc::new(changed)), served).await
    }
}

/// Returns an alias of `function` as `change` makes it.
fn changed(
    function: &Function,
    (name, alias): (&str, &str),
    change: AliasChange,
) -> Result<Alias, ChangeError> {
    let before = function.alias(alias);
    let targets = change.targets.map(|targets| {
        let target = |target: TargetChange| {
            let version = function.find(name, &target.version)?.version.clone();
            Ok(Target { version, weight: target.weight })
        };
        targets.into_iter().map(target).collect::<Result<Vec<_>, VersionError>>()
    });
    let kept = match (before, targets.transpose()?) {
        (Some(before), Some(targets)) => before.pointed_at(targets),
        (Some(before), None) => before.pointed_at(before.targets.clone()),
        (None, Some(targets)) => Alias { targets, ..Alias::of(name, alias, "") },
        (None, None) => {
            return Err(ChangeError::NewAlias { name: name.to_owned(), alias: alias.to_owned() });
        }
    };
    let env = change.env.unwrap_or(kept.env);
    Ok(Alias { env, config: change.config.unwrap_or(kept.config), ..kept })
}

/// Returns the alias `active` of `function` as it was before, or as it means `version`.
fn rolled_back(
    function: &Function,
    name: &str,
    version: Option<&str>,
) -> Result<Alias, ChangeError> {
    match (function.active(), version) {
        (Some(active), Some(version)) => {
            let id = function.find(name, version)?.version.clone();
            Ok(active.pointed_at(Alias::of(name, ACTIVE, &id).targets))
        }
        (None, Some(version)) => {
            Ok(Alias::of(name, ACTIVE, &function.find(name, version)?.version))
        }
        (Some(active), None) if !active.previous.is_empty() => {
            Ok(active.pointed_at(active.previous.clone()))
        }
        (_, None) => Err(ChangeError::NoPrevious(name.to_owned())),
    }
}
