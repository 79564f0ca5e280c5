//! A connection, as hyper sees it: TCP or TLS, with its place among the function's connections.
//!
//! Ends what a server leaves hanging: one that reads nothing would keep hyper's task, and its place, for ever after
//! the guest has gone. (One that sends nothing is ended with its request.) Owns the socket.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};

use abi::limits::OUTBOUND_WRITE_TIMEOUT;
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

use super::error::WriteStalled;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// What is done with a connection after its request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Afterwards {
    Keep,
    Close,
}

pub(super) struct Stream {
    io: Box<dyn Io>,
    afterwards: Afterwards,
    /// Runs while the server takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl Stream {
    pub(super) fn new(
        io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        afterwards: Afterwards,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self { io: Box::new(io), afterwards, stalled: None, _place: place }
    }

    fn in_time<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(OUTBOUND_WRITE_TIMEOUT)));
        stalled.as_mut().poll(cx).map(|()| Err(io::Error::new(ErrorKind::TimedOut, WriteStalled)))
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        if self.afterwards == Afterwards::Close {
            connected.poison();
        }
        connected
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.in_time(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.in_time(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        self.in_time(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.in_time(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::AsyncWriteExt;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stops_reading_is_left_in_time() {
        let places = Arc::new(Semaphore::new(1));
        let (ours, theirs) = tokio::io::duplex(8);
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let mut stream = Stream::new(ours, Afterwards::Keep, place);
        let error = stream.write_all(b"more than eight").await.unwrap_err();
        assert!(error.get_ref().unwrap().is::<WriteStalled>(), "{error}");
        assert_eq!(places.available_permits(), 0);
        drop((stream, theirs));
        assert_eq!(places.available_permits(), 1);
    }
}
