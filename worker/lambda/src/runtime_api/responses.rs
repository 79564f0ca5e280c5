//! The responses of the Runtime API other than events. Pure. Owns no fds.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use super::endpoint::NoEndpoint;
use super::extensions::ExtensionRefused;
use super::state::Refused;
use crate::error_body::message_and_type;
use crate::limits::RESPONSE_BYTES_MAX;

/// A response that is sent whole.
pub(super) type Whole = Response<Full<Bytes>>;

pub(super) fn json(status: StatusCode, body: Bytes) -> Whole {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// What every post gets that was taken. Go's runtime ends its process if the status is any other.
pub(super) fn accepted() -> Whole {
    json(StatusCode::ACCEPTED, Bytes::from_static(b"{\"status\":\"OK\"}\n"))
}

pub(super) fn error(status: StatusCode, error_type: &str, message: &str) -> Whole {
    json(status, message_and_type(message, error_type))
}

pub(super) fn invalid_response_mode() -> Whole {
    let message = "Invalid function response mode";
    error(StatusCode::BAD_REQUEST, "InvalidFunctionResponseMode", message)
}

pub(super) fn truncated() -> Whole {
    let message = "HTTP request detected as truncated";
    error(StatusCode::BAD_REQUEST, "TruncatedHTTPRequest", message)
}

pub(super) fn too_large() -> Whole {
    let message = format!("Exceeded maximum allowed payload size ({RESPONSE_BYTES_MAX} bytes).");
    error(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &message)
}

pub(super) fn refused(refused: Refused) -> Whole {
    match refused {
        Refused::UnknownId => {
            error(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID")
        }
        Refused::Transition { from, to } => {
            let message = format!(
                "State transition from {from} to {to} failed for runtime. Error: State transition \
                 is not allowed"
            );
            error(StatusCode::FORBIDDEN, "InvalidStateTransition", &message)
        }
    }
}

pub(super) fn extension_refused(refused: &ExtensionRefused) -> Whole {
    error(StatusCode::FORBIDDEN, refused.error_type(), &refused.to_string())
}

pub(super) fn no_endpoint(reason: NoEndpoint) -> Whole {
    match reason {
        NoEndpoint::Path => error(
            StatusCode::NOT_FOUND,
            "NotFound",
            "no endpoint of the Runtime API of 2018-06-01 or the Extensions API of 2020-01-01 has \
             this path",
        ),
        NoEndpoint::Method(expected) => {
            let message = format!("this endpoint takes the method {expected}");
            let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", &message);
            let expected = HeaderValue::from_static(expected);
            response.headers_mut().insert(header::ALLOW, expected);
            response
        }
    }
}

/// What a subscription to logs or telemetry gets: there is none, and nobody need fail for it.
pub(super) fn not_supported(api: &str) -> Whole {
    let message = format!("{api} API is not supported");
    error(StatusCode::ACCEPTED, &format!("{api}.NotSupported"), &message)
}

pub(super) fn pong() -> Whole {
    Response::new(Full::new(Bytes::from_static(b"pong")))
}
