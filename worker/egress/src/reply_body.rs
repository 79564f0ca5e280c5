//! The body of a forwarded reply. Owns the server's connection until the body has ended, and then
//! leaves it for the client's next request.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

use crate::upstream::{Kept, Upstream};

/// The server sent nothing of a body for too long.
#[derive(Debug, thiserror::Error)]
#[error("the server has stopped sending")]
struct ReadStalled;

/// A reply's body on its way to the client. The request that it belongs to lasts as long as it.
pub(crate) struct ReplyBody {
    body: Incoming,
    ended: bool,
    timeout: Duration,
    /// Runs while the server sends nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    upstream: Option<Upstream>,
    kept: Kept,
    _permit: OwnedSemaphorePermit,
}

impl ReplyBody {
    /// Returns the body of a reply that came by `upstream`, of which each part may be waited for as
    /// long as `timeout`.
    pub(crate) fn new(
        body: Incoming,
        timeout: Duration,
        upstream: Upstream,
        kept: Kept,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let upstream = Some(upstream);
        Self { body, ended: false, timeout, stalled: None, upstream, kept, _permit: permit }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(frame) = polled {
            self.stalled = None;
            self.ended = frame.is_none();
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let timeout = self.timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Some(Err(ReadStalled.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        if self.ended || self.body.is_end_stream() {
            self.kept.set(self.upstream.take());
        }
    }
}
