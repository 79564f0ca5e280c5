//! Versions and aliases of what is deployed: which there are, what aliases mean, the way back, and what goes in time. Owns no fds.

use std::collections::BTreeMap;
use std::sync::Arc;

use abi::choice::ACTIVE;
use abi::limits::ALIASES_PER_FUNCTION_MAX;
use abi::reference::{Reference, check_alias};
use serde::Deserialize;
use serde_json::{Value, json};

use super::catalogue::runs_here;
use super::functions::{ChangeError, Functions};
use crate::compile::queue::Purpose;
use crate::store::alias::{Alias, Target};
use crate::store::contents::{Function, VersionError};
use crate::store::files;
use crate::store::manifest::Manifest;

/// What is said of an alias. What is not said stays as it is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Said {
    targets: Option<Vec<SaidTarget>>,
    env: Option<BTreeMap<String, String>>,
    config: Option<BTreeMap<String, String>>,
}

/// A version as a person names it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct SaidTarget {
    version: String,
    #[serde(default = "one")]
    weight: u32,
}

fn one() -> u32 {
    1
}

impl Said {
    /// The alias as it is to be.
    fn of(self, name: &str, alias: &str, function: &Function) -> Result<Alias, ChangeError> {
        let before = function.alias(alias);
        let targets = self.targets.map(|targets| {
            let target = |said: SaidTarget| {
                let version = function.find(name, &said.version)?.version.clone();
                Ok(Target { version, weight: said.weight })
            };
            targets.into_iter().map(target).collect::<Result<Vec<_>, VersionError>>()
        });
        let said = match (before, targets.transpose()?) {
            (Some(before), Some(targets)) => before.pointed_at(targets),
            (Some(before), None) => before.pointed_at(before.targets.clone()),
            (None, Some(targets)) => Alias { targets, ..Alias::of(name, alias, "") },
            (None, None) => return Err(ChangeError::NewAlias { name: name.to_owned(), alias: alias.to_owned() }),
        };
        Ok(Alias { env: self.env.unwrap_or(said.env), config: self.config.unwrap_or(said.config), ..said })
    }
}

impl Functions {
    /// Has an alias of the function `name` mean what is said, once all that it names has been instantiated here.
    pub(super) async fn set_alias(&self, name: &str, alias: &str, said: Said) -> Result<Value, ChangeError> {
        check_alias(alias)?;
        self.change_alias(name, |function| said.clone().of(name, alias, function)).await
    }

    /// Has the bare name mean what it meant before, or a version that is said.
    pub(super) async fn roll_back(&self, name: &str, version: Option<&str>) -> Result<Value, ChangeError> {
        let make = |function: &Function| match (function.active(), version) {
            (Some(active), Some(version)) => {
                let id = function.find(name, version)?.version.clone();
                Ok(active.pointed_at(Alias::of(name, ACTIVE, &id).targets))
            }
            (None, Some(version)) => Ok(Alias::of(name, ACTIVE, &function.find(name, version)?.version)),
            (Some(active), None) if !active.previous.is_empty() => Ok(active.pointed_at(active.previous.clone())),
            (_, None) => Err(ChangeError::NoPrevious(name.to_owned())),
        };
        self.change_alias(name, make).await
    }

    /// Has a version's module in the cache, before all others.
    pub(super) async fn compile(&self, version: &Manifest) -> Result<(), ChangeError> {
        if let Some(digest) = files::unhex(&version.artefact) {
            self.cache.make_ready(&self.cache.ensure(&digest, version.kind, Purpose::Back).await?);
        }
        Ok(())
    }

