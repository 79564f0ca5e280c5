//! The endpoints, each from a request to its response. Owns no fds.

use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;
use tokio::io::AsyncRead;

use super::connection::Connection;
use super::endpoint::{Endpoint, ExtensionErrorKind};
use super::invocation::{Invocation, next_headers};
use super::post;
use super::process::{InitFailure, RuntimeApi};
use super::receive::{self, NotReceived, receive};
use super::responses::{self, Whole};
use crate::error_body::accepted_type;
use crate::limits::{REGISTRATION_BYTES_MAX, RESPONSE_BYTES_MAX};

/// The client left while its request waited for an event. There is nobody to respond to.
#[derive(Debug, thiserror::Error)]
#[error("the process closed its connection while it waited for an event")]
pub(super) struct ClientLeft;

impl From<Infallible> for ClientLeft {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Responds to a request on `connection`.
pub(super) async fn respond<I: AsyncRead + Unpin>(
    api: Rc<RuntimeApi>,
    connection: Connection<I>,
    request: Request<Incoming>,
) -> Result<Whole, ClientLeft> {
    let endpoint = match Endpoint::of(request.method(), request.uri().path()) {
        Ok(endpoint) => endpoint,
        Err(reason) => return Ok(refuse(request, responses::no_endpoint(reason)).await),
    };
    Ok(match endpoint {
        Endpoint::Ping => responses::pong(),
        Endpoint::Next => next(api, &connection).await?,
        Endpoint::Post(kind, id) => match api.post(&id, kind) {
            Ok(()) => post::post(api, &id, kind, request).await,
            Err(refused) => refuse(request, responses::refused(refused)).await,
        },
        Endpoint::InitError => init_error(&api, request).await,
        Endpoint::ExtensionRegister => register(&api, request).await,
        Endpoint::ExtensionNext => extension_next(&api, &connection, request.headers()).await?,
        Endpoint::ExtensionError(kind) => extension_error(&api, kind, request).await,
        Endpoint::Logs => refuse(request, responses::not_supported("Logs")).await,
        Endpoint::Telemetry => refuse(request, responses::not_supported("Telemetry")).await,
    })
}

/// Reads the request's body and drops it, so that the client gets the response: one that is still
/// sending might otherwise see its connection fail. A client that waits to be asked for the body
/// (`Expect: 100-continue`) is not asked.
async fn refuse(request: Request<Incoming>, response: Whole) -> Whole {
    if !request.headers().contains_key(header::EXPECT) {
        let _ = receive::drain(request.into_body()).await;
    }
    response
}

async fn next<I: AsyncRead + Unpin>(
    api: Rc<RuntimeApi>,
    connection: &Connection<I>,
) -> Result<Whole, ClientLeft> {
    match api.next() {
        Ok(Some(invocation)) => Ok(event(&api, &invocation)),
        Ok(None) => {
            let invocation = Waiting::new(api.clone()).invocation(connection).await?;
            Ok(event(&api, &invocation))
        }
        Err(refused) => Ok(responses::refused(refused)),
    }
}

fn event(api: &RuntimeApi, invocation: &Invocation) -> Whole {
    let mut response = Response::new(Full::new(invocation.event.clone()));
    *response.headers_mut() = next_headers(invocation, &api.function_arn(invocation));
    response
}

/// A `next` that waits. If it is dropped without an event, the state is told.
struct Waiting {
    api: Rc<RuntimeApi>,
    is_waiting: bool,
}

impl Waiting {
    fn new(api: Rc<RuntimeApi>) -> Self {
        Self { api, is_waiting: true }
    }

