//! Tests of [`super`]: against a captured event, and that nothing of a request is lost.

use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

struct Given {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Given {
    fn new(method: Method, uri: &str, headers: &[(&'static str, &str)], body: &[u8]) -> Self {
        let mut fields = HeaderMap::new();
        for (name, value) in headers {
            fields.append(*name, HeaderValue::from_str(value).unwrap());
        }
        Self { method, uri: uri.parse().unwrap(), headers: fields, body: body.to_vec() }
    }

    fn json(&self) -> Result<Value, EventError> {
        let event = event(&Request {
            method: &self.method,
            uri: &self.uri,
            version: Version::HTTP_11,
            headers: &self.headers,
            body: &self.body,
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            host: "lambda-url-id.lambda-url.us-west-2.on.aws",
            scheme: "https",
            port: 443,
            invocation_id: "5bbd0e3e-fe7a-4299-9076-32d4de45391b",
            trace_id: "Root=1-643eccfa-2c6028925c2b249524664087",
            now: SystemTime::UNIX_EPOCH + Duration::from_millis(1_681_837_306_806),
        })?;
        Ok(serde_json::from_slice(&event).unwrap())
    }
}

#[test]
fn an_event_has_what_captured_ones_have() {
    let given = Given::new(
        Method::POST,
        "/hello?hello=world&foo=bar",
        &[
            ("content-type", "application/json"),
            ("cookie", "foo=bar; hello=hello"),
            ("header2", "h1"),
            ("header2", "h2"),
            ("connection", "keep-alive, x-private"),
            ("x-private", "1"),
            ("x-forwarded-for", "6.6.6.6"),
            ("user-agent", "python-requests/2.28.2"),
        ],
        br#"{"hello": "world"}"#,
    );
    let expected = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/hello",
        "rawQueryString": "hello=world&foo=bar",
        "cookies": ["foo=bar", "hello=hello"],
        "headers": {
            "content-length": "18",
            "content-type": "application/json",
            "cookie": "foo=bar; hello=hello",
            "header2": "h1,h2",
            "host": "lambda-url-id.lambda-url.us-west-2.on.aws",
            "user-agent": "python-requests/2.28.2",
            "x-amzn-trace-id": "Root=1-643eccfa-2c6028925c2b249524664087",
            "x-forwarded-for": "127.0.0.1",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        },
        "queryStringParameters": {"hello": "world", "foo": "bar"},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "lambda-url-id",
            "domainName": "lambda-url-id.lambda-url.us-west-2.on.aws",
            "domainPrefix": "lambda-url-id",
            "http": {
                "method": "POST",
                "path": "/hello",
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "python-requests/2.28.2",
            },
            "requestId": "5bbd0e3e-fe7a-4299-9076-32d4de45391b",
            "routeKey": "$default",
            "stage": "$default",
            "time": "18/Apr/2023:17:01:46 +0000",
            "timeEpoch": 1_681_837_306_806_u64,
        },
        "body": "{\"hello\": \"world\"}",
        "isBase64Encoded": false,
    });
    assert_eq!(given.json().unwrap(), expected);
}

#[test]
fn what_a_request_has_not_is_left_out() {
    let event = Given::new(Method::GET, "/", &[], b"").json().unwrap();
    for absent in ["cookies", "queryStringParameters", "body", "httpMethod"] {
        assert_eq!(event.get(absent), None, "{absent}");
    }
    assert_eq!(event["rawQueryString"], "");
    assert_eq!(event["isBase64Encoded"], false);
    assert_eq!(event["requestContext"]["http"].get("userAgent"), None);
    assert_eq!(event["headers"].get("content-length"), None);
}

#[test]
fn text_types_are_text_and_all_else_is_base64() {
    for (content_type, body, is_base64) in [
        (None, &b"text"[..], false),
        (None, b"\x00\xff\x80\x0a", true),
        (Some("application/json"), b"{}", false),
        (Some("Application/JSON; charset=utf-8"), b"{}", false),
        (Some("application/json"), b"\xff", true),
        (Some("text/csv"), b"a,b", false),
        (Some("application/xml"), b"<a/>", false),
        (Some("application/x-www-form-urlencoded"), b"a=b", false),
        (Some("idk"), b"<idk/>", true),
        (Some("image/png"), b"text", true),
    ] {
        let headers: Vec<_> =
            content_type.map(|value| ("content-type", value)).into_iter().collect();
        let event = Given::new(Method::POST, "/", &headers, body).json().unwrap();
        assert_eq!(event["isBase64Encoded"], is_base64, "{content_type:?}");
    }
}

