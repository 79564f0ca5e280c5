//! Why a request's signature is refused, and by which exception AWS has clients told. Owns no fds.

use super::{ALGORITHM, SERVICE};

/// Why a signature is refused. Every one is answered 403.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Neither the header nor the query has a signature.
    #[error(
        "Missing Authentication Token: the request is not signed; expected {ALGORITHM} with the \
         access key id {key_id:?} and the node's admin token as the secret access key"
    )]
    Missing {
        /// The key id that is expected.
        key_id: String,
    },
    /// What is there cannot be read as a signature.
    #[error("the request's signature is incomplete: {0}")]
    Incomplete(String),
    /// The key id is another one.
    #[error(
        "The security token included in the request is invalid: unknown access key id {given:?}; \
         expected {key_id:?}"
    )]
    UnknownKey {
        /// The key id that was given, shortened.
        given: String,
        /// The key id that is expected.
        key_id: String,
    },
    /// The scope is another service's, or another day's.
    #[error(
        "Credential should be scoped to a valid day, region and service: {0}; expected \
         YYYYMMDD/REGION/{SERVICE}/aws4_request"
    )]
    Scope(String),
    /// It is too old.
    #[error(
        "Signature expired: {signed} is now earlier than {limit}; set the client's clock, it is \
         {now} here"
    )]
    Expired {
        /// When it was signed, or ended, as YYYYMMDDTHHMMSSZ.
        signed: String,
        /// The earliest time that would do.
        limit: String,
        /// The time here.
        now: String,
    },
    /// It is from the future.
    #[error(
        "Signature not yet current: {signed} is still later than {limit}; set the client's clock, \
         it is {now} here"
    )]
    NotYetCurrent {
        /// When it was signed, as YYYYMMDDTHHMMSSZ.
        signed: String,
        /// The latest time that would do.
        limit: String,
        /// The time here.
        now: String,
    },
    /// A header that must be signed is not.
    #[error("'{0}' must be a 'SignedHeader' in the AWS Authorization; this one left it out")]
    NotSigned(String),
    /// It is another signature than the one for this request and secret.
    #[error(
        "The request signature we calculated does not match the signature you provided: check \
         that the secret access key is the node's admin token, and that nothing between client \
         and node changes the request"
    )]
    Mismatch,
    /// The body is another one than `x-amz-content-sha256` says.
    #[error("the body's SHA-256 is not what the header x-amz-content-sha256 says")]
    Payload,
    /// `x-amz-content-sha256` names a way of signing that the service `lambda` has not.
    #[error(
        "the header x-amz-content-sha256 is {0:?}; expected the body's SHA-256 in hexadecimal, or \
         UNSIGNED-PAYLOAD"
    )]
    PayloadKind(String),
}

impl SignatureError {
    /// Returns the name of AWS's exception.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "MissingAuthenticationTokenException",
            Self::Incomplete(_) => "IncompleteSignatureException",
            Self::UnknownKey { .. } => "UnrecognizedClientException",
            Self::Scope(_)
            | Self::Expired { .. }
            | Self::NotYetCurrent { .. }
            | Self::NotSigned(_)
            | Self::Mismatch
            | Self::Payload
            | Self::PayloadKind(_) => "InvalidSignatureException",
        }
    }
}
