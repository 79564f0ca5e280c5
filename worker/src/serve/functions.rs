//! The functions that this worker can run: the catalogue, and the modules that it has loaded for
//! it.
//!
//! A module is requested from the engine at the first call of a version, and loaded once from the
//! sealed memfd that arrives; all calls meanwhile wait for that one load. The function's secrets,
//! if it has any, are requested at the same time. A loaded function is a version with the
//! specification to run it by: two aliases with different environments share its module, but never
//! an instance. A new catalogue drops the versions that no alias names, and the functions whose
//! secrets have changed. The received fds are closed after loading; wasmtime keeps one of its own
//! while the module lives.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use abi::catalogue::{ArchivedFunction, ArchivedSpec, ArchivedVersion, CatalogueView};
use abi::choice::Choice;
use abi::function::{
    ArchivedNetworkMode, ArchivedOutput, FunctionLimits, Kind, NetworkMode, Output, WebSocketMode,
};
use abi::message::{Digest, ToEngine};
use abi::outbound::AllowList;
use abi::secrets::Secrets;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::queue::Queue;
use crate::link::Outbox;
use crate::run::thread::TypicalTurn;
use crate::run::{Code, Runner, Runtime, Spec, native};

/// A function ready to be run.
pub(super) struct Function {
    pub(super) spec: Rc<Spec>,
    pub(super) runner: Rc<dyn Runner>,
    /// The weight of an invocation, see [`Runner::weight`].
    pub(super) weight: u32,
    /// The revision of its secrets; 0 if it has none.
    secrets: u64,
    pub(super) typical_turn: TypicalTurn,
    /// The queue of the function, whichever version is called.
    pub(super) queue: Rc<Queue>,
}

/// Why a function cannot be run, for the log.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum LoadError {
    #[error("the module of function {function:?} cannot be loaded: {reason}; deploy it again")]
    Module { function: String, reason: String },
    #[error("the function {function:?} cannot run without its secrets: {reason}")]
    Secrets { function: String, reason: String },
}

impl LoadError {
    /// Returns the text for a client. The node's files and the place of its key are none of a
    /// client's business.
    pub(super) fn for_client(&self) -> String {
        match self {
            Self::Module { function, .. } => {
                format!(
                    "the module of function {function:?} cannot be loaded; the node's log says why"
                )
            }
            Self::Secrets { function, .. } => {
                format!(
                    "the secrets of function {function:?} cannot be read; the node's log says why"
                )
            }
        }
    }

    /// Returns the reason, without the advice.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Module { reason, .. } | Self::Secrets { reason, .. } => reason,
        }
    }
}

type LoadedCode = Result<Rc<dyn Code>, String>;
type LoadedSecrets = Result<Rc<Secrets>, String>;

enum Entry {
    Requested(Kind, Vec<oneshot::Sender<LoadedCode>>),
    Ready(Rc<dyn Code>),
}

pub(crate) struct Functions {
    runtime: Box<dyn Runtime>,
    outbox: Outbox<ToEngine>,
    catalogue: RefCell<Rc<CatalogueView>>,
    /// By position in the catalogue. A tree, because each request looks here, and three numbers are
    /// sooner compared than hashed.
    ready: RefCell<BTreeMap<Choice, Rc<Function>>>,
    modules: RefCell<HashMap<Digest, Entry>>,
    /// The calls that wait for a function's secrets.
    secrets: RefCell<HashMap<String, Vec<oneshot::Sender<LoadedSecrets>>>>,
}

impl Functions {
    pub(crate) fn new(
        runtime: Box<dyn Runtime>,
        outbox: Outbox<ToEngine>,
        catalogue: CatalogueView,
    ) -> Self {
        Self {
            runtime,
            outbox,
            catalogue: RefCell::new(Rc::new(catalogue)),
            ready: RefCell::default(),
            modules: RefCell::default(),
            secrets: RefCell::default(),
        }
    }

    /// Returns the runtime that runs the functions.
    pub(crate) fn runtime(&self) -> &dyn Runtime {
        &*self.runtime
    }

