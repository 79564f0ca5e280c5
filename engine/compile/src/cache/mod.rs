//! The module cache: compiled modules by key, and sealed copies for workers.
//!
//! The key is a digest of the artefact, of its kind, and of what its code must be compatible with,
//! so another wasmtime or processor finds nothing and compiles anew. The cache may be lost: what is
//! missing or damaged is compiled again. Modules are sealed when they are deployed, and at start in
//! a thread of their own, so that a worker that asks for one does not wait for a disk. Owns their
//! memfds.

mod compiling;
mod error;
#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use abi::function::Kind;
use abi::message::Digest;
use sha2::{Digest as _, Sha256};

use self::compiling::Source;
pub use self::error::CacheError;
use super::child::{self, CompileError};
use super::incremental::shelf::Shelf;
use super::memory::{Budget, Size};
use super::modules::Modules;
use super::native;
use super::queue::{Purpose, Queue, Step};
use super::sealed::Sealed;
use store::artefacts::Artefacts;

/// What modules are compiled from, by their keys: the artefact, and its kind.
pub type Sources = HashMap<Digest, (Digest, Kind)>;

/// The folder of compiled functions, in that of modules.
const INCREMENTAL: &str = "incremental";

#[derive(Debug)]
struct State {
    /// The sources of modules that workers may ask for, to compile those that are missing or
    /// damaged.
    sources: Sources,
    /// The modules among them that an alias names: a call is reason enough to compile these.
    named: HashSet<Digest>,
    /// How many deploys under way hold each module. No version has it yet.
    held: HashMap<Digest, usize>,
}

/// Keeps a module in the cache that no version has, until this is dropped.
#[derive(Debug)]
pub struct Held {
    cache: Arc<Cache>,
    key: Digest,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.cache.state();
        if let Entry::Occupied(mut held) = state.held.entry(self.key) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

/// The module cache of a node.
#[derive(Debug)]
pub struct Cache {
    modules: Arc<Modules>,
    shelf: Arc<Shelf>,
    artefacts: Arc<Artefacts>,
    compatibility: HashMap<Kind, Vec<u8>>,
    state: Mutex<State>,
    sealed: Mutex<Sealed<Arc<OwnedFd>>>,
    queue: Queue,
    budget: Budget,
    compilations: AtomicU64,
}

impl Cache {
    /// Opens the cache in `folder`, of modules that `artefacts` are compiled to. It keeps compiled
    /// functions for later compilations, at most `incremental_bytes_max` bytes.
    ///
    /// # Errors
    /// [`CacheError`] when the folder cannot be created, or wasmtime does not run on this machine.
    pub fn open(
        folder: PathBuf,
        artefacts: Arc<Artefacts>,
        incremental_bytes_max: u64,
    ) -> Result<Self, CacheError> {
        let failed = |source| CacheError::Folder { path: folder.clone(), source };
        let modules = Arc::new(Modules::open(folder.clone()).map_err(failed)?);
        let shelf = Arc::new(Shelf::new(folder.join(INCREMENTAL), incremental_bytes_max));
        let (sources, named, held) = (HashMap::new(), HashSet::new(), HashMap::new());
        let state = Mutex::new(State { sources, named, held });
        let compatibility =
            Kind::ALL.into_iter().map(|kind| Ok((kind, child::compatibility(kind)?)));
        let compatibility = compatibility.collect::<Result<_, CompileError>>()?;
        let (sealed, queue, compilations) = (Mutex::default(), Queue::default(), AtomicU64::new(0));
        let budget = Budget::default();
        Ok(Self {
            modules,
            shelf,
            artefacts,
            compatibility,
            state,
            sealed,
            queue,
            budget,
            compilations,
        })
    }

    /// Returns how many times the compiler has run since the node started.
    pub fn compilations(&self) -> u64 {
        self.compilations.load(Relaxed)
    }

    /// Returns what there is to say to whoever deploys a native function.
    pub fn notes(&self, artefact: &Digest, kind: Kind) -> Vec<String> {
        match kind.is_native() {
            true => native::notes(&self.modules.path(&self.key(artefact, kind))),
            false => Vec::new(),
        }
    }

