//! The repository of functions: what is deployed, as objects that any number of nodes read and
//! write.
//!
//! ```text
//! format                              "sockhop-store 2"
//! identity/<uuid>                     which store it is (see [`super::objects::guarded`])
//! uploads/<sha256>/<id>               the file that a version was deployed with, never changed
//! artefacts/<sha256>                  the same, as earlier builds have it (see [`super::unused`])
//! versions/<name>/<id>.json           immutable versions (a checked object)
//! aliases/<name>/<alias>.json         what an alias means (a checked object, overwritten whole: the last write wins)
//! identities/<name>/<identity>        what a function's secrets belong to (see [`secrets`])
//! secrets/<identity>/<KEY>            what is encrypted of them
//! removed/<name>/<id>                 what was removed, for a day (see [`super::removed`])
//! retention/<host>-<uuid>             what a node keeps of logs and old versions (see [`super::retention`])
//! changed                             a random id, another one after every change: a hint to look, never the truth
//! summary                             what many versions and aliases said, for nodes that are new (see [`super::summary`])
//! ```
//! A version is written before an alias names it, and aliases are read before versions, so whoever
//! reads meanwhile sees the old or the new. Writing the alias `active` is the one step that makes a
//! deploy visible. There are no conditional writes: where two nodes may be in each other's way (one
//! removes a version that another is about to name), each does its step, looks again, and puts back
//! what is missing. Owns no fds.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Instant;

use abi::choice::ACTIVE;
use abi::limits::STORED_OBJECT_BYTES_MAX;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Mutex;

use super::alias::Alias;
use super::artefacts::Artefacts;
use super::contents::{Contents, Function, Seen};
use super::error::StoreError;
use super::first_format;
use super::manifest::Manifest;
use super::objects::{Answer, Listed, Objects, checked};
use super::removed::{AllRemoved, Removed};
use super::stored::{Stored, folder, key, parts, sealed};
use super::summary;
use super::unused::{CHANGE_MAX, Marks, Named, SHARED, UPLOADS, upload_key};
use host::files::Temporary;

/// What this build writes, and what it reads besides.
pub(super) const FORMAT: &str = "sockhop-store 2\n";
pub(super) const FIRST_FORMAT: &str = "sockhop-store 1\n";
/// Where that stands.
pub(super) const FORMAT_KEY: &str = "format";
pub(super) const FORMAT_BYTES_MAX: usize = 1024;
const HINT_BYTES_MAX: usize = 1024;
/// Objects that are read at a time.
pub(super) const READS_AT_ONCE: usize = 32;
/// A hint to other nodes that something has changed.
pub const CHANGED: &str = "changed";

/// A store of functions.
#[derive(Debug)]
pub struct Repository {
    pub(super) objects: Arc<dyn Objects>,
    artefacts: Arc<Artefacts>,
    /// It has been seen to be of today's format, with nothing left of another.
    prepared: AtomicBool,
    /// Artefacts that nothing named lately.
    marks: Mutex<Marks>,
    /// Removed functions that are still kept.
    pub(super) removed_marks: Mutex<Marks>,
}

/// What a store was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    New,
    First,
    Today,
}

/// An object that is being read, by its place in its function; none when it is gone again.
type Reading<'a, T> = Answer<'a, (String, Option<Seen<T>>)>;

impl Repository {
    pub fn new(objects: Arc<dyn Objects>, artefacts: Arc<Artefacts>) -> Self {
        Self {
            objects,
            artefacts,
            prepared: AtomicBool::new(false),
            marks: Mutex::default(),
            removed_marks: Mutex::default(),
        }
    }

    pub fn artefacts(&self) -> &Arc<Artefacts> {
        &self.artefacts
    }

    /// What the store is called.
    pub fn name(&self) -> String {
        self.objects.name()
    }

    /// The hint that something has changed: another one after every change.
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

