//! The CGI variables of a request (RFC 3875 4.1). Owns no fds.

use super::*;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use http::Request;
use proptest::prelude::*;

use crate::origin::Client;

const CLIENT: Client =
    Client { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), port: Some(4711), https: false };

fn variables(own: &[(&str, &str)], request: http::request::Builder) -> BTreeMap<String, String> {
    variables_from(CLIENT, own, request)
}

fn variables_from(
    client: Client,
    own: &[(&str, &str)],
    request: http::request::Builder,
) -> BTreeMap<String, String> {
    let own: Vec<_> =
        own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let origin = Origin { client, local: Some("[::1]:8080".parse().unwrap()) };
    let list = make(&own, &parts, origin);
    let map: BTreeMap<_, _> = list.iter().cloned().collect();
    assert_eq!(map.len(), list.len(), "a name twice: {list:?}");
    map
}

fn request() -> http::request::Builder {
    Request::builder().header("host", "shop.test")
}

#[test]
fn a_request_becomes_its_meta_variables() {
    let request = request()
        .method("POST")
        .uri("/deep/a%20b?x=%201")
        .header("x-forwarded-prefix", "/shop")
        .header("content-length", "5")
        .header("content-type", "text/plain");
    let seen = variables(&[], request);
    let meta: Vec<_> = seen.iter().filter(|(name, _)| !name.starts_with("HTTP_")).collect();
    let meta: Vec<_> = meta.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected = [
        ("CONTENT_LENGTH", "5"),
        ("CONTENT_TYPE", "text/plain"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("PATH_INFO", "/deep/a b"),
        ("QUERY_STRING", "x=%201"),
        ("REMOTE_ADDR", "192.0.2.7"),
        ("REMOTE_PORT", "4711"),
        ("REQUEST_METHOD", "POST"),
        ("REQUEST_URI", "/shop/deep/a%20b?x=%201"),
        ("SCRIPT_NAME", "/shop"),
        ("SERVER_NAME", "shop.test"),
        ("SERVER_PORT", "8080"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_SOFTWARE", concat!("sockhop/", env!("CARGO_PKG_VERSION"))),
    ];
    assert_eq!(meta, expected);
}

#[test]
fn what_a_request_does_not_have_is_empty_or_not_there() {
    let seen = variables(&[], Request::builder().uri("/").version(http::Version::HTTP_10));
    for (name, value) in [
        ("QUERY_STRING", "".to_owned()),
        ("SCRIPT_NAME", "".to_owned()),
        ("REQUEST_URI", "/".to_owned()),
        ("SERVER_PROTOCOL", "HTTP/1.0".to_owned()),
        ("SERVER_NAME", "[::1]".to_owned()),
        ("SERVER_PORT", "8080".to_owned()),
    ] {
        assert_eq!(seen.get(name), Some(&value), "{name}");
    }
    for name in ["CONTENT_LENGTH", "CONTENT_TYPE", "HTTPS"] {
        assert_eq!(seen.get(name), None, "{name}");
    }
}

#[test]
fn the_host_is_taken_apart() {
    for (host, name, port) in [
        ("shop.test:81", "shop.test", "81"),
        ("[2001:db8::1]", "[2001:db8::1]", "8080"),
        ("[2001:db8::1]:81", "[2001:db8::1]", "81"),
        ("shop.test:", "shop.test", "8080"),
        ("", "[::1]", "8080"),
    ] {
        let mut request = request();
        request.headers_mut().unwrap().insert("host", host.parse().unwrap());
        let seen = variables(&[], request);
        assert_eq!(
            (seen["SERVER_NAME"].as_str(), seen["SERVER_PORT"].as_str()),
            (name, port),
            "{host}"
        );
    }
}

#[test]
fn headers_are_joined_and_the_dangerous_ones_left_out() {
    let mut request = request();
    for (name, value) in [
        ("accept-language", "de"),
        ("accept-language", "en"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("proxy", "evil:3128"),
        ("content-type", "a/b"),
        ("content-length", "0"),
        ("transfer-encoding", "chunked"),
        ("proxy-authorization", "Basic c2VjcmV0"),
        ("proxy-connection", "keep-alive"),
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABk"),
        ("x_forwarded_prefix", "/evil"),
        ("x.y", "z"),
    ] {
        request = request.header(name, value);
    }
    let seen = variables(&[], request);
    let headers: Vec<_> = seen.iter().filter(|(name, _)| name.starts_with("HTTP_")).collect();
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        headers,
        [
            ("HTTP_ACCEPT_LANGUAGE", "de, en"),
            ("HTTP_COOKIE", "a=1; b=2"),
            ("HTTP_HOST", "shop.test")
        ]
    );
}

#[test]
fn a_functions_own_variables_stand_before_headers_and_behind_meta_variables() {
    let own = [
        ("COLOUR", "green"),
        ("HTTP_HOST", "mine"),
        ("PATH_INFO", "/mine"),
        ("CONTENT_LENGTH", "7"),
    ];
    let seen = variables(&own, request().uri("/theirs"));
    assert_eq!((seen["COLOUR"].as_str(), seen["HTTP_HOST"].as_str()), ("green", "mine"));
    assert_eq!(seen["PATH_INFO"], "/theirs");
    assert_eq!(seen.get("CONTENT_LENGTH"), None);
}

#[test]
fn a_client_behind_a_proxy_is_the_one_that_is_told() {
    let client = Client { address: "2001:db8::1".parse().unwrap(), port: None, https: true };
    let seen = variables_from(client, &[("HTTPS", "off")], request());
    assert_eq!((seen["REMOTE_ADDR"].as_str(), seen["HTTPS"].as_str()), ("2001:db8::1", "on"));
    assert_eq!((seen.get("REMOTE_PORT"), seen["SERVER_PORT"].as_str()), (None, "443"));
    assert_eq!(variables(&[("HTTPS", "on")], request()).get("HTTPS"), None);
}

#[test]
fn escapes_are_undone_once() {
    for (path, expected) in [
        ("/", "/"),
        ("/a%20b%2Fc", "/a b/c"),
        ("/%C3%a4", "/ä"),
        ("/%2541", "/%41"),
        ("/100%", "/100%"),
        ("/%4", "/%4"),
        ("/%zz%41", "/%zzA"),
        ("/a%00b", "/a\u{fffd}b"),
        ("/%ff", "/\u{fffd}"),
        ("/a+b", "/a+b"),
    ] {
        assert_eq!(decoded(path), expected, "{path}");
    }
}

proptest! {
    #[test]
    fn what_was_encoded_comes_back(text in "[^\0]{0,40}") {
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        prop_assert_eq!(decoded(&encoded), text);
    }

    #[test]
    fn any_path_is_survived(path in ".{0,40}") {
        prop_assert!(!decoded(&path).contains('\0'));
    }
}
