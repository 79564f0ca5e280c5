//! What is deployed on this node, and how that changes: receive, look, compile, keep, publish.
//!
//! Each step before an alias is written leaves nothing visible behind when it fails. Changes are
//! made one at a time. Owns the repository; a catalogue's fd goes to the supervisor.

mod deploy;
mod deployed;
mod progress;
mod removal;
mod servable;
mod trial;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use abi::catalogue::{CatalogueError, CatalogueView};
use abi::function::Isolation;
use abi::limits::{
    ALIASES_PER_FUNCTION_MAX, FUNCTIONS_MAX, VERSIONS_PER_FUNCTION_MAX, WORKERS_MAX,
};
use abi::message::Digest;
use abi::name::NameError;
use abi::reference::AliasNameError;
use api::options::OptionsError;
use api::secrets::ListedSecret;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

pub use self::progress::{Phase, Progress};
use super::catalogue;
use super::slots::Slots;
use super::sync::StoreState;
use compile::cache::{Cache, CacheError, Sources};
use compile::child::CompileError;
use compile::inspect::InspectError;
use fleet::core::fleet::PublishError;
use fleet::workers::supervise::{Command, TrialError};
use host::files::{self, Temporary};
use secrets::{RuleError, SecretError, Secrets};
use store::alias::AliasError;
use store::contents::{Contents, Function, VersionError};
use store::error::StoreError;
use store::known::Known;
use store::manifest::Manifest;
use store::removed::KEPT_FOR;
use store::repository::Repository;
use store::retention::{Retention, RetentionError};

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Retention(#[from] RetentionError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Version(#[from] VersionError),
    #[error(transparent)]
    Alias(#[from] AliasError),
    #[error(transparent)]
    AliasName(#[from] AliasNameError),
    #[error(transparent)]
    Trial(#[from] TrialError),
    #[error(
        "the version does not answer well at --health-path {path}: {reason}; it is not deployed, and what was active stays so"
    )]
    Unhealthy { path: String, reason: String },
    #[error(
        "the version does not answer its trial request, GET /: {reason}; it is not deployed, and what was active stays so. \
         --no-trial deploys it without, --health-path asks another path"
    )]
    TrialRequest { reason: String, invocation: Option<String> },
    #[error("there is no function {0:?}; `sockhop list` shows those there are")]
    Unknown(String),
    #[error("function {0:?} is removed already; `sockhop restore {0}` brings it back")]
    Removed(String),
    #[error(
        "nothing that was removed is kept under the name {0:?}; `sockhop list --removed` shows what can be restored"
    )]
    NothingRemoved(String),
    #[error(
        "no removal of function {name:?} has the id {id:?}; `sockhop list --removed` shows what can be restored"
    )]
    NoSuchRemoval { name: String, id: String },
    #[error("function {0:?} is not removed; there is nothing to restore")]
    NotRemoved(String),
    #[error(
        "another function {name:?} is deployed ({there}); to have the removed one instead: \
         `sockhop remove {name}`, then `sockhop restore {name} {id}`"
    )]
    InTheWay { name: String, there: String, id: String },
    #[error(
        "version {version:?} of function {name:?} wants a worker of its own, and the function runs in shared ones; have an \
         alias mean it, which moves the whole function"
    )]
    NotHere { name: String, version: String },
    #[error(
        "function {name:?} has no alias {alias:?}; `sockhop alias list {name}` shows those it has"
    )]
    UnknownAlias { name: String, alias: String },
    #[error("function {name:?} has no alias {alias:?} yet; say which version it is to mean")]
    NewAlias { name: String, alias: String },
    #[error(
        "no version of function {0:?} is active; choose one with `sockhop rollback {0} VERSION`"
    )]
    NotActive(String),
    #[error(
        "no other version of function {0:?} was active before; say which: `sockhop rollback {0} VERSION`"
    )]
    NoPrevious(String),
    #[error(
        "what the name {0:?} alone means cannot be removed; have it mean another version, or remove the function"
    )]
    ActiveStays(String),
    #[error(
        "function {0:?} has {VERSIONS_PER_FUNCTION_MAX} versions, and can have no more; have old ones removed sooner with --versions-kept-for, on every node of the store"
    )]
    TooManyVersions(String),
    #[error(
        "function {0:?} has {ALIASES_PER_FUNCTION_MAX} aliases, and can have no more; remove some"
    )]
    TooManyAliases(String),
    #[error("the node has {FUNCTIONS_MAX} functions, and can have no more; remove some")]
    TooMany,
    #[error(
        "the node has no worker left to give {0:?} one of its own (at most {WORKERS_MAX}); deploy it without --isolation process"
    )]
    NoWorkerLeft(String),
    #[error("the received file cannot be read back: {0}")]
    Received(#[source] std::io::Error),
    #[error("no thread can be started to read modules: {0}; raise `ulimit -u`")]
    Thread(#[source] std::io::Error),
    #[error("the node is stopping")]
    Stopping,
    #[error("the node is being taken over by another engine; try again in a moment")]
    TakenOver,
}

impl ChangeError {
    /// Whose fault it is, as an HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Name(_)
            | Self::Options(_)
            | Self::Alias(_)
            | Self::AliasName(_)
            | Self::NewAlias { .. } => 400,
            Self::Unknown(_)
            | Self::Removed(_)
            | Self::NothingRemoved(_)
            | Self::NoSuchRemoval { .. }
            | Self::UnknownAlias { .. }
            | Self::Version(VersionError::Unknown { .. }) => 404,
            Self::Inspect(_)
            | Self::Unhealthy { .. }
            | Self::TrialRequest { .. }
            | Self::Trial(TrialError::Failed(_) | TrialError::Died) => 422,
            Self::Trial(TrialError::NoWorker | TrialError::Slow(_)) => 503,
            Self::Cache(
                CacheError::Failed(_)
                | CacheError::Compile(
                    CompileError::Refused(_)
                    | CompileError::Failed(_)
                    | CompileError::TooSlow
                    | CompileError::TooMuchTime,
                ),
            ) => 422,
            Self::Cache(CacheError::Compile(
                CompileError::Short(_) | CompileError::Killed { .. },
            )) => 503,
            Self::Secret(
                SecretError::Rule(RuleError::TooMany | RuleError::TooMuch { .. })
                | SecretError::Removed { .. }
                | SecretError::InTheWay { .. },
            ) => 409,
            Self::Secret(SecretError::Rule(_)) => 400,
            Self::Secret(SecretError::Unknown { .. }) => 404,
            Self::Store(error) | Self::Secret(SecretError::Store(error)) if error.is_full() => 507,
            Self::Store(error)
            | Self::Cache(CacheError::Artefact(error))
            | Self::Secret(SecretError::Store(error))
                if error.is_away() =>
            {
                503
            }
            Self::TooMany
            | Self::NoWorkerLeft(_)
            | Self::Version(VersionError::Ambiguous { .. })
            | Self::NotHere { .. }
            | Self::NotRemoved(_)
            | Self::InTheWay { .. }
            | Self::NotActive(_)
            | Self::NoPrevious(_)
            | Self::ActiveStays(_)
            | Self::TooManyVersions(_)
            | Self::TooManyAliases(_) => 409,
            Self::Stopping | Self::TakenOver | Self::Publish(_) => 503,
            _ => 500,
        }
    }
}