    /// Makes it a store of today's format, whatever it was and wherever a crash has left it. Before
    /// anything is written to it; not while an engine of an earlier build serves from it.
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
                // Until here it was a store of the first format, and nothing of that was touched.
                self.objects.put(FORMAT_KEY, FORMAT.into()).await?;
                first_format::clear(&*self.objects).await?;
            }
        }
        self.objects.identify().await?;
        self.prepared.store(true, SeqCst);
        Ok(())
    }

    pub(super) async fn put_all<'a, T: Stored + 'a>(
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
        stream::iter(puts).buffer_unordered(READS_AT_ONCE).try_collect().await
    }

    /// Clears away what a crash left unfinished here.
    ///
    /// # Errors
    /// When it cannot be.
    pub async fn clear_unfinished(&self) -> Result<(), StoreError> {
        self.artefacts.clear_unfinished()?;
        self.objects.clear_unfinished().await
    }

    /// Everything that is deployed. `before` is what was read last: what has not changed since is
    /// not read again. What cannot be used is told once, and is as it was before.
    ///
    /// # Errors
    /// When the store does not answer, or is of a newer format.
    pub async fn read_all(&self, before: &Contents) -> Result<Contents, StoreError> {
        match self.format().await? {
            Format::New => Ok(Contents::new()),
            Format::First => first_format::read(&*self.objects).await,
            Format::Today => self.read(None, before).await,
        }
    }

    /// The same of the function `name` alone.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn read_function(
        &self,
        name: &str,
        before: &Contents,
    ) -> Result<Arc<Function>, StoreError> {
        Ok(self.read(Some(name), before).await?.remove(name).unwrap_or_default())
    }

    /// Aliases first: the versions that they name were there before them. With many to read it
    /// begins with the summary, and writes a new one when many were missing in it.
    async fn read(&self, name: Option<&str>, before: &Contents) -> Result<Contents, StoreError> {
        let (mut known, mut contents) = (Cow::Borrowed(before), Contents::new());
        let aliases = self.read_kind::<Alias>(name, &mut known, &mut contents).await?;
        let versions = self.read_kind::<Manifest>(name, &mut known, &mut contents).await?;
        // What is not there any more is gone only by the store's own word.
        self.objects.verify().await?;
        if name.is_none() && summary::is_due(aliases.max(versions)) {
            summary::write(&*self.objects, &contents).await;
        }
        Ok(contents)
    }

    /// Reads those that are not `known` as they are now, and tells how many those were.
    async fn read_kind<T: Stored + Send + Sync>(
        &self,
        name: Option<&str>,
        known: &mut Cow<'_, Contents>,
        contents: &mut Contents,
    ) -> Result<usize, StoreError> {
        let prefix = name.map_or_else(|| format!("{}/", T::FOLDER), folder::<T>);
        let listed = self.objects.list(&prefix, "").await?;
        let is_known = |known: &Contents, listed: &Listed| {
            let seen = |(name, stem)| T::of(known.get(name)?).get(stem);
            parts(&listed.key).and_then(seen).is_some_and(|seen| is_as_it_was(seen, listed))
        };
        if summary::is_due(listed.iter().filter(|listed| !is_known(known, listed)).count()) {
            let summary = summary::read(&*self.objects).await;
            let known = known.to_mut();
            for (name, function) in summary {
                known.entry(name).or_insert(function);
            }
        }
        let mut reads: Vec<Reading<'_, T>> = Vec::new();
        for listed in listed {
            let Some((name, stem)) = parts(&listed.key) else { continue };
            let known = known.get(name).and_then(|function| T::of(function).get(stem));
            match known {
                Some(seen) if is_as_it_was(seen, &listed) => {
                    let (tag, modified) = (listed.tag.clone(), Some(listed.modified));
                    let seen = Seen { tag, modified, value: seen.value.clone() };
                    T::of_mut(Arc::make_mut(contents.entry(name.to_owned()).or_default()))
                        .insert(stem.to_owned(), seen);
                }
                known => {
                    let value = known.and_then(|seen| seen.value.clone());
                    let (key, tag, modified) = (listed.key, listed.tag, Some(listed.modified));
                    reads.push(Box::pin(async move {
                        let seen = match self.get::<T>(&key).await {
                            Ok(None) => None,
                            Ok(Some(read)) => {
                                Some(Seen { tag, modified, value: Some(Arc::new(read)) })
                            }
                            Err(
                                error @ (StoreError::Damaged { .. } | StoreError::Unfit { .. }),
                            ) => {
                                tracing::error!("{error}");
                                Some(Seen { tag, modified, value })
                            }
                            Err(error) => return Err(error),
                        };
                        Ok((key, seen))
                    }));
                }
            }
        }
        let count = reads.len();
        let mut reads = stream::iter(reads).buffer_unordered(READS_AT_ONCE);
        while let Some((key, seen)) = reads.try_next().await? {
            // Without one it was removed meanwhile.
            if let (Some((name, stem)), Some(seen)) = (parts(&key), seen) {
                T::of_mut(Arc::make_mut(contents.entry(name.to_owned()).or_default()))
                    .insert(stem.to_owned(), seen);
            }
        }
        Ok(count)
    }

    async fn get<T: Stored>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let Some(object) = checked::get(&*self.objects, key, STORED_OBJECT_BYTES_MAX).await? else {
            return Ok(None);
        };
        let json = checked::open(key, object)?;
        let (name, stem) = parts(key).unwrap_or_default();
        T::read(name, stem, &json)
            .map(Some)
            .map_err(|reason| StoreError::Unfit { key: key.to_owned(), reason })
    }

    /// Keeps a version with its artefact, and has an alias mean it, if one is given. When this
    /// fails, nothing of it stays.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn keep_version(
        &self,
        version: &Arc<Manifest>,
        received: &Temporary,
        alias: Option<&Alias>,
    ) -> Result<(), StoreError> {
        // An alias that could not be written, but may have been after all, must find its version.
        let mut may_be_named = false;
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
        if let Err(why) = self.take_back(version).await {
            tracing::warn!("what a failed deploy has left in the store stays there for now: {why}");
        }
        Err(error)
    }

    /// Undoes what there may be of a version that nothing names.
    async fn take_back(&self, version: &Manifest) -> Result<(), StoreError> {
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

    /// Writes an alias, which counts from then on. `versions` are those that it names: should
    /// another node have tidied one away meanwhile, it is put back.
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
        self.put_back(versions).await
    }

    /// Writes those of the versions that are not there.
    pub(super) async fn put_back(&self, versions: &[Arc<Manifest>]) -> Result<(), StoreError> {
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

    /// Removes a version that nothing names any more; should another node name it meanwhile, it is
    /// put back.
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

    /// Removes what makes a function visible: its aliases.
    ///
    /// # Errors
    /// When the store does not do it all. What it has done already, stays done.
    pub async fn remove_aliases(&self, name: &str) -> Result<(), StoreError> {
        self.objects.delete(&key::<Alias>(name, ACTIVE)).await?;
        self.remove_all::<Alias>(name).await
    }

    /// Removes the rest of a function: the versions of `going`. Should another node name one of
    /// them meanwhile, it is put back.
    ///
    /// # Errors
    /// When the store does not do it all. What it has done already, stays done.
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
        // A deploy may have made one since the removal began, when there was nothing to keep.
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

    /// Removes the artefacts that no version has had since an earlier call, longer ago than any
    /// change takes.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn remove_unused_artefacts(
        &self,
        before: &Contents,
        now: Instant,
    ) -> Result<(), StoreError> {
        let mut marks = self.marks.lock().await;
        let mut listed = self.objects.list(UPLOADS, "").await?;
        listed.extend(self.objects.list(SHARED, "").await?);
        // Read after they were listed: what a version had by then is named. A removal keeps its
        // versions before they go, a restored one has them before that goes: whichever is under
        // way, one of these has them.
        let removed = self.read_removed(None, AllRemoved::new()).await?;
        let contents = self.read_all(before).await?;
        let removed = self.read_removed(None, removed).await?;
        if contents
            .values()
            .any(|function| function.versions.values().any(|seen| seen.value.is_none()))
        {
            tracing::warn!(
                "a version in the store cannot be read: artefacts stay, as one may be its"
            );
            return Ok(());
        }
        let mut named = Named::default();
        let kept = removed.values().flat_map(|(_, removed)| removed.function.versions());
        for version in contents.values().flat_map(|function| function.versions()).chain(kept) {
            named.versions.insert(&version.version);
            named.artefacts.insert(&version.artefact);
        }
        listed.retain(|listed| named.lacks(&listed.key));
        for key in marks.look(&listed, CHANGE_MAX, now) {
            self.objects.delete(&key).await?;
        }
        Ok(())
    }

    async fn put<T: Stored>(&self, name: &str, stem: &str, value: &T) -> Result<(), StoreError> {
        self.objects.put(&key::<T>(name, stem), sealed(value)?).await
    }

    /// Has other nodes look sooner than they would.
    pub async fn note_change(&self) {
        let id = uuid::Uuid::now_v7().to_string();
        if let Err(error) = self.objects.put(CHANGED, id.into()).await {
            tracing::warn!("other nodes see the change later: {error}");
        }
    }
}

/// Whether what was seen needs not be read again.
fn is_as_it_was<T: Stored>(seen: &Seen<T>, listed: &Listed) -> bool {
    seen.tag == listed.tag || (T::IMMUTABLE && seen.value.is_some())
}

#[cfg(test)]
#[path = "interleaving_tests.rs"]
mod interleaving_tests;
#[cfg(test)]
#[path = "repository_tests.rs"]
mod tests;
