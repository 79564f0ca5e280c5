//! The functions this worker can run: the catalogue, and the modules it has loaded for it.
//!
//! A module is asked of the engine when a version of it is first called, and loaded once from the sealed memfd that
//! comes back; whoever calls meanwhile waits for that one load. Its function's secrets, if it has any, are asked for beside it.
//! What is ready is a version with the specification to run it by: two aliases with environments of their own share its module,
//! never an instance. A new catalogue drops what no alias names, and functions whose secrets are others by now. The received fds
//! are closed after that; wasmtime keeps one of its own while the module lives.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use abi::catalogue::{
    ArchivedFunction, ArchivedKind, ArchivedOutput, ArchivedSpec, ArchivedVersion, CatalogueView, FunctionLimits, Kind,
    Output,
};
use abi::choice::Choice;
use abi::limits::MODULE_BYTES_MAX;
use abi::message::{Digest, ToEngine};
use abi::outbound::AllowList;
use abi::secrets::Secrets;
use tokio::sync::oneshot;
use tokio::time::Instant;
use wasmtime_wasi_config::WasiConfigVariables;

use crate::admission::Turns;
use crate::link::Outbox;
use crate::outbound::Outbound;
use crate::wasm::cpu_time::TypicalTurn;
use crate::wasm::engine::{Engines, Module};
use crate::wasm::instances::{Budget, Kept};

/// A function ready to be run.
pub(crate) struct Function {
    pub(crate) name: Arc<str>,
    /// Names the secrets that it has; 0 if it has none.
    secrets: u64,
    pub(crate) module: Module,
    /// What an invocation counts as, see [`Module::weight`].
    pub(crate) weight: u32,
    pub(crate) place: Place,
    pub(crate) limits: FunctionLimits,
    pub(crate) timeout: Duration,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) config: Arc<WasiConfigVariables>,
    pub(crate) args: Vec<String>,
    pub(crate) output: Output,
    /// How it sends requests, when it may.
    pub(crate) outbound: Option<Outbound>,
    pub(crate) kept: Kept,
    pub(crate) typical_turn: TypicalTurn,
    /// Those who wait for one of the function's invocations to end, whichever its version.
    pub(crate) turns: Rc<Turns>,
}

/// A function's place among the board's counters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) slot: usize,
    /// Which of those that have had the slot it is.
    pub(crate) life: u32,
}

impl From<&ArchivedFunction> for Place {
    fn from(spec: &ArchivedFunction) -> Self {
        let slot = usize::try_from(spec.slot.to_native()).unwrap_or(usize::MAX);
        Self { slot, life: spec.slot_life.to_native() }
    }
}

/// Why a function cannot be run, for the log.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("the module of function {function:?} cannot be loaded: {reason}; deploy it again")]
    Module { function: String, reason: String },
    #[error("the function {function:?} cannot run without its secrets: {reason}")]
    Secrets { function: String, reason: String },
}

impl LoadError {
    /// What a client is told. What a node's files are and where it keeps its key is nobody's business.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Module { function, .. } => {
                format!("the module of function {function:?} cannot be loaded; the node's log says why")
            }
            Self::Secrets { function, .. } => {
                format!("the secrets of function {function:?} cannot be read; the node's log says why")
            }
        }
    }

    /// Why, without what is to be done.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Module { reason, .. } | Self::Secrets { reason, .. } => reason,
        }
    }
}

type Loaded = Result<Module, String>;
type Told = Result<Rc<Secrets>, String>;

enum Entry {
    Asked(Kind, Vec<oneshot::Sender<Loaded>>),
    Ready(Module),
}

pub(crate) struct Functions {
    engines: Engines,
    outbox: Outbox,
    catalogue: RefCell<Rc<CatalogueView>>,
    /// By position in the catalogue.
    ready: RefCell<HashMap<Choice, Rc<Function>>>,
    modules: RefCell<HashMap<Digest, Entry>>,
    /// Who waits for a function's secrets.
    secrets: RefCell<HashMap<String, Vec<oneshot::Sender<Told>>>>,
    budget: Budget,
}

impl Functions {
    pub(crate) fn new(engines: Engines, outbox: Outbox, catalogue: CatalogueView) -> Self {
        Self {
            engines,
            outbox,
            catalogue: RefCell::new(Rc::new(catalogue)),
            ready: RefCell::default(),
            modules: RefCell::default(),
            secrets: RefCell::default(),
            budget: Budget::default(),
        }
    }

    pub(crate) fn engines(&self) -> &Engines {
        &self.engines
    }

    /// The catalogue that is served by now.
    pub(crate) fn catalogue(&self) -> Rc<CatalogueView> {
        Rc::clone(&self.catalogue.borrow())
    }

    pub(crate) fn generation(&self) -> u64 {
        self.catalogue.borrow().generation()
    }

    pub(crate) fn module_count(&self) -> usize {
        self.modules.borrow().values().filter(|module| matches!(module, Entry::Ready(_))).count()
    }

