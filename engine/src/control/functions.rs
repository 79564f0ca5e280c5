//! What is deployed on this node, and how that changes: receive, look, compile, keep, publish.
//!
//! Each step before an alias is written leaves nothing visible behind when it fails. Changes are made one at a time.
//! Owns the repository; a catalogue's fd goes to the supervisor.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, PoisonError};

use abi::catalogue::{self, Catalogue, CatalogueError, CatalogueView};
use abi::limits::{FUNCTIONS_MAX, WORKERS_MAX};
use abi::name::NameError;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use super::slots::Slots;
use super::sync::StoreState;
use crate::compile::cache::{Cache, CacheError};
use crate::compile::child::CompileError;
use crate::compile::inspect::{InspectError, Kind, inspect};
use crate::core::fleet::PublishError;
use crate::secrets::{Listed, RuleError, SecretError, Secrets};
use crate::store::alias::{ACTIVE, Alias};
use crate::store::contents::Contents;
use crate::store::error::StoreError;
use crate::store::files::{self, Temporary};
use crate::store::known::Known;
use crate::store::manifest::{Isolation, Manifest, Output};
use crate::store::options::{Options, OptionsError};
use crate::store::repository::Repository;
use crate::workers::supervise::Command;

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
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
    Secret(#[from] SecretError),
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error("there is no function {0:?}; `sockhop list` shows those there are")]
    Unknown(String),
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
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Name(_) | Self::Options(_) => 400,
            Self::Unknown(_) => 404,
            Self::Inspect(_) => 422,
            Self::Cache(CacheError::Compile(
                CompileError::Refused(_) | CompileError::Failed(_) | CompileError::TooSlow,
            )) => 422,
            Self::Secret(SecretError::Rule(RuleError::TooMany | RuleError::TooMuch { .. })) => 409,
            Self::Secret(SecretError::Rule(_)) => 400,
            Self::Secret(SecretError::Unknown { .. }) => 404,
            Self::Store(error) | Self::Secret(SecretError::Store(error)) if error.is_full() => 507,
            Self::Store(error) | Self::Secret(SecretError::Store(error)) | Self::Cache(CacheError::Artefact(error))
                if error.is_away() =>
            {
                503
            }
            Self::TooMany | Self::NoWorkerLeft(_) => 409,
            Self::Stopping | Self::TakenOver | Self::Publish(_) => 503,
            _ => 500,
        }
    }
}

/// A catalogue in sealed memory, and this process's own view of it.
pub(crate) type SealedCatalogue = (Arc<std::os::fd::OwnedFd>, Arc<CatalogueView>);

/// No change of what is deployed is under way, and none begins, until this is dropped.
pub(crate) struct Closed {
    functions: Arc<Functions>,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.functions.closed.store(false, SeqCst);
        self.turn = None;
    }
}

/// Versions that are served, by their functions' names.
type Deployed = BTreeMap<String, Arc<Manifest>>;

pub(crate) struct Functions {
    repository: Repository,
    /// What is remembered of the store while it is away.
    known: Known,
    /// What was remembered last.
    remembered: Mutex<Option<Contents>>,
    store: StoreState,
    cache: Arc<Cache>,
    secrets: Arc<Secrets>,
    /// Their revisions as the last catalogue has them.
    published_secrets: std::sync::Mutex<BTreeMap<String, u64>>,
    supervisor: UnboundedSender<Command>,
    /// What the store has, as it was last read.
    contents: Mutex<Contents>,
    /// What of it is served: the active version of each function.
    deployed: Mutex<Deployed>,
    /// Held through a whole change, so that none tidies away what another has just made.
    changing: Arc<Mutex<()>>,
    /// No change is begun, because another engine takes over.
    closed: AtomicBool,
    /// Each function's place on the board.
    slots: std::sync::Mutex<Slots>,
    generation: AtomicU64,
    cores: usize,
}

