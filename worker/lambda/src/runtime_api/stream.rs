//! The body of a streamed response, from the runtime's connection to whoever reads it.
//!
//! Nothing is buffered on the way: the connection is read as fast as this body is, so that a slow
//! client slows the function down. Owns no fds; the connection is the server's.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::oneshot;

use crate::error_body::accepted_type;
use crate::failure::Failure;
use crate::limits::RESPONSE_BYTES_MAX;

/// Why a stream is broken off. What has been sent to a client cannot be taken back, so that the
/// client's connection has to be broken off too.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The runtime's connection ended before the stream did.
    #[error("the function's process broke off its streamed response")]
    Truncated,
    /// The function failed after it had begun to stream, and said so in trailers.
    #[error("the function failed after it had begun to stream its response: {error_type}")]
    Function {
        /// The type of the error.
        error_type: String,
        /// The error as the function wrote it.
        body: Bytes,
    },
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Truncated => Self::Truncated,
            StreamError::Function { error_type, body } => Self::Function { error_type, body },
        }
    }
}

/// How the reading of a [`StreamBody`] ended.
#[derive(Debug)]
pub(crate) enum StreamEnd {
    /// Everything was read, up to the end of the request.
    Complete,
    /// The request was broken off.
    Truncated,
    /// The reader is gone. This is what it has not read.
    Abandoned(Incoming),
}

/// The body of a streamed response. If it is dropped before its end, the rest of what the function
/// sends is read and dropped, because a function is not to fail when its client leaves.
///
/// Rust's runtime (`lambda_runtime`) writes an error in the middle of a stream as data that looks
/// like trailers. It cannot be told from a function's own data, and is left as it is.
#[derive(Debug)]
pub struct StreamBody {
    parts: Option<Parts>,
}

#[derive(Debug)]
struct Parts {
    incoming: Incoming,
    end: oneshot::Sender<StreamEnd>,
}

impl StreamBody {
    /// Returns the body that `incoming` is, and what tells how its reading ended.
    pub(crate) fn new(incoming: Incoming) -> (Self, oneshot::Receiver<StreamEnd>) {
        let (end, ended) = oneshot::channel();
        (Self { parts: Some(Parts { incoming, end }) }, ended)
    }

    /// Returns the whole stream, for callers that take no streams.
    ///
    /// # Errors
    ///
    /// Returns [`Failure::TooLarge`] if it is longer than [`RESPONSE_BYTES_MAX`], and otherwise
    /// what the stream was broken off for.
    pub async fn collect_whole(mut self) -> Result<Bytes, Failure> {
        let mut whole = BytesMut::new();
        let mut size_bytes = 0_u64;
        while let Some(frame) = self.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            size_bytes = size_bytes.saturating_add(data.len() as u64);
            if size_bytes <= RESPONSE_BYTES_MAX as u64 {
                whole.extend_from_slice(&data);
            }
        }
        if size_bytes > RESPONSE_BYTES_MAX as u64 {
            return Err(Failure::TooLarge { size_bytes });
        }
        Ok(whole.freeze())
    }

    fn end(&mut self, end: StreamEnd) {
        if let Some(parts) = self.parts.take() {
            let _ = parts.end.send(end);
        }
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let Some(parts) = &mut self.parts else { return Poll::Ready(None) };
        let frame = match ready!(Pin::new(&mut parts.incoming).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => {
                self.end(StreamEnd::Truncated);
                return Poll::Ready(Some(Err(StreamError::Truncated)));
            }
            None => {
                self.end(StreamEnd::Complete);
                return Poll::Ready(None);
            }
        };
        // Trailers are the last of a body, and are for the node and not for the client.
        match frame.into_trailers() {
            Ok(trailers) => {
                self.end(StreamEnd::Complete);
                Poll::Ready(error_in_trailers(&trailers).map(Err))
            }
            Err(frame) => Poll::Ready(Some(Ok(frame))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.parts {
            Some(parts) => parts.incoming.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        if let Some(Parts { incoming, end }) = self.parts.take() {
            let _ = end.send(StreamEnd::Abandoned(incoming));
        }
    }
}

/// Returns the error that a runtime reports in trailers. Go's declares them on every request and
/// sends none if all went well.
pub(crate) fn error_in_trailers(trailers: &HeaderMap) -> Option<StreamError> {
    let error_type = trailers.get("lambda-runtime-function-error-type")?;
    let error_type = String::from_utf8_lossy(error_type.as_bytes());
    if error_type.is_empty() {
        return None;
    }
    let body = trailers.get("lambda-runtime-function-error-body");
    let body = body.map(http::HeaderValue::as_bytes).unwrap_or_default();
    let decoded = BASE64_STANDARD.decode(body);
    let body = decoded.map_or_else(|_| Bytes::copy_from_slice(body), Bytes::from);
    let error_type = accepted_type(Some(&error_type)).to_owned();
    Some(StreamError::Function { error_type, body })
}
