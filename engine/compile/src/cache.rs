//! The module cache: compiled modules by key, and sealed copies for workers.
//!
//! The key is a digest of the artefact, of its kind, and of what its code must be compatible with,
//! so another wasmtime or processor finds nothing and compiles anew. The cache may be lost: what is
//! missing or damaged is compiled again. Modules are sealed when they are deployed, and at start in
//! a thread of their own, so that a worker that asks for one does not wait for a disk. Owns their
//! memfds.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use abi::limits::MODULE_BYTES_MAX;
use abi::message::Digest;
use sha2::{Digest as _, Sha256};

use super::child::{self, CompileError};
use super::memory::{Budget, Size};
use super::modules::Modules;
use super::queue::{Purpose, Queue, Step};
use super::sealed::Sealed;
use host::files;
use store::artefacts::Artefacts;
use store::error::StoreError;
use store::kind::Kind;

/// Why a module cannot be provided.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
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
    #[error(transparent)]
    Artefact(#[from] StoreError),
    #[error("no function that is deployed has this module any more")]
    Unknown,
    #[error(
        "{0}; it is compiled again when it is deployed or an alias is set, and otherwise after a while"
    )]
    Failed(String),
    #[error(
        "the version is not compiled on this node, and no alias means it; `sockhop invoke NAME@VERSION` compiles it"
    )]
    Unnamed,
}

impl CacheError {
    /// Returns whether the deployed file is the reason, and not the state of this node.
    fn is_the_files(&self) -> bool {
        let compiler = |error: &CompileError| {
            !matches!(error, CompileError::Start(_) | CompileError::Settings(_))
        };
        match self {
            Self::Compile(error) => compiler(error),
            Self::TooLarge { .. } => true,
            _ => false,
        }
    }
}

/// Where the artefact to compile is.
#[derive(Clone, Copy)]
enum Source<'a> {
    Store(&'a Digest),
    File(&'a Path),
}

/// What modules are compiled from, by their keys: the artefact, and its kind.
pub type Sources = HashMap<Digest, (Digest, Kind)>;

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
    artefacts: Arc<Artefacts>,
    compatibility: HashMap<Kind, Vec<u8>>,
    state: Mutex<State>,
    sealed: Mutex<Sealed<Arc<OwnedFd>>>,
    queue: Queue,
    budget: Budget,
    compilations: AtomicU64,
}

impl Cache {
    /// Opens the cache in `folder`, of modules that `artefacts` are compiled to.
    ///
    /// # Errors
    /// [`CacheError`] when the folder cannot be created, or wasmtime does not run on this machine.
    pub fn open(folder: PathBuf, artefacts: Arc<Artefacts>) -> Result<Self, CacheError> {
        let failed = |source| CacheError::Folder { path: folder.clone(), source };
        let modules = Arc::new(Modules::open(folder.clone()).map_err(failed)?);
        let (sources, named, held) = (HashMap::new(), HashSet::new(), HashMap::new());
        let state = Mutex::new(State { sources, named, held });
        let compatibility =
            Kind::ALL.into_iter().map(|kind| Ok((kind, child::compatibility(kind)?)));
        let compatibility = compatibility.collect::<Result<_, CompileError>>()?;
        let (sealed, queue, compilations) = (Mutex::default(), Queue::default(), AtomicU64::new(0));
        let budget = Budget::default();
        Ok(Self { modules, artefacts, compatibility, state, sealed, queue, budget, compilations })
    }

