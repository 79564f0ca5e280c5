//! What a guest finds around it: its environment, its streams, its limits. One a store, so one an invocation.
//!
//! No files, no sockets, no outgoing requests: nothing is granted here, and what is asked for is refused. Owns no fds.

use std::future::Future;

use abi::invocation_id::InvocationId;
use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    Error as HttpError, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use crate::functions::Function;
use crate::guest_log::{GuestLog, GuestStream};

/// A store's data.
pub(crate) struct Host {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    pub(crate) limits: Limits,
}

impl Host {
    pub(crate) fn new(function: &Function, id: InvocationId, log: &GuestLog) -> Self {
        let stream = |stream| GuestStream::new(log.clone(), function.name.clone(), id, stream);
        let mut wasi = WasiCtx::builder();
        wasi.stdout(stream("stdout")).stderr(stream("stderr")).envs(&function.env);
        Self {
            table: ResourceTable::new(),
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            hooks: Hooks,
            limits: Limits { memory_bytes_max: function.memory_bytes_max, memory_bytes: 0, memory_refused: false },
        }
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

/// Holds an instance to its memory, and remembers that it wanted more: that is what the error then says.
pub(crate) struct Limits {
    memory_bytes_max: usize,
    /// Of all the instance's memories together.
    memory_bytes: usize,
    pub(crate) memory_refused: bool,
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let together = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        let fits = together <= self.memory_bytes_max;
        if fits {
            self.memory_bytes = together;
        } else {
            self.memory_refused = true;
        }
        Ok(fits)
    }

    fn table_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        // The pool's own bound on a table's elements is the limit.
        Ok(true)
    }
}

struct Hooks;

type SentRequest =
    Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<(), HttpError>> + Send>), HttpError>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        _: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ) -> Box<dyn Future<Output = SentRequest> + Send> {
        Box::new(std::future::ready(Err(HttpError::HttpRequestDenied)))
    }
}
