//! The repository of functions: everything that is deployed, as objects that any number of nodes
//! read and write.
//!
//! ```text
//! format                        "sockhop-store 2"
//! identity/<uuid>               which store it is (see [`crate::objects::guarded`])
//! uploads/<sha256>/<id>         the file that a version was deployed with, never changed
//! artefacts/<sha256>            the same, as earlier builds have it (see [`unused`])
//! versions/<name>/<id>.json     immutable versions (checked objects)
//! aliases/<name>/<alias>.json   the targets of an alias (a checked object, the last write wins)
//! identities/<name>/<identity>  what a function's secrets belong to (see [`secrets`])
//! secrets/<identity>/<KEY>      encrypted secrets
//! removed/<name>/<id>           removed functions, for a day (see [`crate::removed`])
//! retention/<host>-<uuid>       the retention policy of a node (see [`crate::retention`])
//! domains/<host>/<...>.json     the routes of a domain (see [`crate::domains`])
//! cron/<...>                    schedules, and nodes that ring (see [`crate::schedules`])
//! changed                       a random id, which changes with everything else: only a hint
//! summary                       many versions and aliases in one object (see [`summary`])
//! ```
//! A version is written before an alias names it, and aliases are read before versions, so a reader
//! sees the old state or the new one. The write of the alias `active` is the one step that makes a
//! deploy visible. There are no conditional writes: where two nodes may conflict (one removes a
//! version that another is about to name), each does its step, reads again, and writes back what is
//! missing.
//!
//! [`reading`] is how functions are read, [`changes`] how they are deployed and pruned, [`removal`]
//! how they are removed and restored. [`unused`] deletes the artefacts that no version has.
//! [`first_format`] reads stores of the first build. Owns no fds.

mod changes;
mod first_format;
#[cfg(test)]
mod interleaving_tests;
mod reading;
mod removal;
mod summary;
#[cfg(test)]
mod tests;
mod unused;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Mutex;

use self::unused::Marks;
use crate::artefacts::Artefacts;
use crate::error::StoreError;
use crate::format::{FIRST_FORMAT, FORMAT, FORMAT_BYTES_MAX, FORMAT_KEY};
use crate::objects::{Answer, Objects, REQUESTS_AT_ONCE};
use crate::stored::{Stored, key, sealed};

const HINT_BYTES_MAX: usize = 1024;
/// The key of the hint to other nodes that something has changed.
pub const CHANGED: &str = "changed";

/// A store of functions.
#[derive(Debug)]
pub struct Repository {
    objects: Arc<dyn Objects>,
    artefacts: Arc<Artefacts>,
    /// Whether it is known to be of today's format, with nothing left of an earlier one.
    prepared: AtomicBool,
    /// The artefacts that no version had lately.
    marks: Mutex<Marks>,
    /// The removed functions that can still be restored.
    removed_marks: Mutex<Marks>,
}

/// The format of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    New,
    First,
    Today,
}

impl Repository {
    /// Returns the repository in `objects`. Nothing is read yet.
    pub fn new(objects: Arc<dyn Objects>, artefacts: Arc<Artefacts>) -> Self {
        Self {
            objects,
            artefacts,
            prepared: AtomicBool::new(false),
            marks: Mutex::default(),
            removed_marks: Mutex::default(),
        }
    }

    /// Returns the artefacts of the store.
    pub fn artefacts(&self) -> &Arc<Artefacts> {
        &self.artefacts
    }

    /// Returns the name of the store.
    pub fn name(&self) -> String {
        self.objects.name()
    }

    /// Reads the hint that something has changed, which is another one after every change.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn hint(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.objects.get(CHANGED, HINT_BYTES_MAX).await
    }

    async fn format(&self) -> Result<Format, StoreError> {
        if self.prepared.load(SeqCst) {
            return Ok(Format::Today);
        }
        let Some(found) = self.objects.get(FORMAT_KEY, FORMAT_BYTES_MAX).await? else {
            return match self.objects.occupant().await? {
                // It may have become a store meanwhile.
                Some(found) if self.objects.get(FORMAT_KEY, FORMAT_BYTES_MAX).await?.is_none() => {
                    Err(StoreError::Occupied { name: self.objects.name(), found })
                }
                Some(_) => Ok(Format::Today),
                None => Ok(Format::New),
            };
        };
        match String::from_utf8_lossy(&found).as_ref() {
            FORMAT => Ok(Format::Today),
            FIRST_FORMAT => Ok(Format::First),
            found => Err(StoreError::Format {
                name: self.objects.name(),
                found: found.to_owned(),
                readable: format!("{FORMAT:?} and {FIRST_FORMAT:?}"),
            }),
        }
    }

    /// Brings the store to today's format, whatever its format is and wherever a crash has left it.
    /// Must be called before anything is written to the store, and not while an engine of an
    /// earlier build serves from it.
    ///
    /// # Errors
    /// When it cannot be read or written, or is of a newer format.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        match self.format().await? {
            Format::Today if self.prepared.load(SeqCst) => return self.objects.verify().await,
            Format::Today => first_format::clear(&*self.objects).await?,
            Format::New => self.objects.put(FORMAT_KEY, FORMAT.into()).await?,
            Format::First => {
                let contents = first_format::read(&*self.objects).await?;
                tracing::info!(
                    "{}: functions are brought to the new format ({})",
                    self.objects.name(),
                    contents.len()
                );
                let versions = contents.values().flat_map(|function| function.versions());
                self.put_all(versions.map(|version| (&version.name, &version.version, version)))
                    .await?;
                let aliases = contents.values().flat_map(|function| function.aliases());
                self.put_all(aliases.map(|alias| (&alias.name, &alias.alias, alias))).await?;
                // Until this write it is a store of the first format, of which nothing was changed.
                self.objects.put(FORMAT_KEY, FORMAT.into()).await?;
                first_format::clear(&*self.objects).await?;
            }
        }
        self.objects.identify().await?;
        self.prepared.store(true, SeqCst);
        Ok(())
    }

    async fn put_all<'a, T: Stored + 'a>(
        &self,
        all: impl Iterator<Item = (&'a String, &'a String, &'a Arc<T>)>,
    ) -> Result<(), StoreError> {
        let puts: Vec<Answer<'_, ()>> = all
            .map(|(name, stem, value)| {
                let object = sealed(value.as_ref());
                let key = key::<T>(name, stem);
                Box::pin(async move { self.objects.put(&key, object?).await }) as _
            })
            .collect();
        stream::iter(puts).buffer_unordered(REQUESTS_AT_ONCE).try_collect().await
    }

    /// Removes the unfinished files that a crash has left on this node.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub async fn clear_unfinished(&self) -> Result<(), StoreError> {
        self.artefacts.clear_unfinished()?;
        self.objects.clear_unfinished().await
    }

    async fn put<T: Stored>(&self, name: &str, stem: &str, value: &T) -> Result<(), StoreError> {
        self.objects.put(&key::<T>(name, stem), sealed(value)?).await
    }

    /// Changes the hint, so that other nodes read the store sooner.
    pub async fn note_change(&self) {
        let id = uuid::Uuid::now_v7().to_string();
        if let Err(error) = self.objects.put(CHANGED, id.into()).await {
            tracing::warn!("other nodes see the change later: {error}");
        }
    }
}
