//! An HTTP request as the JSON that a handler gets. Pure; owns no fds.
//!
//! The shape is that of `HttpRequestExtensions.cs` and `ScriptInvocationContextExtensions.cs` of
//! Azure's host, with two differences, both of which lose less: a body of unknown length is sent
//! where Azure's host drops it, and one that is no UTF-8 is sent as base64, where Azure's host, for
//! types other than `application/octet-stream` and `multipart`, makes replacement characters of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

use abi::invocation_id::InvocationId;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Uri};
use serde::Serialize;

use crate::function::Function;
use crate::headers::{add_host_headers, canonical};

/// A request for a function whose mode is [`Mode::Envelope`](crate::function::Mode::Envelope).
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The function that [`App::find`](crate::app::App::find) has found.
    pub function: &'a Function,
    /// The route's parameters that were found with it.
    pub parameters: &'a [(String, String)],
    /// The request's method.
    pub method: &'a Method,
    /// Its target; path and query are used.
    pub uri: &'a Uri,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its whole body.
    pub body: &'a [u8],
    /// How the client connected: `http` or `https`.
    pub scheme: &'a str,
    /// The host, and perhaps the port, that the client asked for.
    pub authority: &'a str,
    /// The invocation.
    pub invocation: InvocationId,
    /// When it begins.
    pub now: SystemTime,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope<'a> {
    data: BTreeMap<&'a str, HttpValue<'a>>,
    metadata: BTreeMap<Cow<'a, str>, Metadata<'a>>,
}

/// The trigger's value.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HttpValue<'a> {
    url: String,
    method: &'a str,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, Vec<Cow<'a, str>>>,
    params: BTreeMap<&'a str, &'a str>,
    identities: [Identity; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'a, str>>,
}

/// What the host says of a caller that it does not know.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Identity {
    authentication_type: Option<&'static str>,
    is_authenticated: bool,
    actor: Option<&'static str>,
    bootstrap_context: Option<&'static str>,
    claims: [&'static str; 0],
    label: Option<&'static str>,
    name: Option<&'static str>,
    name_claim_type: &'static str,
    role_claim_type: &'static str,
}

const ANONYMOUS: Identity = Identity {
    authentication_type: None,
    is_authenticated: false,
    actor: None,
    bootstrap_context: None,
    claims: [],
    label: None,
    name: None,
    name_claim_type: "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name",
    role_claim_type: "http://schemas.microsoft.com/ws/2008/06/identity/claims/role",
};

#[derive(Serialize)]
#[serde(untagged)]
enum Metadata<'a> {
    System(System<'a>),
    Texts(BTreeMap<String, String>),
    /// A text of JSON, as the host writes strings: `"\"7\""`.
    Json(String),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct System<'a> {
    method_name: &'a str,
    utc_now: String,
    rand_guid: String,
}

/// Returns the request that the handler gets instead of `request`. Its target is the function's
/// name, and the caller adds the `Host` of the connection. The body is larger than that of
/// `request`: by a third as base64, by up to six times if it is text of control characters alone.
#[must_use]
pub fn request(request: Request<'_>) -> http::Request<Bytes> {
    let function = request.function;
    let query = query(request.uri.query().unwrap_or_default());
    let headers = headers(request.headers);
    let mut metadata = metadata(&request, &query, &headers);
    metadata.insert(
        "sys".into(),
        Metadata::System(System {
            method_name: &function.name,
            utc_now: humantime::format_rfc3339_micros(request.now).to_string(),
            rand_guid: request.invocation.to_string(),
        }),
    );
    let value = HttpValue {
        url: format!(
            "{}://{}{}{}{}",
            request.scheme,
            request.authority,
            request.uri.path(),
            if request.uri.query().is_some() { "?" } else { "" },
            request.uri.query().unwrap_or_default()
        ),
        method: request.method.as_str(),
        query,
        headers,
        params: request.parameters.iter().map(|(name, value)| (&**name, &**value)).collect(),
        identities: [ANONYMOUS],
        body: body(request.body, request.headers),
    };
    let envelope = Envelope { data: BTreeMap::from([(&*function.trigger_name, value)]), metadata };
    // Texts and maps of texts always have a form in JSON.
    let body = serde_json::to_vec(&envelope).unwrap_or_default();

    // A function's name has only letters, digits, '_' and '-'.
    let target = Uri::try_from(format!("/{}", function.name)).unwrap_or_default();
    let mut made = http::Request::new(Bytes::new());
    *made.method_mut() = Method::POST;
    *made.uri_mut() = target;
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    made.headers_mut().insert(CONTENT_TYPE, json);
    made.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    for name in ["traceparent", "tracestate"] {
        if let Some(value) = request.headers.get(name) {
            made.headers_mut().insert(name, value.clone());
        }
    }
    add_host_headers(made.headers_mut(), request.invocation);
    *made.body_mut() = body.into();
    made
}