impl Functions {
    /// Reads what is deployed, compiles what is not in the cache, and makes the first catalogue.
    ///
    /// While the store is away, what is known of it counts.
    ///
    /// # Errors
    /// When the store cannot be read, or is away and was never seen. A function that does not compile any more is told and
    /// left out.
    pub(crate) async fn load(
        (repository, known, secrets): (Repository, Known, Arc<Secrets>),
        cache: Arc<Cache>,
        supervisor: UnboundedSender<Command>,
        cores: usize,
    ) -> Result<(Self, SealedCatalogue), ChangeError> {
        let remembered = known.read();
        match secrets.load().await {
            // There were none: whatever this node remembers of functions, it remembers of their secrets first.
            Err(error) if error.is_away() && remembered.is_some() => {}
            loaded => loaded?,
        }
        let (contents, away) =
            match (repository.read_all(remembered.as_ref().unwrap_or(&Contents::new())).await, &remembered) {
                (Ok(contents), _) => (contents, None),
                (Err(error), Some(remembered)) if error.is_away() => (remembered.clone(), Some(error)),
                (Err(error), _) => return Err(error.into()),
            };
        let store = StoreState::new(repository.name(), away.as_ref());
        let (deployed, modules) = served(&cache, &contents, &Deployed::new()).await;
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
            deployed: Mutex::default(),
            changing: Arc::default(),
            closed: AtomicBool::new(false),
            slots: std::sync::Mutex::default(),
            generation: AtomicU64::new(0),
            cores,
        };
        let sealed = functions.seal(&deployed)?;
        functions.make_ready(modules)?;
        *functions.deployed.lock().await = deployed;
        Ok((functions, sealed))
    }

    /// Reads modules while the node goes on to start. The thread ends by itself, or with the process.
    fn make_ready(&self, modules: Vec<[u8; 32]>) -> Result<(), ChangeError> {
        let cache = Arc::clone(&self.cache);
        let thread = std::thread::Builder::new().name("modules".into());
        thread.spawn(move || cache.make_ready_while_room(&modules)).map_err(ChangeError::Thread)?;
        Ok(())
    }

    /// Lets no change begin any more, and waits for one that is under way.
    pub(crate) async fn close(self: &Arc<Self>) -> Closed {
        self.closed.store(true, SeqCst);
        let mut closed = Closed { functions: Arc::clone(self), turn: None };
        closed.turn = Some(Arc::clone(&self.changing).lock_owned().await);
        closed
    }

    /// Waits for those who changed something before.
    async fn turn_to_change(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, ChangeError> {
        let open = || if self.closed.load(SeqCst) { Err(ChangeError::TakenOver) } else { Ok(()) };
        open()?;
        let turn = self.changing.lock().await;
        // Those who waited behind the last change are too late.
        open().map(|()| turn)
    }

    /// Makes the store one that can be written to, and clears away what a crash left unfinished. For a start, before anything
    /// else is written.
    pub(crate) async fn prepare(&self) -> Result<(), ChangeError> {
        match self.repository.prepare().await {
            // Whoever changes something has it prepared then.
            Err(error) if error.is_away() => tracing::debug!("the store is not prepared yet: {error}"),
            prepared => prepared?,
        }
        Ok(self.repository.clear_unfinished().await?)
    }

    /// The hint that the store has changed, which is another one after every change.
    pub(super) async fn hint(&self) -> Result<Option<Vec<u8>>, ChangeError> {
        Ok(self.repository.hint().await?)
    }

    /// Takes over what other nodes have changed in the store, and returns when every worker serves it. What cannot be served
    /// here is told, and is as it was before.
    pub(super) async fn catch_up(&self) -> Result<(), ChangeError> {
        let _one_at_a_time = self.turn_to_change().await?;
        let before = self.contents.lock().await.clone();
        let contents = self.repository.read_all(&before).await?;
        self.secrets.refresh().await?;
        let deployed = self.deployed.lock().await.clone();
        let (changed, modules) = served(&self.cache, &contents, &deployed).await;
        *self.contents.lock().await = contents;
        if changed == deployed && self.published_secrets() == self.secrets.revisions() {
            return Ok(());
        }
        modules.iter().for_each(|module| self.cache.make_ready(module));
        self.publish(changed.clone()).await?;
        self.cache.keep_ready_only(&self.keys(&changed));
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
        match self.known.write(&contents) {
            Ok(()) => *remembered = Some(contents),
            Err(error) => tracing::warn!("should the store be away at the next start, what is new is missing: {error}"),
        }
    }

    /// The revisions of secrets that the last catalogue was made with.
    fn published_secrets(&self) -> BTreeMap<String, u64> {
        self.published_secrets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the store is there.
    pub(crate) fn store(&self) -> &StoreState {
        &self.store
    }

    /// Clears away what no function has any more. Not while another engine serves from the same folders.
    pub(crate) async fn clear_unused(&self) {
        let _no_change = self.changing.lock().await;
        let before = self.contents.lock().await.clone();
        let cleared = async {
            self.repository.prepare().await?;
            self.repository.remove_unused_artefacts(&before).await
        };
        if let Err(error) = cleared.await {
            tracing::warn!("unused files stay in the store: {error}");
        }
        self.forget_unused(&self.deployed.lock().await.clone());
    }

    /// A file to receive an artefact in.
    pub(crate) fn receive(&self) -> Result<Temporary, ChangeError> {
        if self.closed.load(SeqCst) {
            return Err(ChangeError::TakenOver);
        }
        Ok(self.repository.artefacts().receive()?)
    }

    /// Deploys a received and synced file under `name`, and returns when every worker serves it.
    pub(crate) async fn deploy(
        &self,
        name: &str,
        options: Options,
        received: Temporary,
    ) -> Result<Arc<Manifest>, ChangeError> {
        abi::name::check(name)?;
        let kind = {
            let bytes = std::fs::read(received.path()).map_err(ChangeError::Received)?;
            inspect(&bytes, options.kind)?
        };
        options.check(kind)?;
        let (digest, bytes) = files::digest_of(received.path()).map_err(ChangeError::Received)?;
        let version = Manifest::new(name, kind, options, files::hex(&digest), bytes);
        let _one_at_a_time = self.turn_to_change().await?;
        let deployed = self.deployed.lock().await.clone();
        let key = self.cache.ensure_from(&digest, kind, received.path()).await?;
        let kept = async {
            let mut contents = self.contents_for(name).await?;
            let function = contents.entry(name.to_owned()).or_default();
            let version = Arc::new(Manifest { number: function.next_number(), ..version });
            let mut changed = deployed.clone();
            changed.insert(name.to_owned(), Arc::clone(&version));
            self.check_limits(name, &changed)?;
            let alias = Alias::of(name, ACTIVE, &version.version);
            let alias = function.active().map_or(alias.clone(), |active| active.pointed_at(alias.targets));
            self.repository.keep_version(&version, &received, Some(&alias), &contents).await?;
            let function = contents.entry(name.to_owned()).or_default();
            function.put_version(Arc::clone(&version));
            function.put_alias(Arc::new(alias));
            Ok((version, changed, contents))
        };
        let (version, changed, contents) = match kept.await {
            Ok(kept) => kept,
            Err(error) => {
                self.forget_unused(&deployed);
                return Err(error);
            }
        };
        self.repository.artefacts().keep_copy(&version.artefact, received);
        self.cache.make_ready(&key);
        *self.contents.lock().await = contents;
        self.publish(changed.clone()).await?;
        self.cache.keep_ready_only(&self.keys(&changed));
        Ok(version)
    }

    /// What the store has, with what it has of the function `name` read anew: another node may have changed it.
    async fn contents_for(&self, name: &str) -> Result<Contents, ChangeError> {
        self.repository.prepare().await?;
        let mut contents = self.contents.lock().await.clone();
        match self.repository.read_function(name, &contents).await? {
            none if none.is_empty() => drop(contents.remove(name)),
            function => drop(contents.insert(name.to_owned(), function)),
        }
        Ok(contents)
    }

    fn check_limits(&self, name: &str, changed: &Deployed) -> Result<(), ChangeError> {
        let isolated = changed.values().filter(|manifest| manifest.isolation == Isolation::Process).count();
        match () {
            () if changed.len() > FUNCTIONS_MAX => Err(ChangeError::TooMany),
            () if isolated + self.cores > WORKERS_MAX => Err(ChangeError::NoWorkerLeft(name.to_owned())),
            () => Ok(()),
        }
    }

    /// Removes a function, and returns when no worker serves it any more.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), ChangeError> {
        let _one_at_a_time = self.turn_to_change().await?;
        let mut contents = self.contents_for(name).await?;
        let mut changed = self.deployed.lock().await.clone();
        if contents.remove(name).is_none() & changed.remove(name).is_none() {
            return Err(ChangeError::Unknown(name.to_owned()));
        }
        self.repository.remove_function(name).await?;
        *self.contents.lock().await = contents;
        // Should this fail, they are those of a function that is yet to come, and can be removed one by one.
        let removed = self.secrets.remove_all(name).await;
        self.publish(changed.clone()).await?;
        removed?;
        self.forget_unused(&changed);
        Ok(())
    }

    /// Sets a secret, and returns when no request begins without it any more. The function may come later.
    pub(crate) async fn set_secret(&self, name: &str, key: &str, value: &[u8]) -> Result<(), ChangeError> {
        abi::name::check(name)?;
        let _one_at_a_time = self.turn_to_change().await?;
        self.repository.prepare().await?;
        self.secrets.set(name, key, value).await?;
        tracing::info!("secret {key} of function {name:?} is set");
        self.publish_secrets(name).await
    }

    /// Removes a secret, and returns when no request begins with it any more.
    pub(crate) async fn remove_secret(&self, name: &str, key: &str) -> Result<(), ChangeError> {
        abi::name::check(name)?;
        let _one_at_a_time = self.turn_to_change().await?;
        self.repository.prepare().await?;
        self.secrets.remove(name, key).await?;
        tracing::info!("secret {key} of function {name:?} is removed");
        self.publish_secrets(name).await
    }

    /// The keys of a function's secrets.
    pub(crate) fn secrets(&self, name: &str) -> Result<Vec<Listed>, ChangeError> {
        abi::name::check(name)?;
        Ok(self.secrets.list(name))
    }

    async fn publish_secrets(&self, name: &str) -> Result<(), ChangeError> {
        self.repository.note_change().await;
        let deployed = self.deployed.lock().await.clone();
        if deployed.contains_key(name) { self.publish(deployed).await } else { Ok(()) }
    }

    pub(crate) async fn list(&self) -> Vec<Arc<Manifest>> {
        self.deployed.lock().await.values().cloned().collect()
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Arc<Manifest>, ChangeError> {
        self.deployed.lock().await.get(name).cloned().ok_or_else(|| ChangeError::Unknown(name.to_owned()))
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(SeqCst)
    }

    pub(crate) fn compilations(&self) -> u64 {
        self.cache.compilations()
    }

    /// Makes `changed` what is served. The store has it already: this node's memory follows, whatever its workers do.
    async fn publish(&self, changed: Deployed) -> Result<(), ChangeError> {
        let (catalogue, view) = self.seal(&changed)?;
        *self.deployed.lock().await = changed;
        let (done, published) = oneshot::channel();
        let command = Command::Publish { catalogue, view, done };
        self.supervisor.send(command).map_err(|_| ChangeError::Stopping)?;
        Ok(published.await.map_err(|_| ChangeError::Stopping)??)
    }

    /// Makes the next catalogue.
    fn seal(&self, deployed: &Deployed) -> Result<SealedCatalogue, ChangeError> {
        let generation = self.generation.load(SeqCst) + 1;
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.assign(deployed.keys().map(String::as_str));
        let secrets = self.secrets.revisions();
        let function = |manifest: &Arc<Manifest>| self.function(manifest, &slots, &secrets);
        let functions = deployed.values().filter_map(function).collect();
        let fd = Catalogue { generation, functions }.seal()?;
        let view = CatalogueView::new(&fd)?;
        self.generation.store(generation, SeqCst);
        *self.published_secrets.lock().unwrap_or_else(PoisonError::into_inner) = secrets;
        Ok((Arc::new(fd), Arc::new(view)))
    }

    fn function(
        &self,
        manifest: &Manifest,
        slots: &Slots,
        secrets: &BTreeMap<String, u64>,
    ) -> Option<catalogue::Function> {
        let slot = slots.of(&manifest.name)?;
        Some(catalogue::Function {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            module: self.cache.key(&files::unhex(&manifest.artefact)?, manifest.kind),
            isolation: match manifest.isolation {
                Isolation::Shared => catalogue::Isolation::Shared,
                Isolation::Process => catalogue::Isolation::Process,
            },
            kind: match manifest.kind {
                Kind::Http02 => catalogue::Kind::Http02,
                Kind::Http03 => catalogue::Kind::Http03,
                Kind::Command => catalogue::Kind::Command,
            },
            slot: slot.number,
            slot_life: slot.life,
            limits: (&manifest.limits).into(),
            requests_per_instance_max: manifest.instances.requests_max(),
            env: manifest.env.clone().into_iter().collect(),
            config: manifest.config.clone().into_iter().collect(),
            args: manifest.args.clone(),
            output: match manifest.output {
                Output::Raw => catalogue::Output::Raw,
                Output::Cgi => catalogue::Output::Cgi,
            },
            allow_outbound: manifest.allow_outbound.clone(),
            secrets: secrets.get(&manifest.name).copied().unwrap_or(0),
        })
    }

    /// What nothing refers to any more goes from this node.
    fn forget_unused(&self, deployed: &Deployed) {
        self.cache.retain(&self.keys(deployed));
        let used: HashSet<&str> = deployed.values().map(|version| version.artefact.as_str()).collect();
        self.repository.artefacts().keep_copies_only(|digest| used.contains(digest));
    }

    /// The keys of all modules that are served.
    fn keys(&self, deployed: &Deployed) -> HashSet<[u8; 32]> {
        let key = |manifest: &Arc<Manifest>| Some(self.cache.key(&files::unhex(&manifest.artefact)?, manifest.kind));
        deployed.values().filter_map(key).collect()
    }
}

/// What of `contents` can be served, with the modules of what `before` did not have. What cannot is told, and stays as it was.
async fn served(cache: &Cache, contents: &Contents, before: &Deployed) -> (Deployed, Vec<[u8; 32]>) {
    let (mut deployed, mut modules) = (Deployed::new(), Vec::new());
    for (name, function) in contents {
        let Some(target) = function.active().and_then(|active| active.targets.first()) else { continue };
        let old = before.get(name);
        if let Some(same) = old.filter(|old| old.version == target.version) {
            deployed.insert(name.clone(), Arc::clone(same));
            continue;
        }
        match servable(cache, function.version(&target.version), &target.version).await {
            Ok((version, module)) => {
                modules.push(module);
                deployed.insert(name.clone(), version);
            }
            Err(reason) => match old {
                None => tracing::error!("function {name:?} is not served: {reason}"),
                Some(old) => {
                    tracing::error!("function {name:?} is served in its version {} still: {reason}", old.version);
                    deployed.insert(name.clone(), Arc::clone(old));
                }
            },
        }
    }
    (deployed, modules)
}

async fn servable(
    cache: &Cache,
    version: Option<&Arc<Manifest>>,
    id: &str,
) -> Result<(Arc<Manifest>, [u8; 32]), String> {
    let version = version.ok_or_else(|| format!("its version {id} is not in the store"))?;
    let digest = files::unhex(&version.artefact).ok_or_else(|| format!("its version {id} has no artefact"))?;
    let module = cache.ensure(&digest, version.kind).await.map_err(|error| error.to_string())?;
    Ok((Arc::clone(version), module))
}