    /// Returns the current catalogue.
    pub(super) fn catalogue(&self) -> Rc<CatalogueView> {
        Rc::clone(&self.catalogue.borrow())
    }

    pub(crate) fn generation(&self) -> u64 {
        self.catalogue.borrow().generation()
    }

    pub(crate) fn module_count(&self) -> usize {
        self.modules.borrow().values().filter(|module| matches!(module, Entry::Ready(_))).count()
    }

    /// Replaces the catalogue. Invocations in flight keep what they began with. Functions that have
    /// not changed keep their instances and their connections.
    pub(crate) fn replace(&self, catalogue: CatalogueView) {
        let before = self.catalogue();
        let kept = |choice: Choice, function: &Function| {
            let choice = unchanged(&before, choice, &catalogue)?;
            let same = catalogue.function(choice.function)?.secrets == function.secrets;
            same.then_some(choice)
        };
        let ready = self.ready.take().into_iter().filter_map(|(choice, function)| {
            match kept(choice, &function) {
                Some(choice) => Some((choice, function)),
                None => {
                    function.runner.retire();
                    None
                }
            }
        });
        self.ready.replace(ready.collect());
        let functions = catalogue.get().functions.iter();
        let named: HashSet<Digest> = functions
            .flat_map(targets)
            .flat_map(|(_, version, _)| [Some(version.module), assets(version)])
            .flatten()
            .collect();
        self.modules
            .borrow_mut()
            .retain(|key, module| matches!(module, Entry::Requested(..)) || named.contains(key));
        *self.catalogue.borrow_mut() = Rc::new(catalogue);
    }

    /// Returns the choices of native functions that keep processes although nothing calls them.
    pub(crate) fn kept(&self, only_function: &str) -> Vec<(Rc<CatalogueView>, Choice)> {
        let catalogue = self.catalogue();
        let Some(at) = catalogue.find(only_function) else { return Vec::new() };
        let targets = catalogue.function(at).into_iter().flat_map(targets);
        let kept = targets.filter(|(_, _, spec)| {
            catalogue.get().specs.get(*spec).is_some_and(|spec| {
                Kind::from(&spec.kind).is_native() && spec.limits.processes_min.to_native() > 0
            })
        });
        let choices = kept.map(|(version, _, spec)| Choice { function: at, version, spec });
        choices.map(|choice| (Rc::clone(&catalogue), choice)).collect()
    }

    /// Ends the instances that functions keep and have not used lately.
    pub(crate) fn expire(&self) {
        let now = Instant::now();
        self.ready.borrow().values().for_each(|function| function.runner.expire(now));
    }

    /// Returns the function that was chosen of `catalogue`, and loads it if needed.
    pub(super) async fn get(
        &self,
        catalogue: &Rc<CatalogueView>,
        choice: Choice,
    ) -> Result<Rc<Function>, LoadError> {
        // A request may have been routed by an older catalogue, where positions mean other
        // functions.
        let current = Rc::ptr_eq(catalogue, &self.catalogue.borrow());
        if current && let Some(function) = self.ready.borrow().get(&choice) {
            return Ok(Rc::clone(function));
        }
        let Some((entry, version, spec)) = catalogue.chosen(choice) else {
            let (function, reason) =
                (format!("#{}", choice.function), "it is not in the catalogue".into());
            return Err(LoadError::Module { function, reason });
        };
        let name = || entry.name.as_str().to_owned();
        // The secrets are requested before the module is awaited, so that both arrive together.
        let secrets = (entry.secrets != 0).then(|| self.request_secrets(&entry.name));
        let unloaded = |reason| LoadError::Module { function: name(), reason };
        let code = self.code(version.module, Kind::from(&spec.kind)).await.map_err(unloaded)?;
        let assets = match assets(version) {
            Some(assets) => Some(self.code(assets, Kind::Static).await.map_err(unloaded)?),
            None => None,
        };
        let secrets = match secrets {
            None => None,
            Some(secrets) => {
                let secrets =
                    secrets.await.unwrap_or_else(|_| Err("the engine did not send them".into()));
                Some(secrets.map_err(|reason| LoadError::Secrets { function: name(), reason })?)
            }
        };
        // Others may have waited for the same, and one of them is the first to go on: a function's
        // instances and processes are counted in one place.
        let current = Rc::ptr_eq(catalogue, &self.catalogue.borrow());
        if current && let Some(function) = self.ready.borrow().get(&choice) {
            return Ok(Rc::clone(function));
        }
        let spec = Rc::new(specification(entry, version, spec, secrets.as_deref()));
        let runner = code.runner(Rc::clone(&spec));
        let runner = match assets {
            Some(assets) => assets.before(runner),
            None => runner,
        };
        let function = Rc::new(Function {
            spec,
            weight: runner.weight(),
            runner,
            secrets: secrets.map_or(0, |secrets| secrets.revision),
            typical_turn: TypicalTurn::default(),
            queue: self.queue_of(&entry.name),
        });
        // The catalogue may have been replaced while the module was loaded; positions in the old
        // one mean nothing in the new one.
        if Rc::ptr_eq(catalogue, &self.catalogue.borrow()) {
            self.ready.borrow_mut().insert(choice, Rc::clone(&function));
        }
        Ok(function)
    }

