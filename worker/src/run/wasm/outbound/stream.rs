//! A connection as hyper sees it: TCP or TLS, with its permit among the function's connections.
//!
//! It ends a connection on which the server hangs: a server that reads nothing would keep hyper's
//! task, and its permit, for ever after the guest has gone. (A server that sends nothing is ended
//! with its request.) Owns the socket.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use abi::limits::OUTBOUND_WRITE_TIMEOUT;
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

use super::error::WriteStalled;

/// How long a server may take none of a request's bytes once the function has had the reply and is
/// done with it, or has ended.
const ABANDONED_WRITE_TIMEOUT: Duration = Duration::from_secs(1);

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// What happens to a connection after its request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Afterwards {
    Keep,
    Close,
}

/// The exchanges on one connection. They and the connection share this state.
#[derive(Clone, Default)]
pub(super) struct Exchanges(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Whether there was one.
    any: bool,
    /// Whether nobody waits any more until the last one is sent.
    abandoned: bool,
    /// The connection's task, while the server takes nothing.
    stalled: Option<Waker>,
}

impl Exchanges {
    /// Counts an exchange. Returns whether there was one before it.
    pub(super) fn count(&self) -> bool {
        std::mem::replace(&mut self.state().any, true)
    }

    /// Records that the guest is done with the last exchange. If the server takes nothing of the
    /// rest of the request, it now gets little time.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        state.abandoned = true;
        if let Some(stalled) = state.stalled.take() {
            stalled.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Stream {
    io: Box<dyn Io>,
    afterwards: Afterwards,
    exchanges: Exchanges,
    /// Whether the timer in `stalled` is the short one.
    hurried: bool,
    /// The timer that runs while the server takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl Stream {
    pub(super) fn new(
        io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        afterwards: Afterwards,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let exchanges = Exchanges::default();
        Self {
            io: Box::new(io),
            afterwards,
            exchanges,
            hurried: false,
            stalled: None,
            _place: place,
        }
    }

    fn in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut state = self.exchanges.state();
        if polled.is_ready() {
            (self.stalled, self.hurried) = (None, false);
            (state.abandoned, state.stalled) = (false, None);
            return polled;
        }
        state.stalled = Some(cx.waker().clone());
        if state.abandoned && !self.hurried {
            self.hurried = true;
            self.stalled = Some(Box::pin(sleep(ABANDONED_WRITE_TIMEOUT)));
        }
        drop(state);
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(OUTBOUND_WRITE_TIMEOUT)));
        stalled.as_mut().poll(cx).map(|()| Err(io::Error::new(ErrorKind::TimedOut, WriteStalled)))
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.exchanges.clone());
        if self.afterwards == Afterwards::Close {
            connected.poison();
        }
        connected
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
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
        let (ours, peer) = tokio::io::duplex(8);
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let mut stream = Stream::new(ours, Afterwards::Keep, place);
        let error = stream.write_all(b"more than eight").await.unwrap_err();
        assert!(error.get_ref().unwrap().is::<WriteStalled>(), "{error}");
        assert_eq!(places.available_permits(), 0);
        drop((stream, peer));
        assert_eq!(places.available_permits(), 1);
    }
}
