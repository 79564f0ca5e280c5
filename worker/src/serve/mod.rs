//! The pipeline of every request through a worker: find the version, admit, run, account, log,
//! trace. It knows no sockets.
//!
//! The edge ([`crate::edge`]) has an [`Exchange`] [answered](Pipeline::answer) and closes its
//! [`Account`] when the reply has left; a [`crate::run::Runner`] runs it. Owns no fds.

mod access;
mod account;
mod admission;
mod functions;
mod guest;
mod invocation;
mod queue;
mod redirect;
mod reply;
mod respond_async;
mod standby;
mod websocket;

use std::cell::{Ref, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use abi::board::{Places, now_us};
use abi::catalogue::{ArchivedFunction, CatalogueView};
use abi::choice::{Choice, Selector};
use abi::function::{ArchivedIsolation, WebSocketMode};
use abi::invocation_id::InvocationId;
use abi::message::{Awaits, Settings};
use abi::outcome::Reason;
use abi::problem::{self, Problem};
use abi::route::{Route, route};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};

pub(crate) use self::account::{Account, Arrived, Moved};
use self::admission::Clients;
pub(crate) use self::functions::Functions;
use self::redirect::{LOCAL_REDIRECTS_MAX, redirected};
pub(crate) use self::reply::ReplyBody;
use self::respond_async::{For, Held};
use self::standby::Standby;
pub(crate) use self::websocket::{Callee, EventKind, Found, WebSocketEvent};
use crate::drain::Drain;
use crate::origin::{Client, Origin};
use crate::run::body::{BodyError, RequestBody};
use crate::run::{LocalRedirect, Shared};
use crate::trace::Trace;

/// A request, and where it goes. It is passed on in a box, because each layer's future would copy
/// it.
pub(crate) struct Exchange {
    pub(crate) request: Request<()>,
    /// The part of its path that named the function.
    pub(crate) prefix: Option<HeaderValue>,
    pub(crate) client: Client,
    /// Where its client's address is counted.
    pub(crate) client_places: Option<Places>,
    pub(crate) destination: Destination,
    /// Whether it may be answered before it is run: it is a client's own, and does not ask to
    /// change the protocol.
    pub(crate) may_wait: bool,
    /// When its connection arrived, if this is the connection's first request.
    pub(crate) arrived: Option<Arrived>,
}

/// Where a request goes.
pub(crate) enum Destination {
    /// A function of the catalogue that routed it.
    Function { catalogue: Rc<CatalogueView>, choice: Choice, selector: Selector },
    /// No function: the node answers with an error.
    Problem(Problem),
    /// No function: the client is sent to this URL, which is the same with TLS.
    Secure(HeaderValue),
}

/// What the edge provides of a request on demand: its body, and its connection's address.
pub(crate) trait RequestSource {
    /// Limits the body to `bytes_max` bytes.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] if the body is already known to be longer.
    fn limit(&self, bytes_max: u64) -> Result<(), BodyError>;

    /// Returns the body, for the runner.
    fn body(&self) -> RequestBody;

    /// Returns why the body ended before it was complete. Returns `None` if it did not.
    fn failure(&self) -> Option<BodyError>;

    /// Returns the address that the request's connection was accepted on.
    fn local_address(&self) -> SocketAddr;
}

/// How requests find their functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Routing {
    /// By the names in hosts and paths.
    ByName,
    /// Each is for the only function there is, with its whole path.
    Only,
}

/// The pipeline of this worker.
pub(crate) struct Pipeline {
    settings: RefCell<Settings>,
    routing: Routing,
    pub(crate) functions: Functions,
    shared: Rc<Shared>,
    clients: Clients,
    standby: Standby,
    jobs: Held,
    drain: Rc<Drain>,
}

impl Pipeline {
    pub(crate) fn new(
        settings: Settings,
        routing: Routing,
        functions: Functions,
        shared: Rc<Shared>,
        drain: Rc<Drain>,
    ) -> Rc<Self> {
        let (clients, standby) = (Clients::default(), Standby::default());
        Rc::new(Self {
            settings: RefCell::new(settings),
            routing,
            functions,
            shared,
            clients,
            standby,
            jobs: Held::default(),
            drain,
        })
    }