    /// Returns how many compilations are before `number` in the queue.
    pub fn ahead(&self, number: u64) -> usize {
        self.queue.ahead(number)
    }

    /// Returns the key of an artefact's module on this machine. An artefact that can run as two
    /// kinds has two.
    pub fn key(&self, artefact: &Digest, kind: Kind) -> Digest {
        let compatibility = self.compatibility.get(&kind).map_or(&[][..], Vec::as_slice);
        // The name ends where the next part begins.
        let kind = [kind.name().as_bytes(), b"\0"].concat();
        Sha256::new()
            .chain_update(artefact)
            .chain_update(kind)
            .chain_update(compatibility)
            .finalize()
            .into()
    }

    /// Compiles the module of `artefact`, unless it is in the cache. Returns its key.
    ///
    /// # Errors
    /// [`CacheError`] when it does not compile, cannot be written, or there is no such artefact.
    pub async fn ensure(
        &self,
        artefact: &Digest,
        kind: Kind,
        purpose: Purpose,
    ) -> Result<Digest, CacheError> {
        let key = self.key(artefact, kind);
        self.name([(key, (*artefact, kind))]);
        self.compile(&key, kind, Source::Store(artefact), purpose, &|_| {}).await?;
        Ok(key)
    }

    /// Does the same for a deploy, whose artefact is not in the store yet, but in the file at
    /// `path`. The module stays in the cache while it is held. `report` is called at each step.
    ///
    /// # Errors
    /// [`CacheError`] when it does not compile, or cannot be written.
    pub async fn ensure_from(
        self: &Arc<Self>,
        artefact: &Digest,
        kind: Kind,
        (path, size): (&Path, Size),
        report: &(dyn Fn(Step) + Sync),
    ) -> Result<Held, CacheError> {
        let key = self.key(artefact, kind);
        *self.state().held.entry(key).or_default() += 1;
        let held = Held { cache: Arc::clone(self), key };
        self.name([(key, (*artefact, kind))]);
        self.compile(&key, kind, Source::File(path, size), Purpose::Deploy, report).await?;
        self.make_ready(key).await;
        Ok(held)
    }

    /// Returns the key of the artefact's module, if that is in the cache.
    ///
    /// # Errors
    /// The reason why it is not, and whether this is the first time that this reason is returned.
    pub fn compiled(&self, artefact: &Digest, kind: Kind) -> Result<Digest, (String, bool)> {
        let key = self.key(artefact, kind);
        self.name([(key, (*artefact, kind))]);
        let why = || {
            self.queue
                .reason(&key)
                .unwrap_or_else(|| ("it is not compiled here yet".to_owned(), true))
        };
        if self.has(&key) { Ok(key) } else { Err(why()) }
    }

    /// Remembers what modules are compiled from.
    pub fn name(&self, sources: impl IntoIterator<Item = (Digest, (Digest, Kind))>) {
        self.state().sources.extend(sources);
    }

    /// Remembers which modules aliases name.
    pub fn set_named(&self, named: HashSet<Digest>) {
        self.state().named = named;
    }

    /// Seals the module under `key` before a worker asks for it. If that fails, it is tried again
    /// when one does.
    pub async fn make_ready(self: &Arc<Self>, key: Digest) {
        let sealed = match self.sealed(&key) {
            Some(_) => Ok(()),
            None => Arc::clone(self).seal_elsewhere(key).await,
        };
        warn_if_not_ready(sealed);
    }

    /// Seals as many of these modules as there is room for. Reads them all on this thread, so no
    /// others may wait for it.
    pub fn make_ready_while_room(&self, keys: &[Digest]) {
        for key in keys {
            let bytes = self.modules.bytes(key).unwrap_or(0);
            if self.lock_sealed().has_room(bytes) && self.sealed(key).is_none() {
                warn_if_not_ready(self.seal(key));
            }
        }
    }

    /// Returns the sealed module under `key`. Returns `None` if it is not ready. Never waits for a
    /// disk.
    pub fn sealed(&self, key: &Digest) -> Option<Arc<OwnedFd>> {
        self.lock_sealed().get(key)
    }

