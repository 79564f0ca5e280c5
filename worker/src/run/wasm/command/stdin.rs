//! A command's stdin: the request's body, as it arrives. Owns no fds but those of the body.

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::Body;
use tokio::io::{AsyncRead, ReadBuf};
use wasmtime_wasi::cli::{IsTerminal, StdinStream};
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

/// The stdin of one program; its handles share it. Its lock is never waited for: one thread runs
/// both sides.
pub(super) struct Stdin<B>(Arc<Mutex<Source<B>>>);

struct Source<B> {
    /// `None` after its end.
    body: Option<B>,
    /// The bytes that were taken from it and not read yet.
    unread: Bytes,
    /// How it ended, unless well. Returned once.
    failure: Option<wasmtime::Error>,
}

/// A request's body of any type.
pub(super) trait Input:
    Body<Data = Bytes, Error: Error + Send + Sync> + Send + Unpin + 'static
{
}

impl<B: Body<Data = Bytes, Error: Error + Send + Sync> + Send + Unpin + 'static> Input for B {}

impl<B: Input> Stdin<B> {
    pub(super) fn new(body: B) -> Self {
        Self(Arc::new(Mutex::new(Source { body: Some(body), unread: Bytes::new(), failure: None })))
    }

    /// Returns another handle.
    pub(super) fn handle(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// Drops what has not been read: the program has ended, and the connection reads the rest away.
    pub(super) fn end(&self) {
        let mut source = self.source();
        (source.body, source.unread) = (None, Bytes::new());
    }

    fn source(&self) -> MutexGuard<'_, Source<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Input> Source<B> {
    /// Resolves when there are bytes to read, or the body has ended.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.unread.is_empty() {
            let Some(body) = &mut self.body else { break };
            match ready!(Pin::new(body).poll_frame(cx)) {
                // A program's stdin has no place for trailers.
                Some(Ok(frame)) => self.unread = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => {
                    self.failure = Some(error.into());
                    self.body = None;
                }
                None => self.body = None,
            }
        }
        Poll::Ready(())
    }

    /// Returns at most `bytes_max` of the bytes that are there. They are empty if more must arrive
    /// first.
    fn take(&mut self, bytes_max: usize) -> StreamResult<Bytes> {
        if !self.unread.is_empty() || self.body.is_some() {
            let length = self.unread.len().min(bytes_max);
            return Ok(self.unread.split_to(length));
        }
        Err(self.failure.take().map_or(StreamError::Closed, StreamError::LastOperationFailed))
    }
}

impl<B: Input> InputStream for Stdin<B> {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut source = self.source();
        // A reader that waits for more polls again, with its own waker.
        let _ = source.poll_fill(&mut Context::from_waker(Waker::noop()));
        source.take(size)
    }
}

#[wasmtime_wasi::async_trait]
impl<B: Input> Pollable for Stdin<B> {
    async fn ready(&mut self) {
        poll_fn(|cx| self.source().poll_fill(cx)).await;
    }
}

impl<B> IsTerminal for Stdin<B> {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl<B: Input> StdinStream for Stdin<B> {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.handle())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.handle())
    }
}

impl<B: Input> AsyncRead for Stdin<B> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut source = self.source();
        ready!(source.poll_fill(cx));
        match source.take(into.remaining()) {
            Ok(bytes) => into.put_slice(&bytes),
            Err(StreamError::Closed) => {}
            Err(error) => return Poll::Ready(Err(std::io::Error::other(error.to_string()))),
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    use http_body::Frame;
    use tokio::sync::mpsc;

    struct Sent(mpsc::UnboundedReceiver<Result<Frame<Bytes>, io::Error>>);

    impl Body for Sent {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            self.0.poll_recv(cx)
        }
    }

    #[tokio::test]
    async fn what_comes_is_read_through_any_handle_and_ends_once() {
        let (send, sent) = mpsc::unbounded_channel();
        let stdin = Stdin::new(Sent(sent));
        let (mut one, mut other) = (stdin.p2_stream(), stdin.p2_stream());
        assert_eq!(one.read(9).unwrap(), "");
        for text in ["", "hello", " world"] {
            send.send(Ok(Frame::data(text.into()))).unwrap();
        }
        assert_eq!(one.read(3).unwrap(), "hel");
        assert_eq!(other.blocking_read(99).await.unwrap(), "lo");
        assert_eq!(other.blocking_read(99).await.unwrap(), " world");
        send.send(Err(io::Error::other("broken"))).unwrap();
        assert!(matches!(one.blocking_read(9).await, Err(StreamError::LastOperationFailed(_))));
        assert!(matches!(one.read(9), Err(StreamError::Closed)));
        assert!(matches!(other.blocking_read(9).await, Err(StreamError::Closed)));
    }

    #[tokio::test]
    async fn the_end_of_the_body_is_the_end_of_stdin() {
        let (send, sent) = mpsc::unbounded_channel();
        let mut stdin = Stdin::new(Sent(sent));
        send.send(Ok(Frame::data("x".into()))).unwrap();
        send.send(Ok(Frame::trailers(http::HeaderMap::new()))).unwrap();
        drop(send);
        let mut text = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stdin, &mut text).await.unwrap();
        assert_eq!(text, "x");
    }
}
