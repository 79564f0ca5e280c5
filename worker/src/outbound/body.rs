//! The two bodies of an exchange: the guest's on its way out, the server's on its way in. Owns no fds.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Sleep, sleep};
use wasmtime_wasi_http::{Error, WasiBody};

use super::error::{Phase, from_hyper};

/// A guest's body that failed, told to hyper; what failed goes to the guest.
#[derive(Debug, thiserror::Error)]
#[error("the request's body failed")]
pub(super) struct BodyFailed;

/// What the guest sends. Its error would be lost in hyper's task; here it is kept.
pub(super) struct RequestBody {
    body: WasiBody,
    failed: Option<oneshot::Sender<Error>>,
}

impl RequestBody {
    /// The receiver gets the error, or learns that there is none when hyper has let go of the body.
    pub(super) fn new(body: WasiBody) -> (Self, oneshot::Receiver<Error>) {
        let (failed, failure) = oneshot::channel();
        (Self { body, failed: Some(failed) }, failure)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFailed;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFailed>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|error| {
                if let Some(failed) = self.failed.take() {
                    // Nobody listens when the guest has gone.
                    let _ = failed.send(error);
                }
                BodyFailed
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What the server sends. The request counts as in flight until this has ended.
pub(super) struct ReplyBody {
    /// `None` once it has ended, well or not: that frees the connection, whatever the guest still holds.
    live: Option<(Incoming, OwnedSemaphorePermit)>,
    between_bytes: Duration,
    /// Runs while hyper has nothing; the guest's own pauses do not count against the server.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl ReplyBody {
    pub(super) fn new(incoming: Incoming, between_bytes: Duration, permit: OwnedSemaphorePermit) -> Self {
        let live = (!incoming.is_end_stream()).then_some((incoming, permit));
        Self { live, between_bytes, waiting: None }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let Some((incoming, _)) = &mut this.live else { return Poll::Ready(None) };
        let frame = match Pin::new(incoming).poll_frame(cx) {
            Poll::Ready(frame) => frame.map(|frame| frame.map_err(|error| from_hyper(&error, Phase::Body))),
            Poll::Pending => {
                let between_bytes = this.between_bytes;
                let waiting = this.waiting.get_or_insert_with(|| Box::pin(sleep(between_bytes)));
                ready!(waiting.as_mut().poll(cx));
                Some(Err(Error::ConnectionReadTimeout))
            }
        };
        this.waiting = None;
        if !matches!(frame, Some(Ok(_))) {
            this.live = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.live.as_ref().is_none_or(|(incoming, _)| incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.live.as_ref().map_or_else(|| SizeHint::with_exact(0), |(incoming, _)| incoming.size_hint())
    }
}
