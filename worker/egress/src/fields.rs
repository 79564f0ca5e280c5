//! What a forwarding proxy changes in the heads of requests and replies (RFC 9110 7.6). Owns no
//! fds.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version, request, response};

/// Fields that concern one connection whether or not `Connection` names them.
const OF_ONE_CONNECTION: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authentication-info"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];
/// Who has passed a message on (RFC 9110 7.6.3): a proxy has to say so.
const PASSED_ON_BY: HeaderValue = HeaderValue::from_static("1.1 sockhop");

/// Whether a request has a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    None,
    Some,
}

/// Returns the bytes of a head's fields. hyper stops reading a head when its buffer is full, but
/// accepts a longer one that came whole with the last read.
pub fn head_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum()
}

/// Makes the head of a client's request for a whole URL the one that its server gets. Returns
/// `None` if the URL names no server, or its path cannot stand alone.
pub(crate) fn for_server(head: &mut request::Parts, body: Body) -> Option<()> {
    let host = HeaderValue::from_str(head.uri.authority()?.as_str()).ok()?;
    let path = head.uri.path_and_query().cloned();
    head.uri = Uri::from(path.unwrap_or(PathAndQuery::from_static("/")));
    head.version = Version::HTTP_11;
    let takes_trailers = names(&head.headers, &TE).any(|coding| is(coding, "trailers"));
    remove_fields_of_one_connection(&mut head.headers);
    // The URL counts, whatever the client has put here (RFC 9112 3.2.2).
    head.headers.insert(HOST, host);
    if takes_trailers {
        head.headers.insert(TE, HeaderValue::from_static("trailers"));
        head.headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if body == Body::Some && !head.headers.contains_key(CONTENT_LENGTH) {
        // hyper sends a GET's body only if this says that there is one.
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    head.headers.append(VIA, PASSED_ON_BY);
    Some(())
}

/// Makes the head of a server's reply the one that the client gets.
pub(crate) fn for_client(head: &mut response::Parts) {
    head.version = Version::HTTP_11;
    remove_fields_of_one_connection(&mut head.headers);
    head.headers.append(VIA, PASSED_ON_BY);
}

fn remove_fields_of_one_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> =
        names(headers, &CONNECTION).filter_map(|name| name.parse().ok()).collect();
    for name in named.iter().chain(&OF_ONE_CONNECTION) {
        // The length of a body is not the connection's to take away.
        if name != CONTENT_LENGTH {
            headers.remove(name);
        }
    }
}

/// Returns the members of a field that is a list.
fn names<'a>(headers: &'a HeaderMap, field: &'a HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(field).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Returns whether a member of `TE` is `coding`, with or without parameters.
fn is(member: &str, coding: &str) -> bool {
    member.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(coding))
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use proptest::prelude::*;

    use super::*;

    fn request(fields: &[(&str, &str)], body: Body) -> HeaderMap {
        let mut request = Request::get("http://a.example:8080/x?y=1").version(Version::HTTP_10);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        for_server(&mut head, body).unwrap();
        assert_eq!((head.uri, head.version), (Uri::from_static("/x?y=1"), Version::HTTP_11));
        head.headers
    }

    #[test]
    fn what_concerns_one_connection_is_not_passed_on() {
        let headers = request(
            &[
                ("host", "other.example"),
                ("proxy-authorization", "Basic c2VjcmV0"),
                ("proxy-connection", "keep-alive"),
                ("connection", "close, X-Mine"),
                ("connection", "x-other, content-length"),
                ("x-mine", "1"),
                ("x-other", "1"),
                ("keep-alive", "timeout=5"),
                ("upgrade", "websocket"),
                ("te", "gzip"),
                ("content-length", "3"),
                ("x-end-to-end", "1"),
                ("via", "1.0 before"),
            ],
            Body::Some,
        );
        let mut left: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        left.sort();
        assert_eq!(
            left,
            [
                "content-length: 3",
                "host: a.example:8080",
                "via: 1.0 before",
                "via: 1.1 sockhop",
                "x-end-to-end: 1",
            ]
        );
    }

    #[test]
    fn a_body_of_unknown_length_is_chunked_and_trailers_are_asked_for() {
        let headers = request(&[("te", "gzip;q=0.5, Trailers")], Body::Some);
        assert_eq!(headers[TRANSFER_ENCODING], "chunked");
        assert_eq!(headers[TE], "trailers");
        assert_eq!(headers[CONNECTION], "te");
        assert!(!request(&[], Body::None).contains_key(TRANSFER_ENCODING));
    }

    #[test]
    fn a_reply_loses_its_connections_fields_too() {
        let reply = Response::builder()
            .header("connection", "x-mine, close")
            .header("x-mine", "1")
            .header("proxy-authenticate", "Basic")
            .header("transfer-encoding", "chunked")
            .header("trailer", "x-sum");
        let (mut head, ()) = reply.body(()).unwrap().into_parts();
        for_client(&mut head);
        let names: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["trailer", "via"]);
    }

    proptest! {
        #[test]
        fn any_value_of_connection_can_be_read(value in "[ -~]{0,60}") {
            let headers = request(&[("connection", value.as_str()), ("x-a", "1")], Body::None);
            prop_assert!(!headers.contains_key(CONNECTION) && headers.contains_key(HOST));
            let named = value.split(',').any(|name| name.trim().eq_ignore_ascii_case("x-a"));
            prop_assert_eq!(headers.contains_key("x-a"), !named);
        }
    }
}
