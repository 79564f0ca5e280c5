//! What this node serves: the contents that are published, and the catalogue that says so.
//!
//! A change hands the contents that are to be served to [`Publication::publish`], which seals the
//! next catalogue and has the supervisor put it into every worker's queue. Owns the catalogue's fd
//! until the supervisor has it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use abi::catalogue::{Catalogue, CatalogueError, CatalogueView};
use abi::function::{Isolation, Kind};
use abi::limits::{FUNCTIONS_MAX, WORKERS_MAX};
use abi::message::Digest;
use compile::cache::{Cache, Sources};
use compile::queue::Purpose;
use fleet::workers::supervise::Command;
use host::files;
use secrets::Secrets;
use store::artefacts::Artefacts;
use store::contents::{Contents, Function};
use store::domains::{Domains, Routes};
use store::manifest::Manifest;
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

use super::error::ChangeError;
use super::gate::Turn;
use super::slots::Slots;
use super::{catalogue, servable};

/// A catalogue in sealed memory, and this process's own view of it.
pub type SealedCatalogue = (Arc<OwnedFd>, Arc<CatalogueView>);

/// What is served, and how that changes.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) cache: Arc<Cache>,
    artefacts: Arc<Artefacts>,
    secrets: Arc<Secrets>,
    domains: Arc<Domains>,
    supervisor: Sender<Command>,
    /// How many shared workers the node has.
    workers: usize,
    /// Held for a copy or an assignment only, and never together with `slots`.
    served: Mutex<Served>,
    /// Each function's place on the board. Held while a catalogue is sealed, which one change at a
    /// time does; nobody else looks at them.
    slots: Mutex<Slots>,
}

/// What is served at the moment.
#[derive(Debug, Default)]
struct Served {
    /// All of the store's contents but aliases whose versions cannot be served; those are as they
    /// were before, or not there.
    contents: Arc<Contents>,
    /// The version of a deploy under way that is to answer before anything names it. It is in the
    /// catalogue, and in nothing else.
    candidate: Option<Arc<Manifest>>,
    /// The number of the last catalogue.
    generation: u64,
    /// The revisions of secrets that the last catalogue has.
    secrets: BTreeMap<String, u64>,
    /// The routes of domains that it has.
    domains: Arc<Routes>,
}

impl Publication {
    pub(super) fn new(
        cache: Arc<Cache>,
        artefacts: Arc<Artefacts>,
        (secrets, domains): (Arc<Secrets>, Arc<Domains>),
        supervisor: Sender<Command>,
        workers: usize,
    ) -> Self {
        let (served, slots) = (Mutex::default(), Mutex::default());
        Self { cache, artefacts, secrets, domains, supervisor, workers, served, slots }
    }

    /// Makes the first catalogue. It goes to no worker: whoever starts them gives it to them.
    ///
    /// # Errors
    /// [`CatalogueError`] when it cannot be made.
    pub(super) fn begin(&self, served: Contents) -> Result<SealedCatalogue, CatalogueError> {
        let sealed = self.seal(&served)?;
        self.lock().contents = Arc::new(served);
        Ok(sealed)
    }

    /// Returns what is served.
    pub(super) fn served(&self) -> Arc<Contents> {
        Arc::clone(&self.lock().contents)
    }

    /// Returns the function `name` as it is served.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`] when it is not.
    pub(super) fn function(&self, name: &str) -> Result<Arc<Function>, ChangeError> {
        let function = self.lock().contents.get(name).cloned();
        function.ok_or_else(|| ChangeError::Unknown(name.to_owned()))
    }

    /// Returns the number of the last catalogue.
    pub(super) fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Returns how many shared workers a change is published to.
    pub(super) fn workers(&self) -> usize {
        self.workers
    }

    /// Returns whether `contents` are what is served, with secrets and domains as they are.
    pub(super) fn is_served(&self, contents: &Contents) -> bool {
        let (secrets, domains) = (self.secrets.revisions(), self.domains.routes());
        let served = self.lock();
        *served.contents == *contents && served.secrets == secrets && served.domains == domains
    }

    /// Returns what is served once the function `name` is as it is in `changed`.
    pub(super) fn with(&self, name: &str, changed: &Function) -> Contents {
        let mut served = self.served().as_ref().clone();
        let before = served.get(name).map(AsRef::as_ref);
        let (function, _) = servable::servable_function(&self.cache, changed, before);
        served.insert(name.to_owned(), function);
        served
    }

    /// Checks that a node can serve this, for a change of the function `name`.
    ///
    /// # Errors
    /// [`ChangeError::TooMany`] and [`ChangeError::NoWorkerLeft`].
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

    /// Compiles a version, before all others, unless it is compiled.
    ///
    /// # Errors
    /// When it does not compile, or the store does not have it.
    pub(super) async fn compile(&self, version: &Manifest) -> Result<(), ChangeError> {
        if let Some(digest) = files::unhex(&version.artefact) {
            let module = self.cache.ensure(&digest, version.kind, Purpose::Rollback).await?;
            self.cache.make_ready(module).await;
        }
        Ok(())
    }

