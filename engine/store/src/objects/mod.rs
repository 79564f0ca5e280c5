//! Objects by key: everything that a node needs of a store, so that a folder and a bucket serve it
//! alike.
//!
//! There are no conditional writes (not every S3 has them) and no renames (none has). An object
//! appears whole or not at all, a later `put` of the same key replaces it, and a reader sees one of
//! the two. [`checked`] protects small objects against damage; large ones have their digests in
//! their keys. Owns no fds.

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

/// Opens the store that the settings name. Sends no request to a bucket, and does not need a folder
/// to exist.
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

/// The future of a backend's answer.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub key: String,
    pub bytes: u64,
    /// A text that changes whenever the object is written. It means nothing else.
    pub tag: String,
    /// When it was written, by the backend's clock.
    pub modified: SystemTime,
}

/// A backend of a store. Keys are `/`-separated parts of letters, digits, `.`, `-` and `_`; no part
/// begins with a dot.
pub trait Objects: fmt::Debug + Send + Sync {
    /// Returns its name in messages: a path, or `s3://bucket/prefix`.
    fn name(&self) -> String;

    /// Reads a whole object. Returns `None` if there is no such object. A longer one than
    /// `bytes_max` is an error.
    fn get<'a>(&'a self, key: &'a str, bytes_max: usize) -> Answer<'a, Option<Vec<u8>>>;

    /// Reads `bytes` bytes of an object from `start` on, or fewer if it ends before. Returns `None`
    /// if there is no such object.
    fn get_range<'a>(
        &'a self,
        key: &'a str,
        start: u64,
        bytes: usize,
    ) -> Answer<'a, Option<Vec<u8>>>;

    /// Writes a whole object, which is durable when this returns.
    fn put<'a>(&'a self, key: &'a str, contents: Vec<u8>) -> Answer<'a, ()>;

    /// Copies an object into the existing file at `to`, and syncs that. Returns whether there is
    /// such an object.
    fn download<'a>(&'a self, key: &'a str, to: &'a Path) -> Answer<'a, bool>;

    /// Writes the file at `from` as an object.
    fn upload<'a>(&'a self, key: &'a str, from: &'a Path) -> Answer<'a, ()>;

    /// Lists the objects whose keys begin with `prefix` and are greater than `after`, in the order
    /// of their keys. `prefix` is empty or ends in `/`.
    fn list<'a>(&'a self, prefix: &'a str, after: &'a str) -> Answer<'a, Vec<Listed>>;

    /// Deletes an object. A missing object is no error.
    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()>;

    /// Returns the file that the object is, or would be, on this machine. Returns `None` if objects
    /// are not files of this machine.
    fn local_path(&self, _key: &str) -> Option<PathBuf> {
        None
    }

    /// Removes what crashed writers have left, and nothing that a writer may still use.
    fn clear_unfinished(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Creates what holds the objects, if the node is the one to create it.
    ///
    /// # Errors
    /// When it cannot be created.
    fn make(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Returns the name of something in the store's place, whichever program put it there. Returns
    /// `None` if the place is empty.
    fn occupant(&self) -> Answer<'_, Option<String>> {
        Box::pin(async { Ok(self.list("", "").await?.into_iter().next().map(|listed| listed.key)) })
    }

    /// Checks that this is the store that the node knows. A listing counts only if this succeeds
    /// after it.
    fn verify(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Gives the store an id if it has none, and remembers it.
    fn identify(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}
