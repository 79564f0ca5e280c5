//! The invocations of a connection: for its messages, and for its end. Owns no fds.

use std::net::SocketAddr;
use std::time::Duration;

use abi::board::Places;
use abi::limits::WEBSOCKET_MESSAGE_BYTES_MAX;
use abi::outcome::ReplyEnd;
use abi::problem::Problem;
use abi::spool::Stream;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, FORWARDED, HOST};
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};

use super::Shared;
use super::frames::code;
use crate::origin::Client;
use crate::push::{ConnectionId, Message};
use crate::run::body::{BodyError, RequestBody};
use crate::serve::{
    Account, Callee, Destination, EventKind, Exchange, Found, Moved, RequestSource, WebSocketEvent,
};

/// How long it is before a function is told of an end again that was full.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// How often it is told.
const END_TRIES: usize = 10;

/// Whom a connection's invocations are from, and where they go.
pub(super) struct Caller {
    pub(super) callee: Callee,
    uri: Uri,
    prefix: Option<HeaderValue>,
    /// The headers that say which host was asked for, and by whom.
    headers: Box<[(HeaderName, HeaderValue)]>,
    client: Client,
    places: Option<Places>,
    local: SocketAddr,
}

/// What follows from a message.
pub(super) enum Answer {
    /// This is sent.
    Message(Message),
    /// Nothing is.
    Nothing,
    /// The connection is closed.
    Close { code: u16, reason: String },
}

impl Caller {
    /// Keeps what of the request that opens a connection is said again with each message.
    pub(super) fn of(exchange: &Exchange, callee: Callee, local: SocketAddr) -> Self {
        let is_said_again = |name: &HeaderName| {
            *name == HOST || *name == FORWARDED || name.as_str().starts_with("x-forwarded-")
        };
        // Copies, as the request's bytes are all in one buffer.
        let copy = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).ok();
        let headers = exchange.request.headers().iter().filter(|(name, _)| is_said_again(name));
        let headers = headers.filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
            Some((name, copy(value)?))
        });
        let uri = exchange.request.uri();
        let uri = Uri::try_from(uri.to_string()).unwrap_or_else(|_| uri.clone());
        Self {
            callee,
            uri,
            prefix: exchange.prefix.as_ref().and_then(copy),
            headers: headers.collect(),
            client: exchange.client,
            places: exchange.client_places,
            local,
        }
    }

    fn exchange(
        &self,
        event: WebSocketEvent,
        content_type: Option<HeaderValue>,
        destination: Destination,
    ) -> Box<Exchange> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = Version::HTTP_11;
        request.headers_mut().extend(self.headers.iter().cloned());
        if let Some(content_type) = content_type {
            request.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        request.extensions_mut().insert(event);
        Box::new(Exchange {
            request,
            prefix: self.prefix.clone(),
            client: self.client,
            client_places: self.places,
            destination,
            may_wait: false,
            arrived: None,
        })
    }
}

/// A message as a request's body.
struct Source {
    bytes: Bytes,
    local: SocketAddr,
}

impl RequestSource for Source {
    fn limit(&self, bytes_max: u64) -> Result<(), BodyError> {
        let fits = self.bytes.len() as u64 <= bytes_max;
        fits.then_some(()).ok_or(BodyError::TooLarge { limit: bytes_max })
    }

    fn body(&self) -> RequestBody {
        if self.bytes.is_empty() {
            return RequestBody::none();
        }
        RequestBody::new(Full::new(self.bytes.clone()).map_err(|never| match never {}))
    }

    fn failure(&self) -> Option<BodyError> {
        None
    }

    fn local_address(&self) -> SocketAddr {
        self.local
    }
}

/// Has a message answered.
pub(super) async fn message(
    shared: &Shared,
    caller: &Caller,
    id: ConnectionId,
    destination: Destination,
    message: Message,
) -> Answer {
    let event = WebSocketEvent { id, kind: EventKind::Message };
    let content_type = message.content_type();
    let exchange = caller.exchange(event, Some(content_type), destination);
    let invoked = invoke(shared, caller, exchange, message.bytes).await;
    match invoked.reply {
        Ok((status, message)) => answer(status, message, &invoked.id),
        Err(problem) => refused(&problem, &invoked.id),
    }
}

/// Returns what follows from a function's reply.
fn answer(status: u16, message: Message, id: &str) -> Answer {
    match status {
        200..300 if message.bytes.is_empty() => Answer::Nothing,
        200..300 => Answer::Message(message),
        400..500 => Answer::Close { code: code::POLICY, reason: String::new() },
        _ => Answer::Close { code: code::ERROR, reason: format!("invocation {id}") },
    }
}

