//! Requests to a bucket: each attempt with its time limits, and another one if that may help.
//!
//! rust-s3 signs and sends. Retries and the reading of bodies are done here, where time and bytes
//! are bounded. `Bucket` has the credentials and is never printed. Owns the client's connections.

use std::error::Error as _;
use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

use abi::limits::{
    S3_BYTES_PER_SECOND_MIN, S3_REPLY_BYTES_MAX, S3_REPLY_TIMEOUT, S3_STALL_TIMEOUT,
};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, ETAG};
use http::{HeaderMap, HeaderName};
use s3::Bucket;
use s3::command::Command;
use s3::error::S3Error;
use s3::request::Request as _;
use s3::request::tokio_backend::ReqwestRequest;

use super::reply::{self, Meaning, Unsuccessful};
use super::retry::{self, FailureKind};
use crate::error::StoreError;

/// A bucket, and its names in messages.
pub(super) struct Requests {
    pub(super) bucket: Box<Bucket>,
    pub(super) name: String,
    pub(super) endpoint: String,
    /// What every key begins with. Empty, or ends in `/`.
    pub(super) prefix: String,
}

/// Why an attempt has failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    pub(super) error: StoreError,
}

impl Failure {
    pub(super) fn permanent(error: StoreError) -> Self {
        Self { kind: FailureKind::Permanent, error }
    }
}

/// The result of an attempt.
pub(super) enum Got {
    /// A success, of which the body is not read yet.
    Reply(reqwest::Response),
    Absent,
    BeyondEnd,
}

