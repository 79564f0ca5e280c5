//! Removing a function, and restoring what was removed. Owns no fds.
//!
//! A removal first keeps all of the function as one object (see [`store::removed`]). Then the
//! function goes, its last version at the end, so that `remove` can be called again for the rest.

use std::sync::Arc;

use abi::choice::ACTIVE;
use api::removed::{RemovedFunction, RestoredFunction};
use secrets::Secrets;
use store::contents::Function;
use store::error::StoreError;
use store::removed::{KEPT_FOR, Removed};

use super::changes::Changes;
use super::error::ChangeError;
use super::trial::Trials;
use crate::answers;

/// Removes and restores functions.
#[derive(Debug)]
pub struct Removals {
    pub(super) changes: Changes,
    pub(super) trials: Arc<Trials>,
    pub(super) secrets: Arc<Secrets>,
}

impl Removals {
    /// Removes a function, and returns when no worker serves it any more. It can be restored for a
    /// day, unless it goes `for_good`: then nothing is kept, of earlier removals neither. Returns
    /// what can be restored.
    ///
    /// # Errors
    /// When there is no such function, or the store does not answer. What it has done already stays
    /// done, and another `remove` does the rest.
    pub(crate) async fn remove(
        &self,
        name: &str,
        for_good: bool,
    ) -> Result<Option<RemovedFunction>, ChangeError> {
        let Changes { gate, stored, publication } = &self.changes;
        let repository = &stored.repository;
        let turn = gate.enter().await?;
        let function = stored.read_function(name).await?;
        let mut changed = publication.served().as_ref().clone();
        let served = changed.remove(name);
        if function.is_none() && served.is_none() {
            return match self.removal_of(name, None).await? {
                Some(_) if for_good => {
                    repository.forget_removed(name).await?;
                    Ok(None)
                }
                Some(_) => Err(ChangeError::Removed(name.to_owned())),
                None => Err(ChangeError::Unknown(name.to_owned())),
            };
        }
        let function = function.unwrap_or_default();
        let mut kept = if for_good {
            None
        } else {
            let secrets = self.secrets.kept(name).await?;
            repository.begin_removal(name, &function, secrets).await?
        };
        repository.remove_aliases(name).await?;
        // Secrets that were set since the removal began are kept too.
        let secrets = self.secrets.kept(name).await?;
        let going = repository.continue_removal(name, kept.as_mut(), secrets).await?;
        let owners = self.secrets.release(name).await?;
        repository.remove_versions(name, &going, kept.as_ref()).await?;
        if for_good {
            repository.forget_removed(name).await?;
        }
        // A secret that is set from here on, by somebody who still saw the function, is left.
        let removed = async {
            for owner in &owners {
                self.secrets.remove_all(owner).await?;
            }
            Ok::<_, StoreError>(())
        };
        let removed = removed.await;
        // The function is gone, whatever became of its secrets: nobody is to serve it.
        self.changes.end(&turn, name, None, changed.clone()).await?;
        removed?;
        tracing::info!("function {name:?} is removed{}", if for_good { " for good" } else { "" });
        publication.forget_unused(&turn, &changed).await;
        Ok(kept.map(|kept| described(&kept)))
    }

    /// Restores the function `name` as it was when it was removed last, or by the removal `id`, and
    /// returns when every worker serves it.
    ///
    /// # Errors
    /// When there is nothing to restore, something is in its way, a version of it does not run, or
    /// the store does not answer.
    pub(crate) async fn restore(
        &self,
        name: &str,
        id: Option<&str>,
    ) -> Result<RestoredFunction, ChangeError> {
        let Changes { gate, stored, publication } = &self.changes;
        let repository = &stored.repository;
        // Before the turn, since others would wait while it is compiled, should it have to be.
        let removed = self.to_restore(name, id).await?;
        self.compile_active(&removed.function).await?;
        let turn = gate.enter().await?;
        let removed = self.to_restore(name, id).await?;
        let function = &removed.function;
        self.compile_active(function).await?;
        if let Some(active) = function.active() {
            let targets =
                active.targets.iter().filter_map(|target| function.version(&target.version));
            for version in targets {
                self.trials.instantiate(version, Some(active), function).await?;
            }
        }
        publication.check_limits(name, &publication.with(name, function))?;
        self.secrets.expect_restorable(name, &removed.secrets).await?;
        // Versions before aliases, which make the function visible, and secrets between them.
        repository.restore_versions(&removed).await?;
        self.secrets.restore(name, &removed.secrets).await?;
        repository.restore_aliases(&removed).await?;
        let served = publication.with(name, function);
        self.changes.end(&turn, name, Some(Arc::new(function.clone())), served).await?;
        tracing::info!(
            "function {name:?} is restored, with its versions ({})",
            function.versions().count()
        );
        // A removal without a version is never kept.
        let nothing = || ChangeError::NothingRemoved(name.to_owned());
        let function = answers::function(function).ok_or_else(nothing)?;
        Ok(RestoredFunction { function, secrets: removed.secrets.sealed.keys().cloned().collect() })
    }

