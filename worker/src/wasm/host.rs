//! What a guest finds around it: its environment, its streams, its limits. One a store, so one an invocation.
//!
//! No files, no sockets, no outgoing requests: nothing is granted here, and what is asked for is refused. Owns no fds.

use std::any::Any;
use std::future::Future;

use abi::invocation_id::InvocationId;
use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::p2::DynInputStream;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::body::HostIncomingBody;
use wasmtime_wasi_http::p2::types::HostIncomingRequest;
use wasmtime_wasi_http::{
    Error as HttpError, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use crate::functions::Function;
use crate::guest_log::{GuestLog, GuestStream};

/// Resources an instance may hold between two requests, its handles on stdout and the like; more is a leak of the guest's.
const RESOURCES_KEPT_MAX: usize = 64;

/// A store's data.
pub(crate) struct Host {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    streams: [GuestStream; 2],
    pub(crate) limits: Limits,
}

impl Host {
    pub(crate) fn new(function: &Function, id: InvocationId, log: &GuestLog) -> Self {
        let streams =
            ["stdout", "stderr"].map(|stream| GuestStream::new(log.clone(), function.name.clone(), id, stream));
        let [stdout, stderr] = streams.clone();
        let mut wasi = WasiCtx::builder();
        wasi.stdout(stdout).stderr(stderr).envs(&function.env);
        Self {
            table: ResourceTable::new(),
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            hooks: Hooks,
            streams,
            limits: Limits { memory_bytes_max: function.memory_bytes_max, memory_bytes: 0, memory_refused: false },
        }
    }
}

impl Host {
    /// The instance begins another invocation.
    pub(crate) fn begin(&mut self, id: InvocationId) {
        self.streams.iter().for_each(|stream| stream.begin(id));
        self.limits.memory_refused = false;
    }

    /// The invocation has ended well. Says whether the instance is fit for another: it holds nothing of the request any
    /// more, and has not grown to near its limit.
    pub(crate) fn end(&mut self) -> bool {
        self.streams.iter().for_each(GuestStream::end);
        let of_request = |entry: &mut (dyn Any + Send)| {
            entry.is::<HostIncomingRequest>() || entry.is::<HostIncomingBody>() || entry.is::<DynInputStream>()
        };
        let Limits { memory_bytes, memory_bytes_max, .. } = self.limits;
        let leaks = self.table.iter_mut().enumerate().any(|(at, entry)| at >= RESOURCES_KEPT_MAX || of_request(entry));
        !leaks && memory_bytes <= memory_bytes_max / 4 * 3
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
