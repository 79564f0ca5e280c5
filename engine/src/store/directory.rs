//! The store on disk.
//!
//! ```text
//! format                                  "sockhop-store 1"
//! artefacts/<sha256>                      deployed files, never changed
//! functions/<name>/versions/<id>.json     immutable versions
//! functions/<name>/active                 the id of the version that is served
//! ```
//! Writing `active` is the one step that makes a deploy visible, so a crash anywhere leaves the old version or the new.
//! Calls block. Owns no fds between calls.

use std::io;
use std::path::{Path, PathBuf};

use super::files::{self, Temporary};
use super::manifest::Manifest;

const FORMAT: &str = "sockhop-store 1\n";

/// Why the store cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the store cannot {what} {path:?}: {source}{hint}")]
    Io { what: &'static str, path: PathBuf, source: io::Error, hint: &'static str },
    #[error(
        "the store {path:?} has the format {found:?}, this build reads {FORMAT:?}; use the sockhop that wrote it, or a newer one"
    )]
    Format { path: PathBuf, found: String },
    #[error("the version {path:?} is unreadable: {reason}; deploy the function again")]
    Version { path: PathBuf, reason: String },
}

impl StoreError {
    fn io(what: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| {
            let hint = match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space and try again",
                io::ErrorKind::PermissionDenied => "; it must belong to the user who runs the node",
                io::ErrorKind::ReadOnlyFilesystem => "; the file system is read-only",
                _ => "",
            };
            Self::Io { what, path: path.to_owned(), source, hint }
        }
    }

    /// Whether the disk is full.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// A store in a folder of its own.
