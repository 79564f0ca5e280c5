//! From an event to an HTTP request: what [`event`](crate::event) does, the other way round, and
//! the same for the other services that send requests as events.
//!
//! Pure. Owns no fds.

use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};

use super::Form;
use super::fields::{self, EventFields, Members};
use super::target;
use crate::error_body::message_and_type;
use crate::hop_by_hop;
use crate::reply::BASE64;

/// The host of a request whose event names none: HTTP/1.1 requires one.
const NO_HOST: &str = "localhost";

/// A request, as an event describes it.
#[derive(Debug)]
pub struct Incoming {
    /// The request, of HTTP/1.1, with a target in origin form. Its body's length is among its
    /// header fields if it has a body, or if the event has that field.
    pub request: Request<Bytes>,
    /// Which service the event is from.
    pub form: Form,
    /// The client's address, if the service names it.
    pub client: Option<IpAddr>,
    /// Whether the client's connection was encrypted.
    pub https: bool,
}

/// Why there is no request for an event. It is to be posted to the invocation's `error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IncomingError {
    /// The event is not JSON.
    #[error("the event is not JSON: {0}")]
    NotJson(String),
    /// A field has a value of another type than its service gives it.
    #[error("the event has a field of the wrong type: {0}")]
    Shape(String),
    /// The method is not there, or has characters that HTTP forbids.
    #[error("the event's method is {0:?}, which is not a method by RFC 9110")]
    Method(String),
    /// Path and query are too long.
    #[error("the event's path and query cannot be used: {0}")]
    Target(String),
    /// A header field's name has characters that HTTP forbids.
    #[error("the event has a header named {0:?}, which is not a name by RFC 9110")]
    HeaderName(String),
    /// A header field's value has characters that HTTP forbids.
    #[error("the event has a value of the header {0:?} that contains a control character")]
    HeaderValue(String),
    /// There are more header fields than can be held.
    #[error("the event has too many headers")]
    TooManyHeaders,
    /// The body is said to be base64 and is not.
    #[error("the event says isBase64Encoded, and its body is not base64: {0}")]
    Base64(String),
}

impl IncomingError {
    /// Returns the error's type, for `Lambda-Runtime-Function-Error-Type`.
    #[must_use]
    pub fn error_type(&self) -> &'static str {
        "Runtime.InvalidEvent"
    }

    /// Returns the error as the Runtime API takes it: JSON of `errorMessage` and `errorType`.
    #[must_use]
    pub fn body(&self) -> Bytes {
        message_and_type(&self.to_string(), self.error_type())
    }
}

/// Returns the request that `event` describes. An event that describes none, an empty one too, is
/// the body of a `POST /`.
///
/// Path and query are those of the event, byte for byte: an HTTP API's stage, if it has one, stays
/// in the path. Header fields that concern one connection are left out. Values that were not UTF-8
/// when the service got them stay as it wrote them.
///
/// # Errors
///
/// Returns an [`IncomingError`] if the event is not JSON, or is a request that HTTP does not know.
pub fn incoming(event: &[u8]) -> Result<Incoming, IncomingError> {
    if event.is_empty() {
        return direct(event);
    }
    let form = fields::form(event).map_err(|error| IncomingError::NotJson(error.to_string()))?;
    if form == Form::Direct {
        return direct(event);
    }
    let fields: EventFields =
        serde_json::from_slice(event).map_err(|error| IncomingError::Shape(error.to_string()))?;
    of_service(form, fields)
}

fn direct(event: &[u8]) -> Result<Incoming, IncomingError> {
    let body = Bytes::copy_from_slice(event);
    let mut headers = HeaderMap::with_capacity(3);
    headers.insert(header::HOST, HeaderValue::from_static(NO_HOST));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    let request = request(Method::POST, PathAndQuery::from_static("/"), headers, body);
    Ok(Incoming { request, form: Form::Direct, client: None, https: false })
}

