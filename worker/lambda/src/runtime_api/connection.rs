//! A connection that hyper serves, and of which it can be asked whether the client has left.
//!
//! hyper itself can watch for that while a request is served, but then it also drops a request that
//! has arrived whole when the client ends right after it, as a process does that posts its last
//! error and exits. So hyper is told not to watch, and only those requests that wait for events do.
//!
//! Owns the stream, which the worker accepted.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that hyper and the requests served on it share.
#[derive(Debug)]
pub(crate) struct Connection<I>(Rc<RefCell<Shared<I>>>);

#[derive(Debug)]
struct Shared<I> {
    stream: I,
    /// What was read while a request waited: the beginning of the client's next request.
    ahead: BytesMut,
}

impl<I> Clone for Connection<I> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<I: AsyncRead + Unpin> Connection<I> {
    pub(crate) fn new(stream: I) -> Self {
        Self(Rc::new(RefCell::new(Shared { stream, ahead: BytesMut::new() })))
    }

    /// Waits until the client has closed the connection or its sending half.
    pub(crate) async fn closed(&self) {
        std::future::poll_fn(|context| self.0.borrow_mut().poll_closed(context)).await;
    }
}

impl<I: AsyncRead + Unpin> Shared<I> {
    fn poll_closed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.ahead.is_empty() {
            return Poll::Pending;
        }
        let mut bytes = [0; 64];
        let mut buffer = ReadBuf::new(&mut bytes);
        match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
            Ok(()) if !buffer.filled().is_empty() => {
                self.ahead.extend_from_slice(buffer.filled());
                Poll::Pending
            }
            Ok(()) | Err(_) => Poll::Ready(()),
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Connection<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut shared = self.0.borrow_mut();
        if shared.ahead.is_empty() {
            return Pin::new(&mut shared.stream).poll_read(context, buffer);
        }
        let length = shared.ahead.len().min(buffer.remaining());
        buffer.put_slice(shared.ahead.get(..length).unwrap_or_default());
        shared.ahead.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Connection<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().stream.is_write_vectored()
    }
}
