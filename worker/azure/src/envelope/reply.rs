//! What a handler replies to an envelope, and the HTTP response that is made of it. Pure; owns no
//! fds.
//!
//! The rules are those of `HttpScriptInvocationResultExtensions.cs`, `HttpBinding.cs` and
//! `RawScriptResult.cs` of Azure's host:
//!
//! * An output of any name but `$return` is an object with `statusCode` (or `status`), `headers`
//!   and `body`, each of which can be left out.
//! * The output `$return` is what the handler has as `ReturnValue`. Text that is valid base64 is
//!   decoded, however short it is, unless the binding's `dataType` is `binary`. An object with a
//!   `body` is a response as above, and any other value is the body.
//! * Without an output the reply is 204.
//!
//! Where the host fails without a word, or is plainly wrong, this differs: a reply without a body
//! is an error (the host waits until the time limit), an object as the body is
//! `application/json` if no header says otherwise (the host says `text/plain`), a header's array is
//! several headers, and the reply's own `Content-Type` is not looked at.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::value::RawValue;

use super::members::{Members, string};
use crate::function::{Function, RETURN_BINDING};
use crate::headers::remove_hop_by_hop;

/// Base64 as `Convert.FromBase64String` of .NET reads it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

/// How much of what a handler wrote stands in an error, in characters.
const EXCERPT_CHARACTERS_MAX: usize = 200;

/// Most header fields of a response. No client takes as many, and a map of them holds no more than
/// some 24000.
const HEADERS_MAX: usize = 4096;

/// Why a reply is no response. The client gets 500, or what the node answers for a function that
/// has failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant has its sentence, and the fields stand in it")]
pub enum ReplyError {
    #[error("the handler replied {status} to the invocation, where 2xx is success: {excerpt}")]
    Status { status: StatusCode, excerpt: String },
    #[error(
        "the handler's reply has no body; expected JSON such as {{\"Outputs\":{{\"res\":{{\"body\":\"...\"}}}}}}"
    )]
    Empty,
    #[error(
        "the handler's reply is no JSON object ({message}): {excerpt}; to reply without an envelope, set enableForwardingHttpRequest in host.json"
    )]
    Json { message: String, excerpt: String },
    #[error("{key} of the handler's reply should be {expected}, and is {excerpt}")]
    Value { key: String, expected: &'static str, excerpt: String },
    #[error(
        "the header {name:?} of the handler's reply has a name or a value that HTTP cannot carry"
    )]
    Header { name: String },
    #[error("the handler's reply has more than {HEADERS_MAX} headers")]
    TooManyHeaders,
}

/// A handler's reply to an envelope.
#[derive(Debug)]
pub struct InvocationResult {
    outputs: Option<Box<RawValue>>,
    return_value: Option<Box<RawValue>>,
    /// The lines that belong in the invocation's log, also if no response can be made.
    pub logs: Vec<String>,
}

impl InvocationResult {
    /// Reads the reply with the status `status` and the body `body`.
    ///
    /// # Errors
    /// [`ReplyError`] if the status is not 2xx, or if the body is no JSON object.
    pub fn parse(status: StatusCode, body: &[u8]) -> Result<Self, ReplyError> {
        if !status.is_success() {
            let excerpt = excerpt(&String::from_utf8_lossy(body));
            return Err(ReplyError::Status { status, excerpt });
        }
        let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
        if body.trim_ascii().is_empty() {
            return Err(ReplyError::Empty);
        }
        let no_json = |message: String| ReplyError::Json {
            message,
            excerpt: excerpt(&String::from_utf8_lossy(body)),
        };
        let text = std::str::from_utf8(body).map_err(|error| no_json(error.to_string()))?;
        let members = Members::parse(text).map_err(|error| no_json(error.to_string()))?;
        let logs = members.get("Logs").map_or(Ok(Vec::new()), logs)?;
        Ok(Self {
            outputs: members.get("Outputs").map(ToOwned::to_owned),
            return_value: members.get("ReturnValue").map(ToOwned::to_owned),
            logs,
        })
    }

    /// Returns the response for the client of `function`. Its `Content-Length` is set; the node
    /// adds what concerns the connection.
    ///
    /// # Errors
    /// [`ReplyError`] names the key that is wrong.
    pub fn response(&self, function: &Function) -> Result<Response<Bytes>, ReplyError> {
        let Some(name) = &function.output_name else { return Ok(no_content()) };
        let outputs = match &self.outputs {
            None => Members::default(),
            Some(json) => Members::of(json).ok_or_else(|| wrong("Outputs", "an object", json))?,
        };
        if name == RETURN_BINDING {
            match self.return_value.as_deref().or_else(|| outputs.get(name)) {
                None => Ok(no_content()),
                Some(value) => returned(value, function.output_is_binary),
            }
        } else {
            match outputs.get(name) {
                None => Ok(no_content()),
                Some(value) => named(value, &format!("Outputs.{name}")),
            }
        }
    }
}

fn logs(json: &RawValue) -> Result<Vec<String>, ReplyError> {
    let lines: Vec<&RawValue> =
        serde_json::from_str(json.get()).map_err(|_| wrong("Logs", "an array", json))?;
    Ok(lines.into_iter().map(|line| string(line).unwrap_or_else(|| line.get().into())).collect())
}