    /// Seals modules before workers ask for them.
    pub(super) async fn make_ready(&self, modules: Vec<Digest>) {
        for module in modules {
            self.cache.make_ready(module).await;
        }
    }

    /// Serves `changed`, and returns when every worker does.
    ///
    /// # Errors
    /// When the catalogue cannot be made, or not every worker takes it over.
    pub(super) async fn publish(&self, _: &Turn, changed: Contents) -> Result<(), ChangeError> {
        // Room for the command first: whatever counts as served is sent to the workers, even if the
        // caller leaves while there is none.
        let room = self.supervisor.reserve().await.map_err(|_| ChangeError::Stopping)?;
        let (catalogue, view) = self.seal(&changed)?;
        let ready = self.sources(&self.with_candidate(&changed), Function::is_named);
        // From here on `list` answers what the workers are about to serve.
        self.lock().contents = Arc::new(changed);
        let (done, published) = oneshot::channel();
        room.send(Command::Publish { catalogue, view, done });
        published.await.map_err(|_| ChangeError::Stopping)??;
        self.cache.keep_ready_only(&ready.into_keys().collect());
        Ok(())
    }

    /// Publishes what is served once more, with secrets, domains and the candidate as they are now.
    ///
    /// # Errors
    /// The same.
    pub(super) async fn publish_again(&self, turn: &Turn) -> Result<(), ChangeError> {
        self.publish(turn, self.served().as_ref().clone()).await
    }

    /// Returns whether there is a candidate.
    pub(super) fn has_candidate(&self) -> bool {
        self.lock().candidate.is_some()
    }

    /// Sets the version that the next catalogue has beside all that is served, by its id alone.
    pub(super) fn set_candidate(&self, candidate: Option<Arc<Manifest>>) {
        self.lock().candidate = candidate;
    }

    /// Makes the next catalogue. Whatever it names can be asked for from then on. There is one
    /// caller at a time: [`begin`](Self::begin), or who has the turn.
    fn seal(&self, served: &Contents) -> Result<SealedCatalogue, CatalogueError> {
        let served = &*self.with_candidate(served);
        // Before any worker has the catalogue, or it could ask for a module that nobody knows.
        self.cache.name(self.sources(served, |_, _| true));
        self.cache.set_named(self.sources(served, Function::is_named).into_keys().collect());
        let generation = self.generation() + 1;
        let (secrets, domains) = (self.secrets.revisions(), self.domains.routes());
        let fd = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.assign(served.keys().map(String::as_str));
            let key = |artefact: &Digest, kind| self.cache.key(artefact, kind);
            let revision = |name: &str| secrets.get(name).copied().unwrap_or(0);
            let of_functions = catalogue::catalogue(generation, served, &slots, (&key, &revision));
            Catalogue { hosts: catalogue::hosts(&domains), ..of_functions }.seal()?
        };
        let view = CatalogueView::new(&fd)?;
        let mut state = self.lock();
        (state.generation, state.secrets, state.domains) = (generation, secrets, domains);
        Ok((Arc::new(fd), Arc::new(view)))
    }

    /// Returns what is served with the candidate, which has no alias.
    fn with_candidate<'a>(&self, served: &'a Contents) -> Cow<'a, Contents> {
        let Some(candidate) = self.lock().candidate.clone() else { return Cow::Borrowed(served) };
        let mut served = served.clone();
        Arc::make_mut(served.entry(candidate.name.clone()).or_default()).put_version(candidate);
        Cow::Owned(served)
    }

    /// Removes from this node's disk what no version of `served` has any more. The caller has the
    /// turn, and is not cancelled: what a later change brings must not be taken for unused.
    pub(super) async fn forget_unused(&self, _: &Turn, served: &Contents) {
        let sources = self.sources(served, |_, _| true);
        let versions = served.values().flat_map(|function| function.versions());
        let used: HashSet<String> = versions.map(|version| version.artefact.clone()).collect();
        let (cache, artefacts) = (Arc::clone(&self.cache), Arc::clone(&self.artefacts));
        let removing = move || {
            cache.retain(&sources);
            artefacts.keep_copies_only(|digest| used.contains(digest));
        };
        // It fails only when the node stops. The next one clears away what is left.
        let _ = tokio::task::spawn_blocking(removing).await;
    }

    /// Returns the keys of the modules of those versions that are `chosen`, and what each is made
    /// of.
    fn sources(&self, served: &Contents, chosen: impl Fn(&Function, &str) -> bool) -> Sources {
        let mut sources = Sources::new();
        for function in served.values() {
            for version in function.versions().filter(|version| chosen(function, &version.version))
            {
                if let Some(artefact) = files::unhex(&version.artefact) {
                    let key = self.cache.key(&artefact, version.kind);
                    sources.insert(key, (artefact, version.kind));
                    if version.has_assets {
                        let key = self.cache.key(&artefact, Kind::Static);
                        sources.insert(key, (artefact, Kind::Static));
                    }
                }
            }
        }
        sources
    }

    fn lock(&self) -> MutexGuard<'_, Served> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
