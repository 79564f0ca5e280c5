//! Ways of running a function: the traits that each implements, and what it is given. It knows no
//! sockets.
//!
//! [`Runner`] is a version that is ready to be called, as [`crate::serve`] sees it. A new way of
//! running is a folder beside [`wasm`] with a [`Runtime`] of its own, and a line in [`Runtimes`].
//! Owns no fds.

pub(crate) mod body;
pub(crate) mod cpu_time;
pub(crate) mod failure;
pub(crate) mod native;
mod site;
#[cfg(test)]
pub(crate) mod table;
pub(crate) mod thread;
pub(crate) mod wasm;
pub(crate) mod yield_round;

use std::cell::OnceCell;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use abi::function::{FunctionLimits, Kind, NetworkMode, Output, WebSocketMode};
use abi::invocation_id::InvocationId;
use abi::outbound::AllowList;
use abi::sandbox::Level;
use http::uri::PathAndQuery;
use http::{Request, Response};
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::body::{GuestBody, RequestBody};
use self::failure::Failure;
use self::thread::GuestThread;
use crate::counters::{Counters, FunctionSlot};
use crate::facts::Facts;
use crate::guest_log::GuestLog;
use crate::origin::Origin;
use crate::push::WebSockets;
use crate::state::State;
use crate::trace::Trace;

/// The most bytes of a reply that are held back in the hope that the guest ends with them, so that
/// they can be sent whole.
pub(crate) const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// What all runners of a worker share.
pub(crate) struct Shared {
    pub(crate) counters: Rc<Counters>,
    pub(crate) log: GuestLog,
    pub(crate) thread: GuestThread,
    /// Who answers about functions' state.
    pub(crate) state: Arc<State>,
    pub(crate) websockets: Arc<WebSockets>,
    /// How native programs are kept apart from the host.
    pub(crate) native_sandbox: Level,
    /// The cores that they may run on.
    pub(crate) native_cores: Vec<u16>,
}

/// How a version is run, and within which limits.
pub(crate) struct Spec {
    pub(crate) name: Arc<str>,
    pub(crate) slot: FunctionSlot,
    pub(crate) limits: FunctionLimits,
    pub(crate) timeout: Duration,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) config: Vec<(String, String)>,
    pub(crate) args: Vec<String>,
    pub(crate) output: Output,
    /// Where it may send requests. `None` if it may send none.
    pub(crate) allow_outbound: Option<AllowList>,
    /// The shared buckets that it may use: by which name it opens each, and the bucket's own.
    pub(crate) kv: Vec<(String, String)>,
    pub(crate) requests_per_instance_max: u32,
    /// The number of the version.
    pub(crate) version: u32,
    /// The name of its entry, if one was chosen. A lambda is told it.
    pub(crate) handler: Option<String>,
    /// Whether a lambda's invocations have START, END and REPORT lines in the log.
    pub(crate) report_lines: bool,
    /// Which network the processes of a native function have.
    pub(crate) network: NetworkMode,
    /// What becomes of a request that asks to speak WebSocket.
    pub(crate) websocket: WebSocketMode,
}

/// One request for a function, and where its reply goes. It is passed on in a box, because each
/// layer's future would copy it.
pub(crate) struct Call {
    pub(crate) id: InvocationId,
    pub(crate) request: Request<RequestBody>,
    pub(crate) origin: Origin,
    pub(crate) trace: Option<Trace>,
    pub(crate) reply: ReplySender,
    pub(crate) facts: Rc<Facts>,
}

/// The sender of a function's reply: its head with the body to come, or the error that it answered
/// instead.
pub(crate) type ReplySender = oneshot::Sender<Result<Response<GuestBody>, String>>;

/// A future that stays on the worker's one thread.
pub(crate) type Local<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// An extension of a response: the reply is a path of the same server, which the node requests in
/// the client's place (RFC 3875 6.2.2).
#[derive(Debug, Clone)]
pub(crate) struct LocalRedirect(pub(crate) PathAndQuery);

/// An extension of a request whose body is an event, and no body of HTTP: the node's Lambda API
/// sends it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IsEvent;

/// An extension of a request: its path was the function's prefix alone, without the slash behind it
/// that the function sees.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BarePrefix;

/// An extension of a response with the status 101: the runner goes on with the request's body as
/// what the client sends by the new protocol, and the response's as what it gets (RFC 9110 7.8).
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChangesProtocol;

