//! Tests of signatures.

use std::time::{Duration, SystemTime};

use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};
use proptest::prelude::*;
use sha2::Digest as _;

use super::*;

/// Of a GET for /2015-03-31/functions with the secret `secret` at 20261130T101500Z, by botocore.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 \
    Credential=sockhop/20261130/us-east-1/lambda/aws4_request, SignedHeaders=host;x-amz-date, \
    Signature=c812debb0699bd7ea38dde15294006524ddd5ee437934032b4ed79493d83ea2e";

fn signed_at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_033_700)
}

fn head(authorization: &str) -> Parts {
    let request = Request::get("/2015-03-31/functions")
        .header("host", "127.0.0.1:9001")
        .header("x-amz-date", "20261130T101500Z")
        .header("authorization", authorization);
    request.body(()).unwrap().into_parts().0
}

fn verify(head: &Parts) -> Result<(), SignatureError> {
    let credential = Credential::new("sockhop", "secret");
    let claim = Claim::read(head, &credential, signed_at())?;
    let empty = hex::encode(Sha256::digest(b""));
    claim.verify(head, &credential, claim.payload().unwrap_or(&empty))
}

fn code(authorization: &str) -> &'static str {
    verify(&head(authorization)).unwrap_err().code()
}

#[test]
fn a_signature_is_verified() {
    assert_eq!(verify(&head(AUTHORIZATION)), Ok(()));
    // Some clients leave out the spaces.
    assert_eq!(verify(&head(&AUTHORIZATION.replace(", ", ","))), Ok(()));
}

#[test]
fn each_exception_has_its_cause() {
    let without: Parts = Request::get("/").body(()).unwrap().into_parts().0;
    assert_eq!(verify(&without).unwrap_err().code(), "MissingAuthenticationTokenException");
    for (from, to, expected) in [
        ("=sockhop/", "=AKIA/", "UnrecognizedClientException"),
        ("c812", "c813", "InvalidSignatureException"),
        ("/lambda/", "/s3/", "InvalidSignatureException"),
        ("/20261130/", "/20261129/", "InvalidSignatureException"),
        ("/us-east-1/", "//", "InvalidSignatureException"),
        ("aws4_request", "aws5_request", "InvalidSignatureException"),
        ("host;", "", "InvalidSignatureException"),
        (";x-amz-date", "", "InvalidSignatureException"),
        (";x-amz-date", ";x-amz-date;x-missing", "InvalidSignatureException"),
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", "IncompleteSignatureException"),
        ("AWS4-HMAC-SHA256", "Bearer", "IncompleteSignatureException"),
        ("Credential=", "Credentials=", "IncompleteSignatureException"),
        ("/lambda/", "/", "IncompleteSignatureException"),
        ("SignedHeaders=host", "SignedHeaders=Host", "IncompleteSignatureException"),
        ("host;x-amz-date", "x-amz-date;host", "IncompleteSignatureException"),
        ("host;x-amz-date", "host;host;x-amz-date", "IncompleteSignatureException"),
        ("host;x-amz-date", "", "IncompleteSignatureException"),
        ("c812", "", "IncompleteSignatureException"),
        ("c812", "z812", "IncompleteSignatureException"),
        (", Signature", ", Signature=00, Signature", "IncompleteSignatureException"),
        (", Signature=", ", X=", "IncompleteSignatureException"),
    ] {
        assert_eq!(code(&AUTHORIZATION.replacen(from, to, 1)), expected, "{from} {to}");
    }
    assert_eq!(code(""), "IncompleteSignatureException");
    assert_eq!(code("AWS4-HMAC-SHA256"), "IncompleteSignatureException");
}

