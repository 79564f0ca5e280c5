//! Whether the client is still there while its request is being answered.
//!
//! A client that goes away ends its side of the connection (FIN) or resets it (RST). When all of
//! the request's body has been taken, reading shows either. While some of the body is unread, it
//! is the guest's to read, so the kernel is asked whether the other side has closed (`EPOLLRDHUP`,
//! epoll_ctl(2)), which takes no byte off the socket. Owns a copy of the socket's fd while it asks.

use std::future::Future;
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{Interest, Ready};
use tokio::net::TcpStream;

use super::wire::Wire;
use crate::deadline::Deadline;

/// What is read ahead of a reply still under way, to notice that the client has gone.
const READ_AHEAD_BYTES_MAX: usize = 16 * 1024;
/// What a guest gets to finish its reply after the client has ended its side. A client that has
/// gone and one that only has no more to say look the same (RFC 9293 3.6); this serves the one
/// without running long for the other.
const ENDED_GRACE: Duration = Duration::from_secs(1);
/// A request with an unread body is watched when it has taken so long. Most are over before, and
/// then cost no system call more.
const WATCH_AFTER: Duration = Duration::from_millis(100);

/// What is known of the client while its request is being answered.
#[derive(Default)]
pub(super) struct ClientWatch {
    /// It has ended its side.
    ended: bool,
    /// When to begin watching, and then until when the guest may run on without the client.
    deadline: Deadline,
    /// What had been taken of the request's body when the deadline was last set.
    taken_bytes: u64,
    watch: Option<Watch>,
}

/// Resolves with what has closed.
type Watch = Pin<Box<dyn Future<Output = Ready>>>;

impl ClientWatch {
    /// Resolves when it has been gone for long enough to give its request up.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>, wire: &mut Wire) -> Poll<()> {
        while !self.ended {
            if wire.incoming.is_done() && wire.buffer.len() < READ_AHEAD_BYTES_MAX {
                match ready!(wire.poll_fill(cx)) {
                    Ok(0) => self.ended(),
                    Ok(_) => {}
                    Err(_) => return Poll::Ready(()),
                }
            } else if ready!(self.poll_closed(cx, wire)).is_error() {
                // It was reset.
                return Poll::Ready(());
            } else {
                self.ended();
            }
        }
        loop {
            ready!(self.deadline.poll_passed(cx));
            // What it had sent before is still being read: it may well wait for the reply.
            let taken = wire.incoming.taken_bytes();
            if wire.incoming.is_done() || taken == self.taken_bytes {
                return Poll::Ready(());
            }
            self.taken_bytes = taken;
            self.deadline.set(ENDED_GRACE);
        }
    }

    /// The request is over: what was only for it goes.
    pub(super) fn request_over(&mut self) {
        self.watch = None;
        if !self.ended {
            self.deadline.clear();
        }
    }

    fn ended(&mut self) {
        self.ended = true;
        self.watch = None;
        self.deadline.set(ENDED_GRACE);
    }

    /// Resolves when the client has closed its side of the connection, or both.
    fn poll_closed(&mut self, cx: &mut Context<'_>, wire: &Wire) -> Poll<Ready> {
        let watch = match &mut self.watch {
            Some(watch) => watch,
            None => {
                if !self.deadline.is_set() {
                    self.deadline.set(WATCH_AFTER);
                }
                ready!(self.deadline.poll_passed(cx));
                // Without an fd to spare, the time limits end what the client has left.
                let Ok(socket) = wire.socket().as_fd().try_clone_to_owned() else {
                    return Poll::Pending;
                };
                self.watch.insert(Box::pin(closed(socket)))
            }
        };
        watch.as_mut().poll(cx)
    }
}

/// Waits until the other end of `socket` has closed its side, whatever has not been read of it.
async fn closed(socket: OwnedFd) -> Ready {
    let Ok(socket) = TcpStream::from_std(socket.into()) else {
        return std::future::pending().await;
    };
    // tokio counts the other side's end among what is urgent, and bytes to read not.
    match socket.ready(Interest::PRIORITY | Interest::ERROR).await {
        Ok(ready) => ready,
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use bytes::BytesMut;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::super::incoming::Continue;
    use super::super::wire::Peer;
    use super::*;
    use crate::origin::Origin;

    /// The client's end of a connection, and the wire of ours, which has a body of so many bytes.
    async fn connected(body_bytes: u64) -> (TcpStream, Wire) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (ours, _) = listener.accept().await.unwrap();
        let mut wire =
            Wire::new(ours, Peer::new(Origin::NODE), BytesMut::new(), Duration::from_secs(30));
        wire.incoming.begin(abi::head::Framing::Length(body_bytes), Continue::Settled);
        (peer, wire)
    }

    async fn gone_within(wire: &mut Wire, limit: Duration) -> bool {
        let mut client = ClientWatch::default();
        timeout(limit, poll_fn(|cx| client.poll_gone(cx, wire))).await.is_ok()
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_noticed_behind_an_unread_body() {
        let unread = vec![b'x'; 100_000];
        for whole in [true, false] {
            let (mut peer, mut wire) = connected(100_000).await;
            peer.write_all(if whole { &unread } else { b"half" }).await.unwrap();
            assert!(!gone_within(&mut wire, 3 * WATCH_AFTER).await, "it is there");
            drop(peer);
            assert!(!gone_within(&mut wire, ENDED_GRACE / 2).await, "it may have no more to say");
            assert!(gone_within(&mut wire, 5 * ENDED_GRACE).await);
        }
    }

    #[tokio::test]
    async fn a_reset_needs_no_grace() {
        let (mut peer, mut wire) = connected(10).await;
        peer.write_all(b"half").await.unwrap();
        peer.set_zero_linger().unwrap();
        drop(peer);
        let mut client = ClientWatch::default();
        poll_fn(|cx| client.poll_gone(cx, &mut wire)).await;
        assert!(!client.ended, "its connection was reset");
    }
}
