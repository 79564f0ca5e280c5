//! How functions are read: aliases before versions, and of both only the objects that have changed
//! since they were last read. Owns no fds.

use std::borrow::Cow;
use std::sync::Arc;

use abi::limits::STORED_OBJECT_BYTES_MAX;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Format, Repository, first_format, summary};
use crate::alias::Alias;
use crate::contents::{Contents, Function, Seen};
use crate::error::StoreError;
use crate::manifest::Manifest;
use crate::objects::{Answer, Listed, REQUESTS_AT_ONCE, checked};
use crate::stored::{Stored, folder, parts};

/// An object that is being read, with its key. `None` if it was removed meanwhile.
type Reading<'a, T> = Answer<'a, (String, Option<Seen<T>>)>;

impl Repository {
    /// Reads all functions. `before` is what was read last: objects that have not changed since are
    /// not read again. An object that cannot be used is logged once, and keeps its value of before.
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

    /// Reads the function `name`.
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

    /// Reads aliases first: the versions that they name were written before them. If many objects
    /// are to be read, it begins with the summary, and writes a new one if many are missing in
    /// that.
    async fn read(&self, name: Option<&str>, before: &Contents) -> Result<Contents, StoreError> {
        let (mut known, mut contents) = (Cow::Borrowed(before), Contents::new());
        let aliases = self.read_kind::<Alias>(name, &mut known, &mut contents).await?;
        let versions = self.read_kind::<Manifest>(name, &mut known, &mut contents).await?;
        // Objects that are not listed any more are gone only if this is still the same store.
        self.objects.verify().await?;
        if name.is_none() && summary::is_due(aliases.max(versions)) {
            summary::write(&*self.objects, &contents).await;
        }
        Ok(contents)
    }

    /// Reads the objects of one kind that are not `known` in their present state. Returns how many
    /// those were.
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
            parts(&listed.key).and_then(seen).is_some_and(|seen| is_unchanged(seen, listed))
        };
        if summary::is_due(listed.iter().filter(|listed| !is_known(known, listed)).count()) {
            let summary = summary::read(&*self.objects).await;
            let known = known.to_mut();
            for (name, function) in summary {
                known.entry(name).or_insert(function);
            }
        }
        // What has not changed is taken over at once; the rest is read, several objects at a time.
        let mut reads: Vec<Reading<'_, T>> = Vec::new();
        for listed in listed {
            let Some((name, stem)) = parts(&listed.key) else { continue };
            let known = known.get(name).and_then(|function| T::of(function).get(stem));
            match known {
                Some(seen) if is_unchanged(seen, &listed) => {
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
        let mut reads = stream::iter(reads).buffer_unordered(REQUESTS_AT_ONCE);
        while let Some((key, seen)) = reads.try_next().await? {
            // `None` was removed meanwhile.
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
}

/// Returns whether the object is still the one that was seen, so that it is not read again.
fn is_unchanged<T: Stored>(seen: &Seen<T>, listed: &Listed) -> bool {
    seen.tag == listed.tag || (T::IMMUTABLE && seen.value.is_some())
}
