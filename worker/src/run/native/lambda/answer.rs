//! From what a program answers to what its caller gets: a reply to a request, or the response of
//! the Invoke API. Owns no fds.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use abi::invocation_id::InvocationId;
use abi::job::ID_HEADER;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Response, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full};
use lambda::failure::Failure as LambdaFailure;
use lambda::invoke::{self, Invoked};
use lambda::prelude::{HeadAndRest, PreludeParser, is_http_response};
use lambda::response_head::ResponseHead;
use lambda::runtime_api::{Answer, StreamBody};
use lambda::timestamp::unix_ms;

use super::streamed::{EndOfStream, WithEnd};
use crate::facts::Facts;
use crate::run::body::GuestBody;
use crate::run::failure::{Failure, report};
use crate::run::{Call, IsEvent, ReplySender, Shared, Spec};

/// How the node's API says that its client takes an answer as it comes, and how it is told that one
/// does.
const RESPONSE_MODE: &str = "x-sockhop-response-mode";
const STREAMING: &str = "streaming";

/// Where the failure of an invocation is recorded that its caller is told of by a reply.
pub(super) struct Record<'a> {
    pub(super) shared: &'a Shared,
    pub(super) facts: &'a Rc<Facts>,
    pub(super) id: InvocationId,
}

/// Whose call it is, and what they have asked for.
pub(super) struct Caller {
    /// The id of the request: of the job, if this is an attempt at one, or else of the invocation.
    pub(super) id: String,
    /// It comes from the Invoke API, and its body is the event.
    pub(super) is_event: bool,
    pub(super) wants_log: bool,
    /// It takes an answer as it comes, with what became of it in trailers.
    streams: bool,
    pub(super) trace_id: String,
    /// The version or alias that it names.
    pub(super) qualifier: Option<String>,
    pub(super) executed_version: String,
    /// What the program is told of the caller, as JSON.
    pub(super) client_context: Option<String>,
    pub(super) tenant_id: Option<String>,
}

impl Caller {
    pub(super) fn of(parts: &Parts, spec: &Spec, id: &str) -> Self {
        let headers = &parts.headers;
        let is_event = parts.extensions.get::<IsEvent>().is_some();
        // Only the node's own API may say these: a client's headers are the function's.
        let own = |name: &str| text(headers, name).filter(|_| is_event).map(str::to_owned);
        let client_context = own("x-amz-client-context");
        Self {
            id: own(ID_HEADER).unwrap_or_else(|| id.to_owned()),
            is_event,
            wants_log: own("x-amz-log-type").is_some_and(|kind| kind == "Tail"),
            streams: own(RESPONSE_MODE).is_some_and(|mode| mode == STREAMING),
            trace_id: trace_id(headers),
            qualifier: own("x-sockhop-qualifier"),
            executed_version: spec.version.to_string(),
            client_context: client_context
                .and_then(|encoded| invoke::client_context(encoded.as_bytes()).ok()),
            tenant_id: own("x-amz-tenant-id"),
        }
    }

    /// Returns whether a stream is to be collected before it is answered with.
    pub(super) fn takes_whole_answers(&self) -> bool {
        self.is_event && !self.streams
    }

    fn invoked<'a>(&'a self, log: &'a [u8]) -> Invoked<'a> {
        Invoked {
            id: &self.id,
            executed_version: &self.executed_version,
            log: self.wants_log.then_some(log),
            trace_id: &self.trace_id,
        }
    }
}

/// Returns the trace that the request is in, or a new one, as X-Ray writes it.
fn trace_id(headers: &HeaderMap) -> String {
    if let Some(given) = text(headers, "x-amzn-trace-id") {
        return given.to_owned();
    }
    let seconds = unix_ms(SystemTime::now()) / 1000;
    let random = fastrand::u128(..) >> 32;
    format!("Root=1-{seconds:08x}-{random:024x};Parent={:016x};Sampled=0", fastrand::u64(..))
}