    /// Returns the node's settings. The borrow must end before anything is awaited.
    pub(crate) fn settings(&self) -> Ref<'_, Settings> {
        self.settings.borrow()
    }

    pub(crate) fn set_settings(&self, settings: Settings) {
        *self.settings.borrow_mut() = settings;
    }

    /// Returns what all runners share: counters, log, thread.
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Returns the number of invocations that run or wait for a place.
    pub(crate) fn in_flight(&self) -> u64 {
        self.shared.counters.row().in_flight.load(Relaxed)
    }

    /// Finds the destination of a request to `host` for `target`, and the length of the path's
    /// prefix that names the function. Returns `None` if another worker has to answer it.
    pub(crate) fn find(
        &self,
        host: Option<&str>,
        target: &str,
        awaits: Awaits,
    ) -> Option<(Destination, usize)> {
        let catalogue = self.functions.catalogue();
        let settings = self.settings();
        let found = match self.routing {
            Routing::ByName => route(&catalogue, &settings.names, host, target, awaits.into()),
            Routing::Only => {
                Ok(Route { function: 0, selector: Selector::Alias(0), prefix_length: 0 })
            }
        };
        match found {
            Ok(Route { function, selector, prefix_length }) => {
                let is_ours = catalogue
                    .function(function)
                    .is_some_and(|function| is_ours(&settings, function));
                let choice =
                    catalogue.choose(function, selector, fastrand::u32(..)).filter(|_| is_ours)?;
                Some((Destination::Function { catalogue, choice, selector }, prefix_length))
            }
            Err(missing) => Some((Destination::Problem(missing.into()), 0)),
        }
    }

    /// Answers a request with the function's reply, or with the node's own error.
    pub(crate) async fn answer(
        self: &Rc<Self>,
        exchange: Box<Exchange>,
        source: &impl RequestSource,
        account: &Account,
    ) -> Response<ReplyBody> {
        let answer = self.try_answer(exchange, source, account).await;
        answer
            .unwrap_or_else(|problem| problem_response(&problem, account.id).map(ReplyBody::Whole))
    }

    /// The same for who tells the node's own errors from replies.
    ///
    /// # Errors
    /// The problem, if the function does not reply.
    pub(crate) async fn try_answer(
        self: &Rc<Self>,
        mut exchange: Box<Exchange>,
        source: &impl RequestSource,
        account: &Account,
    ) -> Result<Response<ReplyBody>, Problem> {
        let (catalogue, choice, selector) = match exchange.destination {
            Destination::Function { catalogue, choice, selector } => (catalogue, choice, selector),
            Destination::Secure(location) => {
                let mut reply = Response::new(ReplyBody::Whole(Bytes::new()));
                *reply.status_mut() = StatusCode::PERMANENT_REDIRECT;
                reply.headers_mut().insert(LOCATION, location);
                return Ok(reply);
            }
            Destination::Problem(problem) => {
                self.shared.counters.count_refused(problem.status);
                return Err(problem);
            }
        };
        // The headers change here, before they are copied for redirects: those belong to the same
        // span.
        let sample = self.settings().trace_sample;
        let trace =
            Trace::join(&mut exchange.request, account.id, sample).map(|(trace, recorded)| {
                account.facts.set_trace(recorded);
                trace
            });
        // Without a node there is nobody who could keep a job.
        if exchange.may_wait && self.routing == Routing::ByName {
            let prefix = exchange.prefix.as_ref();
            let of = For { catalogue: &catalogue, choice, selector, prefix };
            if let Some(asked) = of.asked(&exchange.request) {
                // In a box, as every request has room for what it waits for.
                let answer = self.answer_asked(asked, of, exchange.request, source, account);
                return Box::pin(answer).await;
            }
        }
        let count = |reason| {
            account.facts.reason.set(Some(reason));
            if let Some(slot) = account.slot {
                self.shared.counters.count_reason(slot, reason);
            }
        };
        let too_large = |error: BodyError| {
            count(Reason::RequestBody);
            Problem::new(413, error.to_string())
        };
        let function = self.functions.get(&catalogue, choice).await.map_err(|error| {
            count(Reason::Module);
            tracing::error!("{error}");
            Problem::new(500, error.for_client())
        })?;
        if function.spec.websocket == WebSocketMode::Messages {
            websocket::mark(&mut exchange.request);
        }
        // The limit is the function's and known only now; nothing of the body was read before.
        source.limit(function.spec.limits.request_body_bytes_max).map_err(too_large)?;
        // Only a program that may redirect needs its request's head once more.
        let mut head = function.runner.may_redirect().then(|| exchange.request.clone());
        let mut request = exchange.request.map(|()| source.body());
        let local = function.runner.needs_local_address().then(|| source.local_address());
        let origin = Origin { client: exchange.client, local };
        let mut came_us = account.begun_us;
        for _ in 0..=LOCAL_REDIRECTS_MAX {
            let trace = trace.clone();
            let call = Box::new(invocation::Request { request, origin, trace, came_us });
            let reply = invocation::run(self, &function, call, account).await;
            // A body that was cut off decides, whatever the guest made of it: the client has to
            // know the reason.
            let reply = match source.failure() {
                Some(error @ BodyError::TooLarge { .. }) => return Err(too_large(error)),
                Some(error @ BodyError::Stalled { .. }) => {
                    count(Reason::RequestBody);
                    return Err(Problem::new(408, error.to_string()));
                }
                Some(BodyError::Malformed) => {
                    return Err(Problem::new(400, BodyError::Malformed.to_string()));
                }
                _ => reply?,
            };
            let target = reply.extensions().get::<LocalRedirect>();
            let next = target
                .zip(head.as_ref())
                .and_then(|(LocalRedirect(target), head)| redirected(head, target));
            let Some(next) = next else { return Ok(reply) };
            head = Some(next.clone());
            request = next.map(|()| RequestBody::none());
            came_us = now_us();
        }
        count(Reason::Reply);
        let name = &function.spec.name;
        Err(Problem::new(
            500,
            format!(
                "function {name:?} made more than {LOCAL_REDIRECTS_MAX} local redirects of one request"
            ),
        ))
    }

    /// Starts the only version in `catalogue`, which is not served, and ends it again.
    ///
    /// # Errors
    /// The reason why it does not start, for the user who deploys it.
    pub(crate) async fn try_start(&self, catalogue: CatalogueView) -> Result<(), String> {
        let only = Choice { function: 0, version: 0, spec: 0 };
        let loaded = self.functions.get(&Rc::new(catalogue), only).await;
        let function = loaded.map_err(|error| error.reason().to_owned())?;
        function.runner.try_start().await
    }

    /// Loads the only function before its first request.
    ///
    /// # Errors
    /// The reason why it cannot be loaded.
    pub(crate) async fn load_only(&self) -> Result<(), String> {
        let only = Choice { function: 0, version: 0, spec: 0 };
        let loaded = self.functions.get(&self.functions.catalogue(), only).await;
        loaded.map(drop).map_err(|error| error.reason().to_owned())
    }

    /// Loads the versions of this worker's own function that keep processes although nothing calls
    /// them; these start their processes by themselves.
    pub(crate) async fn load_kept(&self) {
        let Some(only) = self.settings().only_function.clone() else { return };
        for (catalogue, choice) in self.functions.kept(&only) {
            if let Err(error) = self.functions.get(&catalogue, choice).await {
                tracing::error!("{error}");
            }
        }
    }

    /// Prepares instances for the next calls of functions that were called lately. Never returns.
    pub(crate) async fn stand_by(&self) {
        self.standby.run().await;
    }

    /// Drops the instances of invocations whose replies have left.
    pub(crate) fn drop_retired(&self) {
        self.functions.runtime().drop_retired();
    }

    /// Returns the time limit for a request's head.
    pub(crate) fn head_timeout(&self) -> Duration {
        millis(self.settings().head_timeout_ms)
    }

    /// Returns the time limit for an idle connection between requests.
    pub(crate) fn idle_timeout(&self) -> Duration {
        millis(self.settings().idle_timeout_ms)
    }

    /// Returns the time limit for a client that reads none of its reply.
    pub(crate) fn write_timeout(&self) -> Duration {
        millis(self.settings().write_timeout_ms)
    }
}

fn millis(millis: u32) -> Duration {
    Duration::from_millis(u64::from(millis))
}

fn is_ours(settings: &Settings, function: &ArchivedFunction) -> bool {
    match &settings.only_function {
        Some(only) => {
            function.isolation == ArchivedIsolation::Process && function.name == only.as_str()
        }
        None => function.isolation == ArchivedIsolation::Shared,
    }
}

/// Returns the node's own error as a reply.
pub(crate) fn problem_response(problem: &Problem, id: InvocationId) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(problem.body(id)));
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
    if response.status() == StatusCode::UPGRADE_REQUIRED {
        // Only of WebSocket there is a version that is not spoken here (RFC 6455 4.4).
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    if problem.retry_after() {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static(problem::RETRY_AFTER_S));
    }
    response
}
