//! The module cache: compiled modules by key, and sealed copies for workers.
//!
//! The key is a digest of the artefact, of its kind, and of what its code must be compatible with,
//! so another wasmtime or processor finds nothing and compiles anew. Nothing here is precious:
//! whatever is missing or damaged is compiled again. Modules are sealed when they are deployed, and
//! at start in a thread of their own, so that a worker that asks for one need not wait for a disk.
//! Owns their memfds.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use abi::function::Kind;
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

/// Why a module cannot be had.
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
    /// Whether the file is the reason, and not what this node was doing at the time.
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

/// Where an artefact is.
#[derive(Clone, Copy)]
enum Source<'a> {
    Store(&'a Digest),
    File(&'a Path),
}

/// What modules are made of: the artefact, and how it is run; by their keys.
pub type Sources = HashMap<Digest, (Digest, Kind)>;

#[derive(Debug)]
struct State {
    /// Of modules that may be asked for: to compile them, should that be the first time or their
    /// file be damaged.
    sources: Sources,
    /// Those among them that an alias means: a call is reason enough to compile them.
    named: HashSet<Digest>,
    /// Modules of deploys under way, which nothing has yet: how many of each.
    held: HashMap<Digest, usize>,
}

/// A module that stays though no version has it, until this is dropped.
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

#[derive(Debug)]
pub struct Cache {
    modules: Modules,
    artefacts: Arc<Artefacts>,
    compatibility: HashMap<Kind, Vec<u8>>,
    state: Mutex<State>,
    sealed: Mutex<Sealed<Arc<OwnedFd>>>,
    queue: Queue,
    budget: Budget,
    compilations: AtomicU64,
}

impl Cache {
    /// Opens the cache of what `artefacts` are compiled to, in `folder`.
    ///
    /// # Errors
    /// [`CacheError`] when the folder cannot be made or wasmtime does not run here.
    pub fn open(folder: PathBuf, artefacts: Arc<Artefacts>) -> Result<Self, CacheError> {
        let failed = |source| CacheError::Folder { path: folder.clone(), source };
        let modules = Modules::open(folder.clone()).map_err(failed)?;
        let (sources, named, held) = (HashMap::new(), HashSet::new(), HashMap::new());
        let state = Mutex::new(State { sources, named, held });
        let compatibility =
            Kind::ALL.into_iter().map(|kind| Ok((kind, child::compatibility(kind)?)));
        let compatibility = compatibility.collect::<Result<_, CompileError>>()?;
        let (sealed, queue, compilations) = (Mutex::default(), Queue::default(), AtomicU64::new(0));
        let budget = Budget::default();
        Ok(Self { modules, artefacts, compatibility, state, sealed, queue, budget, compilations })
    }

    /// How many times the compiler has run since the node started.
    pub fn compilations(&self) -> u64 {
        self.compilations.load(Relaxed)
    }

    /// How many are before `number` in the line for a compiler.
    pub fn ahead(&self, number: u64) -> usize {
        self.queue.ahead(number)
    }

    /// The key of an artefact's module on this machine. What can be run in two ways has two.
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

    /// Makes sure that the module of `artefact` is in the cache; compiles it unless it is.
    ///
    /// # Errors
    /// [`CacheError`] when it does not compile or cannot be kept, or there is no such artefact.
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

    /// The same of an artefact that is not kept yet, but a file at `path`, for a deploy. Its module
    /// stays while it is held. `tell` hears how far it is.
    ///
    /// # Errors
    /// [`CacheError`] when it does not compile or cannot be kept.
    pub async fn ensure_from(
        self: &Arc<Self>,
        artefact: &Digest,
        kind: Kind,
        path: &Path,
        tell: &(dyn Fn(Step) + Sync),
    ) -> Result<Held, CacheError> {
        let key = self.key(artefact, kind);
        *self.state().held.entry(key).or_default() += 1;
        let held = Held { cache: Arc::clone(self), key };
        self.name([(key, (*artefact, kind))]);
        self.compile(&key, kind, Source::File(path), Purpose::Deploy, tell).await?;
        self.make_ready(&key);
        Ok(held)
    }

    /// The key of a module that is in the cache.
    ///
    /// # Errors
    /// Why it is not, and whether nobody was given that reason before.
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

    /// Remembers what modules are made of, should they be asked for.
    pub fn name(&self, sources: impl IntoIterator<Item = (Digest, (Digest, Kind))>) {
        self.state().sources.extend(sources);
    }

    /// Remembers which of them aliases mean.
    pub fn set_named(&self, named: HashSet<Digest>) {
        self.state().named = named;
    }

    /// Has the module under `key` ready before a worker asks for it. Should that fail, it is tried
    /// again when one does.
    pub fn make_ready(&self, key: &Digest) {
        if self.sealed(key).is_none()
            && let Err(error) = self.seal(key)
        {
            tracing::warn!("a module is not ready for its first call: {error}");
        }
    }

    /// Has as many of these modules ready as there is room for. Reads them all: not for a thread
    /// that others wait for.
    pub fn make_ready_while_room(&self, keys: &[Digest]) {
        for key in keys {
            let bytes = self.modules.bytes(key).unwrap_or(0);
            if self.lock_sealed().has_room(bytes) {
                self.make_ready(key);
            }
        }
    }

    /// The module under `key`, if it is ready. Never waits for a disk.
    pub fn sealed(&self, key: &Digest) -> Option<Arc<OwnedFd>> {
        self.lock_sealed().get(key)
    }

    /// The module under `key`, sealed, for a worker. Compiles it should it be missing, or its file
    /// be damaged, unless no alias means it: whoever called it may be anybody.
    ///
    /// # Errors
    /// [`CacheError`] when there is no such module and none can be made.
    pub async fn provide(self: Arc<Self>, key: Digest) -> Result<Arc<OwnedFd>, CacheError> {
        if let Some(sealed) = self.sealed(&key) {
            return Ok(sealed);
        }
        if let Err(error) = Arc::clone(&self).seal_elsewhere(key).await {
            match error {
                // It was never compiled here.
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

    /// [`Self::seal`] on a thread that nobody else waits for.
    async fn seal_elsewhere(self: Arc<Self>, key: Digest) -> Result<(), CacheError> {
        tokio::task::spawn_blocking(move || self.seal(&key))
            .await
            .unwrap_or(Err(CacheError::Unknown))
    }

    /// Lets go of what is ready for versions that are not served any more. Should one be wanted
    /// after all, its file is there.
    pub fn keep_ready_only(&self, keys: &HashSet<Digest>) {
        self.lock_sealed().retain(|key| keys.contains(key));
    }

    /// Forgets all modules but these.
    pub fn retain(&self, sources: &Sources) {
        let mut state = self.state();
        let held: HashSet<Digest> = state.held.keys().copied().collect();
        let kept = |key: &Digest| sources.contains_key(key) || held.contains(key);
        self.lock_sealed().retain(|key| kept(key));
        self.queue.retain(kept);
        state.sources.retain(|key, _| kept(key));
        // Under the lock, or a deploy could begin to hold what goes.
        self.modules.retain(kept);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_sealed(&self) -> MutexGuard<'_, Sealed<Arc<OwnedFd>>> {
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A look at name and size; the digest is checked when the module is first used.
    fn has(&self, key: &Digest) -> bool {
        self.modules.bytes(key).is_some()
    }

    /// Compiles a module unless it is there, once those have who came before.
    async fn compile(
        &self,
        key: &Digest,
        kind: Kind,
        source: Source<'_>,
        purpose: Purpose,
        tell: &(dyn Fn(Step) + Sync),
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
        tell(Step::Waiting { number: ticket.number });
        let _turn = self.queue.turn(key).await;
        let _place = self.queue.place(purpose).await;
        // Somebody may have been at it before.
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
            self.run_compiler(key, kind, &path, (purpose, tell)).await
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
        (purpose, tell): (Purpose, &(dyn Fn(Step) + Sync)),
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
        // Until the compiler has ended, what it takes is not there for others.
        let share = self.budget.share(size, purpose).await.map_err(CompileError::from)?;
        let temporary = files::Temporary::new(self.modules.folder()).map_err(failed("written"))?;
        tell(Step::Compiling);
        self.compilations.fetch_add(1, Relaxed);
        child::compile(kind, source, temporary.path(), &share.plan).await?;
        drop(share);
        let (module_digest, module_bytes) =
            files::digest_of(temporary.path()).map_err(failed("read"))?;
        if module_bytes > MODULE_BYTES_MAX {
            return Err(CacheError::TooLarge { bytes: module_bytes });
        }
        self.modules.put(key, module_digest, module_bytes, temporary).map_err(failed("written"))
    }

    /// Reads a module, checks its digest, and keeps a sealed copy.
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