    /// Serves by `catalogue` from now on. Invocations in flight keep what they began with.
    /// Functions that are as they were keep their instances and their connections.
    pub(crate) fn replace(&self, catalogue: CatalogueView) {
        let before = self.catalogue();
        let ready = self.ready.take().into_iter().filter_map(|(choice, function)| {
            let choice = unchanged(&before, choice, &catalogue)?;
            let same = catalogue.function(choice.function)?.secrets == function.secrets;
            same.then_some((choice, function))
        });
        self.ready.replace(ready.collect());
        let functions = catalogue.get().functions.iter();
        let named: HashSet<Digest> =
            functions.flat_map(|function| targets(function).map(|(_, version, _)| version.module)).collect();
        self.modules.borrow_mut().retain(|key, module| matches!(module, Entry::Asked(..)) || named.contains(key));
        *self.catalogue.borrow_mut() = Rc::new(catalogue);
    }

    /// Unmakes kept instances that have not been used lately.
    pub(crate) fn expire_instances(&self) {
        let now = Instant::now();
        self.ready.borrow().values().for_each(|function| function.kept.expire(now));
    }

    /// What was chosen of `catalogue`, loaded if need be.
    pub(crate) async fn get(&self, catalogue: &Rc<CatalogueView>, choice: Choice) -> Result<Rc<Function>, LoadError> {
        let current = Rc::ptr_eq(catalogue, &self.catalogue.borrow());
        if current && let Some(function) = self.ready.borrow().get(&choice) {
            return Ok(Rc::clone(function));
        }
        let Some((entry, version, spec)) = catalogue.chosen(choice) else {
            let (function, reason) = (format!("#{}", choice.function), "it is not in the catalogue".into());
            return Err(LoadError::Module { function, reason });
        };
        let name = || entry.name.as_str().to_owned();
        // Asked for before the module is waited for: they come together.
        let secrets = (entry.secrets != 0).then(|| self.ask_for_secrets(&entry.name));
        let module = self.module(version.module, kind(spec.kind)).await;
        let module = module.map_err(|reason| LoadError::Module { function: name(), reason })?;
        let secrets = match secrets {
            None => None,
            Some(secrets) => {
                let told = secrets.await.unwrap_or_else(|_| Err("the engine did not send them".into()));
                Some(told.map_err(|reason| LoadError::Secrets { function: name(), reason })?)
            }
        };
        let turns = self.turns_of(&entry.name);
        let function = Rc::new(function((entry, spec), module, secrets.as_deref(), (turns, self.budget.clone())));
        // The catalogue may have been replaced while the module came.
        if Rc::ptr_eq(catalogue, &self.catalogue.borrow()) {
            self.ready.borrow_mut().insert(choice, Rc::clone(&function));
        }
        Ok(function)
    }

    /// The turns of a function: those of any of its versions.
    fn turns_of(&self, name: &str) -> Rc<Turns> {
        let another =
            self.ready.borrow().values().find(|other| *other.name == *name).map(|other| Rc::clone(&other.turns));
        another.unwrap_or_default()
    }

    async fn module(&self, key: Digest, kind: Kind) -> Loaded {
        let waiting = {
            let mut modules = self.modules.borrow_mut();
            let (sender, receiver) = oneshot::channel();
            match modules.get_mut(&key) {
                Some(Entry::Ready(module)) => return Ok(module.clone()),
                Some(Entry::Asked(_, waiters)) => waiters.push(sender),
                None => {
                    modules.insert(key, Entry::Asked(kind, vec![sender]));
                    self.outbox.send(ToEngine::Want { key }, None);
                }
            }
            receiver
        };
        waiting.await.unwrap_or_else(|_| Err("the engine did not send it".into()))
    }

    /// The engine has sent the module it was asked for; whether it could be loaded.
    pub(crate) fn module_arrived(&self, key: Digest, fd: OwnedFd) -> bool {
        let kind = match self.modules.borrow().get(&key) {
            Some(Entry::Asked(kind, _)) => *kind,
            // Nobody waits for it.
            _ => return false,
        };
        let loaded = self.load(kind, &fd);
        let is_loaded = loaded.is_ok();
        self.settle(key, loaded);
        is_loaded
    }

    /// The engine cannot send it.
    pub(crate) fn module_missing(&self, key: Digest, reason: &str) {
        self.settle(key, Err(reason.to_owned()));
    }

