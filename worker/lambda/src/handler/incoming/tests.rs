//! Tests of [`super`]: events as AWS documents them, and that what [`event`](crate::event) makes of
//! a request is the same request.

use std::net::Ipv4Addr;
use std::time::SystemTime;

use http::Version;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::event;

fn of(event: &Value) -> Result<Incoming, IncomingError> {
    incoming(event.to_string().as_bytes())
}

fn field<'a>(incoming: &'a Incoming, name: &str) -> Vec<&'a str> {
    let values = incoming.request.headers().get_all(name).iter();
    values.map(|value| value.to_str().unwrap()).collect()
}

/// AWS: "Lambda functions as targets for Application Load Balancers", an example event.
fn load_balancer_event() -> Value {
    json!({
        "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:region:1:x"}},
        "httpMethod": "GET",
        "path": "/a%20b",
        "queryStringParameters": {"key": "a%20b"},
        "headers": {
            "accept": "text/html,application/xhtml+xml",
            "host": "lambda-846800462-us-east-2.elb.amazonaws.com",
            "x-forwarded-for": "192.0.2.1, 72.21.198.66",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        },
        "body": "",
        "isBase64Encoded": false,
    })
}

/// AWS: "Lambda proxy integrations in API Gateway", the input of format 1.0, shortened.
fn rest_event() -> Value {
    json!({
        "resource": "/my/path",
        "path": "/my/path",
        "httpMethod": "POST",
        "headers": {"header1": "value1", "Header2": "value2", "Host": "api.example.com"},
        "multiValueHeaders": {
            "header1": ["value1"], "header2": ["value1", "value2"], "Cookie": ["a=1", "b=2"],
        },
        "queryStringParameters": {"parameter1": "value1", "parameter2": "b"},
        "multiValueQueryStringParameters": {
            "parameter1": ["value1", "value 2"], "parameter2": ["b"],
        },
        "requestContext": {
            "accountId": "123456789012",
            "domainName": "id.execute-api.us-east-1.amazonaws.com",
            "httpMethod": "POST",
            "identity": {"sourceIp": "192.0.2.9", "cognitoIdentityId": null},
            "path": "/stage/my/path",
            "stage": "stage",
        },
        "pathParameters": null,
        "stageVariables": null,
        "body": "aGk=",
        "isBase64Encoded": true,
    })
}

#[test]
fn a_load_balancers_event_is_a_request() {
    let incoming = of(&load_balancer_event()).unwrap();
    assert_eq!(incoming.form, Form::LoadBalancer { multi_value_headers: false });
    assert_eq!(incoming.request.method(), Method::GET);
    assert_eq!(incoming.request.uri(), "/a%20b?key=a%20b");
    assert_eq!(incoming.client, Some("72.21.198.66".parse().unwrap()));
    assert!(incoming.https);
    assert!(incoming.request.body().is_empty());
    assert_eq!(field(&incoming, "host"), ["lambda-846800462-us-east-2.elb.amazonaws.com"]);
    assert_eq!(field(&incoming, "content-length"), [""; 0]);
}

#[test]
fn a_load_balancer_may_send_lists_of_values() {
    let mut event = load_balancer_event();
    event["headers"].take();
    event["queryStringParameters"].take();
    event["multiValueHeaders"] = json!({"x-a": ["1", "2"], "x-forwarded-for": ["[::1]:5"]});
    event["multiValueQueryStringParameters"] = json!({"b": ["1", "%26"], "a": [""]});
    let incoming = incoming(event.to_string().as_bytes()).unwrap();
    assert_eq!(incoming.form, Form::LoadBalancer { multi_value_headers: true });
    assert_eq!(field(&incoming, "x-a"), ["1", "2"]);
    assert_eq!(incoming.client, Some("::1".parse().unwrap()));
    assert!(!incoming.https);
    assert_eq!(field(&incoming, "host"), ["localhost"]);
    let query = incoming.request.uri().query().unwrap();
    let mut parameters: Vec<&str> = query.split('&').collect();
    parameters.sort_unstable();
    assert_eq!(parameters, ["a=", "b=%26", "b=1"]);
}

