//! One client's stream of frames: read, joined to messages and written, with its deadlines. Owns
//! the stream.
//!
//! The stream may be a socket or anything else that carries bytes. [`Frames::poll`] moves what can
//! be moved, and then [`Frames`] says what has come of it. No more than one message is read ahead
//! of whoever takes it, and nothing is read while much waits to be sent: so a client that sends
//! more than it takes is held up, and not heard for so long. While nothing moves there are no
//! buffers.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use abi::limits::{
    BODY_TIMEOUT, WEBSOCKET_CLOSE_TIMEOUT, WEBSOCKET_HELD_BYTES_PER_WORKER_MAX,
    WEBSOCKET_PING_AFTER, WEBSOCKET_PONG_TIMEOUT,
};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;

use super::frames::{self, Decoder, Incoming, Violation, code};
use crate::deadline::Deadline;
use crate::push::Message;

/// What is read at a time.
const READ_BYTES: usize = 16 * 1024;
/// With more than this waiting to be sent nothing is read.
const UNSENT_BYTES_MAX: usize = 64 * 1024;
/// A stream that holds less than this does not count.
const SMALL_BYTES: usize = 4 * 1024;

/// What the streams of one thread share.
pub(super) struct Buffers {
    /// What every read goes into first.
    read: RefCell<Box<[u8]>>,
    /// The bytes of messages that are on their way, of all streams.
    held: Cell<usize>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { read: RefCell::new(vec![0; READ_BYTES].into()), held: Cell::new(0) }
    }
}

/// What is awaited of a client while nothing comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// Anything; then it is sent a ping.
    Anything,
    /// The answer to that.
    Pong,
    /// The rest of a message.
    Rest,
}

/// The stream of one client.
pub(super) struct Frames<S> {
    stream: S,
    buffers: Rc<Buffers>,
    /// What has arrived and is not decoded: a part of a frame's head, or what comes behind the
    /// message that is ahead.
    unread: BytesMut,
    decoder: Decoder,
    /// What this stream counts for in [`Buffers::held`].
    held: usize,
    /// A message may have so many bytes.
    pub(super) bytes_max: usize,
    /// The message that was read and nobody has taken.
    ahead: Option<Message>,
    /// The bytes of the one that was taken, until it is answered.
    taken_bytes: usize,
    unsent: Vec<u8>,
    sent: usize,
    /// How it has ended, as the function is told.
    ended: Option<u16>,
    /// The code of the client's close frame, if that has come.
    closed_there: Option<u16>,
    awaited: Awaited,
    silent: Deadline,
    unwritable: Deadline,
    write_timeout: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// Takes over a stream, with the bytes that were read already and those that are to be sent
    /// first.
    pub(super) fn new(
        stream: S,
        unread: BytesMut,
        unsent: Vec<u8>,
        buffers: Rc<Buffers>,
        write_timeout: Duration,
    ) -> Self {
        let (decoder, held, bytes_max, ahead, taken_bytes, sent) = Default::default();
        let (silent, unwritable, ended, closed_there) = Default::default();
        let awaited = Awaited::Anything;
        Self {
            stream,
            buffers,
            unread,
            decoder,
            held,
            bytes_max,
            ahead,
            taken_bytes,
            unsent,
            sent,
            ended,
            closed_there,
            awaited,
            silent,
            unwritable,
            write_timeout,
        }
    }

    /// Returns how it has ended. Nothing is read from then on.
    pub(super) fn ended(&self) -> Option<u16> {
        self.ended
    }

    /// Returns the code of the client's close frame. Nothing is read behind that, and it is still to
    /// be answered with [`Self::close`].
    pub(super) fn closed_there(&self) -> Option<u16> {
        self.closed_there
    }

    /// Takes the message that was read. It counts as held until it is [answered](Self::answered).
    pub(super) fn take_message(&mut self) -> Option<Message> {
        let message = self.ahead.take();
        self.taken_bytes = message.as_ref().map_or(0, |message| message.bytes.len());
        message
    }

    /// Notes that nobody has the message any more that was taken.
    pub(super) fn answered(&mut self) {
        self.taken_bytes = 0;
        self.hold();
    }

    /// Returns whether more can be sent without holding much of it.
    pub(super) fn takes_more(&self) -> bool {
        self.ended.is_none() && self.unsent.len() - self.sent < UNSENT_BYTES_MAX
    }

    /// Sends a message.
    pub(super) fn send(&mut self, message: &Message) {
        if self.ended.is_none() {
            frames::write_message(&mut self.unsent, message);
        }
    }

    /// Ends it with a close frame.
    pub(super) fn close(&mut self, code: u16, reason: &str) {
        if self.ended.is_none() {
            frames::write_close(&mut self.unsent, code, reason);
            self.end(code);
        }
    }

    /// Ends it, unless it has ended before.
    fn end(&mut self, code: u16) {
        self.ended.get_or_insert(code);
        self.unread = BytesMut::new();
        self.decoder = Decoder::default();
        self.hold();
    }