/// A catalogue in sealed memory, and this process's own view of it.
pub type SealedCatalogue = (Arc<std::os::fd::OwnedFd>, Arc<CatalogueView>);

/// No change of what is deployed is under way, and none begins, until this is dropped.
#[derive(Debug)]
pub struct Closed {
    functions: Arc<Functions>,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.functions.closed.store(false, SeqCst);
        self.turn = None;
    }
}

/// What a deployer wants of a version beyond its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// The bare name means it from then on.
    Activate,
    /// It is there to be called by number or id.
    Keep,
}

/// Whether a version must answer a request before it is deployed, if it has no path for its health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrialRequest {
    Made,
    Skipped,
}

/// What the node is, as far as it matters here.
#[derive(Debug)]
pub struct Surroundings {
    /// Shared workers.
    pub workers: usize,
    /// Which old versions go.
    pub retention: Arc<Retention>,
}

#[derive(Debug)]
pub struct Functions {
    pub(super) repository: Repository,
    /// What is remembered of the store while it is away.
    known: Known,
    /// What was remembered last.
    remembered: Mutex<Option<Contents>>,
    store: StoreState,
    pub(super) cache: Arc<Cache>,
    secrets: Arc<Secrets>,
    /// Their revisions as the last catalogue has them.
    published_secrets: std::sync::Mutex<BTreeMap<String, u64>>,
    supervisor: UnboundedSender<Command>,
    /// What the store has, as it was last read.
    pub(super) contents: Mutex<Contents>,
    /// What of it is served: all but aliases whose versions cannot be, which are as they were
    /// before or not there.
    pub(super) served: Mutex<Contents>,
    /// Held while a change is made, so that none tidies away what another has just made. Nobody
    /// compiles or tries a version with it.
    changing: Arc<Mutex<()>>,
    /// Held by a deploy from its trial on.
    deploying: Mutex<()>,
    /// The version of a deploy under way that is to answer before anything names it: it is in the
    /// catalogue, and in nothing else.
    candidate: std::sync::Mutex<Option<Arc<Manifest>>>,
    /// No change is begun, because another engine takes over.
    closed: AtomicBool,
    /// Each function's place on the board.
    slots: std::sync::Mutex<Slots>,
    generation: AtomicU64,
    workers: usize,
    pub(super) retention: Arc<Retention>,
}

