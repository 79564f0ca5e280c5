//! The environment of a command: its function's variables, and the request's meta-variables of
//! CGI/1.1 (RFC 3875 4.1). Pure; owns no fds.

use std::collections::HashSet;
use std::net::IpAddr;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use wasmtime_wasi_http::DEFAULT_FORBIDDEN_HEADERS;

use crate::origin::{FORWARDED_PREFIX, NODE_ADDRESS, Origin};

type Variables = Vec<(String, String)>;

/// The names of a request's meta-variables. A function cannot set them itself, not even those that
/// a request leaves out: a program must be able to rely on them.
const META_VARIABLES: [&str; 17] = [
    "AUTH_TYPE",
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
    "GATEWAY_INTERFACE",
    "HTTPS",
    "PATH_INFO",
    "PATH_TRANSLATED",
    "QUERY_STRING",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "REQUEST_METHOD",
    "REQUEST_URI",
    "SCRIPT_NAME",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "SERVER_SOFTWARE",
];

/// Many programs take their outgoing proxy from `HTTP_PROXY` ("httpoxy").
static PROXY: HeaderName = HeaderName::from_static("proxy");

/// Returns the environment of a command for `request` from `origin`. Its function has the variables
/// `own`.
pub(super) fn make(own: &[(String, String)], request: &Parts, origin: Origin) -> Variables {
    let own = own.iter().filter(|(name, _)| !META_VARIABLES.contains(&name.as_str()));
    let mut variables: Variables = own.cloned().collect();
    let taken: HashSet<String> = variables.iter().map(|(name, _)| name.clone()).collect();
    meta(request, origin, &mut variables);
    let headers = headers(&request.headers).filter(|(name, _)| !taken.contains(name));
    variables.extend(headers);
    variables
}

fn meta(request: &Parts, Origin { client, local }: Origin, variables: &mut Variables) {
    let local = local.unwrap_or(NODE_ADDRESS);
    let header = |name: &HeaderName| request.headers.get(name).map(text);
    let prefix = header(&FORWARDED_PREFIX).unwrap_or_default();
    let path = request.uri.path();
    let query = request.uri.query();
    let host = header(&HOST).filter(|host| !host.is_empty());
    let (name, port) = host.as_deref().map_or((None, None), |host| {
        let (name, port) = split_port(host);
        (Some(name.to_owned()), port.map(str::to_owned))
    });
    let name = name.unwrap_or_else(|| server_name(local.ip().to_canonical()));
    // Behind a proxy that speaks TLS, a host without a port means the proxy's port 443.
    let port = port
        .unwrap_or_else(|| if client.https { "443".to_owned() } else { local.port().to_string() });

    let mut set = |name: &str, value: String| variables.push((name.to_owned(), value));
    set("GATEWAY_INTERFACE", "CGI/1.1".to_owned());
    set("SERVER_SOFTWARE", concat!("sockhop/", env!("CARGO_PKG_VERSION")).to_owned());
    set("SERVER_PROTOCOL", format!("{:?}", request.version));
    set("SERVER_NAME", name);
    set("SERVER_PORT", port);
    set("REQUEST_METHOD", request.method.to_string());
    set(
        "REQUEST_URI",
        query.map_or_else(|| format!("{prefix}{path}"), |query| format!("{prefix}{path}?{query}")),
    );
    set("PATH_INFO", decoded(path));
    set("QUERY_STRING", query.unwrap_or_default().to_owned());
    for (name, header) in [("CONTENT_LENGTH", CONTENT_LENGTH), ("CONTENT_TYPE", CONTENT_TYPE)] {
        if let Some(value) = request.headers.get(header) {
            set(name, text(value));
        }
    }
    set("REMOTE_ADDR", client.address.to_string());
    if let Some(port) = client.port {
        set("REMOTE_PORT", port.to_string());
    }
    if client.https {
        set("HTTPS", "on".to_owned());
    }
    set("SCRIPT_NAME", prefix);
}

/// Returns the variables `HTTP_*`, one for each header name.
fn headers(headers: &HeaderMap) -> impl Iterator<Item = (String, String)> {
    // Headers about the connection, or between the client and a proxy, are no more for a program
    // than for a handler: the framing of a body that stdin no longer has, and credentials.
    let elsewhere = |name: &HeaderName| {
        [&CONTENT_LENGTH, &CONTENT_TYPE, &PROXY].contains(&name)
            || *name != HOST && DEFAULT_FORBIDDEN_HEADERS.contains(name)
    };
    // Any other character would have to become `_` as well, and then one header could pass for
    // another.
    let plain = |name: &&HeaderName| {
        name.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    headers.keys().filter(move |name| !elsewhere(name)).filter(plain).map(|name| {
        let values: Vec<String> = headers.get_all(name).iter().map(text).collect();
        let variable = format!("HTTP_{}", name.as_str().to_ascii_uppercase().replace('-', "_"));
        (variable, values.join(if *name == COOKIE { "; " } else { ", " }))
    })
}

/// Returns the text that `path` encodes. U+FFFD replaces what is not UTF-8. A `%` without two digits
/// is left unchanged.
fn decoded(path: &str) -> String {
    // U+FFFD replaces NUL, too: a C program's string would end there, and the path with it.
    percent_decode_str(path).decode_utf8_lossy().replace('\0', "\u{fffd}")
}

/// Returns a header's value as text, which a WASI program's environment is.
fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn server_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Splits a host into its name (an IPv6 address in its brackets) and its port, if it has one.
fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => {
            (name, Some(port).filter(|port| !port.is_empty()))
        }
        _ => (host, None),
    }
}

#[cfg(test)]
#[path = "environment_tests.rs"]
mod tests;