#[test]
fn a_path_is_kept_as_it_was_sent() {
    let event = Given::new(Method::GET, "/a%20b/%2F?x=%20&y", &[], b"").json().unwrap();
    assert_eq!(event["rawPath"], "/a%20b/%2F");
    assert_eq!(event["rawQueryString"], "x=%20&y");
    assert_eq!(event["queryStringParameters"], json!({"x": " ", "y": ""}));
}

#[test]
fn parameters_of_one_name_are_joined() {
    let event = Given::new(Method::GET, "/?a=1&b=2&a=3", &[], b"").json().unwrap();
    assert_eq!(event["queryStringParameters"], json!({"a": "1,3", "b": "2"}));
}

#[test]
fn events_of_more_than_six_mebibytes_are_refused() {
    let binary = |length| {
        let headers = [("content-type", "application/octet-stream")];
        Given::new(Method::POST, "/", &headers, &vec![0; length]).json().map(|_| ())
    };
    assert_eq!(binary(EVENT_BYTES_MAX / 4 * 3 - 2_000), Ok(()));
    let body_bytes = EVENT_BYTES_MAX / 4 * 3;
    assert_eq!(binary(body_bytes), Err(EventError::TooLarge { body_bytes }));
    let body_bytes = EVENT_BYTES_MAX + 1;
    assert_eq!(binary(body_bytes), Err(EventError::TooLarge { body_bytes }));
}

#[test]
fn hosts_are_taken_apart() {
    for (host, name, prefix) in [
        ("hello.example.org:8080", "hello.example.org", "hello"),
        ("localhost", "localhost", "localhost"),
        ("127.0.0.1:80", "127.0.0.1", "127.0.0.1"),
        ("[::1]:80", "[::1]", "[::1]"),
        ("", "", ""),
    ] {
        assert_eq!(without_port(host), name);
        assert_eq!(first_label(name), prefix);
    }
}

proptest! {
    #[test]
    fn bodies_survive(
        body in proptest::collection::vec(any::<u8>(), 0..200),
        content_type in prop::option::of("(text/plain|application/json|image/png|[ -~]{0,10})"),
    ) {
        let headers: Vec<_> =
            content_type.iter().map(|value| ("content-type", value.as_str())).collect();
        let event = Given::new(Method::POST, "/", &headers, &body).json().unwrap();
        let text = event.get("body").map_or("", |body| body.as_str().unwrap());
        let survived = if event["isBase64Encoded"] == true {
            BASE64_STANDARD.decode(text).unwrap()
        } else {
            text.as_bytes().to_vec()
        };
        prop_assert_eq!(survived, body);
    }

    #[test]
    fn header_values_survive(value in "[ -~\u{a0}-\u{ffff}]{0,40}") {
        let given = Given::new(Method::GET, "/", &[], b"");
        let mut headers = given.headers.clone();
        headers.insert("x-value", HeaderValue::from_bytes(value.as_bytes()).unwrap());
        let event = Given { headers, ..given }.json().unwrap();
        prop_assert_eq!(event["headers"]["x-value"].as_str().unwrap(), value);
    }

    #[test]
    fn queries_survive(pairs in proptest::collection::btree_map(".{1,10}", ".{0,10}", 1..5)) {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
        let event = Given::new(Method::GET, &format!("/?{query}"), &[], b"").json().unwrap();
        prop_assert_eq!(event["rawQueryString"].as_str().unwrap(), query);
        let expected = serde_json::to_value(&pairs).unwrap();
        prop_assert_eq!(&event["queryStringParameters"], &expected);
    }

    #[test]
    fn any_header_and_query_is_survived(
        value in proptest::collection::vec(any::<u8>(), 0..40),
        query in "[!-~]{0,40}",
    ) {
        let Ok(uri) = format!("/?{query}").parse::<Uri>() else { return Ok(()) };
        let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, value.clone());
        headers.insert(header::CONTENT_TYPE, value.clone());
        headers.insert(header::CONNECTION, value);
        let given = Given { method: Method::GET, uri, headers, body: b"x".to_vec() };
        prop_assert!(given.json().is_ok());
    }
}