/// A version of a function, ready to be called.
pub(crate) trait Runner {
    /// Runs the function on one request. A prepared instance is taken in this call, before anything
    /// is polled. The future resolves when all of the function's work is done, including the work
    /// after its reply, which is sent earlier; [`Facts::ended`] notes the end. Dropping the future
    /// ends the function. It is polled through [`GuestThread::poll`].
    fn call(self: Rc<Self>, call: Box<Call>) -> Local<'static, Result<(), Failure>>;

    /// Starts the function without a request and ends it again.
    ///
    /// # Errors
    /// The reason why it does not start, for the user who deploys it.
    fn try_start(&self) -> Local<'_, Result<(), String>>;

    /// Returns after how long [`Self::call`] is given up in any case.
    fn time_limit(&self) -> Duration;

    /// Returns how many of a worker's places one call takes: usually 1.
    fn weight(&self) -> u32;

    /// Returns whether [`Self::prepare`] has something to do: fewer instances are ready than calls
    /// may come.
    fn needs_preparing(&self) -> bool;

    /// Prepares what a later call would have to wait for.
    fn prepare(&self) -> Local<'_, ()>;

    /// Ends the instances that were prepared or kept and have not been used lately.
    fn expire(&self, now: Instant);

    /// Ends what was prepared for later calls: no more come. Those that are on go on.
    fn retire(&self) {}

    /// Returns whether a reply of the function may be a [`LocalRedirect`].
    fn may_redirect(&self) -> bool;

    /// Returns whether calls need the address that their connection was accepted on.
    fn needs_local_address(&self) -> bool;
}

/// Loaded code.
pub(crate) trait Code {
    /// Returns a runner of this code by `spec`. There may be one for each specification.
    fn runner(&self, spec: Rc<Spec>) -> Rc<dyn Runner>;

    /// Returns a runner that answers with what this code has for a request, without a program, and
    /// leaves all else to `runner`.
    fn before(&self, runner: Rc<dyn Runner>) -> Rc<dyn Runner> {
        runner
    }
}

/// A runtime: it loads functions' code and runs it.
pub(crate) trait Runtime {
    /// Loads the code of a function of this kind from what the engine has sent: a sealed memfd, the
    /// folder of a native function, or the file of a static site.
    ///
    /// # Errors
    /// The reason why it cannot be loaded, for the log.
    fn load(&self, kind: Kind, fd: &OwnedFd) -> Result<Rc<dyn Code>, String>;

    /// Drops the instances that have served and were only kept until their replies had left.
    fn drop_retired(&self);

    /// Ends what runs beside requests, before the worker itself ends.
    fn end(&self) -> Local<'_, ()>;
}

/// The runtimes of a worker. Each is started when it has something to load: the worker of a native
/// function never has wasmtime's engines, and any other never a spawner.
pub(crate) struct Runtimes {
    shared: Rc<Shared>,
    wasm: OnceCell<wasm::WasmRuntime>,
    native: OnceCell<native::NativeRuntime>,
}

impl Runtimes {
    /// Returns the runtimes of a worker that runs `only` one function, or all shared ones.
    ///
    /// # Errors
    /// If wasmtime refuses the worker's settings, or a thread cannot be started: a worker of shared
    /// functions finds that out before it serves.
    pub(crate) fn new(shared: &Rc<Shared>, is_shared: bool) -> Result<Self, String> {
        let (wasm, native) = Default::default();
        let runtimes = Self { shared: Rc::clone(shared), wasm, native };
        if is_shared {
            runtimes.wasm()?;
        }
        Ok(runtimes)
    }

    fn wasm(&self) -> Result<&wasm::WasmRuntime, String> {
        if self.wasm.get().is_none() {
            let started = wasm::WasmRuntime::new(&self.shared);
            drop(self.wasm.set(started.map_err(|error| format!("{error:#}"))?));
        }
        self.wasm.get().ok_or_else(|| "wasmtime is not there".to_owned())
    }

    fn native(&self) -> Result<&native::NativeRuntime, String> {
        if self.native.get().is_none() {
            drop(self.native.set(native::NativeRuntime::start(&self.shared)?));
        }
        self.native.get().ok_or_else(|| "the spawner is not there".to_owned())
    }
}

impl Runtime for Runtimes {
    fn load(&self, kind: Kind, fd: &OwnedFd) -> Result<Rc<dyn Code>, String> {
        match kind {
            Kind::Static => site::load(fd),
            _ if kind.is_native() => self.native()?.load(kind, fd),
            _ => self.wasm()?.load(kind, fd),
        }
    }

    fn drop_retired(&self) {
        if let Some(wasm) = self.wasm.get() {
            wasm.drop_retired();
        }
    }

    fn end(&self) -> Local<'_, ()> {
        match self.native.get() {
            Some(native) => native.end(),
            None => Box::pin(std::future::ready(())),
        }
    }
}