#[derive(Debug)]
pub(crate) struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Opens the store in `root`, making it if need be.
    pub(crate) fn open(root: PathBuf) -> Result<Self, StoreError> {
        let store = Self { root };
        for folder in [store.artefacts(), store.functions()] {
            files::create_folder(&folder).map_err(StoreError::io("make", &folder))?;
        }
        let format = store.root.join("format");
        match std::fs::read_to_string(&format) {
            Ok(found) if found == FORMAT => {}
            Ok(found) => return Err(StoreError::Format { path: store.root, found }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                files::write(&format, FORMAT.as_bytes()).map_err(StoreError::io("write", &format))?;
            }
            Err(error) => return Err(StoreError::io("read", &format)(error)),
        }
        Ok(store)
    }

    /// Clears away what a crash left unfinished. Not while another engine may be writing here.
    pub(crate) fn clear_unfinished(&self) -> Result<(), StoreError> {
        for folder in [self.root.clone(), self.artefacts()] {
            files::sweep(&folder).map_err(StoreError::io("clear", &folder))?;
        }
        Ok(())
    }

    fn artefacts(&self) -> PathBuf {
        self.root.join("artefacts")
    }

    fn functions(&self) -> PathBuf {
        self.root.join("functions")
    }

    fn function(&self, name: &str) -> PathBuf {
        self.functions().join(name)
    }

    /// Where an artefact is kept.
    pub(crate) fn artefact(&self, digest: &str) -> PathBuf {
        self.artefacts().join(digest)
    }

    /// A file to receive an artefact in.
    pub(crate) fn receive(&self) -> Result<Temporary, StoreError> {
        let folder = self.artefacts();
        Temporary::new(&folder).map_err(StoreError::io("write to", &folder))
    }

    /// Keeps a received and synced file as the artefact `digest`.
    pub(crate) fn keep(&self, received: Temporary, digest: &str) -> Result<PathBuf, StoreError> {
        let path = self.artefact(digest);
        received.become_file(&path).map_err(StoreError::io("write", &path))?;
        Ok(path)
    }

    /// Keeps a version and makes it the one that is served.
    pub(crate) fn activate(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let function = self.function(&manifest.name);
        let versions = function.join("versions");
        files::create_folder(&versions).map_err(StoreError::io("make", &versions))?;
        let path = versions.join(format!("{}.json", manifest.version));
        let json = serde_json::to_vec_pretty(manifest).map_err(|e| StoreError::io("write", &path)(e.into()))?;
        let active = function.join("active");
        files::write(&path, &json).map_err(StoreError::io("write", &path))?;
        files::write(&active, manifest.version.as_bytes()).map_err(|error| {
            // It was never visible: leave nothing of it.
            let _ = files::remove(&path);
            StoreError::io("write", &active)(error)
        })
    }

    /// The served versions of all functions. Those that cannot be read are told and left out.
    pub(crate) fn active(&self) -> Result<Vec<Manifest>, StoreError> {
        let folder = self.functions();
        let mut active = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(StoreError::io("read", &folder))? {
            let path = entry.map_err(StoreError::io("read", &folder))?.path();
            match self.active_in(&path) {
                Ok(Some(manifest)) => active.push(manifest),
                Ok(None) => {}
                Err(error) => tracing::error!("a function is not served: {error}"),
            }
        }
        Ok(active)
    }

    fn active_in(&self, function: &Path) -> Result<Option<Manifest>, StoreError> {
        let active = function.join("active");
        let version = match std::fs::read_to_string(&active) {
            Ok(version) => version,
            // A deploy that did not get so far, or a removal that got no further.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", &active)(error)),
        };
        let path = function.join("versions").join(format!("{version}.json"));
        let json = std::fs::read(&path).map_err(StoreError::io("read", &path))?;
        let manifest = Manifest::read(&json).map_err(|reason| StoreError::Version { path: path.clone(), reason })?;
        let named = function.file_name().is_some_and(|name| name == manifest.name.as_str());
        let digest = files::unhex(&manifest.artefact).is_some();
        if !named || !digest || abi::name::check(&manifest.name).is_err() {
            let reason = "its contents do not belong there".to_owned();
            return Err(StoreError::Version { path, reason });
        }
        Ok(Some(manifest))
    }

    /// Removes a function with all its versions.
    pub(crate) fn remove(&self, name: &str) -> Result<(), StoreError> {
        let function = self.function(name);
        let active = function.join("active");
        // From here on it is not served; the rest is tidying, and may be cut short.
        files::remove(&active).map_err(StoreError::io("remove", &active))?;
        std::fs::remove_dir_all(&function).map_err(StoreError::io("remove", &function))
    }

    /// Removes the artefacts that no version of any function has.
    pub(crate) fn remove_unused_artefacts(&self) -> Result<(), StoreError> {
        let mut used = std::collections::HashSet::new();
        let functions = self.functions();
        for function in std::fs::read_dir(&functions).map_err(StoreError::io("read", &functions))?.flatten() {
            let Ok(versions) = std::fs::read_dir(function.path().join("versions")) else { continue };
            for version in versions.flatten() {
                let Ok(json) = std::fs::read(version.path()) else { continue };
                if let Ok(manifest) = Manifest::read(&json) {
                    used.insert(manifest.artefact);
                }
            }
        }
        let artefacts = self.artefacts();
        for artefact in std::fs::read_dir(&artefacts).map_err(StoreError::io("read", &artefacts))?.flatten() {
            let name = artefact.file_name();
            // What is not a digest is an upload under way.
            if name.to_str().is_some_and(|name| files::unhex(name).is_some() && !used.contains(name)) {
                files::remove(&artefact.path()).map_err(StoreError::io("remove", &artefact.path()))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::inspect::Kind;
    use crate::store::options::Options;

    fn manifest(name: &str) -> Manifest {
        Manifest::new(name, Kind::Http02, Options::default(), files::hex(&[7; 32]), 3)
    }

    #[test]
    fn what_is_activated_is_read_back_and_what_is_removed_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let store = Directory::open(folder.path().join("store")).unwrap();
        let (first, second) = (manifest("a"), manifest("a"));
        store.activate(&first).unwrap();
        store.activate(&second).unwrap();
        let store = Directory::open(folder.path().join("store")).unwrap();
        assert_eq!(store.active().unwrap(), [second]);
        store.remove("a").unwrap();
        assert_eq!(store.active().unwrap(), []);
        assert!(store.remove("a").is_err());
    }

    #[test]
    fn a_version_that_was_never_activated_is_not_served() {
        let folder = tempfile::tempdir().unwrap();
        let store = Directory::open(folder.path().to_owned()).unwrap();
        let versions = folder.path().join("functions/a/versions");
        std::fs::create_dir_all(&versions).unwrap();
        std::fs::write(versions.join("x.json"), serde_json::to_vec(&manifest("a")).unwrap()).unwrap();
        assert_eq!(store.active().unwrap(), []);
        // And one whose name is not its folder's is refused, not served.
        std::fs::write(folder.path().join("functions/a/active"), "x").unwrap();
        std::fs::write(versions.join("x.json"), serde_json::to_vec(&manifest("b")).unwrap()).unwrap();
        assert_eq!(store.active().unwrap(), []);
    }

    #[test]
    fn only_unused_artefacts_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Directory::open(folder.path().to_owned()).unwrap();
        for digest in [files::hex(&[7; 32]), files::hex(&[8; 32])] {
            let received = store.receive().unwrap();
            store.keep(received, &digest).unwrap();
        }
        store.activate(&manifest("a")).unwrap();
        let under_way = store.receive().unwrap();
        store.remove_unused_artefacts().unwrap();
        assert!(under_way.path().exists());
        assert!(store.artefact(&files::hex(&[7; 32])).exists());
        assert!(!store.artefact(&files::hex(&[8; 32])).exists());
    }

    #[test]
    fn a_store_of_another_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("format"), "sockhop-store 9\n").unwrap();
        let error = Directory::open(folder.path().to_owned()).unwrap_err().to_string();
        assert!(error.contains("sockhop-store 9"), "{error}");
    }
}
