//! A connection to a server by which requests are forwarded, one after another. Owns hyper's task,
//! which owns the socket: dropping an [`Upstream`] closes it.

use std::cell::Cell;
use std::rc::Rc;

use abi::limits::{OUTBOUND_REPLY_HEAD_BYTES_MAX, OUTBOUND_REPLY_HEADERS_MAX};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{AbortHandle, spawn_local};

use crate::destination::Destination;
use crate::limits::Limits;
use crate::write_timeout::WriteTimeout;

/// A client's body, or none.
pub(crate) type RequestBody = Either<Incoming, Empty<Bytes>>;

/// The connection that a client's connection keeps for its next request: the last one, so that it
/// ends with its client, and no client gets what another has left.
pub(crate) type Kept = Rc<Cell<Option<Upstream>>>;

#[derive(Debug)]
pub(crate) struct Upstream {
    destination: Destination,
    sender: SendRequest<RequestBody>,
    task: AbortHandle,
}

impl Upstream {
    /// Begins HTTP/1.1 on a connection to `destination`.
    pub(crate) async fn new<I>(
        destination: Destination,
        stream: I,
        limits: &Limits,
    ) -> Result<Self, hyper::Error>
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let stream = TokioIo::new(WriteTimeout::new(stream, limits.write_timeout));
        let (sender, connection) = Builder::new()
            .max_buf_size(OUTBOUND_REPLY_HEAD_BYTES_MAX)
            .max_headers(OUTBOUND_REPLY_HEADERS_MAX)
            .handshake(stream)
            .await?;
        // What goes wrong on it is the result of the request, too.
        let task = spawn_local(async move { drop(connection.await) }).abort_handle();
        Ok(Self { destination, sender, task })
    }

    /// Returns whether the next request can be sent on it, if it is for `destination`.
    pub(crate) fn is_ready_for(&self, destination: &Destination) -> bool {
        self.destination == *destination && self.sender.is_ready()
    }

    /// Sends a request. Returns the response once its head has come. The error has the request if
    /// nothing of it was sent.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        self.sender.try_send_request(request).await
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}