/// Returns the response of an output with a name of its own, whose key is `key`.
fn named(value: &RawValue, key: &str) -> Result<Response<Bytes>, ReplyError> {
    const EXPECTED: &str = "an object with statusCode, headers and body";
    // An object can be written as a string, too.
    match string(value) {
        Some(text) => {
            let members = Members::parse(&text).map_err(|_| wrong(key, EXPECTED, value))?;
            described(&members, key)
        }
        None => {
            let members = Members::of(value).ok_or_else(|| wrong(key, EXPECTED, value))?;
            described(&members, key)
        }
    }
}

/// Returns the response that `$return` stands for.
fn returned(value: &RawValue, is_binary: bool) -> Result<Response<Bytes>, ReplyError> {
    const KEY: &str = "ReturnValue";
    if let Some(text) = string(value) {
        if !is_binary && let Some(bytes) = base64(&text) {
            let response = Response::new(Bytes::from(bytes));
            return Ok(finished(response, "application/octet-stream"));
        }
        if let Ok(members) = Members::parse(&text)
            && members.has("body")
        {
            return described(&members, KEY);
        }
        return Ok(finished(Response::new(Bytes::from(text)), "text/plain; charset=utf-8"));
    }
    match Members::of(value) {
        Some(members) if members.has("body") => described(&members, KEY),
        _ => Ok(finished(Response::new(json_bytes(value)), JSON_TYPE)),
    }
}

/// Returns the response that an object describes, whose key is `key`.
fn described(members: &Members<'_>, key: &str) -> Result<Response<Bytes>, ReplyError> {
    let mut response = Response::new(Bytes::new());
    if let Some(json) = members.get("statusCode").or_else(|| members.get("status")) {
        *response.status_mut() = status(json)
            .ok_or_else(|| wrong(&format!("{key}.statusCode"), "a status from 200 to 999", json))?;
    }
    if let Some(json) = members.get("headers") {
        let key = format!("{key}.headers");
        let list = Members::of(json).ok_or_else(|| wrong(&key, "an object", json))?;
        for (name, json) in list.into_iter() {
            header(&name, json, response.headers_mut())?;
        }
        remove_hop_by_hop(response.headers_mut());
    }
    let kind = match members.get("body") {
        None => TEXT_TYPE,
        Some(json) => match string(json) {
            Some(text) => {
                *response.body_mut() = Bytes::from(text);
                TEXT_TYPE
            }
            None => {
                *response.body_mut() = json_bytes(json);
                JSON_TYPE
            }
        },
    };
    Ok(finished(response, kind))
}

const TEXT_TYPE: &str = "text/plain; charset=utf-8";
const JSON_TYPE: &str = "application/json; charset=utf-8";

/// Returns a status that is a number, or a string of one.
fn status(json: &RawValue) -> Option<StatusCode> {
    let text = string(json).unwrap_or_else(|| json.get().to_owned());
    let number = text.trim().parse().ok().filter(|number| *number >= 200)?;
    StatusCode::from_u16(number).ok()
}

/// Adds the header `name`. An array is several headers, `null` is an empty one.
fn header(name: &str, json: &RawValue, headers: &mut HeaderMap) -> Result<(), ReplyError> {
    let refused = || ReplyError::Header { name: excerpt(name) };
    let parsed = HeaderName::try_from(name).map_err(|_| refused())?;
    let values: Vec<&RawValue> = serde_json::from_str(json.get()).unwrap_or_else(|_| vec![json]);
    for value in values {
        let text = match string(value) {
            Some(text) => text,
            None if value.get() == "null" => String::new(),
            None => value.get().to_owned(),
        };
        let value = HeaderValue::try_from(text).map_err(|_| refused())?;
        if headers.len() == HEADERS_MAX {
            return Err(ReplyError::TooManyHeaders);
        }
        headers.append(&parsed, value);
    }
    Ok(())
}

/// Returns the bytes of a JSON value as the handler wrote it.
fn json_bytes(json: &RawValue) -> Bytes {
    Bytes::copy_from_slice(json.get().as_bytes())
}

/// Sets what follows from the body: its length, and its type unless the handler has said it.
fn finished(mut response: Response<Bytes>, kind: &'static str) -> Response<Bytes> {
    // These have no body (RFC 9110 15.3.5, 15.4.5), and the first no length either.
    let status = response.status();
    response.headers_mut().remove(CONTENT_LENGTH);
    if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        *response.body_mut() = Bytes::new();
        return response;
    }
    let length = response.body().len();
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    if length > 0 {
        let kind = HeaderValue::from_static(kind);
        response.headers_mut().entry(CONTENT_TYPE).or_insert(kind);
    }
    response
}

fn no_content() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Decodes base64, white space in which does not count. Returns `None` for other text.
fn base64(text: &str) -> Option<Vec<u8>> {
    match text.contains([' ', '\t', '\r', '\n']) {
        true => BASE64.decode(text.replace([' ', '\t', '\r', '\n'], "")).ok(),
        false => BASE64.decode(text).ok(),
    }
}

fn wrong(key: &str, expected: &'static str, found: &RawValue) -> ReplyError {
    ReplyError::Value { key: key.to_owned(), expected, excerpt: excerpt(found.get()) }
}

/// Returns the beginning of `text`.
fn excerpt(text: &str) -> String {
    let mut excerpt: String = text.chars().take(EXCERPT_CHARACTERS_MAX).collect();
    if excerpt.len() < text.len() {
        excerpt.push_str("...");
    }
    excerpt
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
