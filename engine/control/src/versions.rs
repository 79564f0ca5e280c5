//! Versions and aliases of what is deployed: which there are, what aliases mean, the way back, and
//! what goes in time. Owns no fds.

use std::sync::Arc;

use abi::choice::ACTIVE;
use abi::limits::ALIASES_PER_FUNCTION_MAX;
use abi::reference::{Reference, check_alias};
use api::functions::{Aliases, InspectedFunction};
use api::versions::{AliasChange, ListedVersion, TargetChange};

use super::answers;
use super::catalogue::runs_here;
use super::functions::{ChangeError, Functions};
use compile::queue::Purpose;
use host::files;
use store::alias::{Alias, Target};
use store::contents::{Function, VersionError};
use store::manifest::Manifest;
use store::retention::versions;

/// Returns the alias of `function` as it is to be.
fn changed(
    function: &Function,
    (name, alias): (&str, &str),
    change: AliasChange,
) -> Result<Alias, ChangeError> {
    let before = function.alias(alias);
    let targets = change.targets.map(|targets| {
        let target = |wanted: TargetChange| {
            let version = function.find(name, &wanted.version)?.version.clone();
            Ok(Target { version, weight: wanted.weight })
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

impl Functions {
    /// Changes an alias of the function `name`, once all that it names has been instantiated here.
    pub(super) async fn set_alias(
        &self,
        name: &str,
        alias: &str,
        change: AliasChange,
    ) -> Result<api::versions::Alias, ChangeError> {
        check_alias(alias)?;
        self.change_alias(name, |function| changed(function, (name, alias), change.clone())).await
    }

    /// Has the bare name mean what it meant before, or a version that is said.
    pub(super) async fn roll_back(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<api::versions::Alias, ChangeError> {
        let make = |function: &Function| match (function.active(), version) {
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
        };
        self.change_alias(name, make).await
    }

    /// Has a version's module in the cache, before all others.
    pub(super) async fn compile(&self, version: &Manifest) -> Result<(), ChangeError> {
        if let Some(digest) = files::unhex(&version.artefact) {
            let module = self.cache.ensure(&digest, version.kind, Purpose::Rollback).await?;
            self.cache.make_ready(module).await;
        }
        Ok(())
    }

    async fn change_alias(
        &self,
        name: &str,
        make: impl Fn(&Function) -> Result<Alias, ChangeError>,
    ) -> Result<api::versions::Alias, ChangeError> {
        // Others do not wait while it is compiled, should it have to be.
        let contents = self.contents_for(name).await?;
        let function =
            contents.get(name).cloned().ok_or_else(|| ChangeError::Unknown(name.to_owned()))?;
        for target in make(&function)?.targets {
            self.compile(function.find(name, &target.version)?).await?;
        }
        let _one_at_a_time = self.turn_to_change().await?;
        let mut contents = self.contents_for(name).await?;
        let function =
            contents.get(name).cloned().ok_or_else(|| ChangeError::Unknown(name.to_owned()))?;
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
            self.compile(version).await?;
            self.try_out(version, Some(&alias), &changed).await?;
        }
        let served = self.served_with(name, &changed).await;
        self.check_limits(name, &served)?;
        self.repository.put_alias(&alias, &versions).await?;
        let answer = answers::alias(&changed, &alias);
        contents.insert(name.to_owned(), Arc::new(changed));
        *self.contents.lock().await = contents;
        self.publish(served).await?;
        Ok(answer)
    }

    /// Removes an alias; the versions that it named stay.
    pub(super) async fn remove_alias(&self, name: &str, alias: &str) -> Result<(), ChangeError> {
        if alias == ACTIVE {
            return Err(ChangeError::ActiveStays(name.to_owned()));
        }
        let _one_at_a_time = self.turn_to_change().await?;
        let mut contents = self.contents_for(name).await?;
        let function =
            contents.get(name).cloned().ok_or_else(|| ChangeError::Unknown(name.to_owned()))?;
        if function.alias(alias).is_none() {
            return Err(ChangeError::UnknownAlias {
                name: name.to_owned(),
                alias: alias.to_owned(),
            });
        }
        let mut changed = function.as_ref().clone();
        changed.drop_alias(alias);
        let served = self.served_with(name, &changed).await;
        self.repository.remove_alias(name, alias).await?;
        contents.insert(name.to_owned(), Arc::new(changed));
        *self.contents.lock().await = contents;
        self.publish(served).await
    }

    /// Removes the versions of the function `name` that are neither among its newest nor young, as
    /// the most generous node has it, and that no alias holds. The caller has the turn to change.
    /// What cannot be removed now goes another time.
    pub(super) async fn prune(&self, name: &str) -> Result<(), ChangeError> {
        let mut contents = self.contents_for(name).await?;
        let Some(function) = contents.get(name).cloned() else { return Ok(()) };
        // Most deploys make nothing too old: by what was last found, which is not old itself, they
        // need not ask the store.
        if self
            .retention
            .last()
            .is_some_and(|last| versions::to_remove(&function, &last).is_empty())
        {
            return Ok(());
        }
        let gone = versions::to_remove(&function, &self.retention.look().await?);
        if gone.is_empty() {
            return Ok(());
        }
        let mut changed = function.as_ref().clone();
        for version in &gone {
            self.repository.prune(version).await?;
            changed.drop_version(&version.version);
        }
        tracing::info!("function {name:?}: old versions are removed ({})", gone.len());
        let served = self.served_with(name, &changed).await;
        contents.insert(name.to_owned(), Arc::new(changed));
        *self.contents.lock().await = contents;
        self.forget_unused(&served);
        self.publish(served).await
    }

    /// Returns every function, as its foremost version, with its aliases.
    pub(super) async fn list(&self) -> Vec<api::functions::Function> {
        self.served
            .lock()
            .await
            .values()
            .filter_map(|function| answers::function(function))
            .collect()
    }

    /// Returns one function: the same, and its versions.
    pub(super) async fn inspect(&self, name: &str) -> Result<InspectedFunction, ChangeError> {
        let served = self.served.lock().await;
        let inspected = served.get(name).and_then(|function| answers::inspected(function));
        inspected.ok_or_else(|| ChangeError::Unknown(name.to_owned()))
    }

    /// Returns the versions of a function, the newest first.
    pub(super) async fn versions(&self, name: &str) -> Result<Vec<ListedVersion>, ChangeError> {
        let served = self.served.lock().await;
        let versions = served.get(name).map(|function| answers::versions(function));
        versions.ok_or_else(|| ChangeError::Unknown(name.to_owned()))
    }

    /// Returns the aliases of a function, by name.
    pub(super) async fn aliases(&self, name: &str) -> Result<Aliases, ChangeError> {
        let served = self.served.lock().await;
        let aliases = served.get(name).map(|function| answers::aliases(function));
        aliases.ok_or_else(|| ChangeError::Unknown(name.to_owned()))
    }

    /// Whether `reference` means something of the function `name`. A version that no alias means is
    /// compiled.
    pub(super) async fn find(
        &self,
        name: &str,
        reference: Option<&str>,
    ) -> Result<(), ChangeError> {
        let function = self.served.lock().await.get(name).cloned();
        let function = function.ok_or_else(|| ChangeError::Unknown(name.to_owned()))?;
        match reference {
            None if function.active().is_none() => Err(ChangeError::NotActive(name.to_owned())),
            None => Ok(()),
            Some(reference) => match Reference::read(reference) {
                Some(Reference::Alias(alias)) if function.alias(alias).is_none() => {
                    Err(ChangeError::UnknownAlias {
                        name: name.to_owned(),
                        alias: alias.to_owned(),
                    })
                }
                Some(Reference::Alias(_)) => Ok(()),
                _ => match function.find(name, reference)? {
                    version if runs_here(&function, version) => {
                        if let Some(digest) = files::unhex(&version.artefact) {
                            self.cache.ensure(&digest, version.kind, Purpose::Deploy).await?;
                        }
                        Ok(())
                    }
                    _ => Err(ChangeError::NotHere {
                        name: name.to_owned(),
                        version: reference.to_owned(),
                    }),
                },
            },
        }
    }
}

/// `v3 active, of 3 versions`: what there is of a function, in a few words.
pub(super) fn summed_up(function: &Function) -> String {
    let foremost = function.foremost().map_or(0, |version| version.number);
    let active = if function.active().is_some() { "active" } else { "not active" };
    match function.versions().count() {
        1 => format!("v{foremost}, {active}"),
        several => format!("v{foremost}, {active}, of {several} versions"),
    }
}
