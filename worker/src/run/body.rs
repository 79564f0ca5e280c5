//! Bodies of requests and replies, as runners see them. Own no fds but those of static sites' files.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use wasmtime_wasi_http::WasiBody;

/// Why a request's body ended before it was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the request's body is not well formed")]
    Malformed,
    #[error("the client ended its request before the body was whole")]
    Ended,
    #[error("the request's body has more than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("the client sent nothing of its request's body for {limit:?}")]
    Stalled { limit: Duration },
    #[error("reading the request's body failed: {0}")]
    Failed(io::ErrorKind),
}

/// The body of a request. If it is dropped early, the rest is left to its source.
pub(crate) struct RequestBody(Option<UnsyncBoxBody<Bytes, BodyError>>);

impl RequestBody {
    /// Returns the body of a request without one.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    pub(crate) fn new(body: impl Body<Data = Bytes, Error = BodyError> + Send + 'static) -> Self {
        Self(Some(UnsyncBoxBody::new(body)))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// The body of a reply while its function still produces it. Its error is a sentence for the log.
pub(crate) enum GuestBody {
    /// The body of `wasi:http`, which is boxed already.
    Wasi(WasiBody),
    /// A part of a file, which need not be read by whoever can pass it on as it is.
    File(FilePart),
    Other(UnsyncBoxBody<Bytes, String>),
}

/// A part of a file that does not change.
#[derive(Debug, Clone)]
pub(crate) struct FilePart {
    pub(crate) file: Arc<File>,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// The bytes that are read of a file at a time.
const READ_BYTES: u64 = 64 * 1024;

impl FilePart {
    /// Reads the next piece. Returns `None` at the end.
    ///
    /// # Errors
    /// If the disk does not give it, or the file is shorter than it was.
    pub(crate) fn read(&mut self) -> io::Result<Option<Bytes>> {
        let length = self.bytes.min(READ_BYTES);
        if length == 0 {
            return Ok(None);
        }
        let mut piece = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.read_exact_at(&mut piece, self.offset)?;
        self.advance(length);
        Ok(Some(piece.into()))
    }

    /// Leaves out the next `bytes`, which were passed on.
    pub(crate) fn advance(&mut self, bytes: u64) {
        self.offset = self.offset.saturating_add(bytes);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl GuestBody {
    pub(crate) fn new(body: impl Body<Data = Bytes, Error = String> + Send + 'static) -> Self {
        Self::Other(UnsyncBoxBody::new(body))
    }
}

impl Body for GuestBody {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        match &mut *self {
            Self::Wasi(body) => {
                let polled = Pin::new(body).poll_frame(cx);
                polled.map(|frame| frame.map(|frame| frame.map_err(|error| error.to_string())))
            }
            Self::File(part) => {
                let read = part.read().map_err(|error| format!("a file cannot be read: {error}"));
                Poll::Ready(read.transpose().map(|piece| piece.map(Frame::data)))
            }
            Self::Other(body) => Pin::new(body).poll_frame(cx),
        }
    }
}
