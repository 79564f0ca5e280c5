//! A node's copy, on its own disk, of what it knows of its store, for a start while the store is
//! away. The store is authoritative, and the copy may be lost. Owns no fds between calls.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::error::StoreError;
use crate::objects::checked;

/// What a node keeps a copy of.
pub(crate) trait Copied: Clone + Default + PartialEq + Send + 'static {
    /// The name of the copy in the cache folder.
    const FILE: &'static str;
    /// What it is, for the log.
    const WHAT: &'static str;
    /// What is written of it, beside the store's name: a struct, whose fields stand in the file.
    type Written: Serialize + DeserializeOwned;

    /// Returns what is written.
    ///
    /// # Errors
    /// If it is no JSON.
    fn to_written(&self) -> Result<Self::Written, serde_json::Error>;

    /// Returns what was written. What is not understood is left out.
    fn of_written(written: Self::Written) -> Self;
}

#[derive(Serialize, Deserialize)]
struct Contents<T> {
    /// The store that it is of.
    store: String,
    #[serde(flatten)]
    written: T,
}

/// The copy.
#[derive(Debug)]
pub(crate) struct NodeCopy<K> {
    path: PathBuf,
    store: String,
    /// What is in the file.
    there: Mutex<Option<K>>,
}

impl<K: Copied> NodeCopy<K> {
    /// Returns the copy in `folder` for the store named `store`.
    pub(crate) fn new(folder: &Path, store: String) -> Self {
        Self { path: folder.join(K::FILE), store, there: Mutex::default() }
    }

    /// Reads the copy, and notes what it has. Returns nothing known if there is none that can be
    /// used, or it is of another store.
    pub(crate) async fn load(&self) -> K {
        let read = self.read();
        let known = read.clone().unwrap_or_default();
        *self.there.lock().await = read;
        known
    }

    /// Reads the copy. Returns `None` if there is none that can be used, or it is of another store.
    pub(crate) fn read(&self) -> Option<K> {
        match checked::read_file::<Contents<K::Written>>(&self.path).transpose()? {
            Ok(contents) if contents.store == self.store => Some(K::of_written(contents.written)),
            Ok(_) => None,
            Err(error) => {
                tracing::warn!("this node's copy of the store's {} is set aside: {error}", K::WHAT);
                None
            }
        }
    }

    /// Writes what is `known` by now, unless the copy has it.
    pub(crate) async fn remember(&self, known: impl FnOnce() -> K) {
        let mut there = self.there.lock().await;
        let known = known();
        if there.as_ref().unwrap_or(&K::default()) == &known {
            return;
        }
        let (path, store, writing) = (self.path.clone(), self.store.clone(), known.clone());
        match tokio::task::spawn_blocking(move || write(&path, store, &writing)).await {
            Ok(Ok(())) => *there = Some(known),
            Ok(Err(error)) => {
                tracing::warn!(
                    "should the store be away at the next start, new {} are missing: {error}",
                    K::WHAT
                );
            }
            // The node stops.
            Err(_) => {}
        }
    }
}

fn write<K: Copied>(path: &Path, store: String, known: &K) -> Result<(), StoreError> {
    let failed = |error: serde_json::Error| StoreError::io("write", path)(error.into());
    let written = known.to_written().map_err(failed)?;
    checked::write_file(path, &Contents { store, written })
}
