//! Invocations of the API: an event goes to a worker on a connection of its own, and comes back as
//! a response whose headers say what became of it. Owns the connection while it waits.

use std::sync::Arc;
use std::time::Duration;

use abi::message::Awaits;
use abi::problem::{CONTENT_TYPE as PROBLEM_CONTENT_TYPE, INVOCATION_ID_HEADER};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http_body_util::{BodyExt as _, Limited};
use lambda_api::LambdaError;
use lambda_api::error::ThrottleReason;
use lambda_api::invocation::{
    Completion, FunctionError, Invocation, InvocationEvent, InvokeRequest, LogTail,
    RESPONSE_BYTES_MAX, ResponseMode, TRACE_CONTEXT,
};
use lambda_api::names::{Qualifier, VersionName};
use store::manifest::Manifest;

use super::error::failed;
use crate::call;
use crate::control::Control;
use crate::jobs::{JobError, Submission, Target};

/// What the worker reads and writes beside an event.
const CLIENT_CONTEXT: &str = "x-amz-client-context";
const ERROR_DOCUMENT: &str = "x-sockhop-error-document";
const EXECUTED_VERSION: &str = "x-amz-executed-version";
const FUNCTION_ERROR: &str = "x-amz-function-error";
const LOG_RESULT: &str = "x-amz-log-result";
const LOG_TYPE: &str = "x-amz-log-type";
const REQUEST_ID: &str = "x-amzn-requestid";
const RESPONSE_MODE: &str = "x-sockhop-response-mode";
const STREAMING: &str = "streaming";
const QUALIFIER: &str = "x-sockhop-qualifier";
const TENANT: &str = "x-amz-tenant-id";
const TRACE: &str = "x-amzn-trace-id";
/// After how long a client that was refused may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// What headers and base64 may add to the largest answer.
const SLACK_BYTES: usize = 64 * 1024;

/// Invokes a version.
pub(super) async fn invoke(
    control: &Arc<Control>,
    version: &Manifest,
    name: VersionName,
    asked: InvokeRequest,
) -> Result<Invocation, LambdaError> {
    let reference = match reference(version, &asked) {
        None => asked.function.name.to_string(),
        Some(reference) => format!("{}@{reference}", asked.function.name),
    };
    let request = request(&asked)?;
    let service = |error: &dyn std::fmt::Display| LambdaError::Service(error.to_string());
    let response = call::call(&control.supervisor, &reference, "/", request, Awaits::Event).await;
    let response = response.map_err(|error| service(&error))?;
    let (head, body) = response.into_parts();
    let text = |name| text(&head.headers, name);
    // The id that the function is told, or, where none has run, that of its log.
    let request_id = text(REQUEST_ID).or_else(|| text(INVOCATION_ID_HEADER)).map(str::to_owned);
    let executed = text(EXECUTED_VERSION).and_then(|version| VersionName::parse(version).ok());
    let name = match (name, executed) {
        // Of an alias with shares, only the worker knows which it was.
        (VersionName::Number(_), Some(executed)) => executed,
        (name, _) => name,
    };
    if text(RESPONSE_MODE) == Some(STREAMING) {
        return Ok(Invocation { version: name, request_id, events: events(body).boxed() });
    }
    let body = Limited::new(body, RESPONSE_BYTES_MAX + SLACK_BYTES).collect().await;
    let body = body.map_err(|error| service(&error))?.to_bytes();
    let is_problem = text(header::CONTENT_TYPE.as_str()) == Some(PROBLEM_CONTENT_TYPE);
    let whole = match is_problem {
        true => refused(head.status, &head.headers, name, &body)?,
        false => {
            let failed = head.headers.contains_key(FUNCTION_ERROR);
            let completion = Completion {
                function_error: failed.then(|| FunctionError::unhandled(body.clone())),
                log_tail: text(LOG_RESULT).and_then(decoded),
            };
            Invocation::whole(name, if failed { Bytes::new() } else { body }, completion)
        }
    };
    Ok(Invocation { request_id, ..whole })
}

/// Returns the alias or the version by which the function is called, unless by its bare name.
fn reference(version: &Manifest, asked: &InvokeRequest) -> Option<String> {
    match &asked.function.qualifier {
        None | Some(Qualifier::Version(VersionName::Latest)) => None,
        Some(Qualifier::Alias(alias)) => Some(alias.to_string()),
        Some(Qualifier::Version(VersionName::Number(_))) => Some(version.version.clone()),
    }
}