    /// Sends and reads as far as it goes. The task is woken when it goes on, unless a message or
    /// the end has to be taken first.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        loop {
            if let Poll::Ready(Err(_)) = self.poll_send(cx) {
                return self.end(code::CUT);
            }
            let fits = self.hold();
            let is_paused = self.ahead.is_some() || self.closed_there.is_some();
            if is_paused || !self.takes_more() {
                // What is not read is no silence.
                return self.silent.clear();
            }
            match self.decoder.next(&mut self.unread, self.bytes_max) {
                Ok(Some(incoming)) => {
                    self.on(incoming);
                    continue;
                }
                Ok(None) if fits => {}
                Ok(None) => {
                    self.close(code::TRY_AGAIN, "the node has too many messages under way");
                    continue;
                }
                Err(Violation { code, reason }) => {
                    self.close(code, reason);
                    continue;
                }
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => self.silent.clear(),
                Poll::Ready(Ok(0) | Err(_)) => return self.end(code::CUT),
                Poll::Pending if self.poll_silent(cx).is_pending() => return,
                Poll::Pending => {}
            }
        }
    }

    fn on(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Message(message) => self.ahead = Some(message),
            Incoming::Ping(body) => frames::write_pong(&mut self.unsent, &body),
            Incoming::Pong => {}
            Incoming::Close(given) => {
                self.closed_there = Some(given.unwrap_or(code::NONE));
            }
        }
    }

    /// Counts what is held of messages. Returns whether it may be.
    fn hold(&mut self) -> bool {
        let ahead = self.ahead.as_ref().map_or(0, |message| message.bytes.len());
        let held = self.decoder.held_bytes() + ahead + self.taken_bytes + self.unsent.capacity();
        let held = if held < SMALL_BYTES { 0 } else { held };
        let all = self.buffers.held.get() - self.held + held;
        self.buffers.held.set(all);
        self.held = held;
        held == 0 || all <= WEBSOCKET_HELD_BYTES_PER_WORKER_MAX
    }

    /// Reads on. Resolves with the number of bytes; 0 is the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.unread.is_empty() {
            self.unread = BytesMut::new();
        }
        let mut read = self.buffers.read.borrow_mut();
        let mut read = ReadBuf::new(&mut read);
        Pin::new(&mut self.stream).poll_read(cx, &mut read).map_ok(|()| {
            self.unread.extend_from_slice(read.filled());
            read.filled().len()
        })
    }

    /// Does what follows from silence. Resolves if there is something to do.
    fn poll_silent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.silent.is_set() {
            let (awaited, limit) = match self.decoder.is_within_message() {
                true => (Awaited::Rest, BODY_TIMEOUT),
                false => (Awaited::Anything, WEBSOCKET_PING_AFTER),
            };
            self.awaited = awaited;
            self.silent.set(limit);
        }
        std::task::ready!(self.silent.poll_passed(cx));
        match self.awaited {
            Awaited::Anything => {
                frames::write_ping(&mut self.unsent);
                self.awaited = Awaited::Pong;
                self.silent.set(WEBSOCKET_PONG_TIMEOUT);
            }
            Awaited::Pong => self.end(code::CUT),
            Awaited::Rest => self.close(code::POLICY, "the rest of the message does not come"),
        }
        Poll::Ready(())
    }

    /// Sends what waits. Resolves when nothing does.
    ///
    /// # Errors
    /// If the client takes nothing for too long, or has gone.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.unsent.len() {
            let written = Pin::new(&mut self.stream).poll_write(cx, &self.unsent[self.sent..]);
            match written {
                Poll::Ready(Ok(written @ 1..)) => {
                    self.unwritable.clear();
                    self.sent += written;
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if !self.unwritable.is_set() {
                        self.unwritable.set(self.write_timeout);
                    }
                    std::task::ready!(self.unwritable.poll_passed(cx));
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        self.unsent = Vec::new();
        self.sent = 0;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Ends the stream behind its close frame, and waits a little for the client's (RFC 6455
    /// 7.1.1). One that was cut is dropped.
    pub(super) async fn finish(mut self) {
        if self.ended.is_none_or(|code| code == code::CUT) {
            return;
        }
        if std::future::poll_fn(|cx| self.poll_send(cx)).await.is_err() {
            return;
        }
        let rest = async {
            // A client that has said its end waits for that of TCP.
            let mut is_shut = self.closed_there.is_some();
            if is_shut && self.stream.shutdown().await.is_err() {
                return;
            }
            loop {
                self.unread.clear();
                let filled = std::future::poll_fn(|cx| self.poll_fill(cx)).await;
                if !matches!(filled, Ok(1..)) {
                    return;
                }
                // Whatever it is, a close frame or what was sent before: the end can follow.
                if !std::mem::replace(&mut is_shut, true) && self.stream.shutdown().await.is_err() {
                    return;
                }
            }
        };
        let _ = timeout(WEBSOCKET_CLOSE_TIMEOUT, rest).await;
    }
}

impl<S> Drop for Frames<S> {
    fn drop(&mut self) {
        let all = self.buffers.held.get() - self.held;
        self.buffers.held.set(all);
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
