//! The runtime of WebAssembly: the engines, the host of a guest, its instances, and the calls of
//! each kind.
//!
//! [`WasmRunner`] is one version of one function. It makes an instance for each call, or takes one
//! that was prepared or kept. Owns the epoch thread; no fds.

mod command;
mod engine;
mod epoch;
mod failure;
mod held;
mod host;
mod http02;
mod http03;
mod instances;
mod keyvalue;
mod limits;
pub(super) mod outbound;
mod standby;
mod start_code;
mod streams;
mod trap;

use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use abi::board::Reuse;
use abi::function::{Kind, Output, WebSocketMode};
use abi::invocation_id::InvocationId;
use abi::limits::MODULE_BYTES_MAX;
use abi::spool::Stream;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use wasmtime_wasi_config::WasiConfigVariables;

use self::engine::{Engines, Module};
use self::epoch::Ticker;
use self::failure::{failure, start_failure};
use self::instances::{Budget, IdleInstances, Instance, Retired};
use self::outbound::Outbound;
use self::outbound::push::Pusher;
use super::failure::Failure;
use super::{Call, Code, Local, Runner, Runtime, Shared, Spec};
use crate::facts::Facts;

/// What the log says, once, about a function whose instances are not reused.
const HOLDS_REQUEST: &str = "[its instance is not used again although reuse=N allows it: it still \
    holds its request, as those of JavaScript and Python do until they collect garbage; \
    `sockhop inspect` counts how often]";

/// The engines of this worker, and what their instances share.
pub(super) struct WasmRuntime(Rc<Inner>);

struct Inner {
    engines: Engines,
    ticker: Ticker,
    shared: Rc<Shared>,
    budget: Budget,
    retired: Retired,
}

impl WasmRuntime {
    /// # Errors
    /// If wasmtime refuses the settings, or the epoch thread cannot be started.
    pub(super) fn new(shared: &Rc<Shared>) -> wasmtime::Result<Self> {
        let ticker = Ticker::start()?;
        let engines = Engines::new(ticker.clone())?;
        let (budget, retired) = (Budget::default(), Retired::default());
        Ok(Self(Rc::new(Inner { engines, ticker, shared: Rc::clone(shared), budget, retired })))
    }
}

impl Runtime for WasmRuntime {
    fn load(&self, kind: Kind, fd: &OwnedFd) -> Result<Rc<dyn Code>, String> {
        abi::sealed::check("module", fd, MODULE_BYTES_MAX).map_err(|error| error.to_string())?;
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        // SAFETY: the bytes were compiled by this node's own engine for the kind in its catalogue,
        // which checked their digest, and the seals just checked keep anyone from changing them
        // while they are mapped.
        let loaded = unsafe { self.0.engines.load(kind, &path) };
        // The path that it was mapped from is of no use to anybody.
        let reasons = |error: wasmtime::Error| {
            let reasons =
                error.chain().map(ToString::to_string).filter(|reason| !reason.contains(&path));
            reasons.collect::<Vec<_>>().join(": ")
        };
        let module = loaded.map_err(reasons)?;
        Ok(Rc::new(WasmCode { module, runtime: Rc::clone(&self.0) }))
    }

    fn drop_retired(&self) {
        self.0.retired.clear();
    }

    fn end(&self) -> Local<'_, ()> {
        // Instances end with the process.
        Box::pin(std::future::ready(()))
    }
}

/// A loaded module or component.
struct WasmCode {
    module: Module,
    runtime: Rc<Inner>,
}

impl Code for WasmCode {
    fn runner(&self, spec: Rc<Spec>) -> Rc<dyn Runner> {
        let Inner { ticker, shared, budget, .. } = &*self.runtime;
        let (module, weight) = (self.module.clone(), self.module.weight());
        let requests_max = spec.limits.outbound_requests_max;
        let allow = spec.allow_outbound.clone();
        let outbound = allow.map(|allow| Outbound::new(allow, requests_max));
        let pusher = (spec.websocket == WebSocketMode::Messages).then(|| {
            let requests = outbound.as_ref().map(|outbound| Arc::clone(outbound.requests()));
            let requests =
                requests.unwrap_or_else(|| Arc::new(Semaphore::new(requests_max as usize)));
            Pusher::new(Arc::clone(&shared.websockets), Arc::clone(&spec.name), requests)
        });
        let keyvalue =
            module.imports_keyvalue().then(|| keyvalue::Granted::new(&shared.state, &spec));
        Rc::new(WasmRunner {
            idle: IdleInstances::new(spec.requests_per_instance_max, budget.clone(), weight),
            weight,
            outbound,
            pusher,
            keyvalue,
            config: Arc::new(spec.config.iter().cloned().collect()),
            module,
            spec,
            shared: Rc::clone(shared),
            ticker: ticker.clone(),
            runtime: Rc::clone(&self.runtime),
        })
    }
}

