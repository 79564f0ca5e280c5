//! Running WebAssembly: the engines, what a guest finds around it, its instances, and the calls of
//! each kind.
//!
//! [`WasmRunner`] is one version of one function. It makes an instance for each call, or takes one
//! that was made ready or kept. Owns the epoch thread; no fds.

mod command;
mod engine;
mod epoch;
mod failure;
mod held;
mod host;
mod http02;
mod http03;
mod instances;
mod limits;
mod outbound;
mod standby;
mod start_code;
mod streams;
mod trap;

use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use abi::board::Reuse;
use abi::function::{Kind, Output};
use abi::invocation_id::InvocationId;
use abi::limits::MODULE_BYTES_MAX;
use abi::spool::Stream;
use tokio::time::Instant;
use wasmtime_wasi_config::WasiConfigVariables;

use self::engine::{Engines, Module};
use self::epoch::Ticker;
use self::failure::{failure, start_failure};
use self::instances::{Budget, Instance, Kept, Retired};
use self::outbound::Outbound;
use super::failure::Failure;
use super::{Call, Code, Local, Runner, Runtime, Shared, Spec};
use crate::facts::Facts;

/// What the log says of a function whose instances are not reused, once.
const HOLDS_REQUEST: &str = "[its instance is not used again although reuse=N allows it: it still holds its request, as those of \
                             JavaScript and Python do until they collect garbage; `sockhop inspect` counts how often]";

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
    /// When wasmtime refuses the settings, or the epoch thread cannot be started.
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
        // Where it was mapped from is of no use to anybody.
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
        let allow = spec.allow_outbound.clone();
        Rc::new(WasmRunner {
            kept: Kept::new(spec.requests_per_instance_max, budget.clone(), weight),
            weight,
            outbound: allow.map(|allow| Outbound::new(allow, spec.limits.outbound_requests_max)),
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
    kept: Kept,
    /// How it sends requests, when it may.
    outbound: Option<Outbound>,
    config: Arc<WasiConfigVariables>,
    shared: Rc<Shared>,
    ticker: Ticker,
    runtime: Rc<Inner>,
}

impl Runner for WasmRunner {
    fn call(self: Rc<Self>, call: Call) -> Local<'static, Result<(), Failure>> {
        // Now, and not when it is first polled: whoever looks next whether another is to be made
        // ready finds this one gone.
        let (epochs, instance) = (self.ticker.count(), self.kept.take(&self, call.id));
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

    fn weight(&self) -> u32 {
        self.weight
    }

    fn wants_preparing(&self) -> bool {
        self.kept.wants_standby()
    }

    fn prepare(&self) -> Local<'_, ()> {
        Box::pin(standby::make(self))
    }

    fn expire(&self, now: Instant) {
        self.kept.expire(now);
    }

    fn may_redirect(&self) -> bool {
        matches!(self.module, Module::Command(_)) && self.spec.output == Output::Cgi
    }
}

/// An instance in the middle of a call. However that ends, its memory is recorded.
struct Running<'a> {
    instance: Option<Instance>,
    facts: &'a Facts,
}

impl Running<'_> {
    /// Takes the instance out, its memory recorded.
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
    /// One call on an instance that was taken for it: its handler called, the instance kept or
    /// dropped.
    async fn run(&self, mut instance: Instance, call: Call) -> Result<(), Failure> {
        let Call { id, request, origin, trace, reply, facts } = call;
        instance.store.data_mut().belong_to(trace);
        self.shared.counters.row().counts.instances.count(instance.origin() as usize);
        let mut running = Running { instance: None, facts: &facts };
        let instance = running.instance.insert(instance);
        let ended = match &self.module {
            Module::Http02(pre) => {
                http02::handle(instance, pre, request, origin, reply, &facts).await
            }
            // Boxed, as every invocation would have room for the largest.
            Module::Http03(pre) => {
                Box::pin(http03::handle(instance, pre, request, origin, reply, &facts)).await
            }
            Module::Command(pre) => {
                Box::pin(command::handle(
                    &mut instance.store,
                    pre,
                    &self.spec,
                    request,
                    origin,
                    reply,
                    &facts,
                ))
                .await
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

    /// An invocation has ended well: its instance is kept for another, or dropped when its reply
    /// has left.
    fn give_back(&self, instance: Instance, id: InvocationId) {
        let Some(reuse) = self.kept.give_back(instance, &self.runtime.retired) else { return };
        self.shared.counters.count_reuse(self.spec.slot, reuse);
        if reuse == Reuse::Request && self.kept.is_first_to_hold() {
            self.shared.log.line(&self.spec.name, id, Stream::Node, HOLDS_REQUEST.as_bytes());
        }
    }
}