/// Keeps an invocation to be made later.
pub(super) async fn enqueue(
    control: &Arc<Control>,
    version: &Manifest,
    asked: InvokeRequest,
) -> Result<String, LambdaError> {
    let (head, _) = request(&asked)?.into_parts();
    let (reference, body) = (reference(version, &asked), asked.payload.into());
    let request = abi::job::Submission::new(reference, &Method::POST, "/", &head.headers, body);
    let submission = Submission { target: Target::Event, callback: None, request };
    let submitted = control.jobs.submit_and_wait(asked.function.name.as_str(), submission).await;
    submitted.map(|id| id.to_string()).map_err(|error| match error {
        JobError::Function(error) => failed(*error),
        JobError::BodyTooLarge | JobError::HeadTooLarge => {
            LambdaError::RequestTooLarge(error.to_string())
        }
        JobError::Full(_) | JobError::NotHere => LambdaError::TooManyRequests {
            reason: ThrottleReason::ConcurrentInvocationLimitExceeded,
            retry_after: RETRY_AFTER,
            message: error.to_string(),
        },
        error => LambdaError::Service(error.to_string()),
    })
}

/// Returns the value of a header, if it is text.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn decoded(base64: &str) -> Option<Bytes> {
    BASE64_STANDARD.decode(base64).ok().map(Bytes::from)
}

/// Returns what comes of an invocation whose answer is streamed: its pieces as they come, and what
/// its trailers say. It has no end if the worker's connection breaks off.
fn events(body: Body) -> impl Stream<Item = InvocationEvent> + Send {
    stream::unfold(Some(body), |body| async move {
        let mut body = body?;
        match body.frame().await {
            Some(Ok(frame)) => Some(match frame.into_data() {
                Ok(piece) => (InvocationEvent::Payload(piece), Some(body)),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    (InvocationEvent::Complete(completion(&trailers)), None)
                }
            }),
            Some(Err(_)) => None,
            None => Some((InvocationEvent::Complete(Completion::default()), None)),
        }
    })
}

fn completion(trailers: &HeaderMap) -> Completion {
    let document = text(trailers, ERROR_DOCUMENT).and_then(decoded);
    Completion {
        function_error: document.map(FunctionError::unhandled),
        log_tail: text(trailers, LOG_RESULT).and_then(decoded),
    }
}

fn request(asked: &InvokeRequest) -> Result<Request<Body>, LambdaError> {
    let mut request = Request::post("/").body(Body::from(asked.payload.clone()));
    let headers = request.as_mut().ok().map(Request::headers_mut);
    if let Some(headers) = headers {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut add = |name: &'static str, value: Option<String>| {
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                headers.insert(name, value);
            }
        };
        let encoded = |text: &String| BASE64_STANDARD.encode(text);
        add(CLIENT_CONTEXT, asked.client_context.as_ref().map(encoded));
        add(LOG_TYPE, (asked.log_tail == LogTail::Tail).then(|| "Tail".to_owned()));
        let streams = asked.response_mode == ResponseMode::Streaming;
        add(RESPONSE_MODE, streams.then(|| STREAMING.to_owned()));
        // The end of a stream is told in trailers.
        add("te", streams.then(|| "trailers".to_owned()));
        add(QUALIFIER, asked.function.qualifier.as_ref().map(ToString::to_string));
        add(TENANT, asked.tenant_id.clone());
        add(TRACE, asked.trace_id.clone());
        for (name, value) in TRACE_CONTEXT.into_iter().zip(&asked.trace_context) {
            headers.extend(value.clone().map(|value| (HeaderName::from_static(name), value)));
        }
    }
    request.map_err(|error| LambdaError::InvalidParameterValue(error.to_string()))
}

/// Returns what the client gets whose invocation the node has not run, or that had no answer.
fn refused(
    status: StatusCode,
    headers: &HeaderMap,
    name: VersionName,
    problem: &Bytes,
) -> Result<Invocation, LambdaError> {
    let read: Option<serde_json::Value> = serde_json::from_slice(problem).ok();
    let detail = read.as_ref().and_then(|read| read.get("detail")?.as_str());
    let message = detail.unwrap_or("the node has not run the function").to_owned();
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
            if headers.contains_key(header::RETRY_AFTER) =>
        {
            let reason = match status {
                StatusCode::TOO_MANY_REQUESTS => {
                    ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded
                }
                _ => ThrottleReason::ConcurrentInvocationLimitExceeded,
            };
            Err(LambdaError::TooManyRequests { reason, retry_after: RETRY_AFTER, message })
        }
        StatusCode::PAYLOAD_TOO_LARGE => Err(LambdaError::RequestTooLarge(message)),
        StatusCode::NOT_FOUND => Err(LambdaError::ResourceNotFound(message)),
        // The function did not start, or it ended: as on AWS that is the function's error.
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
            let error_type = match status {
                StatusCode::GATEWAY_TIMEOUT => "Sandbox.Timedout",
                _ => "Runtime.ExitError",
            };
            let document = serde_json::json!({ "errorType": error_type, "errorMessage": message });
            let function_error = Some(FunctionError::unhandled(document.to_string()));
            let completion = Completion { function_error, log_tail: None };
            Ok(Invocation::whole(name, Bytes::new(), completion))
        }
        _ => Err(LambdaError::Service(message)),
    }
}
