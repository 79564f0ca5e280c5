//! The node's copy of all encrypted secrets, for a start while the store is away: a function then
//! has the secrets that it had before. The store is authoritative, and the copy may be lost. Owns
//! no fds between calls.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::identity::Identities;
use super::known::{All, Known};
use host::files;
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
        let object = std::fs::read(&self.path).ok()?;
        let json =
            checked::open(&self.path.to_string_lossy(), object).map_err(|error| error.to_string());
        let read = json.and_then(|json| {
            serde_json::from_slice::<Written<String, All, Identities>>(&json)
                .map_err(|error| error.to_string())
        });
        match read {
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
        let failed = |error: serde_json::Error| StoreError::io("write", &self.path)(error.into());
        let json = serde_json::to_vec(&Written {
            store: &self.store,
            secrets: &known.held,
            identities: &known.identities,
        })
        .map_err(failed)?;
        files::write(&self.path, &checked::seal(&json)).map_err(StoreError::io("write", &self.path))
    }
}