    /// Returns the queue of a function. All its versions share it.
    fn queue_of(&self, name: &str) -> Rc<Queue> {
        let another = self
            .ready
            .borrow()
            .values()
            .find(|other| *other.spec.name == *name)
            .map(|other| Rc::clone(&other.queue));
        another.unwrap_or_default()
    }

    async fn code(&self, key: Digest, kind: Kind) -> LoadedCode {
        let waiting = {
            let mut modules = self.modules.borrow_mut();
            let (sender, receiver) = oneshot::channel();
            match modules.get_mut(&key) {
                Some(Entry::Ready(code)) => return Ok(Rc::clone(code)),
                Some(Entry::Requested(_, waiters)) => waiters.push(sender),
                None => {
                    modules.insert(key, Entry::Requested(kind, vec![sender]));
                    self.outbox.send(ToEngine::RequestModule { key }, None);
                }
            }
            receiver
        };
        waiting.await.unwrap_or_else(|_| Err("the engine did not send it".into()))
    }

    /// Loads the module that the engine has sent. Returns whether it could be loaded.
    pub(crate) fn module_arrived(&self, key: Digest, fd: OwnedFd) -> bool {
        let kind = match self.modules.borrow().get(&key) {
            Some(Entry::Requested(kind, _)) => *kind,
            // Nobody waits for it.
            _ => return false,
        };
        let loaded = self.runtime.load(kind, &fd);
        let is_loaded = loaded.is_ok();
        self.complete_module(key, loaded);
        is_loaded
    }

    /// Fails the calls that wait for a module, which the engine cannot send.
    pub(crate) fn module_missing(&self, key: Digest, reason: &str) {
        self.complete_module(key, Err(reason.to_owned()));
    }

    /// Requests a function's secrets from the engine, unless they are requested already.
    fn request_secrets(&self, function: &str) -> oneshot::Receiver<LoadedSecrets> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.secrets.borrow_mut();
        if let Some(waiting) = waiting.get_mut(function) {
            waiting.push(sender);
        } else {
            waiting.insert(function.to_owned(), vec![sender]);
            self.outbox.send(ToEngine::RequestSecrets { function: function.to_owned() }, None);
        }
        receiver
    }

    /// Takes the secrets that the engine has sent.
    pub(crate) fn secrets_arrived(&self, function: &str, fd: &OwnedFd) {
        self.complete_secrets(
            function,
            &Secrets::read(fd).map(Rc::new).map_err(|error| error.to_string()),
        );
    }

    /// Fails the calls that wait for secrets, which the engine cannot send.
    pub(crate) fn secrets_missing(&self, function: &str, reason: String) {
        self.complete_secrets(function, &Err(reason));
    }

    fn complete_secrets(&self, function: &str, loaded: &LoadedSecrets) {
        for waiter in self.secrets.borrow_mut().remove(function).into_iter().flatten() {
            let _ = waiter.send(loaded.clone());
        }
    }

    fn complete_module(&self, key: Digest, loaded: LoadedCode) {
        let before = match &loaded {
            Ok(code) => self.modules.borrow_mut().insert(key, Entry::Ready(Rc::clone(code))),
            // The entry is removed, so that the next call requests the module again.
            Err(_) => self.modules.borrow_mut().remove(&key),
        };
        if let Some(Entry::Requested(_, waiters)) = before {
            for waiter in waiters {
                let _ = waiter.send(loaded.clone());
            }
        }
    }
}

