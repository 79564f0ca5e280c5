//! Tests of replies to envelopes.

use proptest::prelude::*;

use super::*;
use crate::function::{AuthLevel, Mode};

fn function(output: Option<&str>, is_binary: bool) -> Function {
    Function {
        name: "f".to_owned(),
        methods: vec![],
        route: "f".to_owned(),
        trigger_name: "req".to_owned(),
        output_name: output.map(str::to_owned),
        output_is_binary: is_binary,
        auth_level: AuthLevel::Anonymous,
        mode: Mode::Envelope,
        route_place: Default::default(),
    }
}

fn response(function: &Function, text: &str) -> Result<Response<Bytes>, ReplyError> {
    InvocationResult::parse(StatusCode::OK, text.as_bytes())?.response(function)
}

/// Returns status, type and body of a response.
fn parts(response: &Response<Bytes>) -> (u16, &str, &str) {
    let kind = response.headers().get(CONTENT_TYPE).map_or("", |kind| kind.to_str().unwrap());
    (response.status().as_u16(), kind, std::str::from_utf8(response.body()).unwrap())
}

fn named(text: &str) -> Result<Response<Bytes>, ReplyError> {
    response(&function(Some("res"), false), text)
}

fn returned(text: &str) -> Result<Response<Bytes>, ReplyError> {
    response(&function(Some("$return"), false), text)
}

#[test]
fn an_output_has_status_headers_and_body() {
    let made = named(
        r#"{"Outputs":{"res":{"statusCode":"201","body":"hello","headers":{
            "content-type":"text/html","X-Number":7,"set-cookie":["a=1","b=2"],"x-none":null,
            "Content-Length":"999","Connection":"close","Transfer-Encoding":"chunked"}}},
            "Logs":["line"],"ReturnValue":null}"#,
    );
    let made = made.unwrap();
    assert_eq!(parts(&made), (201, "text/html", "hello"));
    let headers = made.headers();
    assert_eq!(headers["x-number"], "7");
    assert_eq!(headers["x-none"], "");
    assert_eq!(headers["content-length"], "5");
    assert_eq!(headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
    assert!(!headers.contains_key("connection") && !headers.contains_key("transfer-encoding"));
}