    /// Asks the engine for a function's secrets, unless it has been asked already.
    fn ask_for_secrets(&self, function: &str) -> oneshot::Receiver<Told> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.secrets.borrow_mut();
        if let Some(waiting) = waiting.get_mut(function) {
            waiting.push(sender);
        } else {
            waiting.insert(function.to_owned(), vec![sender]);
            self.outbox.send(ToEngine::WantSecrets { function: function.to_owned() }, None);
        }
        receiver
    }

    /// The engine has sent the secrets it was asked for.
    pub(crate) fn secrets_arrived(&self, function: &str, fd: &OwnedFd) {
        self.tell_secrets(function, &Secrets::read(fd).map(Rc::new).map_err(|error| error.to_string()));
    }

    /// The engine cannot send them.
    pub(crate) fn secrets_missing(&self, function: &str, reason: String) {
        self.tell_secrets(function, &Err(reason));
    }

    fn tell_secrets(&self, function: &str, told: &Told) {
        for waiter in self.secrets.borrow_mut().remove(function).into_iter().flatten() {
            let _ = waiter.send(told.clone());
        }
    }

    fn settle(&self, key: Digest, loaded: Loaded) {
        let before = match &loaded {
            Ok(module) => self.modules.borrow_mut().insert(key, Entry::Ready(module.clone())),
            // Forgotten, so that the next call asks again.
            Err(_) => self.modules.borrow_mut().remove(&key),
        };
        if let Some(Entry::Asked(_, waiters)) = before {
            for waiter in waiters {
                let _ = waiter.send(loaded.clone());
            }
        }
    }

    fn load(&self, kind: Kind, fd: &OwnedFd) -> Loaded {
        abi::sealed::check("module", fd, MODULE_BYTES_MAX).map_err(|error| error.to_string())?;
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        // SAFETY: the bytes were compiled by this node's own engine for the kind in its catalogue, which checked their digest,
        // and the seals just checked keep anyone from changing them while they are mapped.
        let loaded = unsafe { self.engines.load(kind, &path) };
        // Where it was mapped from is of no use to anybody.
        let reasons = |error: wasmtime::Error| {
            let reasons = error.chain().map(ToString::to_string).filter(|reason| !reason.contains(&path));
            reasons.collect::<Vec<_>>().join(": ")
        };
        loaded.map_err(reasons)
    }
}

/// What a function's aliases name: the version's position and the version, and the specification's position.
fn targets(function: &ArchivedFunction) -> impl Iterator<Item = (usize, &ArchivedVersion, usize)> {
    function.aliases.iter().flat_map(|alias| alias.targets.iter()).filter_map(|target| {
        let [version, spec] = [target.version, target.spec].map(|at| usize::try_from(at.to_native()));
        let (version, spec) = (version.ok()?, spec.ok()?);
        Some((version, function.versions.get(version)?, spec))
    })
}

/// Where what was chosen `before` is `now`, if an alias names the same version to be run in the same way.
fn unchanged(before: &CatalogueView, choice: Choice, now: &CatalogueView) -> Option<Choice> {
    let (entry, version, spec) = before.chosen(choice)?;
    let function = now.find(&entry.name)?;
    let same = |(_, other, at): &(usize, &ArchivedVersion, usize)| {
        other.id == version.id && now.get().specs.get(*at).is_some_and(|other| other == spec)
    };
    let (version, _, spec) = targets(now.function(function)?).find(same)?;
    Some(Choice { function, version, spec })
}

fn kind(kind: ArchivedKind) -> Kind {
    match kind {
        ArchivedKind::Http02 => Kind::Http02,
        ArchivedKind::Http03 => Kind::Http03,
        ArchivedKind::Command => Kind::Command,
    }
}

fn function(
    (entry, spec): (&ArchivedFunction, &ArchivedSpec),
    module: Module,
    secrets: Option<&Secrets>,
    (turns, budget): (Rc<Turns>, Budget),
) -> Function {
    let limits = FunctionLimits::from(&spec.limits);
    let secret = secrets.map_or(&[][..], |secrets| &secrets.values);
    // A secret wins over what the function was deployed with under the same name.
    let pairs = |pairs: &abi::catalogue::ArchivedPairs| -> Vec<(String, String)> {
        let pairs = pairs.iter().map(|pair| (pair.0.as_str().to_owned(), pair.1.as_str().to_owned()));
        pairs.filter(|(name, _)| !secret.iter().any(|(key, _)| key == name)).chain(secret.iter().cloned()).collect()
    };
    let allow = AllowList::new(spec.allow_outbound.iter().map(|pattern| pattern.as_str()));
    let allow = allow.ok().filter(|_| !spec.allow_outbound.is_empty());
    let outbound = allow.map(|allow| Outbound::new(allow, limits.outbound_requests_max));
    let weight = module.weight();
    Function {
        outbound,
        name: entry.name.as_str().into(),
        secrets: secrets.map_or(0, |secrets| secrets.revision),
        weight,
        module,
        place: entry.into(),
        timeout: Duration::from_millis(u64::from(limits.timeout_ms)),
        limits,
        env: pairs(&spec.env),
        config: Arc::new(pairs(&spec.config).into_iter().collect()),
        args: spec.args.iter().map(|arg| arg.as_str().to_owned()).collect(),
        output: match spec.output {
            ArchivedOutput::Raw => Output::Raw,
            ArchivedOutput::Cgi => Output::Cgi,
        },
        kept: Kept::new(spec.requests_per_instance_max.to_native(), budget, weight),
        typical_turn: TypicalTurn::default(),
        turns,
    }
}
