//! A request's body as the guest reads it, straight off the wire. Owns no fds but a share in the wire.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::incoming::BodyError;
use super::wire::SharedWire;

/// What a guest reads. Dropped early, the rest is left on the wire.
pub(crate) struct RequestBody {
    /// None when there is no body.
    wire: Option<SharedWire>,
    /// Its length, where the client has told it.
    length: Option<u64>,
}

impl RequestBody {
    /// The body of a request without one.
    pub(super) fn none() -> Self {
        Self { wire: None, length: Some(0) }
    }

    /// The body that has begun on `wire`.
    pub(super) fn on(wire: &SharedWire, length: Option<u64>) -> Self {
        wire.lock().incoming.held = true;
        Self { wire: Some(wire.clone()), length }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(wire) = &self.wire {
            wire.lock().release();
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &self.wire {
            Some(wire) => wire.lock().poll_body(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.wire.as_ref().is_none_or(|wire| wire.lock().incoming.is_done())
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