    /// Returns the sealed module under `key`, for a worker. Compiles it if it is missing or damaged
    /// and an alias names it. Without an alias, anybody could have the node compile old versions.
    ///
    /// # Errors
    /// [`CacheError`] when there is no such module, and it cannot be compiled.
    pub async fn provide(self: Arc<Self>, key: Digest) -> Result<Arc<OwnedFd>, CacheError> {
        if let Some(sealed) = self.sealed(&key) {
            return Ok(sealed);
        }
        if let Err(error) = Arc::clone(&self).seal_elsewhere(key).await {
            match error {
                // It was not compiled on this node yet.
                CacheError::Unknown => {}
                // Nothing is wrong with the file.
                error @ CacheError::Sealed(_) => return Err(error),
                error => {
                    tracing::warn!("a cached module is compiled again: {error}");
                    self.modules.remove(&key);
                }
            }
            let (source, named) = {
                let state = self.state();
                (
                    state.sources.get(&key).copied(),
                    state.named.contains(&key) || state.held.contains_key(&key),
                )
            };
            let (artefact, kind) = source.ok_or(CacheError::Unknown)?;
            if !named {
                return Err(CacheError::Unnamed);
            }
            self.compile(&key, kind, Source::Store(&artefact), Purpose::Serving, &|_| {}).await?;
            Arc::clone(&self).seal_elsewhere(key).await?;
        }
        self.sealed(&key).ok_or(CacheError::Unknown)
    }

    /// Calls [`Self::seal`] on a thread that may block.
    async fn seal_elsewhere(self: Arc<Self>, key: Digest) -> Result<(), CacheError> {
        tokio::task::spawn_blocking(move || self.seal(&key))
            .await
            .unwrap_or(Err(CacheError::Unknown))
    }

    /// Drops the sealed modules except those under `keys`. The files of the others stay.
    pub fn keep_ready_only(&self, keys: &HashSet<Digest>) {
        self.lock_sealed().retain(|key| keys.contains(key));
    }

    /// Removes all modules from the cache, except those of `sources` and those that are held.
    pub fn retain(&self, sources: &Sources) {
        let mut state = self.state();
        let held: HashSet<Digest> = state.held.keys().copied().collect();
        let kept = |key: &Digest| sources.contains_key(key) || held.contains(key);
        self.lock_sealed().retain(|key| kept(key));
        self.queue.retain(kept);
        state.sources.retain(|key, _| kept(key));
        // The state stays locked, or a deploy could begin to hold a module that is being removed.
        self.modules.retain(kept);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_sealed(&self) -> MutexGuard<'_, Sealed<Arc<OwnedFd>>> {
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a file of the right name and length is there. Its digest is checked when the
    /// module is sealed.
    fn has(&self, key: &Digest) -> bool {
        self.modules.bytes(key).is_some()
    }

    /// Reads a module, checks its digest, and keeps a sealed copy; opens the folder of a native
    /// function, or the file of a static site. Blocks for as long as that takes.
    fn seal(&self, key: &Digest) -> Result<(), CacheError> {
        let failed =
            |source| CacheError::Module { what: "read", path: self.modules.path(key), source };
        let (fd, bytes) = match self.modules.open_files(key).map_err(failed)? {
            // Workers read from it, or start programs; nothing of it is read here.
            Some(files) => (files, 0),
            None => {
                let bytes = self.modules.read(key).map_err(failed)?.ok_or(CacheError::Unknown)?;
                (abi::sealed::create("module", &bytes)?, bytes.len() as u64)
            }
        };
        self.lock_sealed().insert(*key, Arc::new(fd), bytes);
        if !self.state().sources.contains_key(key) {
            // Its function was removed meanwhile.
            self.lock_sealed().remove(key);
        }
        Ok(())
    }
}

fn warn_if_not_ready(sealed: Result<(), CacheError>) {
    if let Err(error) = sealed {
        tracing::warn!("a module is not ready for its first call: {error}");
    }
}
