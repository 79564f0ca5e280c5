//! Objects by key: all that the node asks of what keeps its state, so that a folder and a bucket
//! are the same to it.
//!
//! No conditional writes (not every S3 has them) and no renames (none has): an object appears whole
//! or not at all, a later `put` of the same key replaces it, and whoever reads sees one of the two.
//! [`checked`] is how small objects are protected against damage; what is large has its digest in
//! its name. Owns no fds.

pub mod checked;
pub mod directory;
pub mod guarded;
pub mod packed;
pub mod s3;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::BoxFuture;

use self::directory::Directory;
use self::s3::{Access, S3};
use super::error::StoreError;
use settings::Settings;
use settings::store_location::StoreLocation;

/// Opens what the settings name. A bucket is not asked anything yet, and a folder need not be
/// there.
///
/// # Errors
/// When there are no credentials for a bucket.
pub fn open(settings: &Settings) -> Result<Arc<dyn Objects>, StoreError> {
    if let Some(access) = Access::of(settings)? {
        return Ok(Arc::new(S3::open(access)?));
    }
    let folder = match &settings.store {
        Some(StoreLocation::Folder(folder)) => folder.clone(),
        _ => settings.data.join("store"),
    };
    Ok(Arc::new(Directory::new(folder)))
}

/// How many objects are read or written at a time.
pub(crate) const REQUESTS_AT_ONCE: usize = 32;

/// What a backend answers.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// An object as a listing has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub key: String,
    pub bytes: u64,
    /// Another one whenever the object is written anew; means nothing else.
    pub tag: String,
    /// When it was written, by the backend's clock.
    pub modified: SystemTime,
}

/// A backend. Keys are `/`-separated parts of letters, digits, `.`, `-` and `_`; no part begins
/// with a dot.
pub trait Objects: fmt::Debug + Send + Sync {
    /// What it is called in messages: a path, or `s3://bucket/prefix`.
    fn name(&self) -> String;

    /// A whole object; none when there is none. A longer one than `bytes_max` is an error.
    fn get<'a>(&'a self, key: &'a str, bytes_max: usize) -> Answer<'a, Option<Vec<u8>>>;

    /// `bytes` of an object from `start` on, fewer where it ends before; none when there is no such
    /// object.
    fn get_range<'a>(
        &'a self,
        key: &'a str,
        start: u64,
        bytes: usize,
    ) -> Answer<'a, Option<Vec<u8>>>;

    /// Writes a whole object; it is durable when this returns.
    fn put<'a>(&'a self, key: &'a str, contents: Vec<u8>) -> Answer<'a, ()>;

    /// Copies an object into the file at `to`, which is there and empty, and syncs it; whether
    /// there is such an object.
    fn download<'a>(&'a self, key: &'a str, to: &'a Path) -> Answer<'a, bool>;

    /// Writes the file at `from` as an object.
    fn upload<'a>(&'a self, key: &'a str, from: &'a Path) -> Answer<'a, ()>;

    /// All objects whose keys begin with `prefix` and are greater than `after`, in the order of
    /// their keys. `prefix` is empty or ends in `/`.
    fn list<'a>(&'a self, prefix: &'a str, after: &'a str) -> Answer<'a, Vec<Listed>>;

    /// Removes an object; that it is not there is no error.
    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()>;

    /// The file that an object is on this machine, or would be; none when objects are no files
    /// here.
    fn local_path(&self, _key: &str) -> Option<PathBuf> {
        None
    }

    /// Clears away what writers that crashed have left, and nothing that one may still be at.
    fn clear_unfinished(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Makes what is to hold the objects, where that is for the node to make.
    ///
    /// # Errors
    /// When it cannot be made.
    fn make(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The name of something that stands there, whoever put it there; none when it is empty.
    fn occupant(&self) -> Answer<'_, Option<String>> {
        Box::pin(async { Ok(self.list("", "").await?.into_iter().next().map(|listed| listed.key)) })
    }

    /// Checks that it is the store that the node knows: after what was listed, before that counts.
    fn verify(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Gives a store an id that has none, and remembers it.
    fn identify(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}
