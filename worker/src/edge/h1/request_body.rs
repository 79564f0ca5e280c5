//! A request on the wire: its body, and its connection's address. Owns no fds but a share in the wire.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use abi::head::Framing;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::wire::SharedWire;
use crate::run::body::{BodyError, RequestBody};
use crate::serve::RequestSource;

/// The request that has begun on a wire.
pub(super) struct OnWire<'a> {
    pub(super) wire: &'a SharedWire,
    pub(super) framing: Framing,
}

impl RequestSource for OnWire<'_> {
    fn limit(&self, bytes_max: u64) -> Result<(), BodyError> {
        self.wire.lock().incoming.limit(bytes_max)
    }

    fn body(&self) -> RequestBody {
        let length = match self.framing {
            Framing::None if self.wire.lock().incoming.is_asking() => None,
            Framing::None => return RequestBody::none(),
            Framing::Length(length) => Some(length),
            Framing::Chunked => None,
        };
        self.wire.lock().incoming.held = true;
        RequestBody::new(WireBody { wire: self.wire.clone(), length })
    }

    fn failure(&self) -> Option<BodyError> {
        self.wire.lock().incoming.failure()
    }

    fn local_address(&self) -> SocketAddr {
        self.wire.lock().local_address()
    }
}

/// The body that a guest reads. If it is dropped early, the rest stays on the wire.
struct WireBody {
    wire: SharedWire,
    /// Its length, if the client has declared one.
    length: Option<u64>,
}

impl Drop for WireBody {
    fn drop(&mut self) {
        self.wire.lock().release();
    }
}

impl Body for WireBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.wire.lock().poll_body(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.wire.lock().incoming.is_done()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