/// A version of a function, loaded and linked.
struct WasmRunner {
    module: Module,
    spec: Rc<Spec>,
    weight: u32,
    idle: IdleInstances,
    /// How it sends requests. `None` if it may not.
    outbound: Option<Outbound>,
    /// Its buckets. `None` if its code does not import them.
    keyvalue: Option<keyvalue::Granted>,
    /// How it reaches its WebSocket connections. `None` if it has none.
    pusher: Option<Pusher>,
    config: Arc<WasiConfigVariables>,
    shared: Rc<Shared>,
    ticker: Ticker,
    runtime: Rc<Inner>,
}

impl Runner for WasmRunner {
    fn call(self: Rc<Self>, call: Box<Call>) -> Local<'static, Result<(), Failure>> {
        // The instance is taken now, and not at the first poll: the next check whether another
        // should be prepared must find this one gone.
        let (epochs, instance) = (self.ticker.count(), self.idle.take(&self, call.id));
        Box::pin(async move {
            let _epochs = epochs;
            self.run(instance, call).await
        })
    }

    fn try_start(&self) -> Local<'_, Result<(), String>> {
        Box::pin(async {
            let mut instance = Instance::new(self, InvocationId::new());
            let ended = start_code::run(self, &mut instance, self.spec.timeout).await;
            ended.map_or(Ok(()), |failure| Err(start_failure(failure)))
        })
    }

    fn time_limit(&self) -> Duration {
        self.spec.timeout
    }

    fn weight(&self) -> u32 {
        self.weight
    }

    fn needs_preparing(&self) -> bool {
        self.idle.needs_standby()
    }

    fn prepare(&self) -> Local<'_, ()> {
        Box::pin(standby::make(self))
    }

    fn expire(&self, now: Instant) {
        self.idle.expire(now);
    }

    fn may_redirect(&self) -> bool {
        matches!(self.module, Module::Command(_)) && self.spec.output == Output::Cgi
    }

    fn needs_local_address(&self) -> bool {
        // `SERVER_NAME` and `SERVER_PORT`.
        matches!(self.module, Module::Command(_))
    }
}

/// An instance during a call. Its memory is recorded however the call ends.
struct Running<'a> {
    instance: Option<Instance>,
    facts: &'a Facts,
}

impl Running<'_> {
    /// Records the memory of the instance, and takes it out.
    fn take(&mut self) -> Option<Instance> {
        let instance = self.instance.take()?;
        self.facts.memory_bytes.set(instance.store.data().limits.memory_bytes());
        Some(instance)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl WasmRunner {
    /// Runs one call on the instance that was taken for it, and keeps or drops the instance.
    async fn run(&self, mut instance: Instance, mut call: Box<Call>) -> Result<(), Failure> {
        let (id, facts) = (call.id, Rc::clone(&call.facts));
        instance.store.data_mut().set_trace(call.trace.take());
        self.shared.counters.row().counts.instances.count(instance.origin() as usize);
        // From here on the instance is in the guard, so that a dropped call is recorded, too.
        let mut running = Running { instance: None, facts: &facts };
        let instance = running.instance.insert(instance);
        let ended = match &self.module {
            Module::Http02(pre) => http02::handle(instance, pre, call).await,
            // Boxed, because otherwise every invocation would have room for the largest future.
            Module::Http03(pre) => Box::pin(http03::handle(instance, pre, call)).await,
            Module::Command(pre) => {
                Box::pin(command::handle(&mut instance.store, pre, &self.spec, call)).await
            }
        };
        facts.ended();
        match ended {
            Ok(()) => {
                if let Some(instance) = running.take() {
                    self.give_back(instance, id);
                }
                Ok(())
            }
            Err(error) => failure(self, instance, &error).map_or(Ok(()), Err),
        }
    }

    /// Takes back the instance of an invocation that has ended well: it is kept for another, or
    /// dropped when its reply has left.
    fn give_back(&self, instance: Instance, id: InvocationId) {
        let Some(reuse) = self.idle.give_back(instance, &self.runtime.retired) else { return };
        self.shared.counters.count_reuse(self.spec.slot, reuse);
        if reuse == Reuse::Request && self.idle.is_first_to_hold() {
            self.shared.log.line(&self.spec.name, id, Stream::Node, HOLDS_REQUEST.as_bytes());
        }
    }
}
