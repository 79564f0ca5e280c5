//! The body of a reply, as its connection pulls it: whole already, or still being made by its
//! guest.
//!
//! The streaming kind holds the guest itself and runs it whenever the connection asks for more, so
//! the client's pace is the guest's. Its end is passed on only when the guest has not failed: a
//! reply cut short by a trap must look cut. Owns no fds.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::guest::{Guest, linger};
use crate::run::body::GuestBody;
use crate::run::failure::Failure;

/// What a connection is given to send.
pub(crate) enum ReplyBody {
    /// All of it.
    Whole(Bytes),
    /// What there is, and the guest that makes the rest.
    Pending(Box<PendingBody>),
}

/// A body whose guest still runs.
pub(crate) struct PendingBody {
    function: Arc<str>,
    /// `None` only while being dropped.
    guest: Option<Guest>,
    body: GuestBody,
    /// Frames taken already that come first.
    before: VecDeque<Frame<Bytes>>,
    failure: Option<Failure>,
    /// The client has, or was never to get, every byte: what the guest still does is its own
    /// affair.
    complete: bool,
    /// The reply is of a kind that has no body (RFC 9110 6.4.1).
    bodiless: bool,
}

impl PendingBody {
    pub(super) fn new(function: Arc<str>, guest: Guest, body: GuestBody, bodiless: bool) -> Self {
        let (before, failure) = (VecDeque::new(), None);
        Self { function, guest: Some(guest), body, before, failure, complete: bodiless, bodiless }
    }

    /// Gives back frames that were taken too early.
    pub(super) fn put_before(&mut self, data: Vec<Bytes>) {
        data.into_iter().rev().for_each(|data| self.before.push_front(Frame::data(data)));
    }

    /// Gives back the frame taken last.
    pub(super) fn put_back(&mut self, frame: Frame<Bytes>) {
        self.before.push_back(frame);
    }

    /// The next frame from the guest; empty ones are left out. `None` is an end that the guest
    /// meant.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        loop {
            self.run_guest(cx);
            let mut polled = Pin::new(&mut self.body).poll_frame(cx);
            if let (Poll::Pending, Some(guest)) = (&polled, &self.guest) {
                // A guest that ended without finishing its body has left the other end of it in its
                // instance.
                guest.drop_retired();
                polled = Pin::new(&mut self.body).poll_frame(cx);
            }
            let last = match std::task::ready!(polled) {
                Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => continue,
                Some(Ok(frame)) if frame.is_data() => return Poll::Ready(Some(Ok(frame))),
                trailers_or_end => trailers_or_end,
            };
            // The guest may have waited for just this to be taken: it ends or fails now.
            self.run_guest(cx);
            return Poll::Ready(match (self.failure.take(), last) {
                (Some(failure), _) => Some(Err(failure)),
                // That a body is not as long as its head says does not matter where none is sent.
                (None, Some(Err(_))) if self.bodiless => None,
                (None, Some(Err(reason))) => {
                    let function = self.function.to_string();
                    Some(Err(Failure::BrokenBody { function, reason }))
                }
                (None, Some(Ok(trailers))) => {
                    self.complete = true;
                    Some(Ok(trailers))
                }
                (None, None) => {
                    self.complete = true;
                    None
                }
            });
        }
    }

    fn run_guest(&mut self, cx: &mut Context<'_>) {
        if let Some(guest) = &mut self.guest
            && let Poll::Ready(Err(failure)) = guest.poll(cx)
        {
            self.failure = Some(failure);
        }
    }
}

impl Drop for PendingBody {
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

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Pending(body) => match body.before.pop_front() {
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
            Self::Pending(_) => SizeHint::default(),
        }
    }
}
