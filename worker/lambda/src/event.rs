//! From an HTTP request to a Function URL event, payload format 2.0 (AWS: "Invoking Lambda function
//! URLs", request payload; field order and omissions as in events captured by aws-lambda-go).
//!
//! Pure: [`event`] reads a [`Request`] and returns JSON. Owns no fds.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::SystemTime;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header};
use serde::{Serialize, Serializer};

use crate::hop_by_hop;
use crate::limits::EVENT_BYTES_MAX;
use crate::timestamp;

/// A request, as a function is to see it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its target. Only path and query count; both are passed on as they were received.
    pub uri: &'a Uri,
    /// Its version of HTTP.
    pub version: Version,
    /// Its header fields.
    pub headers: &'a HeaderMap,
    /// Its whole body.
    pub body: &'a [u8],
    /// The address of the client.
    pub client: IpAddr,
    /// The host that the client asked, with its port if it named one.
    pub host: &'a str,
    /// `http` or `https`: how the client reached the node.
    pub scheme: &'a str,
    /// The port that the client reached.
    pub port: u16,
    /// The id of the invocation.
    pub invocation_id: &'a str,
    /// The trace that the invocation belongs to, as `X-Amzn-Trace-Id` writes it. Empty if none.
    pub trace_id: &'a str,
    /// When the request came.
    pub now: SystemTime,
}

/// Why there is no event for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// The event would be longer than Lambda allows. The client is to get status 413.
    #[error(
        "the request makes an event of more than {EVENT_BYTES_MAX} bytes (a body of {body_bytes} \
         bytes); send less than 6 MiB, or less than 4.5 MiB if it is binary"
    )]
    TooLarge {
        /// The length of the request's body.
        body_bytes: usize,
    },
}

/// Returns the event that `request` is for a function, as JSON of at most [`EVENT_BYTES_MAX`]
/// bytes.
///
/// # Errors
///
/// Returns [`EventError::TooLarge`] if the event would be longer.
pub fn event(request: &Request<'_>) -> Result<Bytes, EventError> {
    let too_large = EventError::TooLarge { body_bytes: request.body.len() };
    // JSON and base64 only ever add to the length.
    if request.body.len() > EVENT_BYTES_MAX {
        return Err(too_large);
    }
    let raw_query_string = request.uri.query().unwrap_or_default();
    let domain_name = without_port(request.host);
    let domain_prefix = first_label(domain_name);
    let (body, is_base64_encoded) = body(request.headers, request.body);
    let event = Event {
        version: "2.0",
        route_key: "$default",
        raw_path: request.uri.path(),
        raw_query_string,
        cookies: cookies(request.headers),
        headers: headers(request),
        query_string_parameters: Parameters::parse(raw_query_string),
        request_context: RequestContext {
            account_id: "anonymous",
            api_id: domain_prefix,
            domain_name,
            domain_prefix,
            http: Http {
                method: request.method.as_str(),
                path: request.uri.path(),
                protocol: protocol(request.version),
                source_ip: request.client,
                user_agent: request.headers.get(header::USER_AGENT).map(text),
            },
            request_id: request.invocation_id,
            route_key: "$default",
            stage: "$default",
            time: timestamp::common_log(request.now),
            time_epoch: timestamp::unix_ms(request.now),
        },
        body,
        is_base64_encoded,
    };
    let json = crate::error_body::json(&event);
    if json.len() > EVENT_BYTES_MAX { Err(too_large) } else { Ok(json) }
}

/// Payload format 2.0. There is no `httpMethod` at this level: `lambda_http` takes an event that
/// has one for a REST API's. `stage` is `$default`, or it would be put before the path.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    version: &'static str,
    route_key: &'static str,
    raw_path: &'a str,
    raw_query_string: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cookies: Vec<String>,
    headers: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "Parameters::is_empty")]
    query_string_parameters: Parameters,
    request_context: RequestContext<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'a, str>>,
    is_base64_encoded: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    account_id: &'static str,
    api_id: &'a str,
    domain_name: &'a str,
    domain_prefix: &'a str,
    http: Http<'a>,
    request_id: &'a str,
    route_key: &'static str,
    stage: &'static str,
    time: String,
    time_epoch: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Http<'a> {
    method: &'a str,
    path: &'a str,
    protocol: &'static str,
    source_ip: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
}