impl Requests {
    /// Makes attempts until one succeeds, or no other one would.
    pub(super) async fn again<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        attempt: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        let (begun, mut attempts) = (Instant::now(), 0);
        loop {
            attempts += 1;
            let Failure { kind, error } = match attempt().await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            let Some(pause) = retry::pause(kind, attempts, begun.elapsed(), fastrand::f64()) else {
                return Err(error);
            };
            tracing::debug!(
                "attempt {attempts} at {} has failed and is made again: {error}",
                self.name
            );
            tokio::time::sleep(pause).await;
        }
    }

    /// Returns the path of an object in the bucket.
    pub(super) fn path(&self, key: &str) -> String {
        format!("/{}{key}", self.prefix)
    }

    /// Makes one attempt, up to the head of the reply. `sent_bytes` is the length of the request's
    /// body.
    pub(super) async fn attempt(
        &self,
        path: &str,
        command: Command<'_>,
        sent_bytes: usize,
    ) -> Result<Got, Failure> {
        let limit = time_for(sent_bytes);
        let sent =
            async { ReqwestRequest::new(&self.bucket, path, command).await?.response().await };
        let response = match tokio::time::timeout(limit, sent).await {
            Err(_) => return Err(self.away(format!("it has not answered within {limit:?}"))),
            Ok(Err(S3Error::Reqwest(error))) => return Err(self.transport(&error)),
            // The address is so wrong that nothing can be signed or sent.
            Ok(Err(error)) => {
                return Err(
                    self.refused(error.to_string(), "check --s3-endpoint and --store".into())
                );
            }
            Ok(Ok(response)) => response,
        };
        if response.status().is_success() {
            return Ok(Got::Reply(response));
        }
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = self.body(response, path, S3_REPLY_BYTES_MAX).await?;
        let date = text(&headers, &DATE).and_then(|date| httpdate::parse_http_date(date).ok());
        let content_type = text(&headers, &CONTENT_TYPE).unwrap_or_default();
        match reply::meaning(
            Unsuccessful { status, content_type, date, body: &body },
            SystemTime::now(),
        ) {
            Meaning::Absent => Ok(Got::Absent),
            Meaning::BeyondEnd => Ok(Got::BeyondEnd),
            Meaning::Busy(reason) => Err(self.away(reason)),
            Meaning::Refused { reason, hint } => Err(self.refused(reason, hint)),
            Meaning::Foreign(reason) => Err(self.foreign(reason)),
        }
    }

    /// Checks that the answer is S3's: S3 gives each object an ETag, and the page of another
    /// program has none.
    pub(super) fn expect_object(&self, response: &reqwest::Response) -> Result<(), Failure> {
        if response.headers().contains_key(ETAG) {
            Ok(())
        } else {
            Err(self.foreign(came(response)))
        }
    }

    /// Reads a whole body, of the object `key`. A body that is longer than `bytes_max` is an error.
    pub(super) async fn body(
        &self,
        response: reqwest::Response,
        key: &str,
        bytes_max: usize,
    ) -> Result<Vec<u8>, Failure> {
        let mut whole = Vec::new();
        let gathered = async |piece: Bytes| {
            whole.extend_from_slice(&piece);
            Ok(())
        };
        self.pieces(response, key, bytes_max, gathered).await?;
        Ok(whole)
    }

    /// Reads a body piece by piece. A body that ends too early is a transient error, and one
    /// that is longer than `bytes_max` a permanent one.
    pub(super) async fn pieces(
        &self,
        mut response: reqwest::Response,
        key: &str,
        bytes_max: usize,
        mut take: impl AsyncFnMut(Bytes) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let longer = || Failure::permanent(StoreError::too_large(key, bytes_max));
        let promised = response.content_length();
        if promised.is_some_and(|bytes| bytes > bytes_max as u64) {
            return Err(longer());
        }
        let limit =
            time_for(promised.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(bytes_max));
        let (begun, mut read) = (Instant::now(), 0);
        loop {
            let piece = match tokio::time::timeout(S3_STALL_TIMEOUT, response.chunk()).await {
                Err(_) => {
                    return Err(self.away(format!("it sent nothing for {S3_STALL_TIMEOUT:?}")));
                }
                Ok(Err(error)) => return Err(self.transport(&error)),
                Ok(Ok(Some(piece))) => piece,
                Ok(Ok(None)) => break,
            };
            read += piece.len();
            if read > bytes_max {
                return Err(longer());
            }
            if begun.elapsed() > limit {
                return Err(
                    self.away(format!("it sent {read} bytes in {limit:?}, which is too slow"))
                );
            }
            take(piece).await?;
        }
        match promised {
            Some(promised) if promised != read as u64 => {
                Err(self.away(format!("it sent {read} bytes of the {promised} that it promised")))
            }
            _ => Ok(()),
        }
    }

    fn away(&self, reason: String) -> Failure {
        let (name, endpoint) = (self.name.clone(), self.endpoint.clone());
        Failure { kind: FailureKind::Transient, error: StoreError::Away { name, endpoint, reason } }
    }

    fn refused(&self, reason: String, hint: String) -> Failure {
        let (name, endpoint) = (self.name.clone(), self.endpoint.clone());
        Failure::permanent(StoreError::Refused { name, endpoint, reason, hint })
    }

    pub(super) fn foreign(&self, reason: String) -> Failure {
        let (name, endpoint) = (self.name.clone(), self.endpoint.clone());
        Failure::permanent(StoreError::Foreign { name, endpoint, reason })
    }

    /// What kept a request from its answer.
    fn transport(&self, error: &reqwest::Error) -> Failure {
        // The outer errors say that a request has failed, the innermost says why.
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            reason = inner.to_string();
            source = inner.source();
        }
        if error.is_builder() {
            return self.refused(reason, "check --s3-endpoint".into());
        }
        // As rustls words it, whatever is wrong with the certificate.
        if reason.contains("certificate") {
            let hint = "the server must have a certificate for this very name, by an authority that this machine trusts; add \
                        that authority to the system's, or name a file that has it with SSL_CERT_FILE";
            return self.refused(reason, hint.into());
        }
        // The server is there, and speaks no TLS.
        if reason.contains("corrupt message") || reason.contains("InvalidContentType") {
            return self.refused(
                reason,
                "the server speaks no TLS: write --s3-endpoint with http://".into(),
            );
        }
        self.away(reason)
    }
}

/// What an answer is by its head, for a message.
pub(super) fn came(response: &reqwest::Response) -> String {
    let content_type = text(response.headers(), &CONTENT_TYPE).unwrap_or_default();
    reply::foreign(response.status().as_u16(), content_type)
}

/// How long a request may take that moves so many bytes.
fn time_for(bytes: usize) -> Duration {
    S3_REPLY_TIMEOUT + Duration::from_secs(bytes as u64 / S3_BYTES_PER_SECOND_MIN)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