/// Sends the answer of a program to its caller.
///
/// # Errors
/// Why there is no reply.
pub(super) async fn send(
    answer: Answer,
    caller: &Caller,
    (log, end): (&[u8], EndOfStream),
    (spec, record): (&Spec, Record<'_>),
    reply: ReplySender,
) -> Result<(), Failure> {
    if caller.is_event {
        match answer {
            Answer::Stream { body, .. } => stream_to_api(body, caller, spec, end, reply),
            Answer::Buffered { body, .. } => {
                send_to_api(Ok(body), caller, log, (spec, record), reply);
            }
            Answer::Failed(failure) => {
                send_to_api(Err(failure), caller, log, (spec, record), reply);
            }
            Answer::Cancelled => {
                let failure = LambdaFailure::TimedOut { limit: spec.timeout };
                send_to_api(Err(failure), caller, log, (spec, record), reply);
            }
        }
        return Ok(());
    }
    let function = || spec.name.to_string();
    let response = match answer {
        Answer::Buffered { content_type, body }
            if content_type.as_deref().is_some_and(is_http_response) =>
        {
            let mut parser = PreludeParser::new();
            let head = parser.push(&body).map_err(|error| bad_reply(spec, &error))?;
            whole(head.unwrap_or_else(|| parser.finish()))
        }
        Answer::Buffered { body, .. } => {
            let made = lambda::reply::reply(body).map_err(|error| bad_reply(spec, &error))?;
            whole((made.head, made.body))
        }
        Answer::Stream { content_type, body } => stream(content_type, body, spec).await?,
        Answer::Failed(failure) => return Err(failed(spec, failure)),
        Answer::Cancelled => {
            return Err(Failure::TimedOut { function: function(), limit: spec.timeout });
        }
    };
    let _ = reply.send(Ok(response));
    Ok(())
}

/// Sends an answer as the Invoke API has it: a function's failure is a response of 200.
fn send_to_api(
    result: Result<Bytes, LambdaFailure>,
    caller: &Caller,
    log: &[u8],
    (spec, record): (&Spec, Record<'_>),
    reply: ReplySender,
) {
    let invoked = caller.invoked(log);
    let response = match result {
        Ok(body) => invoke::succeeded(&invoked, body),
        Err(failure) => {
            let response = invoke::failed(&invoked, &failure);
            report(record.shared, spec, record.id, &failed(spec, failure), record.facts);
            response
        }
    };
    let response =
        response.map(|body| GuestBody::new(Full::new(body).map_err(|never| match never {})));
    let _ = reply.send(Ok(response));
}

/// Sends an answer as it comes to the Invoke API.
fn stream_to_api(
    body: StreamBody,
    caller: &Caller,
    spec: &Spec,
    end: EndOfStream,
    reply: ReplySender,
) {
    let response = invoke::succeeded(&Invoked { log: None, ..caller.invoked(&[]) }, Bytes::new());
    let (id, limit) = (caller.id.clone(), spec.timeout);
    let mut response = response.map(|_| GuestBody::new(WithEnd::new(body, (id, limit), end)));
    response.headers_mut().insert(RESPONSE_MODE, http::HeaderValue::from_static(STREAMING));
    let _ = reply.send(Ok(response));
}

/// Tells a caller of the Invoke API that no process of the function starts.
pub(in crate::run::native) fn not_started(
    (told, log): (&LambdaFailure, &[u8]),
    failure: &Failure,
    (spec, shared): (&Spec, &Shared),
    call: Call,
) {
    let Call { id, request, reply, facts, .. } = call;
    let id_text = id.to_string();
    let caller = Caller::of(&request.into_parts().0, spec, &id_text);
    let response = invoke::failed(&caller.invoked(log), told);
    report(shared, spec, id, failure, &facts);
    let response =
        response.map(|body| GuestBody::new(Full::new(body).map_err(|never| match never {})));
    let _ = reply.send(Ok(response));
    facts.ended();
}

/// Returns the reply to a result that is streamed, once its head is known.
async fn stream(
    content_type: Option<String>,
    mut body: StreamBody,
    spec: &Spec,
) -> Result<Response<GuestBody>, Failure> {
    let (head, first) = if content_type.as_deref().is_some_and(is_http_response) {
        let mut parser = PreludeParser::new();
        loop {
            let Some(frame) = body.frame().await else { break parser.finish() };
            let frame = frame.map_err(|error| failed(spec, error.into()))?;
            let Ok(data) = frame.into_data() else { continue };
            let found = parser.push(&data).map_err(|error| bad_reply(spec, &error))?;
            if let Some(found) = found {
                break found;
            }
        }
    } else {
        let mut head = ResponseHead::default();
        let content_type = content_type.as_deref().unwrap_or("application/octet-stream");
        if let Ok(value) = http::HeaderValue::from_str(content_type) {
            head.headers.insert(header::CONTENT_TYPE, value);
        }
        (head, Bytes::new())
    };
    let first = (!first.is_empty()).then_some(first);
    let rest = body.map_err(|error| error.to_string());
    Ok(with_head(head, GuestBody::new(Continued { first, rest })))
}

/// The first piece of a body, and the rest of it.
struct Continued<B> {
    first: Option<Bytes>,
    rest: B,
}

impl<B: Body<Data = Bytes, Error = String> + Unpin> Body for Continued<B> {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }
}

fn whole((head, body): HeadAndRest) -> Response<GuestBody> {
    with_head(head, GuestBody::new(Full::new(body).map_err(|never| match never {})))
}

fn with_head(head: ResponseHead, body: GuestBody) -> Response<GuestBody> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

fn bad_reply(spec: &Spec, reason: &dyn std::fmt::Display) -> Failure {
    let (function, error) = (spec.name.to_string(), reason.to_string());
    Failure::FunctionError { function, error }
}

/// Returns a failure of the contract as the node counts and logs it.
pub(super) fn failed(spec: &Spec, failure: LambdaFailure) -> Failure {
    let function = spec.name.to_string();
    match failure {
        LambdaFailure::TimedOut { limit } => Failure::TimedOut { function, limit },
        LambdaFailure::Exited(exit) => Failure::ProcessEnded { function, how: exit.to_string() },
        LambdaFailure::Function { error_type, body } => {
            let text = String::from_utf8_lossy(&body);
            Failure::FunctionError { function, error: format!("{error_type}: {text}") }
        }
        other => {
            let error = String::from_utf8_lossy(&other.body("")).into_owned();
            Failure::FunctionError { function, error }
        }
    }
}

/// Returns the value of a header, if it is text.
pub(super) fn text(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
