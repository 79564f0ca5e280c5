//! A tunnel: bytes both ways between a client and a server, until both have ended, one is broken,
//! or nothing has moved for too long. Owns both streams.
//!
//! What is held is one buffer for each direction: a side that is not read from is not read for.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::limits::Limits;

/// Bytes held for each direction.
const BUFFER_BYTES: usize = 16 * 1024;

/// Carries bytes between `client` and `server`. `ahead` is what the client has sent already.
pub(crate) async fn run<A, B>(client: A, ahead: Bytes, server: B, limits: &Limits)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let activity = Activity::new();
    let mut client = Watched { stream: client, ahead, activity: &activity };
    let mut server = Watched { stream: server, ahead: Bytes::new(), activity: &activity };
    let copying =
        copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER_BYTES, BUFFER_BYTES);
    tokio::select! {
        // Whoever broke the connection knows; the other sees its own end.
        _ = copying => {}
        () = activity.idle(limits) => {}
    }
}

/// When bytes last moved in a tunnel.
#[derive(Debug)]
struct Activity {
    last: Cell<Instant>,
    /// Whether either side has ended its sending half.
    half_closed: Cell<bool>,
    half_closes: Notify,
}

impl Activity {
    fn new() -> Self {
        Self {
            last: Cell::new(Instant::now()),
            half_closed: Cell::new(false),
            half_closes: Notify::new(),
        }
    }

    fn moved(&self) {
        self.last.set(Instant::now());
    }

    fn half_close(&self) {
        self.moved();
        if !self.half_closed.replace(true) {
            self.half_closes.notify_one();
        }
    }

    /// Returns when the tunnel has been idle for too long, if nothing moves from now on.
    fn deadline(&self, limits: &Limits) -> Instant {
        self.last.get()
            + if self.half_closed.get() {
                limits.half_closed_idle_timeout
            } else {
                limits.tunnel_idle_timeout
            }
    }

    /// Waits until the tunnel has been idle for too long.
    async fn idle(&self, limits: &Limits) {
        loop {
            let deadline = self.deadline(limits);
            if deadline <= Instant::now() {
                return;
            }
            tokio::select! {
                () = sleep_until(deadline) => {}
                () = self.half_closes.notified() => {}
            }
        }
    }
}

/// One side of a tunnel.
struct Watched<'a, I> {
    stream: I,
    /// What was read of the stream before it became a tunnel.
    ahead: Bytes,
    activity: &'a Activity,
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<'_, I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(self.ahead.get(..length).unwrap_or_default());
            self.ahead.advance(length);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() == before {
            self.activity.half_close();
        } else {
            self.activity.moved();
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<'_, I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        self.activity.moved();
        Poll::Ready(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices));
        self.activity.moved();
        Poll::Ready(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::timeout;

    use super::*;

    fn limits(tunnel_idle_ms: u64, half_closed_idle_ms: u64) -> Limits {
        let mut limits = Limits::new(1);
        limits.tunnel_idle_timeout = Duration::from_millis(tunnel_idle_ms);
        limits.half_closed_idle_timeout = Duration::from_millis(half_closed_idle_ms);
        limits
    }

    #[tokio::test]
    async fn an_idle_tunnel_ends_in_time_and_one_in_use_does_not() {
        let limits = limits(200, 60_000);
        let ((mut client, inner), (outer, mut server)) = (duplex(64), duplex(64));
        let running = async {
            run(inner, Bytes::new(), outer, &limits).await;
            Instant::now()
        };
        let using = async {
            for _ in 0..4 {
                sleep_until(Instant::now() + limits.tunnel_idle_timeout / 2).await;
                client.write_all(b"x").await.unwrap();
                assert_eq!(server.read_u8().await.unwrap(), b'x');
            }
            Instant::now()
        };
        let (ended, used) = tokio::join!(running, using);
        assert!(ended - used >= limits.tunnel_idle_timeout / 2);
    }

    #[test]
    fn a_tunnel_that_is_half_closed_is_waited_for_less() {
        let limits = limits(600_000, 60_000);
        let activity = Activity::new();
        let last = activity.last.get();
        assert_eq!(activity.deadline(&limits), last + limits.tunnel_idle_timeout);
        activity.half_close();
        let last = activity.last.get();
        assert_eq!(activity.deadline(&limits), last + limits.half_closed_idle_timeout);
    }

    #[tokio::test]
    async fn a_client_that_has_ended_is_not_waited_for_long() {
        let limits = limits(600_000, 50);
        let ((client, inner), (outer, mut server)) = (duplex(64), duplex(64));
        let mut running = std::pin::pin!(run(inner, Bytes::new(), outer, &limits));
        // By now the tunnel waits for the long time.
        assert!(timeout(Duration::from_millis(10), &mut running).await.is_err());
        drop(client);
        running.await;
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_the_client_sent_early_comes_first_and_each_half_ends_by_itself() {
        let limits = Limits::new(1);
        let ((mut client, inner), (outer, mut server)) = (duplex(64), duplex(64));
        let running = run(inner, Bytes::from_static(b"early "), outer, &limits);
        let ends = async {
            client.write_all(b"late").await.unwrap();
            client.shutdown().await.unwrap();
            let mut got = String::new();
            server.read_to_string(&mut got).await.unwrap();
            assert_eq!(got, "early late");
            server.write_all(b"reply").await.unwrap();
            server.shutdown().await.unwrap();
            got.clear();
            client.read_to_string(&mut got).await.unwrap();
            assert_eq!(got, "reply");
        };
        tokio::join!(running, ends);
    }
}
