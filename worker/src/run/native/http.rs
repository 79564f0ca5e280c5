//! A program that serves HTTP itself: a Cloud Run server, or an Azure handler. Requests go to it
//! over connections that are made inside its sandbox and kept between requests; bodies are streamed
//! both ways. Connections are owned by hyper's tasks.

mod upgrade;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::process::Process;
use crate::run::body::{GuestBody, RequestBody};

/// Connections that are kept between requests.
const IDLE_CONNECTIONS_MAX: usize = 32;
/// The head of a reply.
const REPLY_HEAD_BYTES_MAX: usize = 1024 * 1024;
const REPLY_HEADERS_MAX: usize = 256;
/// The pauses between attempts to reach a process that is not ready. They grow slowly: most programs
/// are ready within some milliseconds, and a cold start waits for the end of a pause.
const PROBE_PAUSE_FIRST: Duration = Duration::from_millis(1);
const PROBE_PAUSE_MAX: Duration = Duration::from_millis(25);

/// How long the first connection is kept without a request. A program that serves one connection at
/// a time would wait for one in vain.
const FIRST_CONNECTION_KEPT: Duration = Duration::from_secs(1);

type Sender = SendRequest<RequestBody>;

/// Pauses, each a quarter longer than the one before.
struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(PROBE_PAUSE_FIRST)
    }
}

impl Pauses {
    async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 5 / 4).min(PROBE_PAUSE_MAX);
    }
}

/// The connections to one process.
pub(super) struct Http {
    process: Rc<Process>,
    port: u16,
    idle: RefCell<Vec<Sender>>,
    /// That by which it was found out that the process accepts connections, for a moment.
    first: RefCell<Option<Sender>>,
}

/// Why there is no reply.
pub(super) struct NotSent {
    /// A sentence for the function's log.
    pub(super) reason: String,
    /// The request, if nothing of it has left.
    pub(super) request: Option<Request<RequestBody>>,
}

impl NotSent {
    /// Returns the reason of a request of which something may have left.
    pub(super) fn begun(reason: String) -> Self {
        Self { reason, request: None }
    }
}

/// A program's reply, and what resolves when its body has ended or was dropped.
pub(super) struct Replied {
    pub(super) response: Response<GuestBody>,
    pub(super) ended: Pin<Box<dyn Future<Output = ()>>>,
}

impl Replied {
    /// Returns a reply whose body is there already.
    pub(super) fn at_once(response: Response<GuestBody>) -> Self {
        Self { response, ended: Box::pin(std::future::ready(())) }
    }
}

impl Http {
    pub(super) fn new(process: Rc<Process>, port: u16) -> Self {
        let (idle, first) = Default::default();
        Self { process, port, idle, first }
    }

    /// Resolves when the process accepts connections on its port. The first one is kept for the
    /// first request.
    pub(super) async fn accepts(self: &Rc<Self>) {
        let mut pauses = Pauses::default();
        let stream = loop {
            match self.process.connect(self.port).await {
                Ok(stream) => break stream,
                Err(_) => pauses.wait().await,
            }
        };
        // A program that ends connections at once may accept the next.
        if let Ok(mut sender) = self.spoken(stream).await
            && sender.ready().await.is_ok()
        {
            self.first.replace(Some(sender));
            let http = Rc::downgrade(self);
            tokio::task::spawn_local(async move {
                tokio::time::sleep(FIRST_CONNECTION_KEPT).await;
                if let Some(http) = http.upgrade() {
                    http.first.take();
                }
            });
        }
    }

    /// Resolves when the process accepts connections on its port, of a network that it has not for
    /// itself: whoever accepts there need not be this program.
    pub(super) async fn accepts_on_host(self: &Rc<Self>) {
        let mut pauses = Pauses::default();
        loop {
            self.accepts().await;
            // To look at this costs the kernel milliseconds where it has room for many connections.
            if self.process.ports().await.contains(&self.port) {
                return;
            }
            self.first.take();
            pauses.wait().await;
        }
    }

    /// Resolves when the process has answered a `GET /`, whatever it says.
    pub(super) async fn answers(self: &Rc<Self>) {
        let mut pauses = Pauses::default();
        loop {
            let mut request = Request::new(RequestBody::none());
            request.headers_mut().insert(http::header::HOST, HeaderValue::from_static("localhost"));
            if self.send(request).await.is_ok() {
                return;
            }
            pauses.wait().await;
        }
    }

    async fn connection(&self) -> io::Result<Sender> {
        self.spoken(self.process.connect(self.port).await?).await
    }

