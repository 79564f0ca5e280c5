//! Signatures that botocore makes are verified, and nothing else is.
#![expect(clippy::unwrap_used, reason = "a test that cannot read what botocore made fails")]

mod common;

use std::path::Path;
use std::time::{Duration, SystemTime};

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request};
use sha2::{Digest as _, Sha256};
use sockhop_lambda_api::sigv4::{Claim, Credential, SignatureError, strip};

const SECRET: &str = "3f7a";

/// A request as it is on the wire.
#[derive(Debug, Clone, serde::Deserialize)]
struct Signed {
    name: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Signed {
    fn head(&self) -> Parts {
        let mut request = Request::builder().method(self.method.as_str()).uri(&self.target);
        for (name, value) in &self.headers {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            request = request.header(name, value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn verify(&self, head: &Parts, secret: &str) -> Result<(), SignatureError> {
        verify(head, &self.body, secret)
    }
}

fn verify(head: &Parts, body: &str, secret: &str) -> Result<(), SignatureError> {
    let credential = Credential::new("sockhop", secret);
    let sha256 = hex::encode(Sha256::digest(body));
    let claim = Claim::read(head, &credential, signed_at() + Duration::from_secs(5))?;
    claim.check_body(&sha256)?;
    claim.verify(head, &credential, claim.payload().unwrap_or(&sha256))
}

/// 2026-11-30 10:15:00.
fn signed_at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_033_700)
}

fn requests() -> Vec<Signed> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sign.py");
    let output = common::python().arg(script).args([SECRET, "20261130T101500Z"]).output().unwrap();
    assert!(output.status.success(), "{}", common::printed(&output));
    let requests: Vec<Signed> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(requests.len() >= 20);
    requests
}

#[test]
fn what_botocore_signs_is_verified_and_nothing_else() {
    for request in requests() {
        let (name, head) = (&request.name, request.head());
        assert_eq!(request.verify(&head, SECRET), Ok(()), "{name}");
        assert_eq!(request.verify(&head, "3f7b"), Err(SignatureError::Mismatch), "{name}");

        let refused = |change: &dyn Fn(&mut Parts)| {
            let mut changed = request.head();
            change(&mut changed);
            assert!(request.verify(&changed, SECRET).is_err(), "{name}: {changed:?}");
        };
        refused(&|head| head.method = Method::PATCH);
        refused(&|head| {
            let joined = if head.uri.query().is_some() { '&' } else { '?' };
            head.uri = format!("{}{joined}Qualifier=1", head.uri).parse().unwrap();
        });
        refused(&|head| {
            let changed = head.uri.to_string().replacen("functions", "function", 1);
            head.uri = changed.parse().unwrap();
        });
        refused(&|head| drop(head.headers.insert("host", HeaderValue::from_static("other"))));
        refused(&|head| {
            let name = HeaderName::from_static("x-amz-invocation-type");
            head.headers.insert(name, HeaderValue::from_static("DryRun"));
        });

        let changed = verify(&head, &format!("{} ", request.body), SECRET);
        // The one that says so itself.
        assert_eq!(changed.is_ok(), name == "an unsigned payload", "{name}: {changed:?}");
    }
}

#[test]
fn nothing_of_a_signature_is_left_behind_the_check() {
    for request in requests() {
        let mut head = request.head();
        strip(&mut head);
        let left = format!("{head:?}").to_lowercase();
        for part in ["aws4", "signature", "credential", "x-amz-date", "x-amz-expires", "token"] {
            assert!(!left.contains(part), "{part} in {left}");
        }
        assert_eq!(head.uri.path(), request.head().uri.path());
    }
}

#[test]
fn what_else_stands_in_a_presigned_query_stays() {
    let requests = requests();
    let presigned = requests.iter().find(|request| request.name == "a presigned request").unwrap();
    let mut head = presigned.head();
    strip(&mut head);
    assert_eq!(head.uri, "/2015-03-31/functions?MaxItems=1");
}
