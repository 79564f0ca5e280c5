//! The body of a reply, as hyper pulls it: whole already, or still being made by its guest.
//!
//! The streaming kind holds the guest itself and runs it whenever hyper asks for more, so the client's pace is the
//! guest's. Its end is told only when the guest has not failed: a reply cut short by a trap must look cut. Owns no fds.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::invocation::{Failure, Guest, linger};

/// What a service gives hyper to send.
pub(crate) enum ReplyBody {
    /// All of it.
    Whole(Bytes),
    /// What there is, and the guest that makes the rest.
    Guest(Box<GuestBody>),
}

/// A body whose guest still runs.
pub(crate) struct GuestBody {
    /// `None` only while being dropped.
    guest: Option<Guest>,
    body: HyperOutgoingBody,
    /// Frames taken already that come first.
    before: VecDeque<Frame<Bytes>>,
    failure: Option<Failure>,
    /// The client has, or was never to get, every byte: what the guest still does is its own affair.
    complete: bool,
}

impl GuestBody {
    pub(crate) fn new(guest: Guest, body: HyperOutgoingBody, head_only: bool) -> Self {
        Self { guest: Some(guest), body, before: VecDeque::new(), failure: None, complete: head_only }
    }

    /// Gives back frames that were taken too early.
    pub(crate) fn put_before(&mut self, data: Vec<Bytes>) {
        data.into_iter().rev().for_each(|data| self.before.push_front(Frame::data(data)));
    }

    /// Gives back the frame taken last.
    pub(crate) fn put_back(&mut self, frame: Frame<Bytes>) {
        self.before.push_back(frame);
    }

    /// The next frame from the guest; empty ones are left out. `None` is an end that the guest meant.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        loop {
            if let Some(guest) = &mut self.guest
                && let Poll::Ready(Err(failure)) = guest.poll(cx)
            {
                self.failure = Some(failure);
            }
            return match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) if frame.data_ref().is_some_and(Bytes::is_empty) => continue,
                Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(frame))),
                Poll::Ready(Some(Err(error))) => {
                    let reason = error.to_string();
                    let function = "the function".to_owned();
                    Poll::Ready(Some(Err(self.failure.take().unwrap_or(Failure::BadReply { function, reason }))))
                }
                Poll::Ready(None) => match self.failure.take() {
                    Some(failure) => Poll::Ready(Some(Err(failure))),
                    None => {
                        self.complete = true;
                        Poll::Ready(None)
                    }
                },
                Poll::Pending => Poll::Pending,
            };
        }
    }
}

impl Drop for GuestBody {
    fn drop(&mut self) {
        // Dropped before its end, the client has gone, and the guest goes with it.
        if let (Some(guest), true) = (self.guest.take(), self.complete) {
            linger(guest);
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Guest(body) => match body.before.pop_front() {
                Some(frame) => Poll::Ready(Some(Ok(frame))),
                None => body.poll_next(cx),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Guest(_) => SizeHint::default(),
        }
    }
}