    /// Speaks HTTP on a connection.
    async fn spoken(&self, stream: TcpStream) -> io::Result<Sender> {
        stream.set_nodelay(true)?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(REPLY_HEAD_BYTES_MAX).max_headers(REPLY_HEADERS_MAX);
        let (sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::task::spawn_local(async move {
            // Whoever has sent a request on it is told of its end.
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }

    /// Takes a kept connection that is still open, the one used last first.
    fn kept(&self) -> Option<Sender> {
        let mut idle = self.idle.borrow_mut();
        while let Some(sender) = idle.pop().or_else(|| self.first.take()) {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    /// Sends a request, and returns the reply once its head is there.
    ///
    /// # Errors
    /// A sentence for the function's log, and the request if nothing of it was sent.
    pub(super) async fn send(
        self: &Rc<Self>,
        mut request: Request<RequestBody>,
    ) -> Result<Replied, NotSent> {
        let upgrade = upgrade_of(request.headers());
        end_to_end(request.headers_mut());
        let mut changed = None;
        if let Some(protocol) = upgrade {
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
            request.headers_mut().insert(UPGRADE, protocol);
            // What follows the head is sent only if the program agrees.
            changed = Some(std::mem::replace(request.body_mut(), RequestBody::none()));
        } else {
            // Trailers are passed on in both directions.
            request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        }
        *request.version_mut() = Version::HTTP_11;
        let failed = |error: &dyn std::fmt::Display| {
            format!("the program does not answer on port {}: {error}", self.port)
        };
        let failed = |error: &dyn std::fmt::Display| NotSent::begun(failed(error));
        let mut request = request;
        loop {
            let (mut sender, kept) = match self.kept() {
                Some(sender) => (sender, true),
                None => match self.connection().await {
                    Ok(sender) => (sender, false),
                    Err(error) => {
                        if let Some(body) = changed {
                            *request.body_mut() = body;
                        }
                        return Err(NotSent { request: Some(request), ..failed(&error) });
                    }
                },
            };
            match sender.try_send_request(request).await {
                Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    let Some(client) = changed else {
                        return Err(failed(&"it changes the protocol unasked"));
                    };
                    let replied = upgrade::replied(response, client).await;
                    return replied.map_err(|error| failed(&Causes(&error)));
                }
                Ok(response) => return Ok(self.replied(response, sender)),
                Err(mut error) => match error.take_message() {
                    // Nothing of it has left: the program had closed the kept connection.
                    Some(unsent) if kept => request = unsent,
                    _ => return Err(failed(&Causes(&error.into_error()))),
                },
            }
        }
    }

    fn replied(self: &Rc<Self>, response: Response<Incoming>, sender: Sender) -> Replied {
        let (mut head, body) = response.into_parts();
        end_to_end(&mut head.headers);
        let (ended, body_ended) = oneshot::channel();
        let body = Reply { body, sender: Some(sender), ended: Some(ended) };
        let http = Rc::clone(self);
        let ended = Box::pin(async move {
            // The connection of a body that was dropped before its end is of no more use.
            if let Ok(Some(sender)) = body_ended.await
                && http.idle.borrow().len() < IDLE_CONNECTIONS_MAX
            {
                http.idle.borrow_mut().push(sender);
            }
        });
        Replied { response: Response::from_parts(head, GuestBody::new(body)), ended }
    }
}

/// The body of a reply. With its last byte its connection is free for another request.
struct Reply {
    body: Incoming,
    sender: Option<Sender>,
    ended: Option<oneshot::Sender<Option<Sender>>>,
}

impl Body for Reply {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(None) = polled {
            let sender = self.sender.take();
            if let Some(ended) = self.ended.take() {
                let _ = ended.send(sender);
            }
        }
        polled.map_err(|error| Causes(&error).to_string())
    }

    fn is_end_stream(&self) -> bool {
        // Polled to its end in any case, which is what frees the connection.
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An error with what caused it, which hyper's own text leaves out.
struct Causes<'a>(&'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Returns the protocol that a request asks to change to (RFC 9110 7.8).
fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let asks = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let mut options = asks.flat_map(|value| value.split(','));
    let asks = options.any(|option| option.trim().eq_ignore_ascii_case("upgrade"));
    headers.get(UPGRADE).filter(|_| asks).cloned()
}

/// Removes the headers that are of one connection only (RFC 9110 7.6.1).
fn end_to_end(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    named.iter().for_each(|name| drop(headers.remove(name)));
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE, TE] {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection"] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn headers_of_the_connection_go_no_further() {
        let mut given = headers(&[
            ("connection", "close, x-own"),
            ("x-own", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "gzip"),
            ("accept", "*/*"),
        ]);
        end_to_end(&mut given);
        assert_eq!(given, headers(&[("accept", "*/*")]));
    }

    #[test]
    fn an_upgrade_has_to_be_asked_for_in_both_headers() {
        let asked = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
        assert_eq!(upgrade_of(&headers(&asked)).unwrap(), "websocket");
        assert_eq!(upgrade_of(&headers(&asked[..1])), None);
        assert_eq!(upgrade_of(&headers(&asked[1..])), None);
    }
}
