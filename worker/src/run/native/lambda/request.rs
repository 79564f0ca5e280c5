//! From a request, or a call of the Invoke API, to the event that a program gets. Owns no fds.

use std::time::SystemTime;

use bytes::Bytes;
use http::header;
use http::request::Parts;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use lambda::event::{EventError, Request, event as url_event};
use lambda::limits::EVENT_BYTES_MAX;

use super::answer::{Caller, text};
use crate::origin::Origin;
use crate::run::body::RequestBody;
use crate::run::failure::Failure;

/// Why there is no event.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoEvent {
    #[error("it would be longer than {EVENT_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the request's body was not read: {0}")]
    Body(String),
}

impl NoEvent {
    pub(super) fn failure(self, function: &str) -> Failure {
        match self {
            Self::TooLarge => Failure::EventTooLarge { limit_bytes: EVENT_BYTES_MAX },
            Self::Body(reason) => Failure::NoAnswer { function: function.to_owned(), reason },
        }
    }
}

/// Reads the body of a request.
pub(super) async fn whole(body: RequestBody) -> Result<Bytes, NoEvent> {
    match Limited::new(body, EVENT_BYTES_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(NoEvent::TooLarge),
        Err(error) => Err(NoEvent::Body(error.to_string())),
    }
}

/// Returns the body of a request that was read, for another process.
pub(super) fn again(body: Bytes) -> RequestBody {
    RequestBody::new(Full::new(body).map_err(|never| match never {}))
}

/// Makes the event of a request with this body.
pub(super) fn event(
    parts: &Parts,
    body: &Bytes,
    origin: &Origin,
    caller: &Caller,
) -> Result<Bytes, NoEvent> {
    if caller.is_event {
        // What nobody has sent is an empty object for those who read JSON.
        return Ok(if body.is_empty() { Bytes::from_static(b"{}") } else { body.clone() });
    }
    let host = text(&parts.headers, &header::HOST).unwrap_or("localhost");
    let scheme = if origin.client.https { "https" } else { "http" };
    let named = host.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    url_event(&Request {
        method: &parts.method,
        uri: &parts.uri,
        version: parts.version,
        headers: &parts.headers,
        body,
        client: origin.client.address,
        host,
        scheme,
        port: named.unwrap_or(if origin.client.https { 443 } else { 80 }),
        invocation_id: &caller.id,
        trace_id: &caller.trace_id,
        now: SystemTime::now(),
    })
    .map_err(|EventError::TooLarge { .. }| NoEvent::TooLarge)
}
