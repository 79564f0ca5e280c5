//! Signs requests as clients of AWS do (Signature Version 4, "AWS Signature Version 4 for API
//! requests" of the IAM user guide). Pure but for the time of day; holds no file descriptor.
//!
//! A signature is good for 15 minutes, and so for all requests of one load: they are alike.

use std::fmt;
use std::time::SystemTime;

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::target::{Request, Target};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const REGION: &str = "us-east-1";
const SERVICE: &str = "lambda";
/// The headers that are signed, in order.
const SIGNED_HEADERS: &str = "host;x-amz-date";

/// A key that requests are signed with.
#[derive(Clone)]
pub struct Signer {
    key_id: String,
    secret: String,
}

impl fmt::Debug for Signer {
    /// Writes nothing of the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl Signer {
    /// Returns the signer of a key.
    pub fn new(key_id: &str, secret: &str) -> Self {
        Self { key_id: key_id.to_owned(), secret: secret.to_owned() }
    }

    /// Returns the request with a signature of now.
    pub fn sign(&self, request: &Request, target: &Target) -> Request {
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        // The basic form of ISO 8601: 20261130T120000Z.
        let time: String = now.chars().filter(|character| !"-:".contains(*character)).collect();
        let authorization = self.authorization(request, target, &time);
        request
            .clone()
            .with_header(&format!("x-amz-date: {time}"))
            .with_header(&format!("authorization: {authorization}"))
    }

    fn authorization(&self, request: &Request, target: &Target, time: &str) -> String {
        let (date, _) = time.split_once('T').unwrap_or((time, ""));
        let scope = format!("{date}/{REGION}/{SERVICE}/aws4_request");
        let body = request.body.as_deref().unwrap_or_default();
        // The paths of functions have no characters that would have to be encoded.
        let canonical = format!(
            "{}\n{}\n\nhost:{}\nx-amz-date:{time}\n\n{SIGNED_HEADERS}\n{}",
            request.method(),
            target.path(),
            target.host(),
            hex(&Sha256::digest(body)),
        );
        let text = format!("{ALGORITHM}\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let secret = format!("AWS4{}", self.secret).into_bytes();
        let key = [date, REGION, SERVICE, "aws4_request"]
            .iter()
            .fold(secret, |key, part| keyed(&key, part.as_bytes()));
        format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={SIGNED_HEADERS}, Signature={}",
            self.key_id,
            hex(&keyed(&key, text.as_bytes())),
        )
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104 2)")]
fn keyed(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_that_botocore_makes() {
        let signer = Signer::new("sockhop", "secret");
        let target =
            Target::parse("http://127.0.0.1:9000/2015-03-31/functions/hello/invocations").unwrap();
        let request = Request::post(b"{}".to_vec());
        assert_eq!(
            signer.authorization(&request, &target, "20261130T120000Z"),
            "AWS4-HMAC-SHA256 Credential=sockhop/20261130/us-east-1/lambda/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=c8a0df088b33de9e5a0ecb62bb79d42b7f7cec70e26b38f9f37bd2b0f2f0b618"
        );
    }

    #[test]
    fn a_signed_request_has_its_time() {
        let target = Target::parse("http://a/").unwrap();
        let signed = Signer::new("a", "b").sign(&Request::get(), &target);
        let text = String::from_utf8(target.bytes(&signed, true)).unwrap();
        let time = text.lines().find_map(|line| line.strip_prefix("x-amz-date: ")).unwrap();
        assert!(time.len() == 16 && time.ends_with('Z'), "{time}");
        assert!(text.contains("\r\nauthorization: AWS4-HMAC-SHA256 Credential=a/"), "{text}");
    }
}