    async fn invocation<I: AsyncRead + Unpin>(
        mut self,
        connection: &Connection<I>,
    ) -> Result<Rc<Invocation>, ClientLeft> {
        loop {
            if let Some(invocation) = self.api.deliver_to_waiting() {
                self.is_waiting = false;
                return Ok(invocation);
            }
            tokio::select! {
                // An event is not to go to a client that has left.
                biased;
                () = connection.closed() => return Err(ClientLeft),
                () = self.api.event_queued() => {}
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.is_waiting {
            self.api.waiting_ended();
        }
    }
}

async fn init_error(api: &RuntimeApi, request: Request<Incoming>) -> Whole {
    if let Err(refused) = api.init_error() {
        return refuse(request, responses::refused(refused)).await;
    }
    let error_type = text(request.headers(), "lambda-runtime-function-error-type");
    let error_type = accepted_type(error_type.as_deref()).to_owned();
    let (received, response) = match receive(request.into_body(), RESPONSE_BYTES_MAX).await {
        Ok(received) => (received.body, responses::accepted()),
        Err(NotReceived::TooLarge { .. }) => (Bytes::new(), responses::too_large()),
        Err(NotReceived::Truncated) => (Bytes::new(), responses::truncated()),
    };
    api.init_failed(InitFailure::Reported { error_type, body: received });
    response
}

async fn register(api: &RuntimeApi, request: Request<Incoming>) -> Whole {
    let (head, body) = request.into_parts();
    let body = match receive(body, REGISTRATION_BYTES_MAX).await {
        Ok(received) => received.body,
        Err(NotReceived::TooLarge { .. }) => return responses::too_large(),
        Err(NotReceived::Truncated) => return responses::truncated(),
    };
    let name = text(&head.headers, "lambda-extension-name");
    let identifier = match api.register(name.as_deref(), &body) {
        Ok(identifier) => identifier,
        Err(refused) => return responses::extension_refused(&refused),
    };
    let config = api.config();
    let mut function = json!({
        "functionName": config.function_name,
        "functionVersion": config.function_version,
        "handler": config.handler,
    });
    let features = text(&head.headers, "lambda-extension-accept-feature").unwrap_or_default();
    let wants_account_id = features.split(',').any(|feature| feature.trim() == "accountId");
    if let (true, Some(function)) = (wants_account_id, function.as_object_mut()) {
        function.insert("accountId".to_owned(), config.account_id.clone().into());
    }
    let mut response = responses::json(StatusCode::OK, function.to_string().into());
    insert(&mut response, "lambda-extension-identifier", &identifier);
    response
}

async fn extension_next<I: AsyncRead + Unpin>(
    api: &RuntimeApi,
    connection: &Connection<I>,
    headers: &HeaderMap,
) -> Result<Whole, ClientLeft> {
    let identifier = text(headers, "lambda-extension-identifier");
    let event = tokio::select! {
        biased;
        () = connection.closed() => return Err(ClientLeft),
        event = api.extension_next(identifier.as_deref()) => event,
    };
    Ok(match event {
        Ok(event) => {
            let mut response = responses::json(StatusCode::OK, event);
            let event_identifier = uuid::Uuid::now_v7().to_string();
            insert(&mut response, "lambda-extension-event-identifier", &event_identifier);
            response
        }
        Err(refused) => responses::extension_refused(&refused),
    })
}

async fn extension_error(
    api: &RuntimeApi,
    kind: ExtensionErrorKind,
    request: Request<Incoming>,
) -> Whole {
    let (head, body) = request.into_parts();
    let body = match receive(body, RESPONSE_BYTES_MAX).await {
        Ok(received) => received.body,
        Err(NotReceived::TooLarge { .. }) => return responses::too_large(),
        Err(NotReceived::Truncated) => return responses::truncated(),
    };
    let identifier = text(&head.headers, "lambda-extension-identifier");
    let error_type = text(&head.headers, "lambda-extension-function-error-type");
    match api.extension_failed(kind, identifier.as_deref(), error_type.as_deref(), body) {
        Ok(()) => responses::accepted(),
        Err(refused) => responses::extension_refused(&refused),
    }
}

/// Returns a field's value. What of it is not UTF-8 is replaced.
fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn insert(response: &mut Whole, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