    async fn change_alias(
        &self,
        name: &str,
        make: impl Fn(&Function) -> Result<Alias, ChangeError>,
    ) -> Result<Value, ChangeError> {
        // Others do not wait while it is compiled, should it have to be.
        let contents = self.contents_for(name).await?;
        let function = contents.get(name).cloned().ok_or_else(|| ChangeError::Unknown(name.to_owned()))?;
        for target in make(&function)?.targets {
            self.compile(function.find(name, &target.version)?).await?;
        }
        let _one_at_a_time = self.turn_to_change().await?;
        let mut contents = self.contents_for(name).await?;
        let function = contents.get(name).cloned().ok_or_else(|| ChangeError::Unknown(name.to_owned()))?;
        let alias = make(&function)?;
        alias.check()?;
        let versions = alias.targets.iter().map(|target| function.find(name, &target.version).cloned());
        let versions: Vec<Arc<Manifest>> = versions.collect::<Result<_, _>>()?;
        if function.alias(&alias.alias).is_none() && function.aliases().count() >= ALIASES_PER_FUNCTION_MAX {
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
        let told = told_alias(&changed, &alias);
        contents.insert(name.to_owned(), Arc::new(changed));
        *self.contents.lock().await = contents;
        self.publish(served).await?;
        Ok(told)
    }

    /// Removes an alias; the versions that it named stay.
    pub(super) async fn remove_alias(&self, name: &str, alias: &str) -> Result<(), ChangeError> {
        if alias == ACTIVE {
            return Err(ChangeError::ActiveStays(name.to_owned()));
        }
        let _one_at_a_time = self.turn_to_change().await?;
        let mut contents = self.contents_for(name).await?;
        let function = contents.get(name).cloned().ok_or_else(|| ChangeError::Unknown(name.to_owned()))?;
        if function.alias(alias).is_none() {
            return Err(ChangeError::UnknownAlias { name: name.to_owned(), alias: alias.to_owned() });
        }
        let mut changed = function.as_ref().clone();
        changed.drop_alias(alias);
        let served = self.served_with(name, &changed).await;
        self.repository.remove_alias(name, alias).await?;
        contents.insert(name.to_owned(), Arc::new(changed));
        *self.contents.lock().await = contents;
        self.publish(served).await
    }

    /// Removes the versions of the function `name` that are neither among its newest nor young, as the most generous node has
    /// it, and that no alias holds.
    /// The caller has the turn to change. What cannot be removed now goes another time.
    pub(super) async fn prune(&self, name: &str) -> Result<(), ChangeError> {
        let mut contents = self.contents_for(name).await?;
        let Some(function) = contents.get(name).cloned() else { return Ok(()) };
        // Most deploys make nothing too old: by what was last found, which is not old itself, they
        // need not ask the store.
        if self.retention.last().is_some_and(|last| function.to_prune(&last).is_empty()) {
            return Ok(());
        }
        let gone = function.to_prune(&self.retention.look().await?);
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

    /// Every function, as its foremost version, with its aliases.
    pub(super) async fn list(&self) -> Vec<Value> {
        self.served.lock().await.values().filter_map(|function| told(function)).collect()
    }

    /// One function: the same, and its versions.
    pub(super) async fn inspect(&self, name: &str) -> Result<Value, ChangeError> {
        let served = self.served.lock().await;
        let function = served.get(name).ok_or_else(|| ChangeError::Unknown(name.to_owned()))?;
        let mut told = told(function).ok_or_else(|| ChangeError::Unknown(name.to_owned()))?;
        if let Some(fields) = told.as_object_mut() {
            fields.insert("versions".to_owned(), told_versions(function));
        }
        Ok(told)
    }

    /// The versions of a function, the newest first.
    pub(super) async fn versions(&self, name: &str) -> Result<Value, ChangeError> {
        let served = self.served.lock().await;
        served.get(name).map(|function| told_versions(function)).ok_or_else(|| ChangeError::Unknown(name.to_owned()))
    }

    /// The aliases of a function, by name.
    pub(super) async fn aliases(&self, name: &str) -> Result<Value, ChangeError> {
        let served = self.served.lock().await;
        served.get(name).map(|function| told_aliases(function)).ok_or_else(|| ChangeError::Unknown(name.to_owned()))
    }

    /// Whether `reference` means something of the function `name`. A version that no alias means is compiled.
    pub(super) async fn find(&self, name: &str, reference: Option<&str>) -> Result<(), ChangeError> {
        let function = self.served.lock().await.get(name).cloned();
        let function = function.ok_or_else(|| ChangeError::Unknown(name.to_owned()))?;
        match reference {
            None if function.active().is_none() => Err(ChangeError::NotActive(name.to_owned())),
            None => Ok(()),
            Some(reference) => match Reference::read(reference) {
                Some(Reference::Alias(alias)) if function.alias(alias).is_none() => {
                    Err(ChangeError::UnknownAlias { name: name.to_owned(), alias: alias.to_owned() })
                }
                Some(Reference::Alias(_)) => Ok(()),
                _ => match function.find(name, reference)? {
                    version if runs_here(&function, version) => {
                        if let Some(digest) = files::unhex(&version.artefact) {
                            self.cache.ensure(&digest, version.kind, Purpose::Deploy).await?;
                        }
                        Ok(())
                    }
                    _ => Err(ChangeError::NotHere { name: name.to_owned(), version: reference.to_owned() }),
                },
            },
        }
    }
}

/// A function as its foremost version, with its aliases; none when it has no version.
pub(super) fn told(function: &Function) -> Option<Value> {
    let mut told = serde_json::to_value(function.foremost()?.as_ref()).ok()?;
    told.as_object_mut()?.insert("aliases".to_owned(), told_aliases(function));
    Some(told)
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

fn told_versions(function: &Function) -> Value {
    let told = |version: &Arc<Manifest>| {
        let named = function.aliases().filter_map(|alias| {
            let target = alias.targets.iter().find(|target| target.version == version.version)?;
            let total: u32 = alias.targets.iter().map(|target| target.weight).sum();
            Some(json!({ "alias": alias.alias, "weight": target.weight, "of": total }))
        });
        json!({
            "number": version.number,
            "version": version.version,
            "created_ms": version.created_ms,
            "kind": version.kind,
            "artefact": version.artefact,
            "artefact_bytes": version.artefact_bytes,
            "aliases": named.collect::<Vec<_>>(),
        })
    };
    function.versions().rev().map(told).collect()
}

fn told_aliases(function: &Function) -> Value {
    function
        .aliases()
        .map(|alias| (alias.alias.clone(), told_alias(function, alias)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn told_alias(function: &Function, alias: &Alias) -> Value {
    let targets = |targets: &[Target]| -> Value {
        let told = |target: &Target| {
            let number = function.version(&target.version).map(|version| version.number);
            json!({ "version": target.version, "number": number, "weight": target.weight })
        };
        targets.iter().map(told).collect()
    };
    json!({
        "alias": alias.alias,
        "targets": targets(&alias.targets),
        "env": alias.env,
        "config": alias.config,
        "previous": targets(&alias.previous),
        "changed_ms": alias.changed_ms,
    })
}
