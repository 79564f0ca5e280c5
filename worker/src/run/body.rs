//! Bodies of requests and replies, as runners see them. Own no fds.

use std::pin::Pin;
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
    Failed(std::io::ErrorKind),
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
    Other(UnsyncBoxBody<Bytes, String>),
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
            Self::Other(body) => Pin::new(body).poll_frame(cx),
        }
    }
}