/// Returns the query's parameters. Several of one name, whatever their case, are joined by commas.
fn query(text: &str) -> BTreeMap<String, String> {
    let mut parameters: BTreeMap<String, String> = BTreeMap::new();
    // Names in lower case with the one that stood first.
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let first = names.entry(name.to_lowercase()).or_insert_with(|| name.into_owned());
        match parameters.get_mut(first) {
            Some(known) => {
                known.push(',');
                known.push_str(&value);
            }
            None => {
                parameters.insert(first.clone(), value.into_owned());
            }
        }
    }
    parameters
}

/// Returns the request's headers, each with all its values.
fn headers(headers: &HeaderMap) -> BTreeMap<String, Vec<Cow<'_, str>>> {
    let values = |name| headers.get_all(name).iter().map(|value| text(value.as_bytes())).collect();
    headers.keys().map(|name| (canonical(name), values(name))).collect()
}

/// Returns the metadata of an HTTP trigger: query, headers, and the parameters of query and route
/// by their names, of which the route's win.
fn metadata<'a>(
    request: &Request<'a>,
    query: &BTreeMap<String, String>,
    headers: &BTreeMap<String, Vec<Cow<'a, str>>>,
) -> BTreeMap<Cow<'a, str>, Metadata<'a>> {
    // Texts always have a form in JSON.
    let json = |text: &str| Metadata::Json(serde_json::to_string(text).unwrap_or_default());
    // Keys are passed as ?code=, and bound to nothing.
    let of_query = query.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("code"));
    let mut metadata: BTreeMap<Cow<'a, str>, Metadata<'a>> =
        of_query.map(|(name, value)| (name.clone().into(), json(value))).collect();
    for (name, value) in request.parameters {
        metadata.retain(|known, _| !known.eq_ignore_ascii_case(name));
        metadata.insert(name.as_str().into(), json(value));
    }
    metadata.retain(|name, _| !name.to_ascii_lowercase().ends_with("trigger"));
    let joined = headers.iter().map(|(name, values)| (name.clone(), values.join(",")));
    metadata.entry("Headers".into()).or_insert_with(|| Metadata::Texts(joined.collect()));
    metadata.entry("Query".into()).or_insert_with(|| Metadata::Texts(query.clone()));
    metadata
}

/// Returns the body as text, or as base64 if it is said to be binary or is no text. Returns `None`
/// if there is none.
fn body<'a>(body: &'a [u8], headers: &HeaderMap) -> Option<Cow<'a, str>> {
    if body.is_empty() {
        return None;
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_binary = kind == "application/octet-stream" || kind.starts_with("multipart/");
    match std::str::from_utf8(body) {
        Ok(text) if !is_binary => {
            Some(Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text)))
        }
        _ => Some(Cow::Owned(STANDARD.encode(body))),
    }
}

/// Returns a header's value as text. Bytes that are no UTF-8 stand for the characters of ISO 8859-1
/// that they were in RFC 2616.
fn text(value: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(value) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(value.iter().copied().map(char::from).collect()),
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
