//! The functions this worker can run: the catalogue, and the modules it has loaded for it.
//!
//! A module is asked of the engine when a version of it is first called, and loaded once from the
//! sealed memfd that comes back; whoever calls meanwhile waits for that one load. Its function's
//! secrets, if it has any, are asked for beside it. What is ready is a version with the
//! specification to run it by: two aliases with environments of their own share its module, never
//! an instance. A new catalogue drops what no alias names, and functions whose secrets are others
//! by now. The received fds are closed after that; wasmtime keeps one of its own while the module
//! lives.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use abi::catalogue::{ArchivedFunction, ArchivedSpec, ArchivedVersion, CatalogueView};
use abi::choice::Choice;
use abi::function::{ArchivedKind, ArchivedOutput, FunctionLimits, Kind, Output};
use abi::message::{Digest, ToEngine};
use abi::outbound::AllowList;
use abi::secrets::Secrets;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::turns::Turns;
use crate::link::Outbox;
use crate::run::thread::TypicalTurn;
use crate::run::{Code, Runner, Runtime, Spec};

/// A function ready to be run.
pub(super) struct Function {
    pub(super) spec: Rc<Spec>,
    pub(super) runner: Rc<dyn Runner>,
    /// What an invocation counts as, see [`Runner::weight`].
    pub(super) weight: u32,
    /// Names the secrets that it has; 0 if it has none.
    secrets: u64,
    pub(super) typical_turn: TypicalTurn,
    /// Those who wait for one of the function's invocations to end, whichever its version.
    pub(super) turns: Rc<Turns>,
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
    /// What a client is told. What a node's files are and where it keeps its key is nobody's
    /// business.
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

    /// Why, without what is to be done.
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
    outbox: Outbox,
    catalogue: RefCell<Rc<CatalogueView>>,
    /// By position in the catalogue.
    ready: RefCell<HashMap<Choice, Rc<Function>>>,
    modules: RefCell<HashMap<Digest, Entry>>,
    /// Who waits for a function's secrets.
    secrets: RefCell<HashMap<String, Vec<oneshot::Sender<LoadedSecrets>>>>,
}

impl Functions {
    pub(crate) fn new(runtime: Box<dyn Runtime>, outbox: Outbox, catalogue: CatalogueView) -> Self {
        Self {
            runtime,
            outbox,
            catalogue: RefCell::new(Rc::new(catalogue)),
            ready: RefCell::default(),
            modules: RefCell::default(),
            secrets: RefCell::default(),
        }
    }

    /// What runs them.
    pub(super) fn runtime(&self) -> &dyn Runtime {
        &*self.runtime
    }

    /// The catalogue that is served by now.
    pub(super) fn catalogue(&self) -> Rc<CatalogueView> {
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
        let named: HashSet<Digest> = functions
            .flat_map(|function| targets(function).map(|(_, version, _)| version.module))
            .collect();
        self.modules
            .borrow_mut()
            .retain(|key, module| matches!(module, Entry::Requested(..)) || named.contains(key));
        *self.catalogue.borrow_mut() = Rc::new(catalogue);
    }

    /// Ends what functions keep ready and have not used lately.
    pub(crate) fn expire(&self) {
        let now = Instant::now();
        self.ready.borrow().values().for_each(|function| function.runner.expire(now));
    }

    /// What was chosen of `catalogue`, loaded if need be.
    pub(super) async fn get(
        &self,
        catalogue: &Rc<CatalogueView>,
        choice: Choice,
    ) -> Result<Rc<Function>, LoadError> {
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
        // Requested before the module is waited for: they come together.
        let secrets = (entry.secrets != 0).then(|| self.request_secrets(&entry.name));
        let code = self.code(version.module, kind(spec.kind)).await;
        let code = code.map_err(|reason| LoadError::Module { function: name(), reason })?;
        let secrets = match secrets {
            None => None,
            Some(secrets) => {
                let secrets =
                    secrets.await.unwrap_or_else(|_| Err("the engine did not send them".into()));
                Some(secrets.map_err(|reason| LoadError::Secrets { function: name(), reason })?)
            }
        };
        let spec = Rc::new(specification(entry, spec, secrets.as_deref()));
        let runner = code.runner(Rc::clone(&spec));
        let function = Rc::new(Function {
            spec,
            weight: runner.weight(),
            runner,
            secrets: secrets.map_or(0, |secrets| secrets.revision),
            typical_turn: TypicalTurn::default(),
            turns: self.turns_of(&entry.name),
        });
        // The catalogue may have been replaced while the module came.
        if Rc::ptr_eq(catalogue, &self.catalogue.borrow()) {
            self.ready.borrow_mut().insert(choice, Rc::clone(&function));
        }
        Ok(function)
    }