/// The query's parameters in the order of their first values. Values of one name are joined by
/// commas.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn parse(query: &str) -> Self {
        let mut parameters: Vec<(String, String)> = Vec::new();
        // Where each name stands, so that a query of many names is not searched for each of them.
        let mut places: HashMap<String, usize> = HashMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = places.get(name.as_ref()).and_then(|place| parameters.get_mut(*place));
            if let Some((_, values)) = place {
                values.push(',');
                values.push_str(&value);
            } else {
                places.insert(name.clone().into_owned(), parameters.len());
                parameters.push((name.into_owned(), value.into_owned()));
            }
        }
        Self(parameters)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Parameters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Returns the header fields: names in lower case, values of one name joined by commas (cookies by
/// semicolons, RFC 9113 8.2.3), without those that concern one connection, and with those by which
/// the platform tells where the request came from. Nobody else's claims about that are kept.
fn headers<'a>(request: &Request<'a>) -> BTreeMap<&'a str, String> {
    let mut headers = BTreeMap::new();
    for name in request.headers.keys() {
        if hop_by_hop::is_for_one_connection(name, request.headers) {
            continue;
        }
        let separator = if name == header::COOKIE { "; " } else { "," };
        let values: Vec<String> = request.headers.get_all(name).iter().map(text).collect();
        headers.insert(name.as_str(), values.join(separator));
    }
    headers.insert("host", request.host.to_owned());
    headers.insert("x-forwarded-for", request.client.to_string());
    headers.insert("x-forwarded-port", request.port.to_string());
    headers.insert("x-forwarded-proto", request.scheme.to_owned());
    if !request.trace_id.is_empty() {
        headers.insert("x-amzn-trace-id", request.trace_id.to_owned());
    }
    if !request.body.is_empty() || request.headers.contains_key(header::CONTENT_LENGTH) {
        headers.insert("content-length", request.body.len().to_string());
    }
    headers
}

fn cookies(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::COOKIE).iter().map(text);
    let split = values
        .flat_map(|value| value.split(';').map(str::trim).map(str::to_owned).collect::<Vec<_>>());
    split.filter(|cookie| !cookie.is_empty()).collect()
}

/// Returns the body and whether it is base64. It is text only if its type says so (or says nothing)
/// and it is UTF-8. Returns `None` for an empty body.
fn body<'a>(headers: &HeaderMap, body: &'a [u8]) -> (Option<Cow<'a, str>>, bool) {
    if body.is_empty() {
        return (None, false);
    }
    let text = if is_text(headers.get(header::CONTENT_TYPE)) {
        std::str::from_utf8(body).ok()
    } else {
        None
    };
    match text {
        Some(text) => (Some(text.into()), false),
        None => (Some(BASE64_STANDARD.encode(body).into()), true),
    }
}

fn is_text(content_type: Option<&HeaderValue>) -> bool {
    let Some(content_type) = content_type else { return true };
    let Ok(content_type) = content_type.to_str() else { return false };
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.starts_with("text/")
        || matches!(
            essence.as_str(),
            "application/json"
                | "application/javascript"
                | "application/xml"
                | "application/x-www-form-urlencoded"
        )
}

/// Returns a field's value as text: as UTF-8, or if it is none, as ISO 8859-1 (RFC 9110 5.5).
pub(crate) fn text(value: &HeaderValue) -> String {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.to_owned(),
        Err(_) => value.as_bytes().iter().map(|byte| char::from(*byte)).collect(),
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

/// Returns `host` without its port. An IPv6 address keeps its brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Returns the first label of a name. Returns an address whole.
fn first_label(domain_name: &str) -> &str {
    let bare = domain_name.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() {
        return domain_name;
    }
    domain_name.split('.').next().unwrap_or(domain_name)
}

#[cfg(test)]
mod tests;