/// Returns what follows from the node's own error.
fn refused(problem: &Problem, id: &str) -> Answer {
    let code = match problem.status {
        413 => code::TOO_LARGE,
        429 | 503 => code::TRY_AGAIN,
        _ => code::ERROR,
    };
    Answer::Close { code, reason: format!("invocation {id}") }
}

/// Tells the function that a connection has ended. Its reply means nothing.
pub(super) async fn end(shared: &Shared, caller: &Caller, id: ConnectionId, code: u16) {
    let Ok(_place) = shared.ends.acquire().await else { return };
    let event = WebSocketEvent { id, kind: EventKind::Close(code) };
    for _ in 0..END_TRIES {
        // Who runs it now is told, wherever it ran before; another worker cannot be.
        let Found::Here { destination, .. } = shared.pipeline.find_again(&caller.callee) else {
            return;
        };
        let exchange = caller.exchange(event, None, destination);
        let invoked = invoke(shared, caller, exchange, Bytes::new()).await;
        let is_full = invoked.reply.is_err_and(|problem| matches!(problem.status, 429 | 503));
        if !is_full {
            return;
        }
        tokio::time::sleep(FULL_PAUSE).await;
    }
    let name = &caller.callee.function;
    tracing::warn!("function {name:?} was not told of the end of connection {id}: it is full");
}

struct Invoked {
    /// The invocation's id.
    id: String,
    /// The reply's status and body, or the node's own error.
    reply: Result<(u16, Message), Problem>,
}

/// Invokes the function, and takes its whole reply.
async fn invoke(
    shared: &Shared,
    caller: &Caller,
    exchange: Box<Exchange>,
    bytes: Bytes,
) -> Invoked {
    let pipeline = &shared.pipeline;
    let source = Source { bytes, local: caller.local };
    let account = Account::open(pipeline, &exchange);
    let id = account.id.to_string();
    let received_bytes = source.bytes.len() as u64;
    let (end, reply) = match pipeline.try_answer(exchange, &source, &account).await {
        Err(problem) => (ReplyEnd::Whole(problem.status), Err(problem)),
        Ok(reply) => {
            let (head, body) = reply.into_parts();
            let status = head.status.as_u16();
            match Limited::new(body, WEBSOCKET_MESSAGE_BYTES_MAX).collect().await {
                Ok(whole) => {
                    let content_type = head.headers.get(CONTENT_TYPE);
                    let message = Message::of_body(content_type, whole.to_bytes());
                    (ReplyEnd::Whole(status), Ok((status, message)))
                }
                Err(error) => {
                    if error.is::<LengthLimitError>() {
                        let why = format!(
                            "[its reply has more than {WEBSOCKET_MESSAGE_BYTES_MAX} bytes, which no message may have]"
                        );
                        let log = &pipeline.shared().log;
                        log.line(&caller.callee.function, account.id, Stream::Node, why.as_bytes());
                    }
                    (ReplyEnd::Cut(status), Err(Problem::new(500, "the reply is not whole")))
                }
            }
        }
    };
    let sent_bytes = reply.as_ref().map_or(0, |(_, message)| message.bytes.len() as u64);
    account.close(pipeline, end, Moved { received_bytes, sent_bytes });
    pipeline.drop_retired();
    Invoked { id, reply }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_from_replies_and_from_the_nodes_own_errors() {
        let message = |bytes: &'static str| Message { is_text: true, bytes: bytes.into() };
        let closes = |answer| match answer {
            Answer::Close { code, reason } => (code, reason),
            Answer::Message(_) | Answer::Nothing => (0, String::new()),
        };
        assert!(matches!(answer(200, message("a"), "i"), Answer::Message(_)));
        assert!(matches!(answer(204, message(""), "i"), Answer::Nothing));
        for (status, code, reason) in [
            (302, 1011, "invocation i"),
            (400, 1008, ""),
            (403, 1008, ""),
            (500, 1011, "invocation i"),
        ] {
            assert_eq!(closes(answer(status, message("a"), "i")), (code, reason.to_owned()));
        }
        for (status, code) in [(413, 1009), (429, 1013), (503, 1013), (504, 1011), (500, 1011)] {
            let problem = Problem::new(status, "x");
            assert_eq!(closes(refused(&problem, "i")), (code, "invocation i".to_owned()));
        }
    }
}
