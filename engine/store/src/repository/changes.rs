//! How versions and aliases are written and removed: in steps, so that a crash after any of them
//! leaves the old state or the new one. Owns no fds.

use std::sync::Arc;

use abi::choice::ACTIVE;

use super::Repository;
use crate::alias::Alias;
use crate::artefacts::upload_key;
use crate::contents::{Contents, Function};
use crate::error::StoreError;
use crate::manifest::Manifest;
use crate::removed::Removed;
use crate::stored::{Stored, folder, key, parts};
use host::files::Temporary;

impl Repository {
    /// Writes a version with its artefact, and then the alias that names it, if one is given. If
    /// this fails, nothing of it stays.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn keep_version(
        &self,
        version: &Arc<Manifest>,
        received: &Temporary,
        alias: Option<&Alias>,
    ) -> Result<(), StoreError> {
        // A failed write of the alias may have happened after all. Its version must then stay.
        let mut may_be_named = false;
        // Each step needs the one before: a version must find its artefact, an alias its version.
        let kept = async {
            self.artefacts.upload(&version.artefact, &version.version, received).await?;
            self.put(&version.name, &version.version, version.as_ref()).await?;
            if let Some(alias) = alias {
                let put = self.put_alias(alias, std::slice::from_ref(version)).await;
                may_be_named = put.as_ref().is_err_and(|error| !error.is_certain());
                return put;
            }
            Ok(())
        };
        let Err(error) = kept.await else { return Ok(()) };
        if may_be_named {
            return Err(error);
        }
        if let Err(why) = self.undo_version(version).await {
            tracing::warn!("what a failed deploy has left in the store stays there for now: {why}");
        }
        Err(error)
    }

    /// Removes what was written of a version that nothing names.
    async fn undo_version(&self, version: &Manifest) -> Result<(), StoreError> {
        self.remove_version(version).await?;
        self.objects.delete(&upload_key(&version.artefact, &version.version)).await
    }

    /// Removes a version.
    ///
    /// # Errors
    /// When the store does not do it.
    pub async fn remove_version(&self, version: &Manifest) -> Result<(), StoreError> {
        self.objects.delete(&key::<Manifest>(&version.name, &version.version)).await
    }

    /// Writes an alias, which counts from then on. `versions` are those that it names. If another
    /// node has removed one of them meanwhile, it is written again.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn put_alias(
        &self,
        alias: &Alias,
        versions: &[Arc<Manifest>],
    ) -> Result<(), StoreError> {
        self.put(&alias.name, &alias.alias, alias).await?;
        self.note_change().await;
        self.put_missing(versions).await
    }

    /// Writes those of the versions that are missing.
    pub(super) async fn put_missing(&self, versions: &[Arc<Manifest>]) -> Result<(), StoreError> {
        for version in versions {
            let key = key::<Manifest>(&version.name, &version.version);
            if self.objects.get_range(&key, 0, 1).await?.is_none() {
                self.put(&version.name, &version.version, version.as_ref()).await?;
            }
        }
        Ok(())
    }

    /// Removes an alias.
    ///
    /// # Errors
    /// When the store does not do it.
    pub async fn remove_alias(&self, name: &str, alias: &str) -> Result<(), StoreError> {
        self.objects.delete(&key::<Alias>(name, alias)).await?;
        self.note_change().await;
        Ok(())
    }

    /// Removes a version that nothing names any more. If another node names it meanwhile, it is
    /// written again.
    ///
    /// # Errors
    /// When the store does not do it.
    pub async fn prune(&self, version: &Manifest) -> Result<(), StoreError> {
        self.remove_version(version).await?;
        let function = self.read_function(&version.name, &Contents::new()).await?;
        let held = function.aliases().any(|alias| alias.holds(&version.version));
        if held {
            self.put(&version.name, &version.version, version).await?;
        }
        Ok(())
    }

    /// Removes all aliases of a function, so that it is not visible any more.
    ///
    /// # Errors
    /// When the store does not do all of it. What it has done stays done.
    pub async fn remove_aliases(&self, name: &str) -> Result<(), StoreError> {
        self.objects.delete(&key::<Alias>(name, ACTIVE)).await?;
        self.remove_all::<Alias>(name).await
    }

    /// Removes the versions of `going`, which are the rest of a function. If another node names one
    /// of them meanwhile, it is written again.
    ///
    /// # Errors
    /// When the store does not do all of it. What it has done stays done.
    pub async fn remove_versions(
        &self,
        name: &str,
        going: &Function,
        kept: Option<&Removed>,
    ) -> Result<(), StoreError> {
        for id in going.versions.keys() {
            self.objects.delete(&key::<Manifest>(name, id)).await?;
        }
        self.note_change().await;
        let function = self.read_function(name, &Contents::new()).await?;
        let is_held = |id: &str| function.aliases().any(|alias| alias.holds(id));
        // A deploy may have written an alias since the removal began.
        let kept = kept.into_iter().flat_map(|kept| kept.function.versions());
        let held = going.versions().chain(kept).filter(|version| is_held(&version.version));
        self.put_all(held.map(|version| (&version.name, &version.version, version))).await
    }

    async fn remove_all<T: Stored>(&self, name: &str) -> Result<(), StoreError> {
        for listed in self.objects.list(&folder::<T>(name), "").await? {
            if parts(&listed.key).is_some() {
                self.objects.delete(&listed.key).await?;
            }
        }
        Ok(())
    }
}