impl Functions {
    /// Reads what is deployed, compiles what is not in the cache, and makes the first catalogue.
    ///
    /// While the store is away, what is known of it counts.
    ///
    /// # Errors
    /// When the store cannot be read, or is away and was never seen. A function that does not
    /// compile any more is told and left out.
    pub async fn load(
        (repository, known, secrets): (Repository, Known, Arc<Secrets>),
        cache: Arc<Cache>,
        supervisor: UnboundedSender<Command>,
        surroundings: Surroundings,
    ) -> Result<(Self, SealedCatalogue), ChangeError> {
        let remembered = known.read();
        match secrets.load().await {
            // There were none: whatever this node remembers of functions, it remembers of their
            // secrets first.
            Err(error) if error.is_away() && remembered.is_some() => {}
            loaded => loaded?,
        }
        let (contents, away) = match (
            repository.read_all(remembered.as_ref().unwrap_or(&Contents::new())).await,
            &remembered,
        ) {
            (Ok(contents), _) => (contents, None),
            (Err(error), Some(remembered)) if error.is_away() => (remembered.clone(), Some(error)),
            (Err(error), _) => return Err(error.into()),
        };
        let store = StoreState::new(repository.name(), away.as_ref());
        servable::compile(&cache, &contents, &Contents::new()).await;
        let (served, modules) = servable::servable(&cache, &contents, &Contents::new());
        let functions = Self {
            repository,
            known,
            remembered: Mutex::new(remembered),
            store,
            cache,
            secrets,
            published_secrets: std::sync::Mutex::default(),
            supervisor,
            contents: Mutex::new(contents),
            served: Mutex::default(),
            changing: Arc::default(),
            deploying: Mutex::default(),
            candidate: std::sync::Mutex::default(),
            closed: AtomicBool::new(false),
            slots: std::sync::Mutex::default(),
            generation: AtomicU64::new(0),
            workers: surroundings.workers,
            retention: surroundings.retention,
        };
        let sealed = functions.seal(&served)?;
        functions.make_ready(modules)?;
        *functions.served.lock().await = served;
        Ok((functions, sealed))
    }

