//! The headers that the host adds to what it sends to the handler, and those that end with a
//! connection. Pure; owns no fds.

use abi::invocation_id::InvocationId;
use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};

/// The version of the host that handlers are told. They can rely on the first number, which is that
/// of the programming model; the rest says that this is not Azure.
pub const HOST_VERSION: &str = "4.0.0.0";

/// The host's name and version, as `User-Agent` has them.
pub const USER_AGENT_VALUE: &str = "Azure-Functions-Host/4.0.0.0";

static INVOCATION_ID: HeaderName = HeaderName::from_static("x-azure-functions-invocationid");
static HOST_VERSION_NAME: HeaderName = HeaderName::from_static("x-azure-functions-hostversion");
static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Sets the headers by which the handler knows host and invocation. The host's name is added to a
/// `User-Agent` that is there.
pub(crate) fn add_host_headers(headers: &mut HeaderMap, invocation: InvocationId) {
    // An id has only hexadecimal digits and hyphens.
    if let Ok(id) = HeaderValue::from_bytes(&invocation.text()) {
        headers.insert(&INVOCATION_ID, id);
    }
    headers.insert(&HOST_VERSION_NAME, HeaderValue::from_static(HOST_VERSION));
    let own = HeaderValue::from_static(USER_AGENT_VALUE);
    let user_agent = match headers.get(USER_AGENT) {
        Some(known) if !known.is_empty() => {
            let both = [known.as_bytes(), b" ", own.as_bytes()].concat();
            HeaderValue::from_bytes(&both).unwrap_or(own)
        }
        _ => own,
    };
    headers.insert(USER_AGENT, user_agent);
}

/// Removes the headers that are meant for one connection only (RFC 9110 7.6.1), those included that
/// `Connection` names.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let known = [
        &CONNECTION,
        &KEEP_ALIVE,
        &PROXY_AUTHENTICATE,
        &PROXY_AUTHORIZATION,
        &PROXY_CONNECTION,
        &TE,
        &TRAILER,
        &TRANSFER_ENCODING,
        &UPGRADE,
    ];
    for name in known.into_iter().chain(&named) {
        headers.remove(name);
    }
}

/// Returns `name` as most clients write it over HTTP/1.1 and as Azure's host therefore has it in
/// envelopes: each word with a capital. The `http` crate keeps no case, and handlers look for
/// `Content-Type` in JSON, where case counts.
pub(crate) fn canonical(name: &HeaderName) -> String {
    let name = name.as_str();
    match name {
        // These are written in lower case by their specifications.
        "traceparent" | "tracestate" | "baggage" => return name.to_owned(),
        "te" => return "TE".to_owned(),
        "dnt" => return "DNT".to_owned(),
        "www-authenticate" => return "WWW-Authenticate".to_owned(),
        "etag" => return "ETag".to_owned(),
        _ => {}
    }
    let mut is_start = true;
    let capital = |character: char| {
        let written = if is_start { character.to_ascii_uppercase() } else { character };
        is_start = character == '-';
        written
    };
    name.chars().map(capital).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_clients_write_them() {
        for (name, written) in [
            ("content-type", "Content-Type"),
            ("host", "Host"),
            ("x-forwarded-for", "X-Forwarded-For"),
            ("traceparent", "traceparent"),
            ("te", "TE"),
            ("x--a", "X--A"),
        ] {
            assert_eq!(canonical(&HeaderName::from_static(name)), written);
        }
    }

    #[test]
    fn headers_of_one_connection_are_removed_with_those_that_connection_names() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Own"),
            ("connection", "upgrade"),
            ("x-own", "1"),
            ("upgrade", "websocket"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("keep-alive", "timeout=5"),
            ("content-length", "3"),
            ("x-other", "2"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        remove_hop_by_hop(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "x-other"]);
    }

    #[test]
    fn the_host_names_itself_behind_the_client() {
        let mut headers = HeaderMap::new();
        let id = InvocationId::new();
        add_host_headers(&mut headers, id);
        assert_eq!(headers[USER_AGENT], USER_AGENT_VALUE);
        assert_eq!(headers["x-azure-functions-invocationid"], id.to_string());
        assert_eq!(headers["x-azure-functions-hostversion"], HOST_VERSION);
        assert!(USER_AGENT_VALUE.ends_with(HOST_VERSION));

        headers.insert(USER_AGENT, HeaderValue::from_static("curl/8"));
        add_host_headers(&mut headers, id);
        assert_eq!(headers[USER_AGENT], format!("curl/8 {USER_AGENT_VALUE}"));
    }
}
