//! Where a stream of HTTP/2 goes: the worker's `edge::h2::session::target`, by any request that the
//! HTTP library lets through.
//!
//! A request with a target names one host. Whoever routes the leg by its head reads the same host
//! and path as the worker that gets the stream's URL, and what targets have in common begins with
//! the host.
//!
//! An input is lines: method, scheme, authority, path, and fields as `name: value`. `-` is no
//! authority or no path.
#![no_main]

#[path = "../../../worker/src/edge/h2/session/target.rs"]
#[allow(dead_code, reason = "the worker uses all of it")]
mod target;

use abi::head::{Parsed, parse};
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use libfuzzer_sys::fuzz_target;

use target::{Depth, Target};

/// Builds a request as the HTTP/2 library does of a header block.
fn request(input: &[u8]) -> Option<http::request::Parts> {
    let mut lines = input.split(|byte| *byte == b'\n');
    let method = Method::from_bytes(lines.next()?).ok()?;
    let scheme = std::str::from_utf8(lines.next()?).ok()?;
    let scheme: Scheme = scheme.parse().ok()?;
    let mut parts = Parts::default();
    let present = |line: &'_ [u8]| line != b"-";
    let authority = lines.next()?;
    if present(authority) {
        parts.authority = Some(Authority::try_from(authority).ok()?);
        parts.scheme = Some(scheme);
    }
    let path = lines.next()?;
    if present(path) {
        parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    }
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_lowercase(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        request.headers_mut().append(name, value);
    }
    Some(request.into_parts().0)
}

fuzz_target!(|input: &[u8]| {
    let Some(parts) = request(input) else { return };
    let Ok(target) = Target::of(&parts) else { return };
    let url = target.url(true).expect("its parts are those of a URL");
    let authority = url.authority().expect("it has one").as_str();
    let mut hosts = parts.headers.get_all("host").iter();
    if let Some(host) = hosts.next() {
        assert!(host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()), "{host:?} {authority}");
    }
    assert!(hosts.next().is_none(), "two hosts");
    if let Some(said) = parts.uri.authority() {
        assert!(said.as_str().eq_ignore_ascii_case(authority), "{said} {authority}");
    }
    let path_and_query = url.path_and_query().expect("it has one").as_str();
    let sent = parts.uri.path_and_query().expect("it has one").as_str();
    assert_eq!(path_and_query, sent);
    // What an engine reads. It refuses what it would refuse of a client of HTTP/1.1.
    let head = target.head();
    if let Ok(parsed) = parse(head.as_bytes()) {
        let Parsed::Complete(read) = parsed else { panic!("the head is cut: {head:?}") };
        assert_eq!(read.length, head.len(), "nothing is behind it: {head:?}");
        assert_eq!((read.method, read.host), (parts.method.as_str(), Some(authority)));
        let path = path_and_query.split('?').next().unwrap_or_default();
        assert_eq!(read.target, path);
    }
    let all = [Depth::Authority, Depth::Segment, Depth::Path].map(|depth| target.key(depth).1);
    let host = authority.rsplit_once(':').map_or(authority, |(host, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) { host } else { authority }
    });
    assert_eq!(all[0], host);
    assert!(all[1].starts_with(&all[0]) && all[2].starts_with(&all[1]), "{all:?}");
});
