//! Tests of [`super`]: each service's results, and that [`reply`](crate::reply) makes the same
//! response of them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::reply::reply;

const FORMS: [Form; 4] = [
    Form::Http2,
    Form::Rest,
    Form::LoadBalancer { multi_value_headers: false },
    Form::LoadBalancer { multi_value_headers: true },
];

fn response(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Response<Bytes> {
    let mut builder = Response::builder().status(status);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Bytes::copy_from_slice(body)).unwrap()
}

fn of(form: Form, response: &Response<Bytes>) -> Value {
    serde_json::from_slice(&result(form, response).unwrap()).unwrap()
}

#[test]
fn each_service_gets_what_it_reads() {
    let fields = [
        ("content-type", "text/plain"),
        ("set-cookie", "a=1; Path=/"),
        ("set-cookie", "b=2"),
        ("x-a", "1"),
        ("x-a", "2"),
        ("connection", "x-gone"),
        ("x-gone", "1"),
        ("content-length", "99"),
        ("transfer-encoding", "chunked"),
    ];
    let response = response(201, &fields, "hü".as_bytes());
    let lists = json!({
        "content-type": ["text/plain"], "set-cookie": ["a=1; Path=/", "b=2"], "x-a": ["1", "2"],
    });
    let [http2, rest, single, multi] = FORMS;
    assert_eq!(
        of(http2, &response),
        json!({
            "statusCode": 201,
            "headers": {"content-type": "text/plain", "x-a": "1,2"},
            "cookies": ["a=1; Path=/", "b=2"],
            "body": "hü",
            "isBase64Encoded": false,
        })
    );
    assert_eq!(
        of(rest, &response),
        json!({
            "statusCode": 201, "multiValueHeaders": lists, "body": "hü", "isBase64Encoded": false,
        })
    );
    assert_eq!(
        of(multi, &response),
        json!({
            "statusCode": 201,
            "statusDescription": "201 Created",
            "multiValueHeaders": lists,
            "body": "hü",
            "isBase64Encoded": false,
        })
    );
    assert_eq!(
        of(single, &response)["headers"],
        json!({
            "content-type": "text/plain",
            "set-cookie": "a=1; Path=/",
            "Set-cookie": "b=2",
            "x-a": "1,2",
        })
    );
}

#[test]
fn spellings_differ() {
    let spellings = (0..512).map(|number| spelling("set-cookie", number));
    let spellings: std::collections::BTreeSet<String> = spellings.collect();
    assert_eq!(spellings.len(), 512);
    assert!(spellings.iter().all(|spelling| spelling.eq_ignore_ascii_case("set-cookie")));
}

#[test]
fn what_is_not_text_is_base64() {
    for (headers, body, is_base64) in [
        (&[][..], &b"text"[..], false),
        (&[], b"\xff", true),
        (&[("content-type", "image/svg+xml")], b"<svg/>", false),
        (&[("content-encoding", "gzip")], b"text", true),
    ] {
        for form in FORMS {
            let result = of(form, &response(200, headers, body));
            assert_eq!(result["isBase64Encoded"], is_base64, "{headers:?}");
        }
    }
}

#[test]
fn a_body_without_a_type_is_not_called_json() {
    let result = of(Form::Http2, &response(200, &[], b"x"));
    assert_eq!(result["headers"]["content-type"], "application/octet-stream");
    assert_eq!(of(Form::Http2, &response(204, &[], b""))["headers"], json!({}));
}

