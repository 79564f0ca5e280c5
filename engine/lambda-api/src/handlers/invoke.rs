//! Invocations: the request's headers and payload read, the answer written whole or in frames.
//! Owns no fds.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::{Answer, Failure, Target, invalid};
use crate::api::Api;
use crate::authenticate::{REQUEST_ID, RequestId};
use crate::error::LambdaError;
use crate::event_stream;
use crate::invocation::{
    Invocation, InvocationEvent, InvokeRequest, LogTail, ResponseMode, TRACE_CONTEXT,
};
use crate::json::base64_tail;
use crate::lambda::Lambda;
use crate::names::{FunctionReference, VersionName};

const INVOCATION_TYPE: HeaderName = HeaderName::from_static("x-amz-invocation-type");
const LOG_TYPE: HeaderName = HeaderName::from_static("x-amz-log-type");
const CLIENT_CONTEXT: HeaderName = HeaderName::from_static("x-amz-client-context");
const TENANT_ID: HeaderName = HeaderName::from_static("x-amz-tenant-id");
const DURABLE_EXECUTION: HeaderName = HeaderName::from_static("x-amz-durable-execution-name");
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
const LOG_RESULT: HeaderName = HeaderName::from_static("x-amz-log-result");

/// The largest client context, in base64.
const CLIENT_CONTEXT_BYTES_MAX: usize = 3583;
/// The name that AWS's emulator has for the one function that it runs.
const EMULATED: &str = "function";

/// What is wanted of an invocation.
enum InvocationType {
    RequestResponse,
    Event,
    DryRun,
}

pub(crate) async fn invoke<L: Lambda>(
    State(api): State<Arc<Api<L>>>,
    target: Target,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let reference = emulated(&api.lambda, target.reference).await;
    let request = read_request(reference, id, ResponseMode::Buffered, &headers, body)?;
    match invocation_type(&headers)? {
        InvocationType::DryRun => dry_run(&api.lambda, request.function).await,
        InvocationType::Event => {
            let id = api.lambda.enqueue(request).await?;
            let mut response = StatusCode::ACCEPTED.into_response();
            set(response.headers_mut(), REQUEST_ID, &id);
            Ok(response)
        }
        InvocationType::RequestResponse => {
            let invocation = api.lambda.invoke(request).await?;
            let mut response = StatusCode::OK.into_response();
            describe(&mut response, &headers, &invocation);
            let head = response.headers_mut();
            head.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let ended = invocation.collect().await?;
            if let Some(log) = &ended.completion.log_tail {
                set(head, LOG_RESULT, &base64_tail(log));
            }
            *response.body_mut() = Body::from(match ended.completion.function_error {
                Some(error) => {
                    set(response.headers_mut(), FUNCTION_ERROR, &error.kind);
                    error.document
                }
                None => ended.payload,
            });
            Ok(response)
        }
    }
}

pub(crate) async fn invoke_streaming<L: Lambda>(
    State(api): State<Arc<Api<L>>>,
    target: Target,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let request = read_request(target.reference, id, ResponseMode::Streaming, &headers, body)?;
    match invocation_type(&headers)? {
        InvocationType::DryRun => dry_run(&api.lambda, request.function).await,
        InvocationType::Event => {
            Err(invalid("the InvocationType of a streamed answer is RequestResponse or DryRun"))
        }
        InvocationType::RequestResponse => {
            let invocation = api.lambda.invoke(request).await?;
            let mut response = StatusCode::OK.into_response();
            describe(&mut response, &headers, &invocation);
            let content_type = HeaderValue::from_static(event_stream::CONTENT_TYPE);
            response.headers_mut().insert(CONTENT_TYPE, content_type);
            *response.body_mut() = frames(invocation);
            Ok(response)
        }
    }
}

/// Returns the body of a streamed answer: a frame for each piece as it comes.
fn frames(invocation: Invocation) -> Body {
    let frames = stream::unfold(Some(invocation.events), |events| async {
        let mut events = events?;
        Some(match events.next().await {
            Some(InvocationEvent::Payload(piece)) => {
                (event_stream::payload_chunks(&piece), Some(events))
            }
            Some(InvocationEvent::Complete(completion)) => {
                (event_stream::complete(&completion), None)
            }
            None => {
                let message =
                    "the invocation has stopped without an end; the node's log may say why";
                (event_stream::failed(message), None)
            }
        })
    });
    // An empty piece has no frame, and an empty piece of a body would say nothing.
    let frames = frames.filter(|frame| std::future::ready(!frame.is_empty()));
    Body::from_stream(frames.map(Ok::<Bytes, Infallible>))
}

