//! A request's body as the guest reads it. What a guest leaves unread is read away, so that the connection can go on.
//!
//! Without that, hyper would close the connection behind the reply, without having said so. Owns no fds.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// An unread rest longer than this is not worth the traffic: the connection is closed instead.
const UNREAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long the client may take to send it.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(1);

/// hyper's body, and what becomes of it when it is dropped early.
pub(crate) struct RequestBody(Option<Incoming>);

impl RequestBody {
    pub(crate) fn new(body: Incoming) -> Self {
        Self(Some(body))
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(body) = self.0.take().filter(|body| !body.is_end_stream()) {
            tokio::task::spawn_local(tokio::time::timeout(UNREAD_TIMEOUT, read_away(body)));
        }
    }
}

async fn read_away(mut body: Incoming) {
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.data_ref().map_or(0, Bytes::len);
        if length > UNREAD_BYTES_MAX {
            return;
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(SizeHint::default, Incoming::size_hint)
    }
}