#[test]
fn a_rest_apis_event_is_a_request() {
    let incoming = of(&rest_event()).unwrap();
    assert_eq!(incoming.form, Form::Rest);
    assert_eq!(incoming.request.method(), Method::POST);
    assert_eq!(
        incoming.request.uri(),
        "/my/path?parameter1=value1&parameter1=value+2&parameter2=b"
    );
    assert_eq!(incoming.client, Some("192.0.2.9".parse().unwrap()));
    assert!(incoming.https);
    assert_eq!(incoming.request.body(), "hi");
    assert_eq!(field(&incoming, "content-length"), ["2"]);
    assert_eq!(field(&incoming, "header1"), ["value1"]);
    assert_eq!(field(&incoming, "header2"), ["value1", "value2"]);
    assert_eq!(field(&incoming, "cookie"), ["a=1", "b=2"]);
    assert_eq!(field(&incoming, "host"), ["api.example.com"]);
}

#[test]
fn an_http_apis_cookies_and_name_stand_outside_of_its_headers() {
    let incoming = of(&json!({
        "version": "2.0",
        "rawPath": "/stage/my path",
        "rawQueryString": "a=1&a=2",
        "cookies": ["cookie1=1", "cookie2=2"],
        "headers": {"header1": "value1,value2", "connection": "x-gone", "x-gone": "1"},
        "requestContext": {
            "domainName": "id.execute-api.us-east-1.amazonaws.com",
            "http": {"method": "PATCH", "path": "/stage/my path", "sourceIp": "::1"},
        },
        "isBase64Encoded": false,
    }));
    let incoming = incoming.unwrap();
    assert_eq!(incoming.form, Form::Http2);
    assert_eq!(incoming.request.method(), Method::PATCH);
    assert_eq!(incoming.request.uri(), "/stage/my%20path?a=1&a=2");
    assert_eq!(field(&incoming, "cookie"), ["cookie1=1; cookie2=2"]);
    assert_eq!(field(&incoming, "host"), ["id.execute-api.us-east-1.amazonaws.com"]);
    assert_eq!(field(&incoming, "x-gone"), [""; 0]);
    assert_eq!(incoming.client, Some("::1".parse().unwrap()));
    assert!(incoming.https);
}

#[test]
fn any_other_event_is_a_body() {
    for event in [r#"{"Records":[]}"#, " 5 ", "null", r#"["GET"]"#, r#"{"httpMethod":{}}"#, ""] {
        let incoming = incoming(event.as_bytes()).unwrap();
        assert_eq!(incoming.form, Form::Direct);
        assert_eq!(incoming.request.method(), Method::POST);
        assert_eq!(incoming.request.uri(), "/");
        assert_eq!(incoming.request.body(), event);
        assert_eq!(field(&incoming, "content-type"), ["application/json"]);
        assert_eq!(field(&incoming, "content-length"), [event.len().to_string()]);
        assert_eq!((incoming.client, incoming.https), (None, false));
    }
}

#[test]
fn what_is_no_request_is_an_error() {
    let changed = |pointer: &str, value: Value| {
        let mut event = rest_event();
        *event.pointer_mut(pointer).unwrap() = value;
        of(&event).unwrap_err()
    };
    assert!(matches!(incoming(b"{").unwrap_err(), IncomingError::NotJson(_)));
    assert!(matches!(changed("/body", json!(5)), IncomingError::Shape(_)));
    assert!(matches!(changed("/headers", json!([])), IncomingError::Shape(_)));
    assert!(matches!(changed("/body", json!("$")), IncomingError::Base64(_)));
    assert!(matches!(changed("/path", json!("/a".repeat(40_000))), IncomingError::Target(_)));
    assert_eq!(changed("/httpMethod", json!("G T")), IncomingError::Method("G T".to_owned()));
    let error = changed("/headers", json!({"a b": "c"}));
    assert_eq!(error, IncomingError::HeaderName("a b".to_owned()));
    let error = changed("/headers", json!({"a": "b\r\nc: d"}));
    assert_eq!(error, IncomingError::HeaderValue("a".to_owned()));
    let many: serde_json::Map<String, Value> =
        (0..40_000).map(|number| (format!("x{number}"), json!(""))).collect();
    assert_eq!(changed("/headers", Value::Object(many)), IncomingError::TooManyHeaders);
    let event = json!({"requestContext": {"http": {}}});
    let error = of(&event).unwrap_err();
    assert_eq!(error, IncomingError::Method(String::new()));
    assert_eq!(crate::error_body::accepted_type(Some(error.error_type())), error.error_type());
    let body: Value = serde_json::from_slice(&error.body()).unwrap();
    assert_eq!(body, json!({"errorMessage": error.to_string(), "errorType": error.error_type()}));
}

