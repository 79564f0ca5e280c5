//! The functions this worker can run: the catalogue, and the modules it has loaded for it.
//!
//! A module is asked of the engine when its function is first called, and loaded once from the sealed memfd that
//! comes back; whoever calls meanwhile waits for that one load. A new catalogue drops what it no longer names. The
//! received fd is closed after that; wasmtime keeps one of its own while the module lives.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use abi::catalogue::{ArchivedFunction, CatalogueView};
use abi::limits::MODULE_BYTES_MAX;
use abi::message::{Digest, ToEngine};
use tokio::sync::oneshot;
use tokio::time::Instant;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::link::Outbox;
use crate::wasm::host::Host;
use crate::wasm::instances::{Budget, Kept};

/// A function ready to be run.
pub(crate) struct Function {
    pub(crate) name: Arc<str>,
    pub(crate) module: ProxyPre<Host>,
    pub(crate) memory_bytes_max: usize,
    pub(crate) timeout: Duration,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) kept: Kept,
}

/// Why a function cannot be run, for the log.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the module of function {function:?} cannot be loaded: {reason}; deploy it again")]
pub(crate) struct LoadError {
    function: String,
    reason: String,
}

type Loaded = Result<ProxyPre<Host>, String>;

enum Module {
    Asked(Vec<oneshot::Sender<Loaded>>),
    Ready(ProxyPre<Host>),
}

pub(crate) struct Functions {
    engine: Engine,
    linker: Linker<Host>,
    outbox: Outbox,
    catalogue: RefCell<Rc<CatalogueView>>,
    /// By position in the catalogue; emptied when that is replaced.
    ready: RefCell<HashMap<usize, Rc<Function>>>,
    modules: RefCell<HashMap<Digest, Module>>,
    budget: Budget,
}

impl Functions {
    pub(crate) fn new(engine: Engine, linker: Linker<Host>, outbox: Outbox, catalogue: CatalogueView) -> Self {
        Self {
            engine,
            linker,
            outbox,
            catalogue: RefCell::new(Rc::new(catalogue)),
            ready: RefCell::default(),
            modules: RefCell::default(),
            budget: Budget::default(),
        }
    }

    /// The catalogue that is served by now.
    pub(crate) fn catalogue(&self) -> Rc<CatalogueView> {
        Rc::clone(&self.catalogue.borrow())
    }

    pub(crate) fn generation(&self) -> u64 {
        self.catalogue.borrow().generation()
    }

    pub(crate) fn module_count(&self) -> usize {
        self.modules.borrow().values().filter(|module| matches!(module, Module::Ready(_))).count()
    }

    /// Serves by `catalogue` from now on. Invocations in flight keep what they began with.
    pub(crate) fn replace(&self, catalogue: CatalogueView) {
        self.ready.borrow_mut().clear();
        let named: HashSet<Digest> = catalogue.get().functions.iter().map(|function| function.module).collect();
        self.modules.borrow_mut().retain(|key, module| matches!(module, Module::Asked(_)) || named.contains(key));
        *self.catalogue.borrow_mut() = Rc::new(catalogue);
    }

    /// Unmakes kept instances that have not been used lately.
    pub(crate) fn expire_instances(&self) {
        let now = Instant::now();
        self.ready.borrow().values().for_each(|function| function.kept.expire(now));
    }

    /// The function at `index` of `catalogue`, loaded if need be.
    pub(crate) async fn get(&self, catalogue: &Rc<CatalogueView>, index: usize) -> Result<Rc<Function>, LoadError> {
        let current = Rc::ptr_eq(catalogue, &self.catalogue.borrow());
        if current && let Some(function) = self.ready.borrow().get(&index) {
            return Ok(Rc::clone(function));
        }
        let Some(spec) = catalogue.function(index) else {
            return Err(LoadError { function: format!("#{index}"), reason: "it is not in the catalogue".into() });
        };
        let module = self.module(spec.module).await;
        let module = module.map_err(|reason| LoadError { function: spec.name.as_str().to_owned(), reason })?;
        let function = Rc::new(function(spec, module, self.budget.clone()));
        // The catalogue may have been replaced while the module came.
        if Rc::ptr_eq(catalogue, &self.catalogue.borrow()) {
            self.ready.borrow_mut().insert(index, Rc::clone(&function));
        }
        Ok(function)
    }

    async fn module(&self, key: Digest) -> Loaded {
        let waiting = {
            let mut modules = self.modules.borrow_mut();
            let (sender, receiver) = oneshot::channel();
            match modules.get_mut(&key) {
                Some(Module::Ready(module)) => return Ok(module.clone()),
                Some(Module::Asked(waiters)) => waiters.push(sender),
                None => {
                    modules.insert(key, Module::Asked(vec![sender]));
                    self.outbox.send(ToEngine::Want { key }, None);
                }
            }
            receiver
        };
        waiting.await.unwrap_or_else(|_| Err("the engine did not send it".into()))
    }

    /// The engine has sent the module it was asked for.
    pub(crate) fn module_arrived(&self, key: Digest, fd: OwnedFd) {
        let loaded = self.load(fd);
        self.settle(key, loaded);
    }

    /// The engine cannot send it.
    pub(crate) fn module_missing(&self, key: Digest, reason: &str) {
        self.settle(key, Err(reason.to_owned()));
    }

    fn settle(&self, key: Digest, loaded: Loaded) {
        let before = match &loaded {
            Ok(module) => self.modules.borrow_mut().insert(key, Module::Ready(module.clone())),
            // Forgotten, so that the next call asks again.
            Err(_) => self.modules.borrow_mut().remove(&key),
        };
        if let Some(Module::Asked(waiters)) = before {
            for waiter in waiters {
                let _ = waiter.send(loaded.clone());
            }
        }
    }

    fn load(&self, fd: OwnedFd) -> Loaded {
        abi::sealed::check("module", &fd, MODULE_BYTES_MAX).map_err(|error| error.to_string())?;
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        // SAFETY: the bytes were compiled by this node's own engine, which checked their digest, and the seals just
        // checked keep anyone from changing them while they are mapped.
        let component = unsafe { Component::deserialize_file(&self.engine, path) };
        let component = component.map_err(|error| format!("{error:#}"))?;
        let pre = self.linker.instantiate_pre(&component).map_err(|error| format!("{error:#}"))?;
        ProxyPre::new(pre).map_err(|error| format!("{error:#}"))
    }
}

fn function(spec: &ArchivedFunction, module: ProxyPre<Host>, budget: Budget) -> Function {
    Function {
        name: spec.name.as_str().into(),
        module,
        memory_bytes_max: usize::try_from(spec.memory_bytes_max.to_native()).unwrap_or(usize::MAX),
        timeout: Duration::from_millis(u64::from(spec.timeout_ms.to_native())),
        kept: Kept::new(spec.requests_per_instance_max.to_native(), budget),
        env: spec.env.iter().map(|pair| (pair.0.as_str().to_owned(), pair.1.as_str().to_owned())).collect(),
    }
}