#[test]
fn other_events_have_the_body_for_their_result() {
    for (body, expected) in [
        (&b"{\"a\": 1}"[..], "{\"a\": 1}"),
        (b" null ", " null "),
        (b"", "null"),
        (b"a \"b\"\n", r#""a \"b\"\n""#),
    ] {
        for status in [200, 404, 499] {
            let result = result(Form::Direct, &response(status, &[], body));
            assert_eq!(result.unwrap(), expected);
        }
    }
}

#[test]
fn failures_of_other_events_are_errors() {
    let body = "ü".repeat(10_000);
    let error = result(Form::Direct, &response(503, &[], body.as_bytes())).unwrap_err();
    assert_eq!(error.error_type(), "Function.ServerError");
    let json: Value = serde_json::from_slice(&error.body()).unwrap();
    let message = json["errorMessage"].as_str().unwrap();
    assert!(message.starts_with("the function replied with status 503: üü"), "{message}");
    assert!(message.len() < MESSAGE_BYTES_MAX + 100);
    assert_eq!(json["errorType"], error.error_type());
    let error = result(Form::Direct, &response(200, &[], b"\xff\xfe")).unwrap_err();
    assert_eq!(error, ResultError::Binary { body_bytes: 2 });
    for error in [error, ResultError::TooLarge { size_bytes: 5 }] {
        let accepted = crate::error_body::accepted_type(Some(error.error_type()));
        assert_eq!(accepted, error.error_type());
    }
}

#[test]
fn more_than_lambda_takes_is_an_error() {
    for form in FORMS.into_iter().chain([Form::Direct]) {
        let text = vec![b'0'; RESPONSE_BYTES_MAX];
        let error = result(form, &response(200, &[], &text)).unwrap_err();
        assert!(matches!(error, ResultError::TooLarge { .. }), "{error}");
    }
    let text = "x".repeat(RESPONSE_BYTES_MAX - 1_000);
    assert!(result(Form::Http2, &response(200, &[], text.as_bytes())).is_ok());
    let binary = vec![0xff; RESPONSE_BYTES_MAX - 1_000];
    assert!(result(Form::Http2, &response(200, &[], &binary)).is_err());
}

proptest! {
    #[test]
    fn responses_survive(
        status in 200..600_u16,
        fields in prop::collection::btree_map(
            "x-[a-z]{1,5}",
            prop::collection::vec("[!-~\u{a0}-\u{ffff}]{0,10}", 1..3),
            0..5,
        ),
        cookies in prop::collection::vec("[a-z]{1,3}=[!-~]{0,5}", 0..9),
        content_type in "(text/plain|application/json|image/png)",
        content_encoding in prop::option::of("(gzip|br)"),
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut builder = Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, &content_type);
        if let Some(coding) = &content_encoding {
            builder = builder.header(header::CONTENT_ENCODING, coding);
        }
        for (name, values) in &fields {
            for value in values {
                builder = builder.header(name, value.as_bytes());
            }
        }
        for cookie in &cookies {
            builder = builder.header(header::SET_COOKIE, cookie);
        }
        let response = builder.body(Bytes::from(body)).unwrap();
        for form in FORMS {
            let reply = reply(result(form, &response).unwrap()).unwrap();
            prop_assert_eq!(reply.head.status, response.status());
            prop_assert_eq!(&reply.body, response.body());
            let has_lists = matches!(
                form,
                Form::Rest | Form::LoadBalancer { multi_value_headers: true }
            );
            for name in response.headers().keys() {
                let join = |values: Vec<String>| {
                    if has_lists || name == header::SET_COOKIE {
                        values
                    } else {
                        vec![values.join(",")]
                    }
                };
                let mut got = values(&reply.head.headers, name.as_str());
                let mut expected = join(values(response.headers(), name.as_str()));
                if form == (Form::LoadBalancer { multi_value_headers: false }) {
                    // Spellings of a name are in no order.
                    got.sort();
                    expected.sort();
                }
                prop_assert_eq!(got, expected, "{}", name);
            }
            prop_assert_eq!(reply.head.headers.keys_len(), response.headers().keys_len());
        }
    }

    #[test]
    fn any_body_is_survived(
        status in 100..1_000_u16,
        body in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        for form in FORMS.into_iter().chain([Form::Direct]) {
            let _ = result(form, &response(status, &[], &body));
        }
    }
}
