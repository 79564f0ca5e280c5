//! What a node remembers of its store, in a file of its own. It starts with that while the store is
//! away, and reads only what has changed when the store is there. The store is authoritative, and
//! the file may be lost. Owns no fds between calls.

use std::path::{Path, PathBuf};

use super::contents::Contents;
use super::error::StoreError;
use super::objects::checked;
use super::written;
use host::files;

/// The file with what the node remembers.
#[derive(Debug, Clone)]
pub struct Known {
    path: PathBuf,
    /// The store that it is about.
    store: String,
}

impl Known {
    /// Returns the file in `folder` for the store named `store`.
    pub fn new(folder: &Path, store: String) -> Self {
        Self { path: folder.join("known"), store }
    }

    /// Reads the file. Returns `None` if there is none that can be used, or it is about another
    /// store.
    pub fn read(&self) -> Option<Contents> {
        let object = std::fs::read(&self.path).ok()?;
        let read =
            checked::open(&self.path.to_string_lossy(), object).map_err(|error| error.to_string());
        match read.and_then(|json| written::read(&json).map_err(|error| error.to_string())) {
            Ok((store, contents)) => (store == self.store).then_some(contents),
            Err(error) => {
                tracing::warn!("what this node knew of its store is set aside: {error}");
                None
            }
        }
    }

    /// Writes `contents` to the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, contents: &Contents) -> Result<(), StoreError> {
        let failed = |error: serde_json::Error| StoreError::io("write", &self.path)(error.into());
        let object = checked::seal(&written::write(&self.store, contents).map_err(failed)?);
        files::write(&self.path, &object).map_err(StoreError::io("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use abi::choice::ACTIVE;
    use abi::function::Kind;
    use api::options::Options;

    use super::*;
    use crate::alias::Alias;
    use crate::manifest::Manifest;

    fn some() -> Contents {
        let version = Manifest::new("a", Kind::Http02, Options::default(), files::hex(&[7; 32]), 3);
        let mut contents = Contents::new();
        let function = Arc::make_mut(contents.entry("a".to_owned()).or_default());
        function.put_alias(Arc::new(Alias::of("a", ACTIVE, &version.version)));
        function.put_version(Arc::new(version));
        contents
    }

    #[test]
    fn what_is_known_is_read_back_for_the_same_store_and_not_for_another() {
        let folder = tempfile::tempdir().unwrap();
        let known = Known::new(folder.path(), "one".into());
        assert_eq!(known.read(), None);
        known.write(&some()).unwrap();
        let contents = known.read().unwrap();
        assert_eq!(
            contents["a"].active().unwrap().targets[0].version,
            contents["a"].versions().next().unwrap().version
        );
        assert_eq!(Known::new(folder.path(), "other".into()).read(), None);
    }

    #[test]
    fn damage_is_survived_and_nothing_is_known_then() {
        let folder = tempfile::tempdir().unwrap();
        let known = Known::new(folder.path(), "one".into());
        known.write(&some()).unwrap();
        let mut bytes = std::fs::read(folder.path().join("known")).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(folder.path().join("known"), bytes).unwrap();
        assert_eq!(known.read(), None);
    }
}
