//! What the Invoke API gives its callers (AWS: Lambda API reference, `Invoke`). Pure. Owns no fds.
//!
//! A function that fails is no failure of the API: the status stays 200, `X-Amz-Function-Error`
//! says that the body is an error. Statuses from 400 on are for invocations that never ran.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::error_body::type_and_message;
use crate::failure::Failure;
use crate::limits::{CLIENT_CONTEXT_BYTES_MAX, LOG_TAIL_BYTES_MAX, TRAILER_DOCUMENT_BYTES_MAX};

const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
const LOG_RESULT: HeaderName = HeaderName::from_static("x-amz-log-result");
const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
/// The error of a function, as base64, behind an answer that was streamed.
const ERROR_DOCUMENT: HeaderName = HeaderName::from_static("x-sockhop-error-document");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An invocation that ran, as its caller is told about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invoked<'a> {
    /// Its id.
    pub id: &'a str,
    /// The version of the function that ran: `$LATEST` or a number.
    pub executed_version: &'a str,
    /// Its log so far, if the caller asked for the tail of it.
    pub log: Option<&'a [u8]>,
    /// The trace that it belongs to. Empty if none.
    pub trace_id: &'a str,
}

/// Returns the response for an invocation with a result.
#[must_use]
pub fn succeeded(invoked: &Invoked<'_>, result: Bytes) -> Response<Bytes> {
    response(StatusCode::OK, headers(invoked), result)
}

/// Returns the response for an invocation without one.
#[must_use]
pub fn failed(invoked: &Invoked<'_>, failure: &Failure) -> Response<Bytes> {
    let mut headers = headers(invoked);
    headers.insert(FUNCTION_ERROR, HeaderValue::from_static("Unhandled"));
    response(StatusCode::OK, headers, failure.body(invoked.id))
}

/// Returns what stands behind the answer of the invocation `id` that was streamed: the end of its
/// log, and why it failed if it did.
#[must_use]
pub fn trailers(id: &str, log: Option<&[u8]>, failure: Option<&Failure>) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if let Some(log) = log {
        insert(&mut trailers, LOG_RESULT, &log_tail(log));
    }
    if let Some(failure) = failure {
        let mut document = failure.body(id);
        if document.len() > TRAILER_DOCUMENT_BYTES_MAX {
            let message = "the error is too long to stand behind a streamed answer";
            document = type_and_message(failure.error_type(), message);
        }
        trailers.insert(FUNCTION_ERROR, HeaderValue::from_static("Unhandled"));
        insert(&mut trailers, ERROR_DOCUMENT, &BASE64_STANDARD.encode(document));
    }
    trailers
}

/// Returns the response for an invocation of type `DryRun`, which only checks.
#[must_use]
pub fn dry_run(id: &str) -> Response<Bytes> {
    let mut headers = HeaderMap::new();
    insert(&mut headers, REQUEST_ID, id);
    response(StatusCode::NO_CONTENT, headers, Bytes::new())
}

/// Returns the response for an invocation of type `Event` that was accepted.
#[must_use]
pub fn accepted(id: &str) -> Response<Bytes> {
    let mut headers = HeaderMap::new();
    insert(&mut headers, REQUEST_ID, id);
    response(StatusCode::ACCEPTED, headers, Bytes::new())
}

/// Why an invocation did not run, by the names of the API's exceptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exception {
    /// A parameter has a value that the API does not allow.
    InvalidParameterValue,
    /// The body is not JSON.
    InvalidRequestContent,
    /// There is no such function or version.
    ResourceNotFound,
    /// The function is being changed.
    ResourceConflict,
    /// The revision id is not the current one.
    PreconditionFailed,
    /// The event is too long.
    RequestTooLarge,
    /// The body is of a type that the API does not take.
    UnsupportedMediaType,
    /// As many invocations of the account run as may.
    ConcurrentInvocationLimitExceeded,
    /// As many invocations of the function run as may.
    ReservedFunctionConcurrentInvocationLimitExceeded,
    /// The node failed.
    Service,
    /// The function cannot run yet.
    ResourceNotReady,
    /// The function's runtime cannot be started.
    InvalidRuntime,
}