    /// Reads modules while the node goes on to start. The thread ends by itself, or with the
    /// process.
    fn make_ready(&self, modules: Vec<[u8; 32]>) -> Result<(), ChangeError> {
        let cache = Arc::clone(&self.cache);
        let thread = std::thread::Builder::new().name("modules".into());
        thread.spawn(move || cache.make_ready_while_room(&modules)).map_err(ChangeError::Thread)?;
        Ok(())
    }

    /// Lets no change begin any more, and waits for one that is under way.
    pub async fn close(self: &Arc<Self>) -> Closed {
        self.closed.store(true, SeqCst);
        let mut closed = Closed { functions: Arc::clone(self), turn: None };
        closed.turn = Some(Arc::clone(&self.changing).lock_owned().await);
        closed
    }

    /// Waits for those who changed something before.
    pub(super) async fn turn_to_change(
        &self,
    ) -> Result<tokio::sync::MutexGuard<'_, ()>, ChangeError> {
        let open = || if self.closed.load(SeqCst) { Err(ChangeError::TakenOver) } else { Ok(()) };
        open()?;
        let turn = self.changing.lock().await;
        // Those who waited behind the last change are too late.
        open().map(|()| turn)
    }

    /// Makes the store one that can be written to, and clears away what a crash left unfinished.
    /// For a start, before anything else is written.
    pub async fn prepare(&self) -> Result<(), ChangeError> {
        match self.repository.prepare().await {
            // Whoever changes something has it prepared then.
            Err(error) if error.is_away() => {
                tracing::debug!("the store is not prepared yet: {error}")
            }
            prepared => {
                prepared?;
                // Other nodes are to know from the start what this one keeps.
                if let Err(error) = self.retention.look().await {
                    tracing::warn!("other nodes see later what this one keeps: {error}");
                }
            }
        }
        Ok(self.repository.clear_unfinished().await?)
    }

    /// The hint that the store has changed, which is another one after every change.
    pub(super) async fn hint(&self) -> Result<Option<Vec<u8>>, ChangeError> {
        Ok(self.repository.hint().await?)
    }

    /// Whether this node knows of any function in the store.
    pub(super) async fn has_any(&self) -> bool {
        !self.contents.lock().await.is_empty()
    }

    /// Takes over what other nodes have changed in the store, and returns when every worker serves
    /// it. What cannot be served here is told, and is as it was before.
    pub(super) async fn catch_up(&self) -> Result<(), ChangeError> {
        let before = self.contents.lock().await.clone();
        let new = self.repository.read_all(&before).await?;
        servable::compile(&self.cache, &new, &self.served.lock().await.clone()).await;
        let _one_at_a_time = self.turn_to_change().await?;
        let before = self.contents.lock().await.clone();
        let contents = self.repository.read_all(&before).await?;
        self.secrets.refresh().await?;
        let served = self.served.lock().await.clone();
        let (changed, modules) = servable::servable(&self.cache, &contents, &served);
        *self.contents.lock().await = contents;
        if changed == served && self.published_secrets() == self.secrets.revisions() {
            return Ok(());
        }
        modules.iter().for_each(|module| self.cache.make_ready(module));
        self.publish(changed.clone()).await?;
        self.forget_unused(&changed);
        Ok(())
    }

    /// Has what is known of the store on disk, for a start while that is away.
    pub(super) async fn remember(&self) {
        self.secrets.remember().await;
        let contents = self.contents.lock().await.clone();
        let mut remembered = self.remembered.lock().await;
        if remembered.as_ref() == Some(&contents) {
            return;
        }
        let (known, writing) = (self.known.clone(), contents.clone());
        match tokio::task::spawn_blocking(move || known.write(&writing)).await {
            Ok(Ok(())) => *remembered = Some(contents),
            Ok(Err(error)) => {
                tracing::warn!(
                    "should the store be away at the next start, what is new is missing: {error}"
                );
            }
            // The node stops.
            Err(_) => {}
        }
    }

    /// The revisions of secrets that the last catalogue was made with.
    fn published_secrets(&self) -> BTreeMap<String, u64> {
        self.published_secrets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the store is there.
    pub fn store(&self) -> &StoreState {
        &self.store
    }

    /// Clears away what no function has any more. Not while another engine serves from the same
    /// folders.
    pub async fn clear_unused(&self) {
        let _no_change = self.changing.lock().await;
        let before = self.contents.lock().await.clone();
        let cleared = async {
            self.repository.prepare().await?;
            self.repository.clear_removed(KEPT_FOR, Instant::now()).await?;
            self.repository.remove_unused_artefacts(&before, Instant::now()).await
        };
        if let Err(error) = cleared.await {
            tracing::warn!("unused files stay in the store: {error}");
        }
        self.forget_unused(&self.served.lock().await.clone());
    }

    /// A file to receive an artefact in.
    pub fn receive(&self) -> Result<Temporary, ChangeError> {
        if self.closed.load(SeqCst) {
            return Err(ChangeError::TakenOver);
        }
        Ok(self.repository.artefacts().receive()?)
    }

    /// What is served once the function `name` is as it is in `changed`.
    pub(super) async fn served_with(&self, name: &str, changed: &Function) -> Contents {
        let mut served = self.served.lock().await.clone();
        let (function, _) =
            servable::servable_function(&self.cache, changed, served.get(name).map(AsRef::as_ref));
        served.insert(name.to_owned(), function);
        served
    }

    /// What the store has, with what it has of the function `name` read anew: another node may have
    /// changed it.
    pub(super) async fn contents_for(&self, name: &str) -> Result<Contents, ChangeError> {
        self.repository.prepare().await?;
        let mut contents = self.contents.lock().await.clone();
        match self.repository.read_function(name, &contents).await? {
            none if none.is_empty() => drop(contents.remove(name)),
            function => drop(contents.insert(name.to_owned(), function)),
        }
        Ok(contents)
    }

    pub(super) fn check_limits(&self, name: &str, served: &Contents) -> Result<(), ChangeError> {
        let own = served
            .values()
            .filter(|function| catalogue::isolation(function) == Isolation::Process)
            .count();
        if served.len() > FUNCTIONS_MAX {
            Err(ChangeError::TooMany)
        } else if own + self.workers > WORKERS_MAX {
            Err(ChangeError::NoWorkerLeft(name.to_owned()))
        } else {
            Ok(())
        }
    }

    /// Sets a secret, and returns when no request begins without it any more. The function may come
    /// later.
    pub async fn set_secret(&self, name: &str, key: &str, value: &[u8]) -> Result<(), ChangeError> {
        abi::name::check(name)?;
        let _one_at_a_time = self.turn_to_change().await?;
        let is_there = self.contents_for(name).await?.contains_key(name);
        self.secrets.set(name, is_there, key, value).await?;
        if is_there && !self.contents_for(name).await?.contains_key(name) {
            // Another node has removed it meanwhile, perhaps without seeing this.
            self.secrets.remove(name, key).await?;
            return Err(
                SecretError::Removed { function: name.to_owned(), key: key.to_owned() }.into()
            );
        }
        tracing::info!("secret {key} of function {name:?} is set");
        self.publish_secrets(name).await
    }

    /// Removes a secret, and returns when no request begins with it any more.
    pub async fn remove_secret(&self, name: &str, key: &str) -> Result<(), ChangeError> {
        abi::name::check(name)?;
        let _one_at_a_time = self.turn_to_change().await?;
        self.repository.prepare().await?;
        self.secrets.remove(name, key).await?;
        tracing::info!("secret {key} of function {name:?} is removed");
        self.publish_secrets(name).await
    }

    /// The keys of a function's secrets.
    pub fn secrets(&self, name: &str) -> Result<Vec<ListedSecret>, ChangeError> {
        abi::name::check(name)?;
        Ok(self.secrets.list(name))
    }

    async fn publish_secrets(&self, name: &str) -> Result<(), ChangeError> {
        self.repository.note_change().await;
        let served = self.served.lock().await.clone();
        if served.contains_key(name) { self.publish(served).await } else { Ok(()) }
    }

    /// How many functions are served.
    pub async fn count(&self) -> usize {
        self.served.lock().await.len()
    }

    pub fn generation(&self) -> u64 {
        self.generation.load(SeqCst)
    }

    pub fn compilations(&self) -> u64 {
        self.cache.compilations()
    }

    /// How many are before this number in the line for a compiler.
    pub(super) fn compilers_ahead(&self, number: u64) -> usize {
        self.cache.ahead(number)
    }

    /// Makes `changed` what is served, and returns when every worker does.
    pub(super) async fn publish(&self, changed: Contents) -> Result<(), ChangeError> {
        let (catalogue, view) = self.seal(&changed)?;
        let ready = self.keys(&self.with_candidate(&changed), Function::is_named);
        *self.served.lock().await = changed;
        let (done, published) = oneshot::channel();
        let command = Command::Publish { catalogue, view, done };
        self.supervisor.send(command).map_err(|_| ChangeError::Stopping)?;
        published.await.map_err(|_| ChangeError::Stopping)??;
        self.cache.keep_ready_only(&ready.into_keys().collect());
        Ok(())
    }

    /// Makes the next catalogue. Whatever it names can be asked for.
    fn seal(&self, served: &Contents) -> Result<SealedCatalogue, ChangeError> {
        let served = &*self.with_candidate(served);
        self.cache.name(self.keys(served, |_, _| true));
        self.cache.set_named(self.keys(served, Function::is_named).into_keys().collect());
        let generation = self.generation.load(SeqCst) + 1;
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.assign(served.keys().map(String::as_str));
        let secrets = self.secrets.revisions();
        let key = |artefact: &Digest, kind| self.cache.key(artefact, kind);
        let revision = |name: &str| secrets.get(name).copied().unwrap_or(0);
        let fd = catalogue::catalogue(generation, served, &slots, (&key, &revision)).seal()?;
        let view = CatalogueView::new(&fd)?;
        self.generation.store(generation, SeqCst);
        *self.published_secrets.lock().unwrap_or_else(PoisonError::into_inner) = secrets;
        Ok((Arc::new(fd), Arc::new(view)))
    }

    /// What is served, and the version that is about to be asked.
    fn with_candidate<'a>(&self, served: &'a Contents) -> Cow<'a, Contents> {
        let candidate = self.candidate.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(candidate) = candidate else { return Cow::Borrowed(served) };
        let mut served = served.clone();
        Arc::make_mut(served.entry(candidate.name.clone()).or_default()).put_version(candidate);
        Cow::Owned(served)
    }

    /// What no version that is served has any more goes from this node.
    pub(super) fn forget_unused(&self, served: &Contents) {
        self.cache.retain(&self.keys(served, |_, _| true));
        let versions = served.values().flat_map(|function| function.versions());
        let used: HashSet<&str> = versions.map(|version| version.artefact.as_str()).collect();
        self.repository.artefacts().keep_copies_only(|digest| used.contains(digest));
    }

    /// The keys of the modules of those versions that are wanted, and what they are made of.
    fn keys(&self, served: &Contents, wanted: impl Fn(&Function, &str) -> bool) -> Sources {
        let mut keys = Sources::new();
        for function in served.values() {
            for version in function.versions().filter(|version| wanted(function, &version.version))
            {
                if let Some(artefact) = files::unhex(&version.artefact) {
                    keys.insert(self.cache.key(&artefact, version.kind), (artefact, version.kind));
                }
            }
        }
        keys
    }
}