    /// The turns of a function: those of any of its versions.
    fn turns_of(&self, name: &str) -> Rc<Turns> {
        let another = self
            .ready
            .borrow()
            .values()
            .find(|other| *other.spec.name == *name)
            .map(|other| Rc::clone(&other.turns));
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

    /// The engine has sent the module it was asked for; whether it could be loaded.
    pub(crate) fn module_arrived(&self, key: Digest, fd: OwnedFd) -> bool {
        let kind = match self.modules.borrow().get(&key) {
            Some(Entry::Requested(kind, _)) => *kind,
            // Nobody waits for it.
            _ => return false,
        };
        let loaded = self.runtime.load(kind, &fd);
        let is_loaded = loaded.is_ok();
        self.settle(key, loaded);
        is_loaded
    }

    /// The engine cannot send it.
    pub(crate) fn module_missing(&self, key: Digest, reason: &str) {
        self.settle(key, Err(reason.to_owned()));
    }

    /// Requests a function's secrets of the engine, unless they are requested already.
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

    /// The engine has sent the secrets it was asked for.
    pub(crate) fn secrets_arrived(&self, function: &str, fd: &OwnedFd) {
        self.settle_secrets(
            function,
            &Secrets::read(fd).map(Rc::new).map_err(|error| error.to_string()),
        );
    }

    /// The engine cannot send them.
    pub(crate) fn secrets_missing(&self, function: &str, reason: String) {
        self.settle_secrets(function, &Err(reason));
    }

    fn settle_secrets(&self, function: &str, loaded: &LoadedSecrets) {
        for waiter in self.secrets.borrow_mut().remove(function).into_iter().flatten() {
            let _ = waiter.send(loaded.clone());
        }
    }

    fn settle(&self, key: Digest, loaded: LoadedCode) {
        let before = match &loaded {
            Ok(code) => self.modules.borrow_mut().insert(key, Entry::Ready(Rc::clone(code))),
            // Forgotten, so that the next call asks again.
            Err(_) => self.modules.borrow_mut().remove(&key),
        };
        if let Some(Entry::Requested(_, waiters)) = before {
            for waiter in waiters {
                let _ = waiter.send(loaded.clone());
            }
        }
    }
}

/// What a function's aliases name: the version's position and the version, and the specification's
/// position.
fn targets(function: &ArchivedFunction) -> impl Iterator<Item = (usize, &ArchivedVersion, usize)> {
    function.aliases.iter().flat_map(|alias| alias.targets.iter()).filter_map(|target| {
        let [version, spec] =
            [target.version, target.spec].map(|at| usize::try_from(at.to_native()));
        let (version, spec) = (version.ok()?, spec.ok()?);
        Some((version, function.versions.get(version)?, spec))
    })
}

/// Where what was chosen `before` is `now`, if an alias names the same version to be run in the
/// same way.
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

/// What a runner is given of a function, with its secrets in place of what it was deployed with
/// under the same names.
fn specification(entry: &ArchivedFunction, spec: &ArchivedSpec, secrets: Option<&Secrets>) -> Spec {
    let limits = FunctionLimits::from(&spec.limits);
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
        },
        allow_outbound: allow.ok().filter(|_| !spec.allow_outbound.is_empty()),
        requests_per_instance_max: spec.requests_per_instance_max.to_native(),
    }
}
