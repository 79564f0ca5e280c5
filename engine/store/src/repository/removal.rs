//! How a function is removed, restored and, after a day, deleted for good: in steps, each of which
//! may be the last before a crash. Owns no fds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use abi::choice::ACTIVE;

use super::Repository;
use crate::contents::{Contents, Function};
use crate::error::StoreError;
use crate::manifest::Manifest;
use crate::objects::checked;
use crate::removed::{KeptSecrets, PACKED_BYTES_MAX, REMOVED, Removed, parts};

/// The removals that were read, by key and tag, with the time that the store has for each.
pub(super) type AllRemoved = BTreeMap<(String, String), (SystemTime, Removed)>;

impl Repository {
    /// Reads the removals of the function `name`, or of all functions, that are not `known` yet.
    /// One that cannot be read is an error.
    pub(super) async fn read_removed(
        &self,
        name: Option<&str>,
        mut known: AllRemoved,
    ) -> Result<AllRemoved, StoreError> {
        let folder = name.map_or_else(|| REMOVED.to_owned(), |name| format!("{REMOVED}{name}/"));
        for listed in self.objects.list(&folder, "").await? {
            let place = (listed.key, listed.tag);
            if parts(&place.0).is_none() || known.contains_key(&place) {
                continue;
            }
            if let Some(object) = checked::get(&*self.objects, &place.0, PACKED_BYTES_MAX).await? {
                let removed = Removed::read(&place.0, object)?;
                known.insert(place, (listed.modified, removed));
            }
        }
        Ok(known)
    }

    /// Reads the removals of the function `name`, or of all functions. The last one comes first.
    ///
    /// # Errors
    /// When the store does not answer, or one of them cannot be read.
    pub async fn removed(&self, name: Option<&str>) -> Result<Vec<Removed>, StoreError> {
        let mut read: Vec<_> =
            self.read_removed(name, AllRemoved::new()).await?.into_values().collect();
        self.objects.verify().await?;
        read.sort_by(|(one, a), (other, b)| (other, &b.id).cmp(&(one, &a.id)));
        Ok(read.into_iter().map(|(_, removed)| removed).collect())
    }

    /// Writes the object of a function that is about to be removed, before any part of it is
    /// removed. If an earlier removal was cut short, the object has what that one kept, too.
    /// Returns `None` if there is no version to keep.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn begin_removal(
        &self,
        name: &str,
        function: &Function,
        secrets: KeptSecrets,
    ) -> Result<Option<Removed>, StoreError> {
        if function.versions().next().is_none() {
            return Ok(None);
        }
        let mut removed = Removed::new(name);
        // The active alias is removed first: while it is there, no removal has begun.
        if function.active().is_none()
            && let Some(begun) =
                self.removed(Some(name)).await?.into_iter().find(|begun| begun.is_of(function))
        {
            removed = Removed { id: removed.id, removed_ms: removed.removed_ms, ..begun };
        }
        removed.merge(function, secrets);
        self.objects.put(&removed.key(), removed.to_object()?).await?;
        Ok(Some(removed))
    }

    /// Adds what other nodes have written of the function since, after its aliases were removed.
    /// Returns the parts that are to be removed.
    ///
    /// # Errors
    /// When the store does not do it.
    pub async fn continue_removal(
        &self,
        name: &str,
        removed: Option<&mut Removed>,
        secrets: KeptSecrets,
    ) -> Result<Arc<Function>, StoreError> {
        let function = self.read_function(name, &Contents::new()).await?;
        if let Some(removed) = removed
            && removed.merge(&function, secrets)
        {
            self.objects.put(&removed.key(), removed.to_object()?).await?;
        }
        Ok(function)
    }

    /// Writes the versions of a removed function. Nothing names them yet.
    ///
    /// # Errors
    /// When the store does not take them, or lacks an artefact of one of them.
    pub async fn restore_versions(&self, removed: &Removed) -> Result<(), StoreError> {
        for version in removed.function.versions() {
            self.artefacts().expect(&version.artefact).await?;
        }
        let versions = removed.function.versions();
        self.put_all(versions.map(|version| (&version.name, &version.version, version))).await
    }

    /// Writes the aliases of a removed function, the active one last, which makes it visible again.
    ///
    /// # Errors
    /// When the store does not take them.
    pub async fn restore_aliases(&self, removed: &Removed) -> Result<(), StoreError> {
        let function = &removed.function;
        let others = function.aliases().filter(|alias| alias.alias != ACTIVE);
        self.put_all(others.map(|alias| (&alias.name, &alias.alias, alias))).await?;
        let versions: Vec<Arc<Manifest>> = function.versions().cloned().collect();
        match function.active() {
            Some(active) => self.put_alias(active, &versions).await,
            None => {
                self.note_change().await;
                self.put_missing(&versions).await
            }
        }
    }

    /// Deletes the removals of all functions of this name. Returns whether there were any.
    ///
    /// # Errors
    /// When the store does not do it.
    pub async fn forget_removed(&self, name: &str) -> Result<bool, StoreError> {
        let listed = self.objects.list(&format!("{REMOVED}{name}/"), "").await?;
        let ours: Vec<_> = listed.iter().filter(|listed| parts(&listed.key).is_some()).collect();
        for listed in &ours {
            self.objects.delete(&listed.key).await?;
        }
        Ok(!ours.is_empty())
    }

    /// Deletes the removals that this node has known for `kept_for`, which is
    /// [`KEPT_FOR`](crate::removed::KEPT_FOR).
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn clear_removed(&self, kept_for: Duration, now: Instant) -> Result<(), StoreError> {
        let mut marks = self.removed_marks.lock().await;
        let mut listed = self.objects.list(REMOVED, "").await?;
        listed.retain(|listed| parts(&listed.key).is_some());
        for key in marks.update(&listed, kept_for, now) {
            self.objects.delete(&key).await?;
        }
        Ok(())
    }
}
