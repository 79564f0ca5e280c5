//! One request and its response, each step within its time. Owns no fds; hyper's tasks do.

use std::pin::pin;
use std::time::Duration;

use abi::limits::{
    OUTBOUND_CONNECT_TIMEOUT_DEFAULT, OUTBOUND_CONNECT_TIMEOUT_MAX, OUTBOUND_READ_TIMEOUT_MAX,
    OUTBOUND_REPLY_HEAD_BYTES_MAX,
};
use egress::head_bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Extensions, HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::client::legacy::{self, Client};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::body::{Length, ReplyBody, RequestBody, begins};
use super::connect::{CONNECT_TIMEOUT, Connector};
use super::error;
use super::stream::Exchanges;
use super::{Clients, Sent};

struct Times {
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
}

impl Times {
    /// Returns the timeouts that the guest asks for, up to the limits.
    fn of(options: RequestOptions) -> Self {
        let read = |asked: Option<Duration>| {
            asked.unwrap_or(OUTBOUND_READ_TIMEOUT_MAX).min(OUTBOUND_READ_TIMEOUT_MAX)
        };
        let connect = options.connect_timeout.unwrap_or(OUTBOUND_CONNECT_TIMEOUT_DEFAULT);
        Self {
            connect: connect.min(OUTBOUND_CONNECT_TIMEOUT_MAX),
            first_byte: read(options.first_byte_timeout),
            between_bytes: read(options.between_bytes_timeout),
        }
    }
}

/// Why there is no response.
enum Failure {
    Client(legacy::Error),
    TimedOut(Error),
}

pub(super) async fn exchange(
    clients: Clients,
    request: Request<WasiBody>,
    options: RequestOptions,
    permit: OwnedSemaphorePermit,
    on_denied: impl FnOnce(&str) + Send,
) -> Sent {
    let times = Times::of(options);
    let (mut head, body) = request.into_parts();
    let (mut body, mut failure) = RequestBody::new(body);
    let length = body.length().await;
    frame(&mut head, length);
    // A GET's body that has not begun is usually none, and its guest waits for the response without
    // closing it: it is not sent. If it begins after all, its guest learns that it was not sent.
    let unsent = (length == Length::NotBegun && sent_without_body(&head)).then(|| body.set_aside());
    // The head of a request that may be repeated and can be sent again.
    let again = (length == Length::Known(0) && head.method.is_idempotent()).then(|| head.clone());
    let (mut responded, mut connection) = tokio::select! {
        biased;
        responded = respond(&clients.pooled, Request::from_parts(head, body), &times) => responded,
        () = begins(unsent.flatten()) => return Err(error::body_too_late()),
    };
    if let (Err(Failure::Client(error)), Some(head)) = (&responded, again)
        && connection.reused
        && matches!(error::from_client(error), Error::ConnectionTerminated)
    {
        // The server had closed the kept connection, or was about to (RFC 9110 9.2.2).
        let request = Request::from_parts(head, RequestBody::empty());
        (responded, connection) = respond(&clients.fresh, request, &times).await;
    }
    match responded {
        Ok(response) if head_bytes(response.headers()) > OUTBOUND_REPLY_HEAD_BYTES_MAX => {
            Err(error::head_too_large())
        }
        Ok(response) => {
            let response = response.map(|body| {
                ReplyBody::new(body, connection.exchanges, times.between_bytes, permit)
                    .boxed_unsync()
            });
            Ok((response, Box::new(async { failure.await.map_or(Ok(()), Err) })))
        }
        Err(Failure::TimedOut(error)) => Err(error),
        Err(Failure::Client(error)) => {
            if let Some(text) = error::denied(&error) {
                on_denied(&text);
            }
            // hyper only knows that the guest's body failed, but not the cause.
            Err(failure.try_recv().unwrap_or_else(|_| error::from_client(&error)))
        }
    }
}

/// Sets the header that frames the body (RFC 9112 6.3) where hyper would guess from the method.
fn frame(head: &mut Parts, length: Length) {
    match length {
        // RFC 9110 8.6.
        Length::Known(0) if expects_body(&head.method) => {
            drop(head.headers.insert(CONTENT_LENGTH, HeaderValue::from(0)))
        }
        Length::Unknown if !head.headers.contains_key(CONTENT_LENGTH) => {
            head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        // If the body has not begun, hyper's rule makes it chunked for a method that usually has
        // one.
        Length::Known(_) | Length::Unknown | Length::NotBegun => {}
    }
}

/// Returns whether a request of this method usually has a body.
fn expects_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// Returns whether hyper sends a request with this head without its body, unless the body has a
/// known length.
fn sent_without_body(head: &Parts) -> bool {
    let framed =
        [CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| head.headers.contains_key(name));
    matches!(head.method, Method::GET | Method::HEAD) && !framed
}

/// The connection of an exchange.
#[derive(Default)]
struct Connection {
    /// Whether it had served another exchange.
    reused: bool,
    exchanges: Option<Exchanges>,
}

impl Connection {
    fn of(capture: &CaptureConnection) -> Self {
        let mut extras = Extensions::new();
        if let Some(connected) = &*capture.connection_metadata() {
            connected.get_extras(&mut extras);
        }
        let exchanges = extras.remove::<Exchanges>();
        Self { reused: exchanges.as_ref().is_some_and(Exchanges::count), exchanges }
    }
}

/// Returns the response's head, and the connection that it came on.
async fn respond(
    client: &Client<Connector, RequestBody>,
    mut request: Request<RequestBody>,
    times: &Times,
) -> (Result<Response<Incoming>, Failure>, Connection) {
    let mut capture = capture_connection(&mut request);
    let responded = respond_in_time(client, request, times, &mut capture).await;
    (responded, Connection::of(&capture))
}

/// Returns the response's head. Its timeout begins when there is a connection, new or kept.
async fn respond_in_time(
    client: &Client<Connector, RequestBody>,
    request: Request<RequestBody>,
    times: &Times,
    capture: &mut CaptureConnection,
) -> Result<Response<Incoming>, Failure> {
    let connected = async { drop(capture.wait_for_connection_metadata().await) };
    let mut response = pin!(CONNECT_TIMEOUT.scope(times.connect, client.request(request)));
    let connecting = async {
        tokio::select! {
            biased;
            response = &mut response => Some(response),
            () = connected => None,
        }
    };
    let early = timeout(times.connect, connecting)
        .await
        .map_err(|_| Failure::TimedOut(Error::ConnectionTimeout))?;
    let ended = match early {
        Some(ended) => ended,
        None => {
            let ended = timeout(times.first_byte, response).await;
            ended.map_err(|_| Failure::TimedOut(Error::ConnectionReadTimeout))?
        }
    };
    ended.map_err(Failure::Client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_may_ask_for_less_time_but_not_for_more() {
        let asking = |time| RequestOptions {
            connect_timeout: time,
            first_byte_timeout: time,
            between_bytes_timeout: time,
        };
        let times = |options| {
            let Times { connect, first_byte, between_bytes } = Times::of(options);
            (connect, first_byte, between_bytes)
        };
        let read = OUTBOUND_READ_TIMEOUT_MAX;
        assert_eq!(times(asking(None)), (OUTBOUND_CONNECT_TIMEOUT_DEFAULT, read, read));
        assert_eq!(times(asking(Some(Duration::MAX))), (OUTBOUND_CONNECT_TIMEOUT_MAX, read, read));
        let second = Duration::from_secs(1);
        assert_eq!(times(asking(Some(second))), (second, second, second));
    }
}
