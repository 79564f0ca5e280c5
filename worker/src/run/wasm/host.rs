//! A guest's host: its environment, its streams, its limits. There is one for each store, and so
//! for each instance.
//!
//! It grants no files and no sockets, and outgoing requests only to where the function's list
//! allows. A capability that is not granted is refused when it is asked for. Owns no fds.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use abi::board::Reuse;
use abi::invocation_id::InvocationId;
use abi::limits::{BODY_CHUNK_BYTES_MAX, FIELDS_BYTES_MAX};
use abi::spool::Stream;
use http::HeaderName;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::DynInputStream;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_config::{WasiConfig, WasiConfigVariables};
use wasmtime_wasi_http::p2::body::{HostIncomingBody, HostOutgoingBody};
use wasmtime_wasi_http::p2::types::HostIncomingRequest;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error as HttpError, RequestOptions, WasiBody, WasiHttpCtx,
    WasiHttpCtxView, WasiHttpHooks, WasiHttpView, p3,
};

use super::WasmRunner;
use super::held::Held;
use super::keyvalue::{Keyvalue, View};
use super::limits::{Limits, Refused};
use super::outbound::Outbound;
use super::outbound::push::{Pusher, is_push};
use crate::guest_log::GuestStream;
use crate::trace::Trace;

/// The most resources that an instance may hold between two requests, like its handles on stdout;
/// more is a leak of the guest's.
const RESOURCES_KEPT_MAX: usize = 64;
/// The most resources that a core module may wait for in one call, since setting up that call
/// blocks the worker. A core module has a clock and three streams to wait for.
const PREVIEW_1_RESOURCES_MAX: usize = 1024;

/// A store's data.
pub(crate) struct Host {
    table: ResourceTable,
    wasi: WasiCtx,
    /// The same for a core module, which does not use the rest.
    preview1: Option<Box<WasiP1Ctx>>,
    config: Arc<WasiConfigVariables>,
    http: WasiHttpCtx,
    hooks: Hooks,
    streams: [GuestStream; 2],
    held: Held,
    /// `None` if the guest does not import it.
    keyvalue: Option<Keyvalue>,
    pub(super) limits: Limits,
}

impl Host {
    pub(super) fn new(runner: &WasmRunner, id: InvocationId) -> Self {
        let (spec, log) = (&runner.spec, &runner.shared.log);
        let streams = [Stream::Stdout, Stream::Stderr].map(|stream| {
            GuestStream::new(
                log.clone(),
                Arc::clone(&spec.name),
                id,
                stream,
                spec.limits.log_bytes_max,
            )
        });
        let [stdout, stderr] = streams.clone();
        let (outbound, pusher) = (runner.outbound.clone(), runner.pusher.clone());
        let hooks = Hooks { outbound, pusher, trace: None, stderr: stderr.clone() };
        let mut wasi = WasiCtx::builder();
        wasi.stdout(stdout).stderr(stderr).envs(&spec.env);
        let (held, mut table, mut http) =
            (Held::new(spec.limits.memory_bytes_max), ResourceTable::new(), WasiHttpCtx::new());
        table.set_max_capacity(held.resources_max());
        http.set_field_size_limit(FIELDS_BYTES_MAX);
        Self {
            table,
            wasi: wasi.build(),
            preview1: None,
            config: Arc::clone(&runner.config),
            http,
            hooks,
            streams,
            held,
            keyvalue: runner.keyvalue.clone().map(Keyvalue::new),
            limits: Limits::new(&spec.limits),
        }
    }
}

impl Host {
    /// Prepares the instance to run a command, with the environment in `wasi`. Its stderr goes to
    /// the log, as with other kinds.
    pub(super) fn become_command(&mut self, mut wasi: WasiCtxBuilder) {
        let [_, stderr] = &self.streams;
        self.wasi = wasi.stderr(stderr.clone()).build();
    }

    /// The same for a command that is a core module.
    pub(super) fn become_core_command(&mut self, mut wasi: WasiCtxBuilder) {
        let [_, stderr] = &self.streams;
        let mut preview1 = Box::new(wasi.stderr(stderr.clone()).build_p1());
        preview1.ctx().table.set_max_capacity(PREVIEW_1_RESOURCES_MAX);
        self.preview1 = Some(preview1);
    }

