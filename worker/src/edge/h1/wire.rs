//! The socket of one connection, with the bytes that were read and not used, and the body of the
//! current request.
//!
//! The connection's task and the guest that reads the body share it. Both run on the worker's one
//! thread, so its lock is never waited for. Owns the socket.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use abi::limits::BODY_TIMEOUT;
use abi::origin::Origin;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::HeaderValue;
use http_body::Frame;
use nix::sys::sendfile::sendfile;
use nix::sys::socket::{MsgFlags, send};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, Interest};
use tokio::net::TcpStream;

use super::chunked::Piece;
use super::incoming::Incoming;
use crate::deadline::Deadline;
use crate::origin::{Client, NODE_ADDRESS};
use crate::run::body::{BodyError, FilePart};

/// The bytes to read at a time, outside of bodies.
const READ_BYTES: usize = 4 * 1024;
/// The bytes to read at a time of a body. It is large because each piece costs the guest a round of
/// calls.
const BODY_READ_BYTES: usize = 1024 * 1024;
/// The least room in the buffer that is worth reading into.
const BODY_ROOM_BYTES_MIN: usize = 64 * 1024;

/// The capacity that a connection keeps for its next reply's head.
const KEPT_BYTES_MAX: usize = 1024;
/// The most bytes of a file that are sent before others have their turn.
const FILE_BYTES_PER_TURN: usize = 1024 * 1024;
/// Small pieces are collected up to this many bytes before they are sent.
const LARGE_BYTES: usize = 32 * 1024;

/// The wire that the connection's task and a request's body share.
#[derive(Clone)]
pub(super) struct SharedWire(Arc<Mutex<Wire>>);

impl SharedWire {
    pub(super) fn new(wire: Wire) -> Self {
        Self(Arc::new(Mutex::new(wire)))
    }

