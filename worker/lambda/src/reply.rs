//! From the result of a function to an HTTP response (payload format 2.0; AWS: "Invoking Lambda
//! function URLs", response payload).
//!
//! Pure. Owns no fds.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::failure::Failure;
use crate::response_head::{HeadError, HeadFields, ResponseHead};

const JSON: &str = "application/json";

/// Reads base64 with and without padding, since functions write both.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A response to a client: its head and its whole body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Status and header fields.
    pub head: ResponseHead,
    /// The body.
    pub body: Bytes,
}

/// Why a function's result is no response. The client is to get status 502.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The result is not JSON.
    #[error("the function's result is not JSON ({0}); a function behind a URL returns JSON")]
    NotJson(String),
    /// Status, header fields or cookies cannot be used.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// A field has a value of another type than the contract gives it.
    #[error("the function's result has a field of the wrong type: {0}")]
    Shape(String),
    /// The body is said to be base64 and is not.
    #[error("the function's result says isBase64Encoded, and its body is not base64: {0}")]
    Base64(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResultFields {
    #[serde(flatten)]
    head: HeadFields,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

/// Returns the response that `result`, the bytes which a function answered with, describes.
///
/// A JSON object that has `statusCode` describes a response. Any other JSON is itself the body of a
/// response with status 200, byte for byte. Whether a result is JSON is found out from its bytes
/// and not from its content type, since Go's runtime calls JSON `application/octet-stream`.
///
/// # Errors
///
/// Returns a [`ReplyError`] if the result is neither.
pub fn reply(result: Bytes) -> Result<Reply, ReplyError> {
    if !describes_response(&result)? {
        return Ok(Reply { head: head(StatusCode::OK, JSON), body: result });
    }
    let fields: ResultFields =
        serde_json::from_slice(&result).map_err(|error| ReplyError::Shape(error.to_string()))?;
    let body = fields.body.unwrap_or_default();
    let body = if fields.is_base64_encoded.unwrap_or_default() {
        BASE64.decode(body).map_err(|error| ReplyError::Base64(error.to_string()))?
    } else {
        body.into_bytes()
    };
    Ok(Reply { head: fields.head.into_head(JSON)?, body: body.into() })
}

/// Returns whether `result` is an object with a `statusCode` that is not null.
fn describes_response(result: &[u8]) -> Result<bool, ReplyError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Status {
        status_code: Option<Value>,
    }
    let first = result.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'{') {
        let status: Status = serde_json::from_slice(result).map_err(not_json)?;
        return Ok(status.status_code.is_some());
    }
    serde_json::from_slice::<IgnoredAny>(result).map_err(not_json)?;
    Ok(false)
}

fn not_json(error: serde_json::Error) -> ReplyError {
    ReplyError::NotJson(error.to_string())
}

/// Returns what a client of a function's URL gets when there is no result: 504 after a timeout, and
/// otherwise 502. What went wrong is for the log and not for the client.
#[must_use]
pub fn failed(failure: &Failure) -> Reply {
    match failure {
        Failure::TimedOut { .. } => {
            message(StatusCode::GATEWAY_TIMEOUT, "Endpoint request timed out")
        }
        Failure::Function { .. }
        | Failure::TooLarge { .. }
        | Failure::BadResponseMode
        | Failure::Truncated
        | Failure::Exited(_) => bad_gateway(),
    }
}

/// Returns what a client gets whose function failed, or answered with what is no response.
#[must_use]
pub fn bad_gateway() -> Reply {
    message(StatusCode::BAD_GATEWAY, "Internal Server Error")
}

/// Returns what a client gets whose request makes too long an event.
#[must_use]
pub fn request_too_large() -> Reply {
    message(StatusCode::PAYLOAD_TOO_LARGE, "Request Too Long")
}

/// Returns what a client gets when as many invocations run as may.
#[must_use]
pub fn too_many_requests() -> Reply {
    message(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests")
}

fn message(status: StatusCode, message: &str) -> Reply {
    let body = crate::error_body::json(&serde_json::json!({ "message": message }));
    Reply { head: head(status, JSON), body }
}

fn head(status: StatusCode, content_type: &'static str) -> ResponseHead {
    let mut headers = HeaderMap::with_capacity(1);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    ResponseHead { status, headers }
}

#[cfg(test)]
mod tests;
