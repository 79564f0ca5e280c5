//! The body of a reply, as its connection pulls it: whole, or still produced by its guest.
//!
//! A pending body holds the guest itself and runs it whenever the connection asks for more, so the
//! client sets the guest's pace. The body only ends well if the guest has not failed: a reply that
//! a trap has cut short must look cut. Owns no fds.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::guest::{Guest, linger};
use crate::run::body::{FilePart, GuestBody};
use crate::run::failure::{Failure, report};

/// The body that a connection sends.
pub(crate) enum ReplyBody {
    /// The whole body.
    Whole(Bytes),
    /// A part of a file, whose length the head has declared.
    File(FilePart),
    /// What is there so far, and the guest that produces the rest.
    Pending(Box<PendingBody>),
}

/// A body whose guest still runs.
pub(crate) struct PendingBody {
    function: Arc<str>,
    /// `None` only while being dropped.
    guest: Option<Guest>,
    body: GuestBody,
    /// Frames that were taken too early, and come first.
    before: VecDeque<Frame<Bytes>>,
    failure: Option<Failure>,
    /// Whether the client has every byte, or gets none. Then the guest may go on after the reply.
    complete: bool,
    /// Whether a reply of this kind has no body (RFC 9110 6.4.1).
    bodiless: bool,
}

impl PendingBody {
    pub(super) fn new(function: Arc<str>, guest: Guest, body: GuestBody, bodiless: bool) -> Self {
        let (before, failure) = (VecDeque::new(), None);
        Self { function, guest: Some(guest), body, before, failure, complete: bodiless, bodiless }
    }

    /// Puts back frames that were taken too early.
    pub(super) fn put_before(&mut self, data: Vec<Bytes>) {
        data.into_iter().rev().for_each(|data| self.before.push_front(Frame::data(data)));
    }

    /// Puts back the frame that was taken last.
    pub(super) fn put_back(&mut self, frame: Frame<Bytes>) {
        self.before.push_back(frame);
    }

    /// Returns the next frame from the guest, without empty ones. Returns `None` at the end, if the
    /// guest has not failed. A failure has been reported.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        loop {
            self.run_guest(cx);
            let mut polled = Pin::new(&mut self.body).poll_frame(cx);
            if let (Poll::Pending, Some(guest)) = (&polled, &self.guest) {
                // A guest that ended without finishing its body has left the body's sender in its
                // instance. Dropping the instance ends the body.
                guest.drop_retired();
                polled = Pin::new(&mut self.body).poll_frame(cx);
            }
            let last = match std::task::ready!(polled) {
                Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => continue,
                Some(Ok(frame)) if frame.is_data() => return Poll::Ready(Some(Ok(frame))),
                trailers_or_end => trailers_or_end,
            };
            // The guest may have waited until this frame was taken; now it can end or fail.
            self.run_guest(cx);
            return Poll::Ready(match (self.failure.take(), last) {
                (Some(failure), _) => Some(Err(failure)),
                // A body that is shorter than its head says does not matter if none is sent.
                (None, Some(Err(_))) if self.bodiless => None,
                (None, Some(Err(reason))) => Some(Err(self.broken(reason))),
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

    /// Returns what is wrong with a body that its guest has broken off, and reports it: the guest
    /// itself need not have failed, or fails only after its client has gone.
    fn broken(&self, reason: String) -> Failure {
        let failure = Failure::BrokenBody { function: self.function.to_string(), reason };
        if let Some(guest) = &self.guest {
            let (shared, spec) = (guest.pipeline.shared(), &guest.function.spec);
            report(shared, spec, guest.id, &failure, &guest.facts);
        }
        failure
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
        // A body that is dropped before its end has lost its client, and the guest is dropped with
        // it.
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
            Self::File(part) => {
                let read = part.read().map_err(|error| {
                    tracing::error!(
                        "a reply is cut, as a file of its site cannot be read: {error}"
                    );
                    Failure::FileUnread { reason: error.to_string() }
                });
                Poll::Ready(read.transpose().map(|piece| piece.map(Frame::data)))
            }
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
            Self::File(part) => SizeHint::with_exact(part.bytes),
            Self::Pending(_) => SizeHint::default(),
        }
    }
}
