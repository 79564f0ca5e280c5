//! Tests of [`super`]: the rules of the mapping, one by one.

use proptest::prelude::*;

use super::*;

fn of(result: &str) -> Result<Reply, ReplyError> {
    reply(Bytes::copy_from_slice(result.as_bytes()))
}

fn field<'a>(reply: &'a Reply, name: &str) -> Vec<&'a str> {
    reply.head.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

#[test]
fn an_object_with_a_status_describes_a_response() {
    let reply = of(r#"{"statusCode":201,"headers":{"X-Text":"a","x-number":1.5,"x-bool":true,
        "x-null":null,"Content-Length":"99","Transfer-Encoding":"chunked","Connection":"x-gone",
        "x-gone":"1"},"multiValueHeaders":{},"cookies":["a=b; Path=/","c=d"],"body":"hi"}"#)
    .unwrap();
    assert_eq!(reply.head.status, 201);
    assert_eq!(reply.body, "hi");
    assert_eq!(field(&reply, "x-text"), ["a"]);
    assert_eq!(field(&reply, "x-number"), ["1.5"]);
    assert_eq!(field(&reply, "x-bool"), ["true"]);
    assert_eq!(field(&reply, "set-cookie"), ["a=b; Path=/", "c=d"]);
    assert_eq!(field(&reply, "content-type"), ["application/json"]);
    for gone in ["x-null", "content-length", "transfer-encoding", "connection", "x-gone"] {
        assert!(!reply.head.headers.contains_key(gone), "{gone}");
    }
}

#[test]
fn other_json_is_itself_the_body() {
    for json in
        [r#""Hello, world!""#, "null", "5", " [1] ", r#"{"body":5}"#, r#"{"statusCode":null}"#]
    {
        let reply = of(json).unwrap();
        assert_eq!(reply.head.status, 200);
        assert_eq!(field(&reply, "content-type"), ["application/json"]);
        assert_eq!(reply.body, json);
    }
}

#[test]
fn base64_is_decoded_with_and_without_padding() {
    for body in ["AP+ACg==", "AP+ACg"] {
        let json = format!(r#"{{"statusCode":200,"isBase64Encoded":true,"body":"{body}"}}"#);
        assert_eq!(&of(&json).unwrap().body[..], b"\x00\xff\x80\x0a");
    }
    let bad = of(r#"{"statusCode":200,"isBase64Encoded":true,"body":"$"}"#);
    assert!(matches!(bad, Err(ReplyError::Base64(_))), "{bad:?}");
}

#[test]
fn lists_of_values_come_from_api_gateways_functions() {
    let json = r#"{"statusCode":"200","headers":{"Set-Cookie":"old","x-one":"1"},
        "multiValueHeaders":{"set-cookie":["a=1","b=2"]}}"#;
    let reply = of(json).unwrap();
    assert_eq!(reply.head.status, 200);
    assert_eq!(field(&reply, "set-cookie"), ["a=1", "b=2"]);
    assert_eq!(field(&reply, "x-one"), ["1"]);
}

#[test]
fn what_is_no_response_is_an_error() {
    for json in ["", "Hello", "{", "{} {}", "\u{0}"] {
        assert!(matches!(of(json), Err(ReplyError::NotJson(_))), "{json:?}");
    }
    for status in ["99", "199", "101", "600", "-1", "2.5", "true", "[]", "\"x\"", "70000"] {
        let result = of(&format!(r#"{{"statusCode":{status}}}"#));
        assert!(matches!(result, Err(ReplyError::Head(HeadError::Status(_)))), "{result:?}");
    }
    for (headers, error) in [
        (r#"{"a b":"c"}"#, HeadError::HeaderName("a b".into())),
        (r#"{"":"c"}"#, HeadError::HeaderName(String::new())),
        (r#"{"a":"b\r\nc: d"}"#, HeadError::HeaderValue("a".into())),
        (r#"{"a":{}}"#, HeadError::HeaderValue("a".into())),
    ] {
        let result = of(&format!(r#"{{"statusCode":200,"headers":{headers}}}"#));
        assert_eq!(result, Err(ReplyError::Head(error)));
    }
    let cookie = of(r#"{"statusCode":200,"cookies":["a\nb"]}"#);
    assert_eq!(cookie, Err(ReplyError::Head(HeadError::Cookie)));
    for field in
        [r#""body":5"#, r#""isBase64Encoded":"yes""#, r#""cookies":"a""#, r#""headers":[]"#]
    {
        let result = of(&format!(r#"{{"statusCode":200,{field}}}"#));
        assert!(matches!(result, Err(ReplyError::Shape(_))), "{result:?}");
    }
}

#[test]
fn more_headers_than_can_be_held_are_an_error() {
    let headers: Vec<String> = (0..40_000).map(|number| format!(r#""x{number}":"""#)).collect();
    let headers = headers.join(",");
    let result = of(&format!(r#"{{"statusCode":200,"headers":{{{headers}}}}}"#));
    assert_eq!(result, Err(ReplyError::Head(HeadError::TooMany)));
}

#[test]
fn failures_are_statuses_of_a_gateway() {
    let limit = std::time::Duration::from_secs(1);
    assert_eq!(failed(&Failure::TimedOut { limit }).head.status, 504);
    assert_eq!(failed(&Failure::Truncated).head.status, 502);
    assert_eq!(bad_gateway().body, r#"{"message":"Internal Server Error"}"#);
    assert_eq!(request_too_large().head.status, 413);
    assert_eq!(too_many_requests().head.status, 429);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(result in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = reply(result.into());
    }

    #[test]
    fn any_value_of_any_field_is_survived(
        field in "(statusCode|headers|multiValueHeaders|cookies|body|isBase64Encoded)",
        value in prop_oneof![
            Just("null".to_owned()),
            "-?[0-9]{1,6}",
            r#""[ -~&&[^"\\]]{0,10}""#,
            r#"\["[a-z]{0,3}"\]"#,
            r#"\{"[ -~&&[^"\\]]{0,5}":[0-9]\}"#,
        ],
    ) {
        let _ = of(&format!(r#"{{"statusCode":200,"{field}":{value}}}"#));
    }

    #[test]
    fn binary_bodies_survive(body in proptest::collection::vec(any::<u8>(), 0..100)) {
        let encoded = BASE64.encode(&body);
        let json = format!(r#"{{"statusCode":200,"isBase64Encoded":true,"body":"{encoded}"}}"#);
        prop_assert_eq!(&of(&json).unwrap().body[..], &body[..]);
    }
}
