//! Notices that a client has gone while its request is being answered.
//!
//! A client that goes away ends its side of the connection (FIN) or resets it (RST). When all of
//! the request's body has been taken, reading shows either. While some of the body is unread, only
//! the guest may read it, so the kernel is asked whether the other side has closed (`EPOLLRDHUP`,
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

/// The most bytes that are read ahead while a reply is under way, to notice that the client has
/// gone.
const READ_AHEAD_BYTES_MAX: usize = 16 * 1024;
/// The time that a guest gets to finish its reply after the client has ended its side. A client
/// that has gone looks the same as one that has only ended its request (RFC 9293 3.6); this time
/// serves the second without running long for the first.
const ENDED_GRACE: Duration = Duration::from_secs(1);
/// The age at which a request with an unread body is watched. Most requests end before, and cost no
/// further system call.
const WATCH_AFTER: Duration = Duration::from_millis(100);

/// The state of watching a client.
#[derive(Default)]
pub(super) struct ClientWatch {
    /// Whether the client has ended its side.
    ended: bool,
    /// Until when nothing is watched; then until when the guest may run on without the client.
    deadline: Deadline,
    /// The bytes of the request's body that were taken when the deadline was last set.
    taken_bytes: u64,
    watch: Option<Watch>,
}

/// Resolves with the sides that have closed.
type Watch = Pin<Box<dyn Future<Output = Ready>>>;

impl ClientWatch {
    /// Resolves when the client has been gone for long enough to give up its request.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>, wire: &mut Wire) -> Poll<()> {
        while !self.ended {
            if wire.incoming.is_done() && wire.buffer.len() < READ_AHEAD_BYTES_MAX {
                match ready!(wire.poll_fill(cx)) {
                    Ok(0) => self.ended(),
                    Ok(_) => {}
                    Err(_) => return Poll::Ready(()),
                }
            } else if ready!(self.poll_closed(cx, wire)).is_error() {
                // The connection was reset.
                return Poll::Ready(());
            } else {
                self.ended();
            }
        }
        loop {
            ready!(self.deadline.poll_passed(cx));
            // The guest still reads what the client sent before its end: the client may well wait
            // for the reply.
            let taken = wire.incoming.taken_bytes();
            if wire.incoming.is_done() || taken == self.taken_bytes {
                return Poll::Ready(());
            }
            self.taken_bytes = taken;
            self.deadline.set(ENDED_GRACE);
        }
    }

    /// Ends the watch of one request. A client that has ended its side stays so.
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
                // Without a free fd nothing can be watched, and only the time limits end the
                // request.
                let Ok(socket) = wire.socket().as_fd().try_clone_to_owned() else {
                    return Poll::Pending;
                };
                self.watch.insert(Box::pin(closed(socket)))
            }
        };
        watch.as_mut().poll(cx)
    }
}

/// Waits until the peer of `socket` has closed its side, even if bytes from it are unread.
async fn closed(socket: OwnedFd) -> Ready {
    let Ok(socket) = TcpStream::from_std(socket.into()) else {
        return std::future::pending().await;
    };
    // For tokio the peer's end is an event of priority, while bytes to read are not.
    match socket.ready(Interest::PRIORITY | Interest::ERROR).await {
        Ok(ready) => ready,
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write as _;
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    use bytes::BytesMut;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::super::incoming::Continue;
    use super::super::wire::Peer;
    use super::*;
    use crate::origin::Client;

    /// Returns the client's end of a connection, and the wire of our end, which has a body of
    /// `body_bytes` bytes.
    async fn connected(body_bytes: u64) -> (TcpStream, Wire) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (ours, _) = listener.accept().await.unwrap();
        (peer, wire_of(ours, body_bytes))
    }

    /// The same of a TLS connection's plaintext end, with the relay's in the client's place.
    fn relayed(body_bytes: u64) -> (UnixStream, Wire) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let theirs = std::net::TcpStream::from(OwnedFd::from(theirs));
        (ours, wire_of(TcpStream::from_std(theirs).unwrap(), body_bytes))
    }

    fn wire_of(socket: TcpStream, body_bytes: u64) -> Wire {
        let peer = Peer::new(Client::NODE, None);
        let mut wire = Wire::new(socket, peer, BytesMut::new(), Duration::from_secs(30));
        wire.incoming.begin(abi::head::Framing::Length(body_bytes), Continue::Settled);
        wire
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
    async fn a_client_of_a_relay_that_leaves_is_noticed_behind_an_unread_body() {
        for closes in [false, true] {
            let (mut relay, mut wire) = relayed(100_000);
            relay.write_all(b"half").unwrap();
            assert!(!gone_within(&mut wire, 3 * WATCH_AFTER).await, "it is there");
            relay.shutdown(Shutdown::Write).unwrap();
            let relay = (!closes).then_some(relay);
            assert!(!gone_within(&mut wire, ENDED_GRACE / 2).await, "it may have no more to say");
            assert!(gone_within(&mut wire, 5 * ENDED_GRACE).await);
            drop(relay);
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