    /// Returns every function that was removed and can be restored, the last one first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn removed(&self) -> Result<Vec<RemovedFunction>, ChangeError> {
        let contents = self.changes.stored.contents();
        let mut shown: Vec<Removed> = Vec::new();
        for removed in self.changes.stored.repository.removed(None).await? {
            let is_there =
                contents.get(&removed.name).is_some_and(|function| is_restored(&removed, function));
            let again =
                |other: &Removed| other.name == removed.name && other.is_of(&removed.function);
            if !is_there && !shown.iter().any(again) {
                shown.push(removed);
            }
        }
        Ok(shown.iter().map(described).collect())
    }

    /// Returns the last removal of the function `name`, or the one whose id is or begins with `id`.
    async fn removal_of(
        &self,
        name: &str,
        id: Option<&str>,
    ) -> Result<Option<Removed>, ChangeError> {
        let removed = self.changes.stored.repository.removed(Some(name)).await?;
        let fits = |removed: &Removed| id.is_none_or(|id| removed.id.starts_with(id));
        Ok(removed.into_iter().find(fits))
    }

    /// Returns the removal to restore.
    ///
    /// # Errors
    /// When there is none, or something is in its way.
    async fn to_restore(&self, name: &str, id: Option<&str>) -> Result<Removed, ChangeError> {
        let standing = self.changes.stored.read_function(name).await?;
        let removed = self.removal_of(name, id).await?;
        match (removed, standing) {
            (Some(removed), Some(standing)) if removed.is_blocked_by(&standing) => {
                let (name, id) = (name.to_owned(), removed.id.clone());
                Err(if is_restored(&removed, &standing) {
                    ChangeError::NotRemoved(name)
                } else {
                    ChangeError::InTheWay { there: answers::summed_up(&standing), name, id }
                })
            }
            (Some(removed), _) => Ok(removed),
            (None, standing) => {
                let name = name.to_owned();
                Err(match (id, standing) {
                    (Some(id), _) => ChangeError::NoSuchRemoval { name, id: id.to_owned() },
                    (None, Some(_)) => ChangeError::NotRemoved(name),
                    (None, None) => ChangeError::NothingRemoved(name),
                })
            }
        }
    }

    /// Compiles the versions that the bare name is to mean, unless they are compiled.
    async fn compile_active(&self, function: &Function) -> Result<(), ChangeError> {
        for target in function.active().into_iter().flat_map(|active| &active.targets) {
            if let Some(version) = function.version(&target.version) {
                self.changes.publication.compile(version).await?;
            }
        }
        Ok(())
    }
}

/// Returns whether what was removed is there again, or was never gone.
fn is_restored(removed: &Removed, function: &Function) -> bool {
    function.alias(ACTIVE).is_some() && removed.is_of(function)
}

/// Returns a removal as the API answers it.
fn described(removed: &Removed) -> RemovedFunction {
    let kept_ms = u64::try_from(KEPT_FOR.as_millis()).unwrap_or(u64::MAX);
    RemovedFunction {
        name: removed.name.clone(),
        id: removed.id.clone(),
        version: answers::summed_up(&removed.function),
        versions: removed.function.versions().count(),
        secrets: removed.secrets.sealed.keys().cloned().collect(),
        removed_ms: removed.removed_ms,
        restorable_until_ms: removed.removed_ms.saturating_add(kept_ms),
    }
}