    /// Returns how many times the compiler has run since the node started.
    pub fn compilations(&self) -> u64 {
        self.compilations.load(Relaxed)
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
        path: &Path,
        report: &(dyn Fn(Step) + Sync),
    ) -> Result<Held, CacheError> {
        let key = self.key(artefact, kind);
        *self.state().held.entry(key).or_default() += 1;
        let held = Held { cache: Arc::clone(self), key };
        self.name([(key, (*artefact, kind))]);
        self.compile(&key, kind, Source::File(path), Purpose::Deploy, report).await?;
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

    /// Compiles a module, unless it is there, when its turn in the queue comes.
    async fn compile(
        &self,
        key: &Digest,
        kind: Kind,
        source: Source<'_>,
        purpose: Purpose,
        report: &(dyn Fn(Step) + Sync),
    ) -> Result<(), CacheError> {
        let asked = Instant::now();
        let failed =
            || self.queue.failure(key, purpose, asked, Instant::now()).map(CacheError::Failed);
        if self.has(key) {
            return Ok(());
        }
        if let Some(error) = failed() {
            return Err(error);
        }
        let ticket = self.queue.ticket();
        report(Step::Waiting { number: ticket.number });
        let _turn = self.queue.turn(key).await;
        let _place = self.queue.place(purpose).await;
        // The one who had the turn before may have compiled it.
        if self.has(key) {
            return Ok(());
        }
        if let Some(error) = failed() {
            return Err(error);
        }
        let made = async {
            let path = match source {
                Source::File(path) => path.to_owned(),
                Source::Store(artefact) => self.artefacts.local(&files::hex(artefact)).await?,
            };
            self.run_compiler(key, kind, &path, (purpose, report)).await
        };
        let made = made.await;
        match &made {
            Ok(()) => self.queue.compiled(key),
            Err(error) => {
                self.queue.failed(key, error.to_string(), error.is_the_files(), Instant::now())
            }
        }
        made
    }

    async fn run_compiler(
        &self,
        key: &Digest,
        kind: Kind,
        source: &Path,
        (purpose, report): (Purpose, &(dyn Fn(Step) + Sync)),
    ) -> Result<(), CacheError> {
        let path = self.modules.path(key);
        let failed = |what| {
            let path = path.clone();
            move |source| CacheError::Module { what, path, source }
        };
        let size = Size::of_file(source).await.map_err(|error| CacheError::Module {
            what: "made, as what it is made of cannot be read",
            path: path.clone(),
            source: error,
        })?;
        // The compiler's share of memory counts as taken until the compiler has ended.
        let share = self.budget.share(size, purpose).await.map_err(CompileError::from)?;
        let temporary = files::Temporary::new(self.modules.folder()).map_err(failed("written"))?;
        report(Step::Compiling);
        self.compilations.fetch_add(1, Relaxed);
        child::compile(kind, source, temporary.path(), &share.plan).await?;
        drop(share);
        // The module may be large: it is hashed and synced on a thread that nobody waits for. Once
        // begun that comes to its end, even if the caller has gone.
        let (modules, key) = (Arc::clone(&self.modules), *key);
        let kept = tokio::task::spawn_blocking(move || {
            let failed = |what| {
                let path = modules.path(&key);
                move |source| CacheError::Module { what, path, source }
            };
            let (digest, bytes) = files::digest_of(temporary.path()).map_err(failed("read"))?;
            if bytes > MODULE_BYTES_MAX {
                return Err(CacheError::TooLarge { bytes });
            }
            modules.put(&key, digest, bytes, temporary).map_err(failed("written"))
        });
        kept.await.unwrap_or_else(|error| {
            Err(CacheError::Module { what: "written", path, source: io::Error::other(error) })
        })
    }

    /// Reads a module, checks its digest, and keeps a sealed copy. Blocks for as long as that
    /// takes.
    fn seal(&self, key: &Digest) -> Result<(), CacheError> {
        let failed =
            |source| CacheError::Module { what: "read", path: self.modules.path(key), source };
        let bytes = self.modules.read(key).map_err(failed)?.ok_or(CacheError::Unknown)?;
        let sealed = Arc::new(abi::sealed::create("module", &bytes)?);
        self.lock_sealed().insert(*key, sealed, bytes.len() as u64);
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

#[cfg(test)]
mod tests {
    use super::*;
    use store::objects::Objects as _;
    use store::objects::directory::Directory;

    fn open(folder: &Path) -> Cache {
        let objects = Directory::new(folder.join("store"));
        objects.make().unwrap();
        let artefacts = Artefacts::open(Arc::new(objects), folder.join("artefacts")).unwrap();
        Cache::open(folder.to_owned(), Arc::new(artefacts)).unwrap()
    }

    #[test]
    fn keys_depend_on_artefact_kind_and_compatibility() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = open(folder.path());
        let key = |cache: &Cache, artefact, kind| cache.key(&[artefact; 32], kind);
        let first = key(&cache, 1, Kind::Http02);
        assert_eq!(first, key(&cache, 1, Kind::Http02));
        for other in [(2, Kind::Http02), (1, Kind::Command), (1, Kind::Http03)] {
            assert_ne!(first, key(&cache, other.0, other.1), "{other:?}");
        }
        cache.compatibility.values_mut().for_each(|bytes| bytes.push(0));
        assert_ne!(
            first,
            key(&cache, 1, Kind::Http02),
            "another wasmtime or processor must not find this module"
        );
    }

    #[test]
    fn what_is_ready_is_given_without_its_file_and_what_is_forgotten_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path());
        let key = [1; 32];
        let file = files::Temporary::new(folder.path()).unwrap();
        std::fs::write(file.path(), b"code").unwrap();
        cache.modules.put(&key, Sha256::digest(b"code").into(), 4, file).unwrap();
        cache.state().sources.insert(key, ([2; 32], Kind::Http02));
        assert!(cache.sealed(&key).is_none());
        cache.make_ready_while_room(&[key]);
        std::fs::remove_file(cache.modules.path(&key)).unwrap();
        assert!(cache.sealed(&key).is_some());
        cache.retain(&Sources::new());
        assert!(cache.sealed(&key).is_none());
    }
}
