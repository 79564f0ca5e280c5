//! The two bodies of an exchange: the guest's request and the server's reply. Owns no fds.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Sleep, sleep, timeout};
use wasmtime_wasi_http::{Error, WasiBody};

use super::error::{Phase, from_hyper};
use super::stream::Exchanges;

/// The time to wait until a body without a known length begins, or ends empty. Most guests without
/// a body say so right after they have sent the request.
const BEGIN_TIMEOUT: Duration = Duration::from_millis(50);

/// The error that hyper gets if a guest's body fails; the guest gets the cause.
#[derive(Debug, thiserror::Error)]
#[error("the request's body failed")]
pub(super) struct BodyFailed;

/// The body that the guest sends. It keeps the error, which would be lost in hyper's task.
pub(super) struct RequestBody {
    /// `None` once it has ended.
    body: Option<WasiBody>,
    /// The first frame, if it was taken already.
    first: Option<Result<Frame<Bytes>, Error>>,
    failed: Option<oneshot::Sender<Error>>,
}

/// What is known about a body before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Known(u64),
    /// The body has begun, and its length is not known.
    Unknown,
    /// The body may come or not.
    NotBegun,
}

impl RequestBody {
    /// Returns the body, and a receiver of its error. The receiver fails if there was no error when
    /// hyper dropped the body.
    pub(super) fn new(body: WasiBody) -> (Self, oneshot::Receiver<Error>) {
        let (failed, failure) = oneshot::channel();
        (Self { body: Some(body), first: None, failed: Some(failed) }, failure)
    }

    /// Returns an empty body.
    pub(super) fn empty() -> Self {
        Self { body: None, first: None, failed: None }
    }

    /// Replaces the guest's body, which has not begun, by an empty one, and returns it.
    pub(super) fn set_aside(&mut self) -> Option<WasiBody> {
        self.body.take()
    }

    /// Returns the length of the body, as far as it becomes known soon.
    pub(super) async fn length(&mut self) -> Length {
        let Some(body) = &mut self.body else { return Length::Known(0) };
        if body.is_end_stream() {
            self.body = None;
            return Length::Known(0);
        }
        if let Some(length) = body.size_hint().exact() {
            return Length::Known(length);
        }
        let begun = timeout(BEGIN_TIMEOUT, poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx))).await;
        match begun {
            Err(_) => Length::NotBegun,
            Ok(None) => {
                self.body = None;
                Length::Known(0)
            }
            Ok(first) => {
                self.first = first;
                Length::Unknown
            }
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFailed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailed>>> {
        let first = self.first.take();
        let frame = match (first, &mut self.body) {
            (None, Some(body)) => ready!(Pin::new(body).poll_frame(cx)),
            (first, _) => first,
        };
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|error| {
                if let Some(failed) = self.failed.take() {
                    // If the guest has gone, nobody receives it.
                    let _ = failed.send(error);
                }
                BodyFailed
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.first, &self.body) {
            // A frame is only taken from a body of unknown length.
            (Some(_), _) => SizeHint::default(),
            (None, Some(body)) => body.size_hint(),
            (None, None) => SizeHint::with_exact(0),
        }
    }
}

/// Resolves when a body that was [set aside](RequestBody::set_aside) begins. Never resolves if
/// there is none or it ends empty.
pub(super) async fn begins(body: Option<WasiBody>) {
    if let Some(mut body) = body
        && let Some(Ok(_)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
    {
        return;
    }
    pending().await
}

/// The body that the server sends. The request counts as in flight until it has ended.
pub(super) struct ReplyBody {
    /// `None` once it has ended, well or not: that frees the connection, whatever the guest still
    /// holds.
    live: Option<(Incoming, OwnedSemaphorePermit)>,
    /// The exchanges on its connection.
    exchanges: Option<Exchanges>,
    between_bytes: Duration,
    /// The timer that runs while hyper has nothing; the guest's own pauses do not count against the
    /// server.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl ReplyBody {
    pub(super) fn new(
        incoming: Incoming,
        exchanges: Option<Exchanges>,
        between_bytes: Duration,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let live = (!incoming.is_end_stream()).then_some((incoming, permit));
        Self { live, exchanges, between_bytes, waiting: None }
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        if let Some(exchanges) = &self.exchanges {
            exchanges.abandon();
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let Some((incoming, _)) = &mut this.live else { return Poll::Ready(None) };
        let frame = match Pin::new(incoming).poll_frame(cx) {
            Poll::Ready(frame) => {
                frame.map(|frame| frame.map_err(|error| from_hyper(&error, Phase::Body)))
            }
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
            // This is reported now, not when the guest drops the body: the connection may have
            // another exchange by then.
            if let Some(exchanges) = this.exchanges.take() {
                exchanges.abandon();
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.live.as_ref().is_none_or(|(incoming, _)| incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.live
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |(incoming, _)| incoming.size_hint())
    }
}
