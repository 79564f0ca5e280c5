//! The node's copy of all encrypted secrets, for a start while the store is away: a function then
//! has the secrets that it had before. The store is authoritative, and the copy may be lost. Owns
//! no fds between calls.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::identity::Identities;
use super::known::{All, Known};
use store::error::StoreError;
use store::objects::checked;

/// The name of the file in the cache folder.
const FILE: &str = "secrets";

/// The file of the copy.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    path: PathBuf,
    /// The store that the secrets are of.
    store: String,
}

#[derive(Serialize, Deserialize)]
struct Written<S, A, I> {
    store: S,
    secrets: A,
    /// Earlier builds did not write these.
    #[serde(default)]
    identities: I,
}

impl Copy {
    pub(super) fn new(folder: &Path, store: String) -> Self {
        Self { path: folder.join(FILE), store }
    }

    /// Reads the copy. Returns `None` if there is none that can be used, or it is of another store.
    pub(super) fn read(&self) -> Option<Known> {
        let read = checked::read_file::<Written<String, All, Identities>>(&self.path);
        match read.transpose()? {
            Ok(written) => {
                let known = Known { identities: written.identities, held: written.secrets };
                (written.store == self.store).then_some(known)
            }
            Err(error) => {
                tracing::warn!("this node's copy of its functions' secrets is set aside: {error}");
                None
            }
        }
    }

    pub(super) fn write(&self, known: &Known) -> Result<(), StoreError> {
        let written =
            Written { store: &self.store, secrets: &known.held, identities: &known.identities };
        checked::write_file(&self.path, &written)
    }
}