    /// Locks the wire. The holder of the lock only calls methods of [`Wire`], which has no
    /// reference to its own lock: so it is never locked twice, and never waited for.
    pub(super) fn lock(&self) -> MutexGuard<'_, Wire> {
        match self.0.try_lock() {
            Ok(wire) => wire,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Abort: another worker is better than one that hangs for good.
            Err(TryLockError::WouldBlock) => unreachable!("a wire is locked by who has it already"),
        }
    }

    /// Returns the wire itself, or `self` if something else still shares it.
    pub(super) fn into_inner(self) -> Result<Wire, Self> {
        let mutex = Arc::try_unwrap(self.0).map_err(Self)?;
        Ok(mutex.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The client at the other end of the socket.
pub(in crate::edge) struct Peer {
    pub(in crate::edge) client: Client,
    /// The client's address without the port, as a header value.
    pub(in crate::edge) text: HeaderValue,
    /// Whether it is believed whom its requests are from, whatever its address.
    pub(in crate::edge) is_trusted: bool,
    /// Where the connection comes from, if the socket does not say it.
    pub(in crate::edge) origin: Option<Origin>,
}

impl Peer {
    /// A peer that is believed if its address is a trusted proxy's.
    pub(in crate::edge) fn new(client: Client, origin: Option<Origin>) -> Self {
        let text = HeaderValue::try_from(client.address.to_string());
        // An address has only characters that a header may have.
        let text = text.unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Self { client, text, is_trusted: false, origin }
    }
}

pub(super) struct Wire {
    socket: TcpStream,
    pub(super) peer: Peer,
    /// The address of this end, once it was asked for.
    local: Option<SocketAddr>,
    /// Bytes that were read and not yet used.
    pub(super) buffer: BytesMut,
    /// The body of the current request.
    pub(super) incoming: Incoming,
    /// The bytes to send.
    pub(super) outgoing: Outgoing,
    /// The task that waits until the request's body is released.
    released: Option<Waker>,
    /// The task that waits until a change of the protocol is answered.
    upgrading: Option<Waker>,
    write_deadline: Deadline,
    body_deadline: Deadline,
    write_timeout: Duration,
}

impl Wire {
    pub(super) fn new(
        socket: TcpStream,
        peer: Peer,
        read: BytesMut,
        write_timeout: Duration,
    ) -> Self {
        let (incoming, outgoing, write_deadline, body_deadline) = Default::default();
        let local = peer.origin.map(|origin| origin.local);
        let (released, upgrading) = (None, None);
        Self {
            socket,
            peer,
            local,
            buffer: read,
            incoming,
            outgoing,
            released,
            upgrading,
            write_deadline,
            body_deadline,
            write_timeout,
        }
    }

    pub(super) fn set_write_timeout(&mut self, write_timeout: Duration) {
        self.write_timeout = write_timeout;
    }

    /// Returns the socket, what was read from it and not used, and where it comes from.
    pub(super) fn into_parts(self) -> (TcpStream, BytesMut, Option<Origin>) {
        (self.socket, self.buffer, self.peer.origin)
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Returns the address that the connection was accepted on. Most requests never need it, so the
    /// kernel is asked at the first call.
    pub(super) fn local_address(&mut self) -> SocketAddr {
        // One end of a pair of the node's own has no address.
        *self.local.get_or_insert_with(|| self.socket.local_addr().unwrap_or(NODE_ADDRESS))
    }

    /// Ends this side of the stream.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    /// Reads more into the buffer. Resolves with the number of bytes; 0 is the end of the stream.
    /// No buffer is allocated while nothing has arrived.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.socket.poll_read_ready(cx))?;
        self.fill(cx, READ_BYTES)
    }

    fn fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() - self.buffer.len() < room.min(BODY_ROOM_BYTES_MIN) {
            self.buffer.reserve(room);
        }
        // The buffer may have more room than was asked for. Without the limit, more could be read
        // beyond a body than can be given back to the engine.
        pin!(self.socket.read_buf(&mut (&mut self.buffer).limit(room))).poll(cx)
    }

    /// Resolves with the next piece of the request's body.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            match self.incoming.next(&mut self.buffer) {
                Ok(Piece::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Piece::Trailers(trailers)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Piece::End) => return Poll::Ready(None),
                Ok(Piece::More { .. }) if self.incoming.is_asking() => {
                    self.upgrading = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Ok(Piece::More { bytes }) => {
                    self.incoming.request_continue();
                    let room = usize::try_from(bytes)
                        .unwrap_or(usize::MAX)
                        .clamp(READ_BYTES, BODY_READ_BYTES);
                    let changed = self.incoming.has_changed();
                    let Poll::Ready(filled) = self.fill(cx, room) else {
                        // Another protocol may be silent for as long as it likes.
                        if changed {
                            return Poll::Pending;
                        }
                        ready!(self.poll_stalled(cx));
                        self.incoming.fail(BodyError::Stalled { limit: BODY_TIMEOUT });
                        continue;
                    };
                    self.body_deadline.clear();
                    match filled {
                        Ok(0) if changed => self.incoming.end_changed(),
                        Ok(0) => self.incoming.fail(BodyError::Ended),
                        Ok(_) => {}
                        Err(error) => self.incoming.fail(BodyError::Failed(error.kind())),
                    }
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// Answers a request that asks to change the protocol: what follows is that protocol's, or
    /// another request.
    pub(super) fn answer_upgrade(&mut self, changes: bool) {
        self.incoming.answer_upgrade(changes);
        if let Some(waker) = self.upgrading.take() {
            waker.wake();
        }
    }

    /// Resolves when somebody has waited for the body for too long and the client has sent nothing.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.body_deadline.is_set() {
            self.body_deadline.set(BODY_TIMEOUT);
        }
        self.body_deadline.poll_passed(cx)
    }

    /// Releases the request's body: its reader has dropped it.
    pub(super) fn release(&mut self) {
        self.body_deadline.clear();
        self.incoming.held = false;
        if let Some(waker) = self.released.take() {
            waker.wake();
        }
    }

    /// Resolves when nobody reads the request's body any more.
    pub(super) fn poll_released(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.incoming.held {
            return Poll::Ready(());
        }
        self.released = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Sends the outgoing bytes that the socket takes at once. The rest, and any error, are left to
    /// [`Self::poll_send`].
    pub(super) fn try_send(&mut self) {
        while !self.outgoing.is_empty() {
            let written = match self.outgoing.contiguous() {
                Some(bytes) => self.socket.try_write(bytes),
                None => self.socket.try_write_vectored(&self.outgoing.slices()),
            };
            let Ok(written @ 1..) = written else { return };
            self.outgoing.advance(written);
        }
    }

    /// Sends all outgoing bytes, at the client's pace.
    ///
    /// # Errors
    /// The socket's error, or [`io::ErrorKind::TimedOut`] if the client has taken nothing for too
    /// long.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outgoing = &mut self.outgoing;
        let mut left = FILE_BYTES_PER_TURN;
        while !outgoing.is_empty() {
            let socket = Pin::new(&mut self.socket);
            let written = match outgoing.contiguous() {
                _ if outgoing.has_file() && left == 0 => {
                    // A client that takes a large file as fast as it comes is not to keep others
                    // waiting.
                    self.write_deadline.clear();
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                _ if outgoing.has_file() => poll_send_file(cx, &socket, outgoing, left),
                Some(bytes) => socket.poll_write(cx, bytes),
                None => socket.poll_write_vectored(cx, &outgoing.slices()),
            };
            let Poll::Ready(written) = written else {
                if !self.write_deadline.is_set() {
                    self.write_deadline.set(self.write_timeout);
                }
                ready!(self.write_deadline.poll_passed(cx));
                let why = "the client takes none of the reply";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
            };
            self.write_deadline.clear();
            let written = written?;
            left = left.saturating_sub(written);
            outgoing.advance(written);
        }
        outgoing.clear();
        Poll::Ready(Ok(()))
    }
}

/// Sends the bytes before a file, or up to `bytes_max` of the file itself: the kernel takes them from
/// its own copy of the file (sendfile(2)), and none of them passes through this process.
fn poll_send_file(
    cx: &mut Context<'_>,
    socket: &TcpStream,
    outgoing: &Outgoing,
    bytes_max: usize,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_write_ready(cx))?;
        match socket.try_io(Interest::WRITABLE, || outgoing.send_file(socket, bytes_max)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return Poll::Ready(sent),
        }
    }
}

