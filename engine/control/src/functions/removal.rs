//! Removing a function, and restoring what was removed. Owns no fds.
//!
//! A removal first keeps all of the function as one object (see [`store::removed`]); then
//! the function goes, its last version at the end, so that `remove` can be called again for the
//! rest.

use std::sync::Arc;

use abi::choice::ACTIVE;
use api::removed::{RemovedFunction, RestoredFunction};

use super::{ChangeError, Functions};
use crate::answers;
use crate::versions::summed_up;
use store::contents::Function;
use store::error::StoreError;
use store::removed::{KEPT_FOR, Removed};

impl Functions {
    /// Removes a function, and returns when no worker serves it any more. It can be restored for a
    /// day, unless it goes `for_good`: then nothing is kept, of earlier removals neither. Returns
    /// what is told of it if it can be restored.
    pub async fn remove(
        &self,
        name: &str,
        for_good: bool,
    ) -> Result<Option<RemovedFunction>, ChangeError> {
        let _one_at_a_time = self.turn_to_change().await?;
        let mut contents = self.contents_for(name).await?;
        let mut changed = self.served.lock().await.clone();
        let (function, served) = (contents.remove(name), changed.remove(name));
        if function.is_none() && served.is_none() {
            return match self.removal_of(name, None).await? {
                Some(_) if for_good => {
                    self.repository.forget_removed(name).await?;
                    Ok(None)
                }
                Some(_) => Err(ChangeError::Removed(name.to_owned())),
                None => Err(ChangeError::Unknown(name.to_owned())),
            };
        }
        let function = function.unwrap_or_default();
        let mut kept = match for_good {
            true => None,
            false => {
                let secrets = self.secrets.kept(name).await?;
                self.repository.begin_removal(name, &function, secrets).await?
            }
        };
        self.repository.remove_aliases(name).await?;
        let secrets = self.secrets.kept(name).await?;
        let going = self.repository.continue_removal(name, kept.as_mut(), secrets).await?;
        let owners = self.secrets.release(name).await?;
        self.repository.remove_versions(name, &going, kept.as_ref()).await?;
        if for_good {
            self.repository.forget_removed(name).await?;
        }
        *self.contents.lock().await = contents;
        // Whoever has set one meanwhile and still saw the function leaves it here.
        let removed = async {
            for owner in &owners {
                self.secrets.remove_all(owner).await?;
            }
            Ok::<_, StoreError>(())
        };
        let removed = removed.await;
        self.publish(changed.clone()).await?;
        removed?;
        tracing::info!("function {name:?} is removed{}", if for_good { " for good" } else { "" });
        self.forget_unused(&changed);
        Ok(kept.map(|kept| described(&kept)))
    }

    /// Restores the function `name` as it was when it was removed last, or by the removal `id`, and
    /// returns when every worker serves it.
    pub async fn restore(
        &self,
        name: &str,
        id: Option<&str>,
    ) -> Result<RestoredFunction, ChangeError> {
        // Others do not wait while it is compiled, should it have to be.
        let removed = self.to_restore(name, id).await?;
        self.compile_active(&removed.function).await?;
        let _one_at_a_time = self.turn_to_change().await?;
        let removed = self.to_restore(name, id).await?;
        let mut contents = self.contents_for(name).await?;
        let function = &removed.function;
        self.compile_active(function).await?;
        if let Some(active) = function.active() {
            let targets =
                active.targets.iter().filter_map(|target| function.version(&target.version));
            for version in targets {
                self.try_out(version, Some(active), function).await?;
            }
        }
        self.check_limits(name, &self.served_with(name, function).await)?;
        self.secrets.expect_restorable(name, &removed.secrets).await?;
        self.repository.restore_versions(&removed).await?;
        self.secrets.restore(name, &removed.secrets).await?;
        self.repository.restore_aliases(&removed).await?;
        contents.insert(name.to_owned(), Arc::new(function.clone()));
        *self.contents.lock().await = contents;
        self.publish(self.served_with(name, function).await).await?;
        tracing::info!(
            "function {name:?} is restored, with its versions ({})",
            function.versions().count()
        );
        // A removal without a version is never kept.
        let nothing = || ChangeError::NothingRemoved(name.to_owned());
        let function = answers::function(function).ok_or_else(nothing)?;
        Ok(RestoredFunction { function, secrets: removed.secrets.sealed.keys().cloned().collect() })
    }

    /// Every function that was removed and can be restored, the last one first.
    pub async fn removed(&self) -> Result<Vec<RemovedFunction>, ChangeError> {
        let contents = self.contents.lock().await.clone();
        let mut shown: Vec<Removed> = Vec::new();
        for removed in self.repository.removed(None).await? {
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

    /// A removal of the function `name`: the last, or the one with this id or beginning of an id.
    async fn removal_of(
        &self,
        name: &str,
        id: Option<&str>,
    ) -> Result<Option<Removed>, ChangeError> {
        let removed = self.repository.removed(Some(name)).await?;
        let wanted = |removed: &Removed| id.is_none_or(|id| removed.id.starts_with(id));
        Ok(removed.into_iter().find(wanted))
    }

    /// What is to be restored, if nothing is in its way.
    async fn to_restore(&self, name: &str, id: Option<&str>) -> Result<Removed, ChangeError> {
        let standing = self.contents_for(name).await?.get(name).cloned();
        let removed = self.removal_of(name, id).await?;
        match (removed, standing) {
            (Some(removed), Some(standing)) if removed.is_blocked_by(&standing) => {
                let (name, id) = (name.to_owned(), removed.id.clone());
                Err(match is_restored(&removed, &standing) {
                    true => ChangeError::NotRemoved(name),
                    false => ChangeError::InTheWay { there: summed_up(&standing), name, id },
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

    /// Has what the bare name is to mean in the cache.
    async fn compile_active(&self, function: &Function) -> Result<(), ChangeError> {
        for target in function.active().into_iter().flat_map(|active| &active.targets) {
            if let Some(version) = function.version(&target.version) {
                self.compile(version).await?;
            }
        }
        Ok(())
    }
}

/// Whether what was removed is there again, or was never gone.
fn is_restored(removed: &Removed, function: &Function) -> bool {
    function.alias(ACTIVE).is_some() && removed.is_of(function)
}

/// What is told of a removal.
fn described(removed: &Removed) -> RemovedFunction {
    let kept_ms = u64::try_from(KEPT_FOR.as_millis()).unwrap_or(u64::MAX);
    RemovedFunction {
        name: removed.name.clone(),
        id: removed.id.clone(),
        version: summed_up(&removed.function),
        versions: removed.function.versions().count(),
        secrets: removed.secrets.sealed.keys().cloned().collect(),
        removed_ms: removed.removed_ms,
        restorable_until_ms: removed.removed_ms.saturating_add(kept_ms),
    }
}
