//! Signature Version 4, on the side that verifies.
//!
//! Follows "AWS Signature Version 4 for API requests" of the IAM user guide, for the service
//! `lambda`: the path is encoded a second time, and the hash of the payload need not be a header.
//! All of it is pure: a request's head, the time and the payload's hash go in.
//!
//! A signature is verified in two steps, because the head comes before the body. [`Claim::read`]
//! refuses whatever cannot be right, and says what else is needed; [`Claim::verify`] compares.
//! [`strip`] then takes out of the head what only the check was to see. Owns no fds.

mod canonical;
mod claim;
mod error;
mod timestamp;

use std::fmt;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

pub use claim::{Claim, strip};
pub use error::SignatureError;

/// The service that requests must be signed for.
pub const SERVICE: &str = "lambda";
/// What `x-amz-content-sha256` has for a payload that the signature leaves out.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// The name of the algorithm; SigV4A and the streaming variants have others.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What ends the scope of a credential.
const TERMINATOR: &str = "aws4_request";

/// A key id and its secret: the one pair that requests may be signed with.
pub struct Credential {
    key_id: String,
    secret: Zeroizing<String>,
}

impl Credential {
    /// Returns the credential of `key_id`, which clients have as their access key id, and `secret`,
    /// their secret access key.
    #[must_use]
    pub fn new(key_id: &str, secret: &str) -> Self {
        Self { key_id: key_id.to_owned(), secret: Zeroizing::new(secret.to_owned()) }
    }

    /// Returns the key's id.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Returns the signature's state for a scope: HMAC with the key that is derived for the day,
    /// the region and the service.
    fn signer(&self, date: &str, region: &str) -> Hmac<Sha256> {
        let secret = Zeroizing::new(format!("AWS4{}", *self.secret));
        let key = [date, region, SERVICE, TERMINATOR].iter().fold(
            Zeroizing::new(secret.as_bytes().to_vec()),
            |key, part| {
                let mut mac = keyed(&key);
                mac.update(part.as_bytes());
                Zeroizing::new(mac.finalize().into_bytes().to_vec())
            },
        );
        keyed(&key)
    }
}

impl fmt::Debug for Credential {
    /// Writes nothing of the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104 2)")]
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes any key")
}

#[cfg(test)]
mod tests;
