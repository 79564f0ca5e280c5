//! An invocation: what is asked, and what comes of it. Owns no fds; dropping an [`Invocation`]
//! tells whoever made it that the client has left.

use std::fmt;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http::HeaderValue;
use uuid::Uuid;

use crate::error::LambdaError;
use crate::names::{FunctionReference, VersionName};

/// The largest payload of a request, and of an answer that is not streamed.
pub const PAYLOAD_BYTES_MAX: usize = 6 * 1024 * 1024;
/// What AWS adds to that for the wrapping of answers.
const RESPONSE_SLACK_BYTES: usize = 100;
/// The largest answer that is not streamed.
pub const RESPONSE_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + RESPONSE_SLACK_BYTES;
/// How much of the log's end a client gets.
pub const LOG_TAIL_BYTES_MAX: usize = 4096;

/// The headers of W3C's Trace Context.
pub const TRACE_CONTEXT: [&str; 2] = ["traceparent", "tracestate"];

/// What a function is invoked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvokeRequest {
    /// The function, and the version or alias that was named.
    pub function: FunctionReference,
    /// The id of this request, which the client gets as `x-amzn-RequestId`.
    pub request_id: Uuid,
    /// The event: JSON.
    pub payload: Bytes,
    /// The client's context: a JSON object, decoded.
    pub client_context: Option<String>,
    /// Whether the client wants the end of the log.
    pub log_tail: LogTail,
    /// The trace that the request belongs to, as in `X-Amzn-Trace-Id`.
    pub trace_id: Option<String>,
    /// The trace, as in `traceparent` and `tracestate`, which AWS has not.
    pub trace_context: [Option<HeaderValue>; 2],
    /// The tenant that it is for.
    pub tenant_id: Option<String>,
    /// How the client takes the answer.
    pub response_mode: ResponseMode,
}

/// Whether a client wants the end of an invocation's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogTail {
    /// It does not.
    None,
    /// It does.
    Tail,
}

/// How a client takes an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseMode {
    /// Whole.
    Buffered,
    /// As it comes.
    Streaming,
}

/// An invocation that was begun.
pub struct Invocation {
    /// The version that runs.
    pub version: VersionName,
    /// The id that the invocation has, if it is another one than the request's.
    pub request_id: Option<String>,
    /// What comes of it: payloads, and at last that it is complete.
    pub events: BoxStream<'static, InvocationEvent>,
}

/// What comes of an invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvocationEvent {
    /// The next piece of the answer.
    Payload(Bytes),
    /// The end. Whatever comes after it is not read.
    Complete(Completion),
}

/// How an invocation ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completion {
    /// Why the function failed, if it did.
    pub function_error: Option<FunctionError>,
    /// The end of the log, if it was wanted.
    pub log_tail: Option<Bytes>,
}

/// Why a function failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionError {
    /// `Unhandled`, which is what AWS has of every error.
    pub kind: String,
    /// What the client gets instead of an answer: JSON with `errorType` and `errorMessage`.
    pub document: Bytes,
}

impl FunctionError {
    /// Returns an error with its document.
    #[must_use]
    pub fn unhandled(document: impl Into<Bytes>) -> Self {
        Self { kind: "Unhandled".to_owned(), document: document.into() }
    }
}

/// An invocation that has come to its end, and was not too large to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Collected {
    pub(crate) payload: Bytes,
    pub(crate) completion: Completion,
}

impl Invocation {
    /// Returns an invocation that has ended, with its answer.
    #[must_use]
    pub fn whole(version: VersionName, payload: Bytes, completion: Completion) -> Self {
        let events = [InvocationEvent::Payload(payload), InvocationEvent::Complete(completion)];
        Self { version, request_id: None, events: stream::iter(events).boxed() }
    }

    /// Waits for the end of an invocation whose answer is not streamed. One that is too large
    /// becomes a function's error, as on AWS.
    ///
    /// # Errors
    /// Returns [`LambdaError::Service`] if the invocation stops without an end.
    pub(crate) async fn collect(mut self) -> Result<Collected, LambdaError> {
        let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
        let mut bytes: usize = 0;
        while let Some(event) = self.events.next().await {
            match event {
                InvocationEvent::Payload(piece) => {
                    bytes = bytes.saturating_add(piece.len());
                    if bytes > RESPONSE_BYTES_MAX {
                        // The rest is read away: the function has run, and its log is wanted.
                        (first, rest) = (Bytes::new(), BytesMut::new());
                    } else if bytes == piece.len() {
                        first = piece;
                    } else {
                        if rest.is_empty() {
                            rest.extend_from_slice(&std::mem::take(&mut first));
                        }
                        rest.extend_from_slice(&piece);
                    }
                }
                InvocationEvent::Complete(mut completion) => {
                    if bytes > RESPONSE_BYTES_MAX && completion.function_error.is_none() {
                        completion.function_error = Some(too_large(bytes));
                    }
                    let payload = if rest.is_empty() { first } else { rest.freeze() };
                    return Ok(Collected { payload, completion });
                }
            }
        }
        Err(LambdaError::Service(
            "the invocation has stopped without an answer; the node's log may say why".to_owned(),
        ))
    }
}

impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invocation").field("version", &self.version).finish_non_exhaustive()
    }
}

fn too_large(bytes: usize) -> FunctionError {
    let message = format!(
        "Response payload size ({bytes} bytes) exceeded maximum allowed payload size \
         ({RESPONSE_BYTES_MAX} bytes)."
    );
    let document = serde_json::json!({
        "errorMessage": message,
        "errorType": "Function.ResponseSizeTooLarge",
    });
    FunctionError::unhandled(document.to_string())
}

#[cfg(test)]
#[path = "invocation_tests.rs"]
mod tests;
