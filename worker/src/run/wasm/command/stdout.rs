//! A command's stdout: the program's handles on it, and the reply's body at its other end. Owns no
//! fds.
//!
//! A CGI reply begins when the program has written its whole header. A raw one begins when more is
//! written than is held back, when that has been held back for long enough, or when the program has
//! exited well. A program whose client does not read waits.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use abi::function::Output;
use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::head::{Head, HeadError};
use super::pipe::{Pipe, RAW_HELD_MAX};
use crate::deadline::Deadline;
use crate::run::body::GuestBody;
use crate::run::{LocalRedirect, ReplySender};

/// One handle on a program's stdout. Its lock is never waited for: one thread runs both sides.
#[derive(Clone)]
pub(super) struct Stdout(Arc<Mutex<Pipe>>);

impl Stdout {
    /// Returns the stdout of a program whose reply goes to `reply`, with a head of at most
    /// `head_bytes_max`.
    pub(super) fn new(output: Output, head_bytes_max: usize, reply: ReplySender) -> Self {
        Self(Arc::new(Mutex::new(Pipe::new(output, head_bytes_max, reply))))
    }

    fn pipe(&self) -> MutexGuard<'_, Pipe> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, bytes: &[u8]) -> wasmtime::Result<()> {
        let begins = self.pipe().write(bytes)?;
        self.begin(begins);
        Ok(())
    }

    /// Finishes the stdout of a program that has exited well: a reply that was held back leaves
    /// now.
    pub(super) fn finish(&self) -> Result<(), HeadError> {
        let begins = self.pipe().finish()?;
        self.begin(begins);
        Ok(())
    }

    /// Checks the stdout of a program that waits: a raw reply that has been held back until
    /// `deadline` begins. Sets the deadline if something is held back.
    pub(super) fn poll_held(&self, cx: &mut Context<'_>, deadline: &mut Deadline) {
        if !self.pipe().holds_raw() {
            return;
        }
        if !deadline.is_set() {
            deadline.set(RAW_HELD_MAX);
        }
        if deadline.poll_passed(cx).is_ready() {
            let begins = self.pipe().begin_raw();
            self.begin(begins);
        }
    }

    fn begin(&self, reply: Option<(Head, ReplySender)>) {
        let Some((head, reply)) = reply else { return };
        let mut response = Response::new(GuestBody::new(Unread(self.clone())));
        if let Some(target) = head.local_redirect {
            response.extensions_mut().insert(LocalRedirect(target));
        }
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        // If the client has gone, nobody waits for the reply any more.
        let _ = reply.send(Ok(response));
    }

    /// Returns a guard that ends the reply's body when it is dropped.
    pub(super) fn end_on_drop(&self) -> EndOnDrop {
        EndOnDrop(self.clone())
    }
}

/// See [`Stdout::end_on_drop`].
pub(super) struct EndOnDrop(Stdout);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.pipe().end();
    }
}

/// What the program has written, as its reply's body.
struct Unread(Stdout);

impl Body for Unread {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        self.0.pipe().poll_read(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.0.pipe().abandon();
    }
}

impl OutputStream for Stdout {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.put(&bytes).map_err(StreamError::Trap)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.pipe().permit())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stdout {
    async fn ready(&mut self) {
        poll_fn(|cx| self.pipe().poll_permit(cx)).await;
    }
}

impl IsTerminal for Stdout {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdout {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for Stdout {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let permit = ready!(self.pipe().poll_permit(cx));
        let bytes = &bytes[..bytes.len().min(permit)];
        Poll::Ready(self.put(bytes).map(|()| bytes.len()).map_err(std::io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[path = "stdout_tests.rs"]
mod tests;