async fn dry_run<L: Lambda>(lambda: &L, function: FunctionReference) -> Answer {
    let version = lambda.check_invoke(function).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    set_version(response.headers_mut(), version);
    Ok(response)
}

/// Returns the function that is meant: where `function` stands for the only one there is, that.
async fn emulated<L: Lambda>(lambda: &L, reference: FunctionReference) -> FunctionReference {
    if reference.name.as_str() != EMULATED {
        return reference;
    }
    match lambda.only_function().await {
        Some(name) => FunctionReference { name, ..reference },
        None => reference,
    }
}

/// Writes into an answer's head what is known before the function's answer.
fn describe(response: &mut Response, asked: &HeaderMap, invocation: &Invocation) {
    let head = response.headers_mut();
    set_version(head, invocation.version);
    if let Some(id) = &invocation.request_id {
        set(head, REQUEST_ID, id);
    }
    if let Some(trace_id) = asked.get(TRACE_ID) {
        head.insert(TRACE_ID, trace_id.clone());
    }
}

fn set_version(head: &mut HeaderMap, version: VersionName) {
    set(head, EXECUTED_VERSION, &version.to_string());
}

/// Sets a header, unless the value cannot stand in one.
fn set(head: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        head.insert(name, value);
    }
}

fn read_request(
    function: FunctionReference,
    RequestId(request_id): RequestId,
    response_mode: ResponseMode,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<InvokeRequest, Failure> {
    if headers.contains_key(DURABLE_EXECUTION) {
        return Err(invalid("durable executions are not supported by this node"));
    }
    let log_tail = match text(headers, &LOG_TYPE)? {
        None | Some("None") => LogTail::None,
        Some("Tail") => LogTail::Tail,
        Some(_) => return Err(invalid("LogType must be None or Tail")),
    };
    let client_context = text(headers, &CLIENT_CONTEXT)?.map(read_client_context).transpose()?;
    Ok(InvokeRequest {
        function,
        request_id,
        payload: read_payload(body)?,
        client_context,
        log_tail,
        trace_id: text(headers, &TRACE_ID)?.map(str::to_owned),
        trace_context: TRACE_CONTEXT.map(|name| headers.get(name).cloned()),
        tenant_id: text(headers, &TENANT_ID)?.map(str::to_owned),
        response_mode,
    })
}

fn invocation_type(headers: &HeaderMap) -> Result<InvocationType, Failure> {
    match text(headers, &INVOCATION_TYPE)? {
        None | Some("RequestResponse") => Ok(InvocationType::RequestResponse),
        Some("Event") => Ok(InvocationType::Event),
        Some("DryRun") => Ok(InvocationType::DryRun),
        Some(_) => Err(invalid("InvocationType must be RequestResponse, Event or DryRun")),
    }
}

/// Returns the value of a header.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Failure> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().map_err(|_| invalid(format!("the header {name} is no text")))?;
    Ok(Some(text))
}

/// Returns the event. An empty body is an empty object, since runtimes read every event as JSON.
fn read_payload(body: Bytes) -> Result<Bytes, Failure> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Bytes::from_static(b"{}"));
    }
    let not_json = |error: String| {
        let message = format!("Could not parse request body into json: {error}");
        Failure::from(LambdaError::InvalidRequestContent(message))
    };
    let text = std::str::from_utf8(&body).map_err(|error| not_json(error.to_string()))?;
    // Nothing is kept of it, so that neither its size nor its depth costs memory.
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| not_json(error.to_string()))?;
    Ok(body)
}

fn read_client_context(encoded: &str) -> Result<String, Failure> {
    let refused = || {
        let message = format!(
            "the client context must be a JSON object in base64, {CLIENT_CONTEXT_BYTES_MAX} bytes \
             at most"
        );
        Failure::from(LambdaError::InvalidRequestContent(message))
    };
    if encoded.len() > CLIENT_CONTEXT_BYTES_MAX {
        return Err(refused());
    }
    let decoded = STANDARD.decode(encoded).map_err(|_| refused())?;
    let text = String::from_utf8(decoded).map_err(|_| refused())?;
    serde_json::from_str::<Map<String, Value>>(&text).map_err(|_| refused())?;
    Ok(text)
}

#[cfg(test)]
#[path = "invoke_tests.rs"]
mod tests;