#[test]
fn everything_can_be_left_out_and_names_are_found_in_any_case() {
    for (text, expected) in [
        (r#"{"outputs":{"RES":{"StatusCode":202,"BODY":"x"}}}"#, (202, TEXT_TYPE, "x")),
        (r#"{"Outputs":{"res":{"status":404}}}"#, (404, "", "")),
        (r#"{"Outputs":{"res":{"statusCode":null,"status":"404"}}}"#, (404, "", "")),
        (r#"{"Outputs":{"res":{"body":"aGk="}}}"#, (200, TEXT_TYPE, "aGk=")),
        (r#"{"Outputs":{"res":{"body":"{\"body\":1}"}}}"#, (200, TEXT_TYPE, "{\"body\":1}")),
        (
            r#"{"Outputs":{"res":{"body":{"b":1.50,"a":12345678901234567890123}}}}"#,
            (200, JSON_TYPE, r#"{"b":1.50,"a":12345678901234567890123}"#),
        ),
        (r#"{"Outputs":{"res":{"body":[1, 2]}}}"#, (200, JSON_TYPE, "[1, 2]")),
        (r#"{"Outputs":{"res":"{\"statusCode\":203,\"body\":\"x\"}"}}"#, (203, TEXT_TYPE, "x")),
        (r#"{"Outputs":{"res":{}}}"#, (200, "", "")),
        (r#"{"Outputs":{"res":{"statusCode":204,"body":"x"}}}"#, (204, "", "")),
        (r#"{"Outputs":{"other":{"body":"x"}}}"#, (204, "", "")),
        (r#"{"Outputs":null}"#, (204, "", "")),
        ("\u{feff}{}", (204, "", "")),
    ] {
        assert_eq!(parts(&named(text).unwrap()), expected, "{text}");
    }
    let none = response(&function(None, false), r#"{"Outputs":{"res":{"body":"x"}}}"#).unwrap();
    assert_eq!(parts(&none), (204, "", ""));
    assert!(!none.headers().contains_key(CONTENT_LENGTH));
}

#[test]
fn what_is_returned_is_the_body_or_describes_the_response() {
    for (value, expected) in [
        (r#""hello, world""#, (200, TEXT_TYPE, "hello, world")),
        (r#""aGVsbG8=""#, (200, "application/octet-stream", "hello")),
        (r#""aGVs\nbG8=""#, (200, "application/octet-stream", "hello")),
        (r#""aGVsbG8""#, (200, TEXT_TYPE, "aGVsbG8")),
        (r#"{"statusCode":201,"body":"x"}"#, (201, TEXT_TYPE, "x")),
        (r#"{"statusCode":201}"#, (200, JSON_TYPE, r#"{"statusCode":201}"#)),
        (r#""{\"status\":201,\"body\":{\"a\":1}}""#, (201, JSON_TYPE, r#"{"a":1}"#)),
        (r#"[1]"#, (200, JSON_TYPE, "[1]")),
        (r#"null"#, (204, "", "")),
    ] {
        let made = returned(&format!(r#"{{"ReturnValue":{value}}}"#)).unwrap();
        assert_eq!(parts(&made), expected, "{value}");
    }
    let made = returned(r#"{"Outputs":{"$return":{"body":"x"}}}"#).unwrap();
    assert_eq!(parts(&made), (200, TEXT_TYPE, "x"));
    let binary = function(Some("$return"), true);
    let made = response(&binary, r#"{"ReturnValue":"aGVsbG8="}"#).unwrap();
    assert_eq!(parts(&made), (200, TEXT_TYPE, "aGVsbG8="));
}

#[test]
fn logs_are_there_whatever_becomes_of_the_response() {
    let text = r#"{"Logs":["a",{"b":1},3],"Outputs":{"res":{"statusCode":"x"}}}"#;
    let result = InvocationResult::parse(StatusCode::OK, text.as_bytes()).unwrap();
    assert_eq!(result.logs, ["a", r#"{"b":1}"#, "3"]);
    let error = result.response(&function(Some("res"), false)).unwrap_err();
    let expected = "Outputs.res.statusCode of the handler's reply should be \
                    a status from 200 to 999, and is \"x\"";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn what_is_no_reply_is_an_error() {
    let error = InvocationResult::parse(StatusCode::INTERNAL_SERVER_ERROR, b"oops").unwrap_err();
    assert!(error.to_string().contains("500 Internal Server Error to the invocation"), "{error}");
    assert!(error.to_string().ends_with("oops"));
    assert_eq!(named("").unwrap_err(), ReplyError::Empty);
    assert_eq!(named(" \n").unwrap_err(), ReplyError::Empty);
    for text in ["hello", "[]", "{", "{} x", "null", "\"x\""] {
        assert!(matches!(named(text), Err(ReplyError::Json { .. })), "{text}");
    }
    let bytes = InvocationResult::parse(StatusCode::OK, b"{\"a\":\"\xff\"}");
    assert!(matches!(bytes, Err(ReplyError::Json { .. })));
    for text in [
        r#"{"Outputs":[]}"#,
        r#"{"Logs":"line"}"#,
        r#"{"Outputs":{"res":"plain"}}"#,
        r#"{"Outputs":{"res":7}}"#,
        r#"{"Outputs":{"res":{"headers":[]}}}"#,
        r#"{"Outputs":{"res":{"statusCode":101}}}"#,
        r#"{"Outputs":{"res":{"statusCode":1000}}}"#,
        r#"{"Outputs":{"res":{"statusCode":200.5}}}"#,
    ] {
        assert!(matches!(named(text), Err(ReplyError::Value { .. })), "{text}");
    }
    for header in [r#""a b":"x""#, r#""x":"a\r\nb: c""#, r#""":"x""#] {
        let error = named(&format!(r#"{{"Outputs":{{"res":{{"headers":{{{header}}}}}}}}}"#));
        assert!(matches!(error, Err(ReplyError::Header { .. })), "{header}");
    }
}

#[test]
fn more_headers_than_can_be_held_are_an_error() {
    let of = |count| {
        let headers: Vec<String> = (0..count).map(|number| format!(r#""x{number}":"""#)).collect();
        let headers = headers.join(",");
        named(&format!(r#"{{"Outputs":{{"res":{{"headers":{{{headers}}}}}}}}}"#)).map(|_| ())
    };
    assert_eq!(of(HEADERS_MAX), Ok(()));
    assert_eq!(of(HEADERS_MAX + 1), Err(ReplyError::TooManyHeaders));
    assert_eq!(of(40_000), Err(ReplyError::TooManyHeaders));
}

#[test]
fn excerpts_are_short() {
    let error = named(&format!("<html>{}", "é".repeat(5000))).unwrap_err().to_string();
    assert!(error.len() < 1000, "{} bytes", error.len());
}

#[test]
fn deep_nesting_is_survived() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let text = format!(r#"{{"Outputs":{{"res":{{"body":{deep},"headers":{{"x":{deep}}}}}}}}}"#);
    let _ = named(&text);
    let _ = returned(&format!(r#"{{"ReturnValue":{deep},"Logs":{deep}}}"#));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
        let _ = InvocationResult::parse(StatusCode::OK, &bytes);
    }

    #[test]
    fn any_json_is_survived(
        outputs in "[{}\\[\\]\":,a0]{0,16}", body in "(\"body\"|\"headers\"|\"statusCode\")",
        value in "(\"[a-zA-Z=]{0,8}\"|[0-9]{1,5}|null|true|\\{\\}|\\[1,\"x\"\\]|\\{\"a\":[0-9]\\})",
    ) {
        for text in [
            format!(r#"{{"Outputs":{outputs}}}"#),
            format!(r#"{{"Outputs":{{"res":{{{body}:{value}}}}}}}"#),
            format!(r#"{{"ReturnValue":{{{body}:{value}}}}}"#),
            format!(r#"{{"Outputs":{{"res":{value}}},"ReturnValue":{value}}}"#),
        ] {
            let _ = named(&text);
            let _ = returned(&text);
        }
    }

    #[test]
    fn text_bodies_arrive_as_they_are(body in ".{0,40}") {
        let json = serde_json::json!({ "Outputs": { "res": { "body": body } } });
        let made = named(&json.to_string()).unwrap();
        prop_assert_eq!(made.body(), body.as_bytes());
    }

    #[test]
    fn bytes_arrive_by_base64(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        use base64::engine::general_purpose::STANDARD;
        let json = serde_json::json!({ "ReturnValue": STANDARD.encode(&bytes) });
        let made = returned(&json.to_string()).unwrap();
        prop_assert_eq!(made.body(), &bytes);
    }
}