#[test]
fn a_clock_may_be_a_quarter_of_an_hour_off() {
    let credential = Credential::new("sockhop", "secret");
    let read = |now| Claim::read(&head(AUTHORIZATION), &credential, now).map(drop);
    let quarter = Duration::from_secs(15 * 60);
    assert_eq!(read(signed_at() + quarter), Ok(()));
    assert_eq!(read(signed_at() - quarter), Ok(()));
    let late = read(signed_at() + quarter + Duration::from_secs(1)).unwrap_err();
    assert!(late.to_string().contains("Signature expired: 20261130T101500Z"), "{late}");
    let early = read(signed_at() - quarter - Duration::from_secs(1)).unwrap_err();
    assert!(early.to_string().contains("Signature not yet current"), "{early}");
}

#[test]
fn headers_that_mean_something_must_be_signed() {
    let mut with = head(AUTHORIZATION);
    with.headers.insert("x-amz-log-type", HeaderValue::from_static("Tail"));
    assert_eq!(verify(&with), Err(SignatureError::NotSigned("x-amz-log-type".to_owned())));
    let mut with = head(AUTHORIZATION);
    for name in ["user-agent", "x-amzn-trace-id", "x-amz-security-token", "accept-encoding"] {
        with.headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
    }
    assert_eq!(verify(&with), Ok(()));
}

#[test]
fn a_request_is_signed_once() {
    let mut twice = head(AUTHORIZATION);
    twice.headers.append("authorization", HeaderValue::from_static(AUTHORIZATION));
    assert_eq!(verify(&twice).unwrap_err().code(), "IncompleteSignatureException");
    let mut twice = head(AUTHORIZATION);
    twice.uri = "/?X-Amz-Algorithm=AWS4-HMAC-SHA256".parse().unwrap();
    assert_eq!(verify(&twice).unwrap_err().code(), "IncompleteSignatureException");
    let mut dates = head(AUTHORIZATION);
    dates.headers.append("x-amz-date", HeaderValue::from_static("20261130T101500Z"));
    assert_eq!(verify(&dates).unwrap_err().code(), "IncompleteSignatureException");
}

#[test]
fn a_secret_is_not_shown() {
    let shown = format!("{:?}", Credential::new("sockhop", "secret"));
    assert!(!shown.contains("secret"), "{shown}");
}

proptest! {
    #[test]
    fn any_authorization_is_survived(authorization in "\\PC{0,200}") {
        let mut head = head(AUTHORIZATION);
        if let Ok(value) = HeaderValue::from_bytes(authorization.as_bytes()) {
            head.headers.insert("authorization", value);
            prop_assert!(verify(&head).is_err());
        }
    }

    #[test]
    fn parts_in_any_order_and_number_are_survived(
        parts in proptest::collection::vec(
            "(Credential|SignedHeaders|Signature|)=?[a-z0-9/;,= -]{0,40}", 0..6,
        ),
        date in "[0-9TZ:+-]{0,20}",
    ) {
        let mut head = head(&format!("AWS4-HMAC-SHA256 {}", parts.join(",")));
        head.headers.insert("x-amz-date", HeaderValue::from_str(&date).unwrap());
        prop_assert!(verify(&head).is_err());
        strip(&mut head);
    }

    #[test]
    fn any_changed_byte_is_noticed(at in 0_usize..AUTHORIZATION.len(), byte in 0x21_u8..0x7f) {
        let mut changed = AUTHORIZATION.as_bytes().to_vec();
        // Hexadecimal digits have two cases.
        let same = changed[at].eq_ignore_ascii_case(&byte);
        changed[at] = byte;
        let mut head = head(AUTHORIZATION);
        head.headers.insert("authorization", HeaderValue::from_bytes(&changed).unwrap());
        prop_assert!(same || verify(&head).is_err());
    }

    #[test]
    fn any_query_is_survived(
        query in "(X-Amz-[A-Za-z0-9-]{0,14}=?|[a-zA-Z0-9%=&+;/-]{0,10}|&){0,20}",
    ) {
        let Ok(uri) = format!("/?{query}").parse() else { return Ok(()) };
        let mut head = head(AUTHORIZATION);
        head.headers.remove("authorization");
        head.uri = uri;
        prop_assert!(verify(&head).is_err());
        strip(&mut head);
        prop_assert!(!head.uri.to_string().contains("X-Amz-Signature="));
    }
}
