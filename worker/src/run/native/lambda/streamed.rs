//! An answer that goes to a caller of the Invoke API as it comes: what became of it is known at its
//! end, and is in trailers. Owns no fds; the connection is the Runtime API's.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use lambda::failure::Failure;
use lambda::invoke;
use lambda::runtime_api::StreamError;
use tokio::sync::oneshot;

/// What is known once the invocation is complete.
pub(super) struct Ended {
    /// The end of its log, if its caller wants that.
    pub(super) log: Option<Vec<u8>>,
    pub(super) timed_out: bool,
}

/// The node's ends of what a stream is told, and tells, at its end.
pub(super) struct Ending {
    pub(super) tell: oneshot::Sender<Ended>,
    /// Resolves when the stream is over, with why it failed if it did.
    pub(super) failed: oneshot::Receiver<Failure>,
}

/// The stream's ends.
pub(super) struct EndOfStream {
    ended: oneshot::Receiver<Ended>,
    failed: Option<oneshot::Sender<Failure>>,
}

/// Returns both sides of the end of a stream.
pub(super) fn end_of_stream() -> (Ending, EndOfStream) {
    let ((tell, ended), (failing, failed)) = (oneshot::channel(), oneshot::channel());
    (Ending { tell, failed }, EndOfStream { ended, failed: Some(failing) })
}

/// A stream, and behind it the trailers that say how it ended.
pub(super) struct WithEnd<B> {
    /// Until its end.
    body: Option<B>,
    failure: Option<Failure>,
    id: String,
    limit: Duration,
    end: EndOfStream,
    is_over: bool,
}

impl<B> WithEnd<B> {
    /// Returns the body of the invocation `id`, which may take `limit`.
    pub(super) fn new(body: B, (id, limit): (String, Duration), end: EndOfStream) -> Self {
        Self { body: Some(body), failure: None, id, limit, end, is_over: false }
    }

    fn trailers(&mut self, ended: Ended) -> HeaderMap {
        let failure = match self.failure.take() {
            // The process was killed, and its connection with it.
            Some(_) if ended.timed_out => Some(Failure::TimedOut { limit: self.limit }),
            failure => failure,
        };
        let trailers = invoke::trailers(&self.id, ended.log.as_deref(), failure.as_ref());
        if let (Some(failed), Some(failure)) = (self.end.failed.take(), failure) {
            let _ = failed.send(failure);
        }
        trailers
    }
}

impl<B: Body<Data = Bytes, Error = StreamError> + Unpin> Body for WithEnd<B> {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        while let Some(body) = &mut self.body {
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => return Poll::Ready(Some(Ok(frame))),
                Some(Err(error)) => self.failure = Some(error.into()),
                None => {}
            }
            self.body = None;
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        let ended = ready!(Pin::new(&mut self.end.ended).poll(cx));
        self.is_over = true;
        let trailers = self.trailers(ended.unwrap_or(Ended { log: None, timed_out: false }));
        Poll::Ready((!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers))))
    }
}
