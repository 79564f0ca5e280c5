//! Ways of running a function: what each has to offer, and what it is given. It knows no sockets.
//!
//! [`Runner`] is what [`crate::serve`] sees of a version that is ready to be called. A new way is a
//! folder beside [`wasm`] with a [`Runtime`] of its own, and a line in [`Runtimes`]. Owns no fds.

pub(crate) mod body;
pub(crate) mod cpu_time;
pub(crate) mod failure;
pub(crate) mod let_others;
#[cfg(test)]
pub(crate) mod table;
pub(crate) mod thread;
pub(crate) mod wasm;

use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use abi::function::{FunctionLimits, Kind, Output};
use abi::invocation_id::InvocationId;
use abi::outbound::AllowList;
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
use crate::trace::Trace;

/// A reply's bytes that are held back in the hope that the guest ends with them, so that they can
/// be sent whole.
pub(crate) const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// What all runners of a worker share.
pub(crate) struct Shared {
    pub(crate) counters: Rc<Counters>,
    pub(crate) log: GuestLog,
    pub(crate) thread: GuestThread,
}

/// What is to be run, and within which limits.
pub(crate) struct Spec {
    pub(crate) name: Arc<str>,
    pub(crate) slot: FunctionSlot,
    pub(crate) limits: FunctionLimits,
    pub(crate) timeout: Duration,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) config: Vec<(String, String)>,
    pub(crate) args: Vec<String>,
    pub(crate) output: Output,
    /// Where it may send requests. `None` when it may send none.
    pub(crate) allow_outbound: Option<AllowList>,
    pub(crate) requests_per_instance_max: u32,
}

/// One request for a function, and where its reply goes.
pub(crate) struct Call {
    pub(crate) id: InvocationId,
    pub(crate) request: Request<RequestBody>,
    pub(crate) origin: Origin,
    pub(crate) trace: Option<Trace>,
    pub(crate) reply: ReplySender,
    pub(crate) facts: Rc<Facts>,
}

/// Where a function's reply goes: its head with the body to come, or the error that it answered
/// with instead.
pub(crate) type ReplySender = oneshot::Sender<Result<Response<GuestBody>, String>>;

/// A future of the worker's one thread.
pub(crate) type Local<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A reply that is a path of the same server, and to be asked for in the client's place (RFC 3875
/// 6.2.2): an extension of the response.
#[derive(Debug, Clone)]
pub(crate) struct LocalRedirect(pub(crate) PathAndQuery);

/// A version of a function, ready to be called.
pub(crate) trait Runner {
    /// Runs the function on one request. What was made ready for it is taken here, before anything
    /// is polled. Resolves when all of its work is done, behind its reply too, which goes its own
    /// way before that; says when by [`Facts::ended`]. Dropped, the function is ended. Whoever
    /// polls it does so by [`GuestThread::poll`].
    fn call(self: Rc<Self>, call: Call) -> Local<'static, Result<(), Failure>>;

    /// Starts the function without a request and ends it again.
    ///
    /// # Errors
    /// What keeps it from starting, for whoever deploys it.
    fn try_start(&self) -> Local<'_, Result<(), String>>;

    /// How much of what a worker can run at a time one call takes: 1 as a rule.
    fn weight(&self) -> u32;

    /// Whether [`Self::prepare`] has something to do: fewer instances are ready than calls may
    /// come.
    fn wants_preparing(&self) -> bool;

    /// Makes ready what a later call would have to wait for.
    fn prepare(&self) -> Local<'_, ()>;

    /// Ends what was made ready, or kept, and has not been used lately.
    fn expire(&self, now: Instant);

    /// A reply of the function may be a [`LocalRedirect`].
    fn may_redirect(&self) -> bool;
}

/// Code that was loaded.
pub(crate) trait Code {
    /// A runner of it by `spec`; there may be as many as there are specifications.
    fn runner(&self, spec: Rc<Spec>) -> Rc<dyn Runner>;
}

/// What loads functions' code and runs it.
pub(crate) trait Runtime {
    /// Loads the code of a function of this kind from the sealed memfd that the engine has sent.
    ///
    /// # Errors
    /// Why it cannot be loaded, for the log.
    fn load(&self, kind: Kind, fd: &OwnedFd) -> Result<Rc<dyn Code>, String>;

    /// Drops what has served and was kept until now only for its reply to leave first.
    fn drop_retired(&self);
}

/// The runtimes of a worker, by what they run.
pub(crate) struct Runtimes {
    wasm: wasm::WasmRuntime,
}

impl Runtimes {
    /// # Errors
    /// When wasmtime refuses the worker's settings, or a thread cannot be started.
    pub(crate) fn new(shared: &Rc<Shared>) -> wasmtime::Result<Self> {
        Ok(Self { wasm: wasm::WasmRuntime::new(shared)? })
    }
}

impl Runtime for Runtimes {
    fn load(&self, kind: Kind, fd: &OwnedFd) -> Result<Rc<dyn Code>, String> {
        match kind {
            Kind::Http02 | Kind::Http03 | Kind::Command => self.wasm.load(kind, fd),
        }
    }

    fn drop_retired(&self) {
        self.wasm.drop_retired();
    }
}