    /// Returns the context of a core module's calls. It grants nothing to an instance that was
    /// never made a command.
    pub(super) fn preview1(&mut self) -> &mut WasiP1Ctx {
        self.preview1.get_or_insert_with(|| Box::new(WasiCtx::builder().build_p1()))
    }

    /// Counts a call of the guest against what is held for it. If that is too much already, the
    /// guest is ended at the next epoch, or earlier when it makes another resource.
    fn called(&mut self) {
        if !self.held.is_within_limit(&mut self.table) {
            self.limits.refuse_held();
            self.table.set_max_capacity(0);
        }
    }

    /// Returns the limit on what is held for the guest besides its memory.
    pub(super) fn held_bytes_max(&self) -> usize {
        self.held.bytes_max()
    }

    /// Returns the most handles that the guest may have.
    pub(super) fn handles_max(&self) -> usize {
        self.held.resources_max()
    }

    /// Notes the exit code of a command to which it makes no difference.
    pub(super) fn exited(&self, code: i32) {
        let [_, stderr] = &self.streams;
        stderr.exited(code);
    }

    /// Returns the function's configuration for `wasi:config/store`.
    pub(super) fn config(&mut self) -> WasiConfig<'_> {
        WasiConfig::from(&*self.config)
    }

    /// Begins another invocation.
    pub(super) fn begin(&mut self, id: InvocationId) {
        self.streams.iter().for_each(|stream| stream.begin(id));
        self.limits.forget_refusal();
        if let Some(keyvalue) = &mut self.keyvalue {
            keyvalue.begin();
        }
    }

    /// Returns the function's buckets for `wasi:keyvalue`.
    pub(super) fn keyvalue(&mut self) -> View<'_> {
        self.called();
        let Self { keyvalue, table, streams: [_, stderr], .. } = self;
        View { keyvalue: keyvalue.as_mut(), table, stderr }
    }

    /// Sets the trace that the invocation's own requests belong to.
    pub(super) fn set_trace(&mut self, trace: Option<Trace>) {
        self.hooks.trace = trace;
    }

    /// Ends an invocation that went well. Returns whether the instance can be reused: it must hold
    /// nothing of the request any more, and not be near its memory limit.
    pub(super) fn end(&mut self) -> Reuse {
        self.streams.iter().for_each(GuestStream::end);
        let of_request = |entry: &mut (dyn Any + Send)| {
            entry.is::<HostIncomingRequest>()
                || entry.is::<HostIncomingBody>()
                || entry.is::<HostOutgoingBody>()
                || entry.is::<DynInputStream>()
                || entry.is::<p3::Request>()
                || entry.is::<p3::Response>()
        };
        let leaks = self
            .table
            .iter_mut()
            .enumerate()
            .any(|(at, entry)| at >= RESOURCES_KEPT_MAX || of_request(entry));
        match (leaks, self.limits.is_nearly_full() || self.limits.refused() == Some(Refused::Held))
        {
            (true, _) => Reuse::Request,
            (false, true) => Reuse::Memory,
            (false, false) => Reuse::Kept,
        }
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.called();
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.called();
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

/// The node's part of `wasi:http`.
struct Hooks {
    /// `None` if the function may not send requests.
    outbound: Option<Outbound>,
    /// `None` if the function has no WebSocket connections.
    pusher: Option<Pusher>,
    /// The trace that the invocation's own requests belong to.
    trace: Option<Trace>,
    stderr: GuestStream,
}

type SentRequest = Result<
    (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), HttpError>> + Send>),
    HttpError,
>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        mut request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        // How the guest fared with the response's body: nobody asks.
        _: Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ) -> Box<dyn Future<Output = SentRequest> + Send> {
        if let Some(pusher) = &self.pusher
            && is_push(request.uri())
        {
            return pusher.send(request);
        }
        let Some(outbound) = &self.outbound else {
            // Only the host and the port are shown: a name and a password may stand before them.
            let authority = request.uri().authority().map_or("?", |authority| authority.as_str());
            let authority = authority.rsplit('@').next().unwrap_or(authority);
            self.stderr.note(&format!(
                "[an outgoing request to {authority:?} was refused: the function was deployed without --allow-outbound]"
            ));
            return Box::new(std::future::ready(Err(HttpError::HttpRequestDenied)));
        };
        Trace::propagate(self.trace.as_ref(), request.headers_mut());
        let log = self.stderr.clone();
        outbound.send(request, options, move |why| log.note(why))
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES_MAX
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES_MAX
    }

    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        // The same as the default, without making a filter for each header.
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }
}