/// Returns the request that an event of `request` describes.
fn round_trip(request: &Request<Vec<u8>>) -> Incoming {
    let event = event::event(&event::Request {
        method: request.method(),
        uri: request.uri(),
        version: Version::HTTP_11,
        headers: request.headers(),
        body: request.body(),
        client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        host: "hello.example.org:8080",
        scheme: "http",
        port: 8080,
        invocation_id: "5bbd0e3e-fe7a-4299-9076-32d4de45391b",
        trace_id: "",
        now: SystemTime::UNIX_EPOCH,
    });
    incoming(&event.unwrap()).unwrap()
}

/// What a service adds to a request's header fields, or sets anew.
const OF_SERVICE: [&str; 5] =
    ["host", "content-length", "x-forwarded-for", "x-forwarded-port", "x-forwarded-proto"];

proptest! {
    #[test]
    fn requests_survive(
        method in "(GET|HEAD|POST|PUT|DELETE|PATCH|OPTIONS|PROPFIND)",
        path in "/[a-zA-Z0-9/%._~!$&'()*+,;=:@{}|\"-]{0,20}",
        query in prop::option::of("[a-zA-Z0-9/?%._~!$&'()*+,;=:@{}|-]{1,20}"),
        fields in prop::collection::btree_map(
            "x-[a-z]{1,5}",
            prop::collection::vec("[!-~\u{a0}-\u{ffff}]{0,10}", 1..3),
            0..5,
        ),
        cookies in prop::collection::vec("[a-z]{1,3}=[!-:<-~]{0,5}", 0..4),
        content_type in prop::option::of("(text/plain|application/json|image/png)"),
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let target = match query {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        let mut builder = Request::builder().method(method.as_str()).uri(PathAndQuery::try_from(
            target,
        ).unwrap());
        for (name, values) in &fields {
            for value in values {
                builder = builder.header(name, value.as_bytes());
            }
        }
        for cookie in &cookies {
            builder = builder.header(header::COOKIE, cookie);
        }
        if let Some(content_type) = &content_type {
            builder = builder.header(header::CONTENT_TYPE, content_type);
        }
        let request = builder.body(body).unwrap();
        let incoming = round_trip(&request);
        prop_assert_eq!(incoming.form, Form::Http2);
        prop_assert_eq!(incoming.client.unwrap().to_string(), "192.0.2.7");
        prop_assert!(!incoming.https);
        prop_assert_eq!(incoming.request.method(), request.method());
        prop_assert_eq!(incoming.request.uri(), request.uri());
        prop_assert_eq!(&incoming.request.body()[..], &request.body()[..]);
        let length = incoming.request.headers().get("content-length");
        let length = length.map(|length| length.to_str().unwrap().parse::<usize>().unwrap());
        prop_assert_eq!(length.unwrap_or_default(), request.body().len());
        prop_assert_eq!(field(&incoming, "host"), ["hello.example.org:8080"]);
        // Values of one name are joined, which means the same (RFC 9110 5.3).
        let mut expected = HeaderMap::new();
        for name in request.headers().keys() {
            let separator = if name == header::COOKIE { "; " } else { "," };
            let values = request.headers().get_all(name).iter();
            let joined = values.map(HeaderValue::as_bytes).collect::<Vec<_>>();
            let joined = joined.join(separator.as_bytes());
            expected.insert(name, HeaderValue::from_bytes(&joined).unwrap());
        }
        let mut headers = incoming.request.headers().clone();
        for name in OF_SERVICE {
            headers.remove(name);
        }
        prop_assert_eq!(headers, expected);
    }

    #[test]
    fn any_bytes_are_survived(event in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = incoming(&event);
    }

    #[test]
    fn any_value_of_any_field_is_survived(
        field in "(httpMethod|path|headers|multiValueHeaders|queryStringParameters\
                   |multiValueQueryStringParameters|body|isBase64Encoded|requestContext)",
        value in prop_oneof![
            Just("null".to_owned()),
            "-?[1-9][0-9]{0,5}",
            r#""[ -~&&[^"\\]]{0,10}""#,
            r#"\["[a-z]{0,3}"\]"#,
            r#"\{"[ -~&&[^"\\]]{0,5}":[0-9]\}"#,
            r#"\{"[ -~&&[^"\\]]{0,5}":"[ -~&&[^"\\]]{0,5}"\}"#,
        ],
    ) {
        let mut event = rest_event();
        event[field] = serde_json::from_str(&value).unwrap();
        let _ = of(&event);
    }
}
