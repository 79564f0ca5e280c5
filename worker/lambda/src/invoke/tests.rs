//! Tests of [`super`]: statuses, fields and bodies.

use std::time::Duration;

use super::*;
use crate::exit::Exit;

const INVOKED: Invoked<'static> =
    Invoked { id: "42", executed_version: "7", log: None, trace_id: "" };

fn field<'a>(response: &'a Response<Bytes>, name: &str) -> Option<&'a str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

#[test]
fn a_result_is_passed_on_as_it_is() {
    let response = succeeded(&Invoked { log: Some(b"line\n"), ..INVOKED }, "null".into());
    assert_eq!(response.status(), 200);
    assert_eq!(response.body(), "null");
    assert_eq!(field(&response, "x-amz-executed-version"), Some("7"));
    assert_eq!(field(&response, "x-amzn-requestid"), Some("42"));
    assert_eq!(field(&response, "x-amz-log-result"), Some("bGluZQo="));
    assert_eq!(field(&response, "x-amz-function-error"), None);
}

#[test]
fn every_failure_of_a_function_is_a_status_of_200_that_says_so() {
    for failure in [
        Failure::Function { error_type: "Runtime.Unknown".into(), body: "{}".into() },
        Failure::Function { error_type: "Runtime.Unknown".into(), body: Bytes::new() },
        Failure::TooLarge { size_bytes: 7_000_000 },
        Failure::BadResponseMode,
        Failure::Truncated,
        Failure::Exited(Exit::Signal(9)),
        Failure::TimedOut { limit: Duration::from_secs(3) },
    ] {
        let response = failed(&INVOKED, &failure);
        assert_eq!(response.status(), 200);
        assert_eq!(field(&response, "x-amz-function-error"), Some("Unhandled"));
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert!(body.is_object(), "{body}");
    }
}

#[test]
fn refusals_have_what_sdks_choose_their_class_by() {
    let exception = Exception::ReservedFunctionConcurrentInvocationLimitExceeded;
    let response = refused("42", exception, "Rate Exceeded.");
    assert_eq!(response.status(), 429);
    assert_eq!(field(&response, "x-amzn-errortype"), Some("TooManyRequestsException"));
    assert_eq!(field(&response, "retry-after"), Some("1"));
    let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(body["Reason"], "ReservedFunctionConcurrentInvocationLimitExceeded");
    assert_eq!(body["message"], "Rate Exceeded.");
    assert_eq!(body["Message"], "Rate Exceeded.");
    assert_eq!(body["Type"], "User");
    let response = refused("42", Exception::ResourceNotFound, "Function not found: x");
    assert_eq!((response.status().as_u16(), field(&response, "retry-after")), (404, None));
    assert_eq!(dry_run("42").status(), 204);
    assert_eq!(accepted("42").status(), 202);
}

#[test]
fn a_logs_tail_has_four_kilobytes_and_whole_characters() {
    let tail =
        |log: &str| String::from_utf8(BASE64_STANDARD.decode(log_tail(log.as_bytes())).unwrap());
    assert_eq!(tail("short").unwrap(), "short");
    let log = format!("{}é{}", "x".repeat(10), "y".repeat(LOG_TAIL_BYTES_MAX - 1));
    assert_eq!(tail(&log).unwrap(), "y".repeat(LOG_TAIL_BYTES_MAX - 1));
}

#[test]
fn a_client_context_is_json_in_base64() {
    let encoded = BASE64_STANDARD.encode("{\"custom\": {\"a\": \"ü\"}}\n");
    assert_eq!(client_context(encoded.as_bytes()).unwrap(), r#"{"custom":{"a":"ü"}}"#);
    for bad in ["e30", "", "W10=", "%%"] {
        assert_eq!(client_context(bad.as_bytes()), Err(ClientContextError::NotJson), "{bad}");
    }
    let long = vec![b'A'; CLIENT_CONTEXT_BYTES_MAX + 1];
    assert_eq!(client_context(&long), Err(ClientContextError::TooLong));
}

#[test]
fn behind_a_stream_stand_its_log_and_its_error() {
    assert!(trailers("42", None, None).is_empty());
    let failure = Failure::TimedOut { limit: Duration::from_secs(3) };
    let told = trailers("42", Some(b"a line\n"), Some(&failure));
    let text = |name: &str| told[name].to_str().unwrap();
    assert_eq!(text("x-amz-function-error"), "Unhandled");
    let decoded = |name: &str| BASE64_STANDARD.decode(text(name)).unwrap();
    assert_eq!(decoded("x-amz-log-result"), b"a line\n");
    assert_eq!(decoded("x-sockhop-error-document"), failure.body("42"));

    // One that is too long for a trailer keeps its type.
    let body = vec![b'x'; TRAILER_DOCUMENT_BYTES_MAX + 1].into();
    let failure = Failure::Function { error_type: "Function.Long".into(), body };
    let told = trailers("42", None, Some(&failure));
    let document = BASE64_STANDARD.decode(&told["x-sockhop-error-document"]).unwrap();
    let document = String::from_utf8(document).unwrap();
    assert!(document.starts_with(r#"{"errorType":"Function.Long","errorMessage":"#), "{document}");
}
