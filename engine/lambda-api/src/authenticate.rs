//! Who asks, and the body of what is asked: before a handler runs, the signature is right and the
//! body is there. Owns no fds.
//!
//! What can be refused by the head alone is refused before the body is read. Most clients sign the
//! body and do not say its hash beforehand, so that bodies are read, up to their limits, from
//! whoever states the key's id.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderName, HeaderValue, Method};
use http_body_util::BodyExt as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use uuid::Uuid;

use crate::api::Api;
use crate::error::LambdaError;
use crate::failure::Failure;
use crate::invocation::PAYLOAD_BYTES_MAX;
use crate::lambda::Lambda;
use crate::sigv4::{Claim, strip};

/// The header with a request's id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// The largest body that has neither a payload nor code in it.
const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;
/// How long a body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// How long a client may pause within it.
const BODY_PAUSE_TIMEOUT: Duration = Duration::from_secs(30);
/// How much is read away from a client that was refused, so that it reads why. One that sends more
/// finds its connection closed.
const REFUSED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long that may take.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(10);

/// The id of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestId(pub(crate) Uuid);

/// Lets a request through that is signed with the node's credential, with its body read and
/// without its signature.
pub(crate) async fn authenticate<L: Lambda>(
    State(api): State<Arc<Api<L>>>,
    request: Request,
    next: Next,
) -> Response {
    let id = RequestId(Uuid::now_v7());
    let (mut head, mut body) = request.into_parts();
    let mut response = match admit(&api, &mut head, &mut body).await {
        Ok(Admitted { body, permit }) => {
            let mut request = Request::from_parts(head, Body::from(body));
            request.extensions_mut().insert(id);
            let response = next.run(request).await;
            drop(permit);
            response
        }
        Err(failure) => {
            let _ = timeout(REFUSED_TIMEOUT, read_away(&mut body)).await;
            failure.into_response()
        }
    };
    let id = HeaderValue::try_from(id.0.to_string());
    if let (Ok(id), false) = (id, response.headers().contains_key(REQUEST_ID)) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// What has come with a request that is let through.
struct Admitted {
    body: Bytes,
    /// For what it takes of memory.
    permit: Option<OwnedSemaphorePermit>,
}

async fn admit<L: Lambda>(
    api: &Api<L>,
    head: &mut Parts,
    body: &mut Body,
) -> Result<Admitted, Failure> {
    let credential = &api.settings.credential;
    let claim = Claim::read(head, credential, (api.settings.clock)())?;
    if let Some(payload) = claim.payload() {
        claim.verify(head, credential, payload)?;
    }
    let kind = BodyKind::of(&head.method, head.uri.path());
    let bytes_max = kind.bytes_max(api.settings.zip_bytes_max);
    // The semaphores are never closed.
    let permit = match kind {
        BodyKind::Code => Arc::clone(&api.uploads).acquire_owned().await.ok(),
        BodyKind::Payload | BodyKind::Document => {
            let stated = body.size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok());
            let bytes = stated.unwrap_or(bytes_max).min(bytes_max);
            let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
            Arc::clone(&api.bodies).acquire_many_owned(kib).await.ok()
        }
    };
    let reading = timeout(BODY_TIMEOUT, read(head, body, bytes_max));
    let (body, sha256) = reading.await.unwrap_or_else(|_| Err(too_slow()))?;
    claim.check_body(&sha256)?;
    if claim.payload().is_none() {
        claim.verify(head, credential, &sha256)?;
    }
    strip(head);
    drop_trailing_slash(head);
    Ok(Admitted { body, permit })
}

/// What a request's body is, by which its limit goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyKind {
    /// The event of an invocation.
    Payload,
    /// A document with an archive of code in it.
    Code,
    /// Any other document.
    Document,
}

