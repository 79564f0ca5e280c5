//! Outgoing HTTP requests of guests: to the destinations that the function's list allows, over
//! pooled connections, within limits.
//!
//! It speaks HTTP/1.1, with TLS for `https`. It uses no proxies and follows no redirects: the guest
//! gets what the server said. Each function has one [`Outbound`] in each worker, so no function
//! uses another's connections or TLS sessions. Connections live in hyper's tasks, which own their
//! sockets. Every such task ends by itself when its request is dropped or has ended and its time is
//! up: idle ones by the pool's timer, stuck ones by [`stream`].
//!
//! hyper-util's client takes another connection if a kept one turns out to be closed, but only if
//! the request has not been begun: hyper returns it untouched (`retry_canceled_requests`). A
//! request of which a byte may have left is only repeated if its method is idempotent, it has no
//! body, and a connection that had served before ended without a reply: then once, on a new
//! connection (RFC 9110 9.2.2). In any other case the guest gets the error and decides.

mod body;
pub(crate) mod connect;
pub(crate) mod error;
mod exchange;
pub(crate) mod push;
mod resolve;
mod stream;
mod target;
mod tls;

use std::future::{Future, ready};
use std::sync::Arc;

use abi::limits::{
    OUTBOUND_IDLE_PER_HOST_MAX, OUTBOUND_IDLE_TIMEOUT, OUTBOUND_REPLY_HEAD_BYTES_MAX,
    OUTBOUND_REPLY_HEADERS_MAX,
};
use abi::outbound::AllowList;
use http::header::HOST;
use http::uri::Scheme;
use http::{HeaderValue, Method, Request, Response, Version};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, WasiBody};

use self::body::RequestBody;
use self::connect::Connector;
use self::error::Denied;
use self::target::Target;
use self::tls::Tls;

/// The result of sending a request: the response, and the result of sending the request's own body.
pub(crate) type Sent =
    Result<(Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

/// The client of one function. Cheap to clone; connections are kept as long as one clone is.
#[derive(Clone)]
pub(crate) struct Outbound(Arc<Inner>);

struct Inner {
    allow: Arc<AllowList>,
    clients: Clients,
    requests: Arc<Semaphore>,
}

/// The two HTTP clients of a function. Cheap to clone.
#[derive(Clone)]
struct Clients {
    pooled: Client<Connector, RequestBody>,
    /// Uses no kept connection, and keeps none.
    fresh: Client<Connector, RequestBody>,
}

impl Outbound {
    /// Returns a client with at most `requests_max` requests at a time, which trusts the system's
    /// certificates.
    pub(crate) fn new(allow: AllowList, requests_max: u32) -> Self {
        Self::with_tls(allow, requests_max, Tls::system())
    }

    fn with_tls(allow: AllowList, requests_max: u32, tls: Tls) -> Self {
        let (allow, requests_max) = (Arc::new(allow), requests_max as usize);
        let connector = Connector::new(Arc::clone(&allow), requests_max, tls);
        let client = |idle_per_host_max| {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(OUTBOUND_IDLE_TIMEOUT)
                .pool_max_idle_per_host(idle_per_host_max)
                .http1_max_buf_size(OUTBOUND_REPLY_HEAD_BYTES_MAX)
                .http1_max_headers(OUTBOUND_REPLY_HEADERS_MAX)
                .retry_canceled_requests(true)
                .set_host(false)
                .build(connector.clone())
        };
        let clients = Clients { pooled: client(OUTBOUND_IDLE_PER_HOST_MAX), fresh: client(0) };
        Self(Arc::new(Inner { allow, clients, requests: Arc::new(Semaphore::new(requests_max)) }))
    }

    /// Returns the places that requests take.
    pub(crate) fn requests(&self) -> &Arc<Semaphore> {
        &self.0.requests
    }

    /// Sends a guest's request. `on_denied` is called with a sentence for the function's log if the
    /// destination is not allowed. Dropping the returned future, or the response's body, ends the
    /// exchange and its connection.
    pub(crate) fn send(
        &self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        on_denied: impl FnOnce(&str) + Send + 'static,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let request = match prepare(request) {
            Ok((request, target)) if self.0.allow.allows_host(&target.host, target.port) => request,
            Ok((_, target)) => {
                on_denied(&Denied::host(target).to_string());
                return Box::new(ready(Err(Error::HttpRequestDenied)));
            }
            Err(error) => return Box::new(ready(Err(error))),
        };
        let Ok(permit) = Arc::clone(&self.0.requests).try_acquire_owned() else {
            return Box::new(ready(Err(Error::ConnectionLimitReached)));
        };
        let clients = self.0.clients.clone();
        Box::new(exchange::exchange(
            clients,
            request,
            options.unwrap_or_default(),
            permit,
            on_denied,
        ))
    }
}

/// Checks the guest's request, and turns it into what goes on the wire.
fn prepare(mut request: Request<WasiBody>) -> Result<(Request<WasiBody>, Target), Error> {
    // A tunnel would bypass everything that is checked here.
    if request.method() == Method::CONNECT {
        return Err(Error::HttpRequestMethodInvalid);
    }
    let uri = request.uri();
    if !uri.scheme().is_some_and(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS) {
        return Err(Error::HttpProtocolError);
    }
    let target = Target::of(uri).ok_or(Error::HttpRequestUriInvalid)?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::from_str(authority).map_err(|_| Error::HttpRequestUriInvalid)?;
    // wasi:http refuses these already, but a guest must never decide how a message is framed.
    DEFAULT_FORBIDDEN_HEADERS.iter().for_each(|name| drop(request.headers_mut().remove(name)));
    request.headers_mut().insert(HOST, host);
    *request.version_mut() = Version::HTTP_11;
    Ok((request, target))
}

#[cfg(test)]
mod tests;