/// Returns the targets of a function's aliases: the version's position and the version, and the
/// specification's position.
fn targets(function: &ArchivedFunction) -> impl Iterator<Item = (usize, &ArchivedVersion, usize)> {
    function.aliases.iter().flat_map(|alias| alias.targets.iter()).filter_map(|target| {
        let [version, spec] =
            [target.version, target.spec].map(|at| usize::try_from(at.to_native()));
        let (version, spec) = (version.ok()?, spec.ok()?);
        Some((version, function.versions.get(version)?, spec))
    })
}

/// Returns the key of the site of a version's assets.
fn assets(version: &ArchivedVersion) -> Option<Digest> {
    version.assets.as_ref().map(|assets| **assets)
}

/// Returns the position in `now` of what was chosen in `before`. Returns `None` unless an alias
/// still names the same version, to be run in the same way.
fn unchanged(before: &CatalogueView, choice: Choice, now: &CatalogueView) -> Option<Choice> {
    let (entry, version, spec) = before.chosen(choice)?;
    let function = now.find(&entry.name)?;
    let same = |(_, other, at): &(usize, &ArchivedVersion, usize)| {
        other.id == version.id && now.get().specs.get(*at).is_some_and(|other| other == spec)
    };
    let (version, _, spec) = targets(now.function(function)?).find(same)?;
    Some(Choice { function, version, spec })
}

/// Returns the specification for a runner. Secrets replace the variables that were deployed under
/// the same names.
fn specification(
    entry: &ArchivedFunction,
    version: &ArchivedVersion,
    spec: &ArchivedSpec,
    secrets: Option<&Secrets>,
) -> Spec {
    let mut limits = FunctionLimits::from(&spec.limits);
    if Kind::from(&spec.kind).is_native() {
        limits.concurrency_max =
            limits.concurrency_max.min(native::concurrency_max(Kind::from(&spec.kind), &limits));
    }
    let secret = secrets.map_or(&[][..], |secrets| &secrets.values);
    let pairs = |pairs: &abi::catalogue::ArchivedPairs| -> Vec<(String, String)> {
        let pairs =
            pairs.iter().map(|pair| (pair.0.as_str().to_owned(), pair.1.as_str().to_owned()));
        pairs
            .filter(|(name, _)| !secret.iter().any(|(key, _)| key == name))
            .chain(secret.iter().cloned())
            .collect()
    };
    let allow = AllowList::new(spec.allow_outbound.iter().map(|pattern| pattern.as_str()));
    Spec {
        name: entry.name.as_str().into(),
        slot: entry.into(),
        timeout: Duration::from_millis(u64::from(limits.timeout_ms)),
        limits,
        env: pairs(&spec.env),
        config: pairs(&spec.config),
        args: spec.args.iter().map(|arg| arg.as_str().to_owned()).collect(),
        output: match spec.output {
            ArchivedOutput::Raw => Output::Raw,
            ArchivedOutput::Cgi => Output::Cgi,
            ArchivedOutput::Always => Output::Always,
        },
        allow_outbound: allow.ok().filter(|_| !spec.allow_outbound.is_empty()),
        kv: spec
            .kv
            .iter()
            .map(|grant| (grant.0.as_str().to_owned(), grant.1.as_str().to_owned()))
            .collect(),
        requests_per_instance_max: spec.requests_per_instance_max.to_native(),
        version: version.number.to_native(),
        handler: Some(spec.handler.as_str().to_owned()).filter(|handler| !handler.is_empty()),
        report_lines: spec.report_lines,
        websocket: WebSocketMode::from(&spec.websocket),
        network: match spec.network {
            ArchivedNetworkMode::Isolated => NetworkMode::Isolated,
            ArchivedNetworkMode::Host => NetworkMode::Host,
        },
    }
}