/// The outgoing bytes: the node's own, then a guest's, then the end of those.
#[derive(Default)]
pub(super) struct Outgoing {
    pub(super) own: Vec<u8>,
    sent: usize,
    /// The bytes that were sent since this was last asked for.
    sent_bytes: u64,
    data: Bytes,
    end: &'static [u8],
    /// The part of a file that follows the node's own bytes. Then there are no others.
    file: Option<FilePart>,
}

impl Outgoing {
    /// Appends a guest's bytes, and `end` behind them. No others may be waiting.
    pub(super) fn put(&mut self, data: Bytes, end: &'static [u8]) {
        (self.data, self.end) = (data, end);
    }

    /// Appends a part of a file. No guest's bytes may be waiting.
    pub(super) fn put_file(&mut self, part: FilePart) {
        self.file = Some(part).filter(|part| part.bytes > 0);
    }

    pub(super) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Sends what the socket takes at once: the node's own bytes, or if they have left, the file's.
    fn send_file(&self, socket: &TcpStream, bytes_max: usize) -> io::Result<usize> {
        let own = &self.own[self.sent..];
        let Some(part) = self.file.as_ref().filter(|_| own.is_empty()) else {
            // A head and the file behind it leave in one packet.
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::from_bits_retain(libc::MSG_MORE);
            return Ok(send(socket.as_raw_fd(), own, flags)?);
        };
        let length = usize::try_from(part.bytes).unwrap_or(usize::MAX).min(bytes_max);
        let mut offset = i64::try_from(part.offset).map_err(io::Error::other)?;
        match sendfile(socket, &*part.file, Some(&mut offset), length)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            sent => Ok(sent),
        }
    }

    /// Returns the number of bytes that were sent since the last call.
    pub(super) fn take_sent_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.sent_bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.own.len()
            && self.data.is_empty()
            && self.end.is_empty()
            && self.file.is_none()
    }

    /// Returns whether it must be sent before more is appended: it has a guest's bytes, or enough
    /// of its own.
    pub(super) fn is_large(&self) -> bool {
        !self.data.is_empty() || self.own.len() - self.sent >= LARGE_BYTES
    }

    /// Returns the bytes if they are in one piece, all the node's own.
    fn contiguous(&self) -> Option<&[u8]> {
        (self.data.is_empty() && self.end.is_empty()).then(|| &self.own[self.sent..])
    }

    fn slices(&self) -> [IoSlice<'_>; 3] {
        [IoSlice::new(&self.own[self.sent..]), IoSlice::new(&self.data), IoSlice::new(self.end)]
    }

    fn advance(&mut self, written: usize) {
        let own = written.min(self.own.len() - self.sent);
        self.sent += own;
        self.sent_bytes += written as u64;
        if let Some(part) = &mut self.file {
            part.advance((written - own) as u64);
            self.file.take_if(|part| part.bytes == 0);
            return;
        }
        let data = (written - own).min(self.data.len());
        self.data.advance(data);
        self.end = self.end.get(written - own - data..).unwrap_or_default();
    }

    fn clear(&mut self) {
        self.own.clear();
        // An idle connection must not keep the memory of one large reply.
        self.own.shrink_to(KEPT_BYTES_MAX);
        self.sent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[tokio::test]
    async fn the_address_of_this_end_is_the_listeners() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (socket, _) = accepted.unwrap();
        let mut wire = Wire::new(
            socket,
            Peer::new(Client::NODE, None),
            BytesMut::new(),
            Duration::from_secs(1),
        );
        assert_eq!(wire.local, None, "nobody has asked");
        assert_eq!(wire.local_address(), address);
    }

    proptest! {
        /// However a socket takes the bytes, they leave in order and once.
        #[test]
        fn what_is_put_leaves_in_order(own in "[a-z]{0,9}", data in "[A-Z]{0,9}", steps in proptest::collection::vec(1usize..5, 30)) {
            let mut outgoing = Outgoing { own: own.clone().into_bytes(), ..Outgoing::default() };
            outgoing.put(Bytes::from(data.clone()), b"\r\n");
            let mut left = Vec::new();
            for step in steps {
                if outgoing.is_empty() { break }
                let bytes: Vec<u8> = outgoing.slices().iter().flat_map(|slice| slice.iter().copied()).take(step).collect();
                outgoing.advance(bytes.len());
                left.extend(bytes);
            }
            prop_assert!(outgoing.is_empty());
            prop_assert_eq!(String::from_utf8(left).unwrap(), format!("{own}{data}\r\n"));
        }
    }
}