fn of_service(form: Form, mut fields: EventFields) -> Result<Incoming, IncomingError> {
    let body = body(&mut fields)?;
    let headers = headers(&mut fields, body.len())?;
    let target =
        path_and_query(form, &fields).map_err(|error| IncomingError::Target(error.to_string()))?;
    let context = fields.request_context.unwrap_or_default();
    let http = context.http.unwrap_or_default();
    let method = if form == Form::Http2 { http.method } else { fields.http_method };
    let method = method.unwrap_or_default();
    let method =
        Method::from_bytes(method.as_bytes()).map_err(|_| IncomingError::Method(method))?;
    let client = match form {
        Form::Http2 => http.source_ip.and_then(|address| address.parse().ok()),
        Form::Rest => {
            let address = context.identity.and_then(|identity| identity.source_ip);
            address.and_then(|address| address.parse().ok())
        }
        Form::LoadBalancer { .. } => last_forwarded_for(&headers),
        Form::Direct => None,
    };
    let https = match headers.get("x-forwarded-proto") {
        Some(scheme) => scheme.as_bytes().eq_ignore_ascii_case(b"https"),
        // API Gateway and functions' URLs have no other ways in.
        None => matches!(form, Form::Http2 | Form::Rest),
    };
    Ok(Incoming { request: request(method, target, headers, body), form, client, https })
}

fn request(
    method: Method,
    target: PathAndQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Request<Bytes> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from(target);
    *request.headers_mut() = headers;
    request
}

fn body(fields: &mut EventFields) -> Result<Bytes, IncomingError> {
    let body = fields.body.take().unwrap_or_default();
    if fields.is_base64_encoded.unwrap_or_default() {
        let decoded = BASE64.decode(body);
        return decoded.map(Bytes::from).map_err(|error| IncomingError::Base64(error.to_string()));
    }
    Ok(body.into())
}

fn path_and_query(form: Form, fields: &EventFields) -> Result<PathAndQuery, http::uri::InvalidUri> {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    // Where both are there, the lists have all values, and the others the last ones only.
    let several = fields.multi_value_query_string_parameters.as_ref();
    let parameters = several.or(fields.query_string_parameters.as_ref());
    let query = |of: fn(&Members) -> String| parameters.map(of).unwrap_or_default();
    match form {
        Form::Http2 => target::target(&text(&fields.raw_path), &text(&fields.raw_query_string)),
        Form::LoadBalancer { .. } => target::target(&text(&fields.path), &query(target::raw_query)),
        Form::Rest | Form::Direct => {
            target::target(&text(&fields.path), &query(target::encoded_query))
        }
    }
}

fn headers(fields: &mut EventFields, body_bytes: usize) -> Result<HeaderMap, IncomingError> {
    let several = fields.multi_value_headers.take().unwrap_or_default();
    let single = fields.headers.take().unwrap_or_default();
    let mut headers = HeaderMap::new();
    for (name, values) in single.0.iter().filter(|(name, _)| !several.has(name)).chain(&several.0) {
        append(&mut headers, name, values)?;
    }
    // A function's URL passes the field itself on, and an HTTP API the list instead of it.
    if !headers.contains_key(header::COOKIE) {
        let cookies = fields.cookies.take().filter(|cookies| !cookies.is_empty());
        if let Some(cookies) = cookies {
            append(&mut headers, header::COOKIE.as_str(), &[cookies.join("; ")])?;
        }
    }
    let has_length = headers.contains_key(header::CONTENT_LENGTH);
    let mut headers = hop_by_hop::removed(&headers);
    if body_bytes > 0 || has_length {
        insert(&mut headers, header::CONTENT_LENGTH, body_bytes.into())?;
    }
    if !headers.contains_key(header::HOST) {
        let context = fields.request_context.as_ref();
        let host = context.and_then(|context| context.domain_name.as_deref());
        append(&mut headers, header::HOST.as_str(), &[host.unwrap_or(NO_HOST).to_owned()])?;
    }
    Ok(headers)
}

fn insert(
    headers: &mut HeaderMap,
    name: HeaderName,
    value: HeaderValue,
) -> Result<(), IncomingError> {
    headers.try_insert(name, value).map_err(|_| IncomingError::TooManyHeaders)?;
    Ok(())
}

fn append(headers: &mut HeaderMap, name: &str, values: &[String]) -> Result<(), IncomingError> {
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| IncomingError::HeaderName(name.to_owned()))?;
    for value in values {
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| IncomingError::HeaderValue(name.to_owned()))?;
        headers.try_append(parsed.clone(), value).map_err(|_| IncomingError::TooManyHeaders)?;
    }
    Ok(())
}

/// Returns the address that the load balancer has added to `X-Forwarded-For` itself, which is the
/// last one: those before it are the client's claims. It may come with a port.
fn last_forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let value = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
    let last = value.rsplit(',').next().unwrap_or(value).trim();
    let with_port = || last.parse::<SocketAddr>().ok().map(|address| address.ip());
    last.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests;
