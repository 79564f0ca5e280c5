//! Artefacts as files of this machine, where the compiler can read them, whichever backend the
//! store has.
//!
//! A store in a folder has them as files already. Of a bucket, the node keeps copies of those that
//! it has compiled. An artefact is named by its SHA-256, which is checked each time the file is
//! used. Owns no fds between calls.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::error::StoreError;
use super::objects::Objects;
use super::objects::checked::READS_OF_DAMAGED;
use host::files::{self, Temporary};

/// What the keys of deployed files begin with.
pub(super) const UPLOADS: &str = "uploads/";
/// Where earlier builds put deployed files, each once for all versions that had it.
pub(super) const SHARED: &str = "artefacts/";

/// Returns the key under which the version `id` uploaded the artefact `digest`.
pub(super) fn upload_key(digest: &str, id: &str) -> String {
    format!("{UPLOADS}{digest}/{id}")
}

/// The artefacts of a store.
#[derive(Debug)]
pub struct Artefacts {
    objects: Arc<dyn Objects>,
    folder: PathBuf,
}

impl Artefacts {
    /// Opens the artefacts in `objects`. Copies and unfinished files are in `folder`, which no
    /// other node uses.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn open(objects: Arc<dyn Objects>, folder: PathBuf) -> Result<Self, StoreError> {
        files::create_folder(&folder).map_err(StoreError::io("make", &folder))?;
        Ok(Self { objects, folder })
    }

    /// Removes the unfinished files that a crash has left.
    pub(super) fn clear_unfinished(&self) -> Result<(), StoreError> {
        files::sweep(&self.folder, Duration::ZERO).map_err(StoreError::io("clear", &self.folder))
    }

    /// Creates a file to receive an artefact in.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn receive(&self) -> Result<Temporary, StoreError> {
        Temporary::new(&self.folder).map_err(StoreError::io("write to", &self.folder))
    }

    /// Returns where the artefact is on this machine. Downloads it if it is not there.
    ///
    /// # Errors
    /// When there is no such artefact, it cannot be downloaded, or is not what was deployed.
    pub async fn local(&self, digest: &str) -> Result<PathBuf, StoreError> {
        let copy = self.folder.join(digest);
        if !self.are_files() && is_whole(digest, &copy).await == Some(true) {
            return Ok(copy);
        }
        // Any version's upload will do, as they have the same contents.
        let folder = format!("{UPLOADS}{digest}/");
        let uploads = self.objects.list(&folder, "").await?.into_iter().map(|listed| listed.key);
        let shared = format!("{SHARED}{digest}");
        let mut missing = StoreError::Missing { key: shared.clone() };
        for key in uploads.chain([shared]) {
            match self.bring(digest, &key).await {
                Err(StoreError::Missing { .. }) => {}
                Err(error @ StoreError::Damaged { .. }) => missing = error,
                brought => return brought,
            }
        }
        Err(missing)
    }

    /// Returns where the artefact `digest` is on this machine, after a download of the object `key`
    /// if need be.
    async fn bring(&self, digest: &str, key: &str) -> Result<PathBuf, StoreError> {
        let missing = || StoreError::Missing { key: key.to_owned() };
        if let Some(path) = self.objects.local_path(key) {
            return match is_whole(digest, &path).await {
                None => Err(missing()),
                Some(false) => Err(damaged(key)),
                Some(true) => Ok(path),
            };
        }
        let (copy, path) = (self.receive()?, self.folder.join(digest));
        // A damaged file may have been damaged on its way only.
        for _ in 0..READS_OF_DAMAGED {
            if !self.objects.download(key, copy.path()).await? {
                return Err(missing());
            }
            if is_whole(digest, copy.path()).await == Some(true) {
                let renamed = become_file(copy, path.clone()).await;
                return renamed.map(|()| path.clone()).map_err(StoreError::io("write", &path));
            }
        }
        Err(damaged(key))
    }

    /// Checks that the store has the artefact, without a read of it.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when it does not.
    pub(super) async fn expect(&self, digest: &str) -> Result<(), StoreError> {
        let shared = format!("{SHARED}{digest}");
        let uploads = self.objects.list(&format!("{UPLOADS}{digest}/"), "").await?;
        if uploads.is_empty() && self.objects.get_range(&shared, 0, 1).await?.is_none() {
            return Err(StoreError::Missing { key: shared });
        }
        Ok(())
    }

    /// Returns whether the store's own objects are files of this machine.
    fn are_files(&self) -> bool {
        self.objects.local_path(SHARED).is_some()
    }

    /// Uploads a received and synced file to the store, under a key that no other version has.
    pub(super) async fn upload(
        &self,
        digest: &str,
        version: &str,
        received: &Temporary,
    ) -> Result<(), StoreError> {
        self.objects.upload(&upload_key(digest, version), received.path()).await
    }

    /// Keeps the received file as this node's copy, if the store's own objects are not files.
    pub async fn keep_copy(&self, digest: &str, received: Temporary) {
        if !self.are_files()
            && let Err(error) = become_file(received, self.folder.join(digest)).await
        {
            tracing::warn!("an artefact will be brought here again should it be needed: {error}");
        }
    }

    /// Removes this node's copies of all artefacts that are not `used`.
    pub fn keep_copies_only(&self, used: impl Fn(&str) -> bool) {
        for copy in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = copy.file_name();
            if name.to_str().is_some_and(|name| files::unhex(name).is_some() && !used(name)) {
                let _ = std::fs::remove_file(copy.path());
            }
        }
    }
}

/// Renames a received file to `path`, durably, on a thread that may block.
async fn become_file(received: Temporary, path: PathBuf) -> io::Result<()> {
    let renamed = tokio::task::spawn_blocking(move || received.become_file(&path));
    renamed.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn damaged(key: &str) -> StoreError {
    StoreError::Damaged { key: key.to_owned(), reason: "its SHA-256 is not its name".to_owned() }
}

/// Returns whether the file at `path` is the artefact `digest`. Returns `None` if it cannot be
/// read.
async fn is_whole(digest: &str, path: &Path) -> Option<bool> {
    let path = path.to_owned();
    let found = tokio::task::spawn_blocking(move || files::digest_of(&path)).await.ok()?.ok()?;
    Some(files::hex(&found.0) == digest)
}