impl BodyKind {
    fn of(method: &Method, path: &str) -> Self {
        let path = path.strip_suffix('/').unwrap_or(path);
        let last = path.rsplit('/').next().unwrap_or_default();
        match last {
            "invocations" | "response-streaming-invocations" => Self::Payload,
            "code" => Self::Code,
            "functions" if method == Method::POST => Self::Code,
            _ => Self::Document,
        }
    }

    fn bytes_max(self, zip_bytes_max: usize) -> usize {
        match self {
            Self::Payload => PAYLOAD_BYTES_MAX,
            // Base64, and what stands around it.
            Self::Code => zip_bytes_max.div_ceil(3) * 4 + DOCUMENT_BYTES_MAX,
            Self::Document => DOCUMENT_BYTES_MAX,
        }
    }
}

/// Reads a body. Returns it with its SHA-256 in hexadecimal.
async fn read(head: &Parts, body: &mut Body, bytes_max: usize) -> Result<(Bytes, String), Failure> {
    let too_large = || {
        LambdaError::RequestTooLarge(format!(
            "Request must be smaller than {bytes_max} bytes for this operation"
        ))
    };
    let stated = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let stated: usize = stated.and_then(|value| value.parse().ok()).unwrap_or(0);
    if stated > bytes_max {
        return Err(too_large().into());
    }
    let mut whole = BytesMut::with_capacity(stated);
    let mut hash = Sha256::new();
    loop {
        let next = timeout(BODY_PAUSE_TIMEOUT, body.frame()).await.map_err(|_| too_slow())?;
        let Some(frame) = next else { break };
        let broken = |error| {
            LambdaError::InvalidRequestContent(format!("the request's body broke off: {error}"))
        };
        // Trailers mean nothing here.
        let Ok(piece) = frame.map_err(broken)?.into_data() else { continue };
        if piece.len() > bytes_max - whole.len() {
            return Err(too_large().into());
        }
        hash.update(&piece);
        whole.extend_from_slice(&piece);
    }
    Ok((whole.freeze(), hex::encode(hash.finalize())))
}

async fn read_away(body: &mut Body) {
    let mut left = REFUSED_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(bytes) {
            Some(less) => left = less,
            None => return,
        }
    }
}

fn too_slow() -> Failure {
    Failure::too_slow("the request's body took too long to come")
}

/// Older clients end some of the paths in a slash, as older models did.
fn drop_trailing_slash(head: &mut Parts) {
    let Some(path) = head.uri.path().strip_suffix('/').filter(|path| !path.is_empty()) else {
        return;
    };
    let changed = match head.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    if let Ok(changed) = changed.parse::<PathAndQuery>() {
        head.uri = Uri::from(changed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_limited_by_what_it_is() {
        for (method, path, kind) in [
            (Method::POST, "/2015-03-31/functions/a/invocations", BodyKind::Payload),
            (
                Method::POST,
                "/2021-11-15/functions/a/response-streaming-invocations",
                BodyKind::Payload,
            ),
            (Method::POST, "/2015-03-31/functions", BodyKind::Code),
            (Method::POST, "/2015-03-31/functions/", BodyKind::Code),
            (Method::GET, "/2015-03-31/functions", BodyKind::Document),
            (Method::PUT, "/2015-03-31/functions/a/code", BodyKind::Code),
            (Method::PUT, "/2015-03-31/functions/a/configuration", BodyKind::Document),
            (Method::GET, "", BodyKind::Document),
        ] {
            assert_eq!(BodyKind::of(&method, path), kind, "{method} {path}");
        }
        assert_eq!(BodyKind::Code.bytes_max(4), 8 + DOCUMENT_BYTES_MAX);
    }

    #[test]
    fn a_slash_at_the_end_means_nothing() {
        for (sent, routed) in [("/a/", "/a"), ("/a/?b=c", "/a?b=c"), ("/a", "/a"), ("/", "/")] {
            let (mut head, ()) = http::Request::get(sent).body(()).unwrap().into_parts();
            drop_trailing_slash(&mut head);
            assert_eq!(head.uri.to_string(), routed);
        }
    }
}
