//! The module cache: compiled modules by key, an index of their digests, and sealed copies for workers.
//!
//! The key is a digest of the artefact and of what its code must be compatible with, so another wasmtime or processor
//! finds nothing and compiles anew. Nothing here is precious: whatever is missing or damaged is compiled again. Owns
//! the memfds of modules that workers have asked for.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use abi::cache_index::{CacheIndex, CacheIndexView, Entry};
use abi::limits::{CACHE_INDEX_BYTES_MAX, MODULE_BYTES_MAX};
use abi::message::Digest;
use rkyv::util::AlignedVec;
use sha2::{Digest as _, Sha256};

use super::child::{self, CompileError};
use crate::store::files;

/// Why a module cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    #[error("the module cache {path:?} cannot be used: {source}")]
    Folder { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error("the compiled module {path:?} cannot be {what}: {source}")]
    Module { what: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Sealed(#[from] abi::sealed::SealedError),
    #[error("the compiled module has {bytes} bytes, at most {MODULE_BYTES_MAX} are allowed")]
    TooLarge { bytes: u64 },
    #[error("no function that is deployed has this module any more")]
    Unknown,
}

struct State {
    index: CacheIndexView,
    /// Where each module comes from, to compile it again when its file is damaged.
    sources: HashMap<Digest, PathBuf>,
    sealed: HashMap<Digest, Arc<OwnedFd>>,
}

pub(crate) struct Cache {
    folder: PathBuf,
    compatibility: Vec<u8>,
    state: Mutex<State>,
    compilations: AtomicU64,
}

impl Cache {
    /// Opens the cache in `folder`. An index that cannot be read is an empty one.
    ///
    /// # Errors
    /// [`CacheError`] when the folder cannot be made or wasmtime does not run here.
    pub(crate) fn open(folder: PathBuf) -> Result<Self, CacheError> {
        let failed = |source| CacheError::Folder { path: folder.clone(), source };
        files::create_folder(&folder).map_err(failed)?;
        let index = match read_aligned(&folder.join("index")) {
            Ok(bytes) => CacheIndexView::new(bytes).unwrap_or_else(|error| {
                tracing::warn!("the module cache's index is set aside, and functions are compiled again: {error}");
                empty()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => empty(),
            Err(error) => return Err(failed(error)),
        };
        let state = State { index, sources: HashMap::new(), sealed: HashMap::new() };
        let compatibility = child::compatibility()?;
        Ok(Self { folder, compatibility, state: Mutex::new(state), compilations: AtomicU64::new(0) })
    }

    /// How many times the compiler has run since the node started.
    pub(crate) fn compilations(&self) -> u64 {
        self.compilations.load(Relaxed)
    }

    /// The key of an artefact's module on this machine.
    pub(crate) fn key(&self, artefact: &Digest) -> Digest {
        Sha256::new().chain_update(artefact).chain_update(&self.compatibility).finalize().into()
    }

    /// Makes sure that the module of `artefact`, a file at `path`, is in the cache; compiles it unless it is.
    ///
    /// # Errors
    /// [`CacheError`] when it does not compile or cannot be kept.
    pub(crate) async fn ensure(&self, artefact: &Digest, path: &Path) -> Result<Digest, CacheError> {
        let key = self.key(artefact);
        self.state().sources.insert(key, path.to_owned());
        if !self.has(&key) {
            self.compile(&key, path).await?;
        }
        Ok(key)
    }

    /// The artefact has moved to its final place.
    pub(crate) fn moved(&self, key: Digest, path: PathBuf) {
        self.state().sources.insert(key, path);
    }

    /// The module under `key`, sealed, for a worker. Compiles it again should its file be damaged.
    ///
    /// # Errors
    /// [`CacheError`] when there is no such module and none can be made.
    pub(crate) async fn provide(&self, key: Digest) -> Result<Arc<OwnedFd>, CacheError> {
        if let Some(sealed) = self.state().sealed.get(&key) {
            return Ok(Arc::clone(sealed));
        }
        if let Err(error) = self.seal(&key) {
            tracing::warn!("a cached module is compiled again: {error}");
            let source = self.state().sources.get(&key).cloned().ok_or(CacheError::Unknown)?;
            self.compile(&key, &source).await?;
            self.seal(&key)?;
        }
        self.state().sealed.get(&key).map(Arc::clone).ok_or(CacheError::Unknown)
    }

    /// Forgets modules that no function has any more.
    pub(crate) fn retain(&self, keys: &std::collections::HashSet<Digest>) {
        let mut state = self.state();
        state.sealed.retain(|key, _| keys.contains(key));
        state.sources.retain(|key, _| keys.contains(key));
        let mut index = state.index.to_owned();
        let (kept, gone): (Vec<Entry>, Vec<Entry>) = index.entries.into_iter().partition(|e| keys.contains(&e.key));
        if gone.is_empty() {
            return;
        }
        index = CacheIndex { entries: kept };
        if let Err(error) = self.write_index(&mut state, index) {
            tracing::warn!("{error}");
        }
        for entry in gone {
            let _ = std::fs::remove_file(self.path(&entry.key));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, key: &Digest) -> PathBuf {
        self.folder.join(format!("{}.cwasm", files::hex(key)))
    }

    /// A look at name and size; the digest is checked when the module is first used.
    fn has(&self, key: &Digest) -> bool {
        let state = self.state();
        let Some(entry) = state.index.find(key) else { return false };
        std::fs::metadata(self.path(key)).is_ok_and(|meta| meta.len() == entry.module_bytes)
    }

    async fn compile(&self, key: &Digest, source: &Path) -> Result<(), CacheError> {
        let path = self.path(key);
        let failed = |what| {
            let path = path.clone();
            move |source| CacheError::Module { what, path, source }
        };
        let temporary = files::Temporary::new(&self.folder).map_err(failed("written"))?;
        self.compilations.fetch_add(1, Relaxed);
        child::compile(source, temporary.path()).await?;
        let (module_digest, module_bytes) = files::digest_of(temporary.path()).map_err(failed("read"))?;
        if module_bytes > MODULE_BYTES_MAX {
            return Err(CacheError::TooLarge { bytes: module_bytes });
        }
        temporary.become_file(&path).map_err(failed("written"))?;
        let mut state = self.state();
        let mut index = state.index.to_owned();
        index.entries.retain(|entry| entry.key != *key);
        index.entries.push(Entry { key: *key, module_digest, module_bytes });
        self.write_index(&mut state, index)
    }

    fn write_index(&self, state: &mut State, mut index: CacheIndex) -> Result<(), CacheError> {
        let path = self.folder.join("index");
        let failed = |source| CacheError::Folder { path: path.clone(), source };
        let bytes = index.pack().map_err(|error| failed(io::Error::other(error)))?;
        files::write(&path, &bytes).map_err(failed)?;
        state.index = CacheIndexView::new(bytes).map_err(|error| failed(io::Error::other(error)))?;
        Ok(())
    }

    /// Reads a module, checks it against the index, and keeps a sealed copy.
    fn seal(&self, key: &Digest) -> Result<(), CacheError> {
        let path = self.path(key);
        let expected = self.state().index.find(key).map(|entry| entry.module_digest).ok_or(CacheError::Unknown)?;
        let failed = |source| CacheError::Module { what: "read", path: path.clone(), source };
        let bytes = std::fs::read(&path).map_err(failed)?;
        if Digest::from(Sha256::digest(&bytes)) != expected {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "it is not what was compiled")));
        }
        let sealed = Arc::new(abi::sealed::create("module", &bytes)?);
        self.state().sealed.insert(*key, sealed);
        Ok(())
    }
}

fn empty() -> CacheIndexView {
    // An empty index always packs; should it not, there is no memory left to go on with.
    let packed = CacheIndex::default().pack().and_then(CacheIndexView::new);
    packed.unwrap_or_else(|error| panic!("an empty index cannot be made: {error}"))
}

/// Reads a whole file into memory that an archive can be used in.
fn read_aligned(path: &Path) -> io::Result<AlignedVec> {
    let mut bytes = AlignedVec::new();
    let file = std::fs::File::open(path)?;
    bytes.extend_from_reader(&mut file.take(CACHE_INDEX_BYTES_MAX as u64))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_depend_on_artefact_and_compatibility() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(folder.path().to_owned()).unwrap();
        let (a, b) = (cache.key(&[1; 32]), cache.key(&[2; 32]));
        assert_ne!(a, b);
        assert_eq!(a, cache.key(&[1; 32]));
        cache.compatibility.push(0);
        assert_ne!(a, cache.key(&[1; 32]), "another wasmtime or processor must not find this module");
    }

    #[test]
    fn a_damaged_index_is_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("index"), b"nonsense").unwrap();
        let cache = Cache::open(folder.path().to_owned()).unwrap();
        assert!(!cache.has(&[0; 32]));
    }
}
