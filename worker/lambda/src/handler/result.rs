//! From an HTTP response to the result of an invocation: what [`reply`](crate::reply) does, the
//! other way round, for each service that sends requests as events.
//!
//! Pure. Owns no fds.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use serde::de::IgnoredAny;

use super::Form;
use crate::error_body::{json, message_and_type};
use crate::event;
use crate::hop_by_hop;
use crate::limits::RESPONSE_BYTES_MAX;
use crate::reply::BASE64;

/// How much of a body the message of an error has, in bytes.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// Why an invocation has no result. It is to be posted to the invocation's `error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResultError {
    /// The result is longer than Lambda takes.
    #[error(
        "the function's result has {size_bytes} bytes, and Lambda takes {RESPONSE_BYTES_MAX}; \
         reply with less, where a body that is not text counts four thirds"
    )]
    TooLarge {
        /// How long it is.
        size_bytes: usize,
    },
    /// The function replied with a status of a server's error to an event that is no request.
    #[error("the function replied with status {}: {text}", .status.as_u16())]
    Status {
        /// The status.
        status: StatusCode,
        /// The body's first bytes, as text.
        text: String,
    },
    /// The function replied with what no JSON can hold to an event that is no request.
    #[error(
        "the function replied with {body_bytes} bytes that are neither JSON nor UTF-8; the result \
         of an invocation is JSON, unless it comes from an HTTP request"
    )]
    Binary {
        /// The length of the body.
        body_bytes: usize,
    },
}

impl ResultError {
    /// Returns the error's type, for `Lambda-Runtime-Function-Error-Type`.
    #[must_use]
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "Function.ResponseSizeTooLarge",
            Self::Status { .. } => "Function.ServerError",
            Self::Binary { .. } => "Function.BinaryResponse",
        }
    }

    /// Returns the error as the Runtime API takes it: JSON of `errorMessage` and `errorType`.
    #[must_use]
    pub fn body(&self) -> Bytes {
        message_and_type(&self.to_string(), self.error_type())
    }
}

/// Returns the result that `response` is to an event of this form, as JSON.
///
/// For a service, all of the response is kept but the fields that concern one connection, among
/// them the body's length. A body is text if it is UTF-8 and has no content coding, and otherwise
/// base64. A body without a content type is `application/octet-stream`; services would call it
/// JSON.
///
/// For any other event, the body alone is the result: JSON as it is, other text as a JSON string,
/// and an empty body as `null`.
///
/// # Errors
///
/// Returns a [`ResultError`] if the result would be longer than [`RESPONSE_BYTES_MAX`]. For an
/// event that is no request, also if the status is 500 or above, or the body is binary.
pub fn result(form: Form, response: &Response<Bytes>) -> Result<Bytes, ResultError> {
    let result = match form {
        Form::Direct => direct(response)?,
        Form::Http2 | Form::Rest | Form::LoadBalancer { .. } => of_service(form, response),
    };
    if result.len() > RESPONSE_BYTES_MAX {
        return Err(ResultError::TooLarge { size_bytes: result.len() });
    }
    Ok(result)
}

fn direct(response: &Response<Bytes>) -> Result<Bytes, ResultError> {
    let (status, body) = (response.status(), response.body());
    if status.as_u16() >= 500 {
        let first = body.get(..MESSAGE_BYTES_MAX).unwrap_or(body);
        return Err(ResultError::Status {
            status,
            text: String::from_utf8_lossy(first).into_owned(),
        });
    }
    if body.is_empty() {
        return Ok(Bytes::from_static(b"null"));
    }
    if serde_json::from_slice::<IgnoredAny>(body).is_ok() {
        return Ok(body.clone());
    }
    match std::str::from_utf8(body) {
        Ok(text) => Ok(json(&text)),
        Err(_) => Err(ResultError::Binary { body_bytes: body.len() }),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceResult<'a> {
    status_code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<BTreeMap<Cow<'a, str>, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multi_value_headers: Option<BTreeMap<&'a str, Vec<String>>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cookies: Vec<String>,
    body: Cow<'a, str>,
    is_base64_encoded: bool,
}

fn of_service(form: Form, response: &Response<Bytes>) -> Bytes {
    let mut headers = hop_by_hop::removed(response.headers());
    let (body, is_base64_encoded) = body(&headers, response.body());
    if !response.body().is_empty() && !headers.contains_key(header::CONTENT_TYPE) {
        // One more than a map can hold is left to the service's own default.
        let octets = HeaderValue::from_static("application/octet-stream");
        let _ = headers.try_insert(header::CONTENT_TYPE, octets);
    }
    let mut result = ServiceResult {
        status_code: response.status().as_u16(),
        status_description: None,
        headers: None,
        multi_value_headers: None,
        cookies: Vec::new(),
        body,
        is_base64_encoded,
    };
    match form {
        Form::Http2 | Form::Direct => {
            result.cookies = values(&headers, header::SET_COOKIE.as_str());
            headers.remove(header::SET_COOKIE);
            result.headers = Some(single(&headers));
        }
        // Not `headers` besides: a REST API would send both.
        Form::Rest => result.multi_value_headers = Some(several(&headers)),
        Form::LoadBalancer { multi_value_headers } => {
            result.status_description = Some(response.status().to_string());
            if multi_value_headers {
                result.multi_value_headers = Some(several(&headers));
            } else {
                result.headers = Some(single(&headers));
            }
        }
    }
    json(&result)
}

fn body<'a>(headers: &HeaderMap, body: &'a [u8]) -> (Cow<'a, str>, bool) {
    // What was compressed is not text, even if it happens to be UTF-8.
    let text = if headers.contains_key(header::CONTENT_ENCODING) {
        None
    } else {
        std::str::from_utf8(body).ok()
    };
    match text {
        Some(text) => (text.into(), false),
        None => (BASE64.encode(body).into(), true),
    }
}

fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(event::text).collect()
}

fn several(headers: &HeaderMap) -> BTreeMap<&str, Vec<String>> {
    headers.keys().map(|name| (name.as_str(), values(headers, name.as_str()))).collect()
}

/// Returns one value for each name: those of one name are joined by commas. Cookies cannot be
/// joined (RFC 6265 3), so each has a spelling of the name of its own.
fn single(headers: &HeaderMap) -> BTreeMap<Cow<'_, str>, String> {
    let mut single = BTreeMap::new();
    for name in headers.keys() {
        let values = values(headers, name.as_str());
        if name == header::SET_COOKIE {
            let spellings = (0..).map(|number| spelling(name.as_str(), number).into());
            single.extend(spellings.zip(values));
        } else {
            single.insert(name.as_str().into(), values.join(","));
        }
    }
    single
}

/// Returns `name` with those letters in upper case that are ones in the binary number `number`.
/// There are 512 spellings of `set-cookie`.
fn spelling(name: &str, number: u32) -> String {
    let mut number = number;
    let spelled = name.chars().map(|letter| {
        if !letter.is_ascii_alphabetic() {
            return letter;
        }
        let is_upper = number & 1 == 1;
        number >>= 1;
        if is_upper { letter.to_ascii_uppercase() } else { letter }
    });
    spelled.collect()
}

#[cfg(test)]
mod tests;