impl Exception {
    /// Returns the status and the name, which SDKs choose their class by.
    #[must_use]
    pub fn status_and_name(self) -> (StatusCode, &'static str) {
        match self {
            Self::InvalidParameterValue => {
                (StatusCode::BAD_REQUEST, "InvalidParameterValueException")
            }
            Self::InvalidRequestContent => {
                (StatusCode::BAD_REQUEST, "InvalidRequestContentException")
            }
            Self::ResourceNotFound => (StatusCode::NOT_FOUND, "ResourceNotFoundException"),
            Self::ResourceConflict => (StatusCode::CONFLICT, "ResourceConflictException"),
            Self::PreconditionFailed => {
                (StatusCode::PRECONDITION_FAILED, "PreconditionFailedException")
            }
            Self::RequestTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException"),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaTypeException")
            }
            Self::ConcurrentInvocationLimitExceeded
            | Self::ReservedFunctionConcurrentInvocationLimitExceeded => {
                (StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException")
            }
            Self::Service => (StatusCode::INTERNAL_SERVER_ERROR, "ServiceException"),
            Self::ResourceNotReady => (StatusCode::BAD_GATEWAY, "ResourceNotReadyException"),
            Self::InvalidRuntime => (StatusCode::BAD_GATEWAY, "InvalidRuntimeException"),
        }
    }

    fn reason(self) -> Option<&'static str> {
        match self {
            Self::ConcurrentInvocationLimitExceeded => Some("ConcurrentInvocationLimitExceeded"),
            Self::ReservedFunctionConcurrentInvocationLimitExceeded => {
                Some("ReservedFunctionConcurrentInvocationLimitExceeded")
            }
            _ => None,
        }
    }
}

/// Returns the response for an invocation that did not run. Callers that may try again are told to
/// wait a second.
#[must_use]
pub fn refused(id: &str, exception: Exception, message: &str) -> Response<Bytes> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Body<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'static str>,
        r#type: &'static str,
        message: &'a str,
        // Which of the two an SDK reads depends on its age.
        #[serde(rename = "message")]
        message_in_lower_case: &'a str,
    }
    let (status, name) = exception.status_and_name();
    let reason = exception.reason();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(ERROR_TYPE, HeaderValue::from_static(name));
    insert(&mut headers, REQUEST_ID, id);
    if reason.is_some() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    let whose = if status.is_server_error() { "Service" } else { "User" };
    let body = Body { reason, r#type: whose, message, message_in_lower_case: message };
    response(status, headers, crate::error_body::json(&body))
}

/// Why a client context cannot be used. The caller is to get
/// [`Exception::InvalidRequestContent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientContextError {
    /// It is too long.
    #[error("X-Amz-Client-Context is longer than {CLIENT_CONTEXT_BYTES_MAX} bytes")]
    TooLong,
    /// It is not what the API expects.
    #[error("X-Amz-Client-Context is not a JSON object in base64")]
    NotJson,
}

/// Returns the JSON of the header `X-Amz-Client-Context`.
///
/// # Errors
///
/// Returns a [`ClientContextError`] if it is too long, or no JSON object in base64.
pub fn client_context(header: &[u8]) -> Result<String, ClientContextError> {
    if header.len() > CLIENT_CONTEXT_BYTES_MAX {
        return Err(ClientContextError::TooLong);
    }
    let json = BASE64_STANDARD.decode(header).map_err(|_| ClientContextError::NotJson)?;
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&json).map_err(|_| ClientContextError::NotJson)?;
    Ok(serde_json::Value::Object(object).to_string())
}

/// Returns the end of `log` that callers get who ask for it, as base64: 4 KB at most, and no part
/// of a character at its beginning.
#[must_use]
pub fn log_tail(log: &[u8]) -> String {
    let tail = log.get(log.len().saturating_sub(LOG_TAIL_BYTES_MAX)..).unwrap_or_default();
    let is_cut = tail.len() < log.len();
    let is_inside_character = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
    // A character of UTF-8 has at most three bytes after its first.
    let inside = tail.iter().take(3).take_while(|byte| is_inside_character(byte)).count();
    let start = if is_cut { inside } else { 0 };
    BASE64_STANDARD.encode(tail.get(start..).unwrap_or_default())
}

fn headers(invoked: &Invoked<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, JSON);
    insert(&mut headers, EXECUTED_VERSION, invoked.executed_version);
    insert(&mut headers, REQUEST_ID, invoked.id);
    if !invoked.trace_id.is_empty() {
        insert(&mut headers, TRACE_ID, invoked.trace_id);
    }
    if let Some(log) = invoked.log {
        insert(&mut headers, LOG_RESULT, &log_tail(log));
    }
    headers
}

/// Inserts a field, unless HTTP forbids its value.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn response(status: StatusCode, headers: HeaderMap, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

#[cfg(test)]
mod tests;
