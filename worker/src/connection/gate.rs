//! The gate under hyper: hyper sees one request at a time, and only requests that are this worker's.
//!
//! hyper cannot give a socket back once it has read on it (it decodes what it has). So the gate reads first:
//! it holds each message until its head is complete and routed, feeds hyper exactly that message, and looks at the
//! next one only when the reply to this one has left. A request for another worker shows hyper an end of stream instead,
//! and the connection's task sends the socket back with every byte intact. Deadlines live here too, since the gate is
//! what waits. Owns the socket.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use abi::catalogue::{ArchivedFunction, ArchivedIsolation};
use abi::head::{self, Framing, Head, Parsed};
use abi::limits::HEAD_BYTES_MAX;
use abi::problem::Problem;
use abi::route::route;
use bytes::{Buf as _, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::AsyncWrite as _;
use tokio::net::TcpStream;

use super::chunked::Scanner;
use super::exchange::{Destination, Exchange};
use crate::clock::Deadline;
use crate::worker::Worker;

/// How much is read at a time.
const READ_BYTES: usize = 16 * 1024;
/// What is read ahead of a reply still under way, to notice that the client has gone.
const READ_AHEAD_BYTES_MAX: usize = READ_BYTES;
/// What a guest gets to finish its reply after the client has ended its side. A client that has gone and one that only has no
/// more to say look the same (RFC 9293 3.6); this serves the one without running long for the other.
const ENDED_GRACE: Duration = Duration::from_secs(1);

/// How a connection ends.
#[derive(Debug)]
pub(super) enum Outcome {
    /// With a FIN; `unread` when the client may still be sending.
    Close { unread: bool },
    /// With an error of the node's that hyper has no part in.
    Refuse(Problem),
    /// Not at all: it goes back to the engine.
    GiveBack,
}

/// What the bytes at the front of the buffer are.
enum Stage {
    /// The head of a request, perhaps not all there. `tried` bytes of it have been parsed in vain.
    Head { tried: usize },
    /// Part of a message whose end is so many bytes away.
    Counted { left: u64 },
    /// Part of a chunked body.
    Chunked(Scanner),
    /// The message is over; what follows waits for the reply.
    Between,
    /// Nothing more is fed to hyper.
    Over(Outcome),
}

pub(super) struct Gate {
    worker: Rc<Worker>,
    exchange: Rc<Exchange>,
    socket: TcpStream,
    /// Read and not yet given to hyper.
    buffer: BytesMut,
    stage: Stage,
    /// Of a message in [`Stage::Counted`]: what comes behind it.
    then: Framing,
    head_deadline: Deadline,
    /// Whether the deadline is that of a head under way, not of an idle connection.
    head_begun: bool,
    /// The client has ended its side while its request is being answered.
    client_ended: bool,
    write_deadline: Deadline,
    timeouts: Timeouts,
}

struct Timeouts {
    head: Duration,
    idle: Duration,
    write: Duration,
}

impl Gate {
    pub(super) fn new(worker: Rc<Worker>, exchange: Rc<Exchange>, socket: TcpStream, read: BytesMut) -> Self {
        let millis = |millis: u32| Duration::from_millis(u64::from(millis));
        let timeouts = Timeouts {
            head: millis(worker.settings.head_timeout_ms),
            idle: millis(worker.settings.idle_timeout_ms),
            write: millis(worker.settings.write_timeout_ms),
        };
        Self {
            worker,
            exchange,
            socket,
            buffer: read,
            stage: Stage::Head { tried: 0 },
            then: Framing::None,
            head_deadline: Deadline::default(),
            // The first head is under way from the start: a client that connects and says nothing is a slow one.
            head_begun: true,
            client_ended: false,
            write_deadline: Deadline::default(),
            timeouts,
        }
    }

    /// The socket, what was read from it and not used, and how the connection is to end.
    pub(super) fn into_parts(self) -> (TcpStream, BytesMut, Outcome) {
        let unread = match &self.stage {
            Stage::Counted { .. } | Stage::Chunked(_) => true,
            Stage::Head { .. } | Stage::Between | Stage::Over(_) => !self.buffer.is_empty(),
        };
        match self.stage {
            Stage::Over(outcome) => (self.socket, self.buffer, outcome),
            _ => (self.socket, self.buffer, Outcome::Close { unread }),
        }
    }

    /// Reads more into the buffer; 0 bytes are the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            self.buffer.reserve(READ_BYTES);
            match self.socket.try_read_buf(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
    }

    /// Waits for a whole head and decides about it. Leaves [`Stage::Head`] unless the stream has ended.
    fn poll_head(&mut self, cx: &mut Context<'_>, tried: usize) -> Poll<io::Result<()>> {
        let mut tried = tried;
        loop {
            if worth_parsing(&self.buffer, tried) {
                match head::parse(&self.buffer) {
                    Ok(Parsed::Complete(head)) => {
                        let stage = self.decide(&head);
                        (self.stage, self.then) = stage;
                        self.head_deadline.clear();
                        self.head_begun = false;
                        return Poll::Ready(Ok(()));
                    }
                    Ok(Parsed::Partial) => tried = self.buffer.len(),
                    Err(error) => {
                        self.stage = Stage::Over(Outcome::Refuse(error.into()));
                        return Poll::Ready(Ok(()));
                    }
                }
            }
            self.stage = Stage::Head { tried };
            let begun = self.head_begun || !self.buffer.is_empty();
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0)) => {
                    self.stage = Stage::Over(Outcome::Close { unread: false });
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(read) => {
                    read?;
                }
                Poll::Pending => {
                    if !self.head_deadline.is_set() || begun != self.head_begun {
                        self.head_begun = begun;
                        self.head_deadline.set(if begun { self.timeouts.head } else { self.timeouts.idle });
                    }
                    ready!(self.head_deadline.poll_passed(cx));
                    let outcome = if self.buffer.is_empty() {
                        Outcome::Close { unread: false }
                    } else {
                        let limit = self.timeouts.head;
                        Outcome::Refuse(Problem::new(408, format!("the request's head took longer than {limit:?}")))
                    };
                    self.stage = Stage::Over(outcome);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// Routes a complete head: pass it on, answer it, or give the connection back.
    fn decide(&self, head: &Head<'_>) -> (Stage, Framing) {
        let catalogue = self.worker.functions.catalogue();
        let routed = route(&catalogue, self.worker.settings.domain.as_deref(), head.host, head.target);
        let destination = match routed {
            Ok(route) => {
                let function = catalogue.function(route.function);
                if !function.is_some_and(|function| self.is_ours(function)) {
                    return (Stage::Over(Outcome::GiveBack), Framing::None);
                }
                let (index, prefix_length) = (route.function, route.prefix_length);
                Destination::Function { catalogue, index, prefix_length }
            }
            Err(name) => Destination::Problem(Problem::unknown_function(name)),
        };
        self.exchange.begin(destination);
        let body = if let Framing::Length(length) = head.framing { length } else { 0 };
        (Stage::Counted { left: (head.length as u64).saturating_add(body) }, head.framing)
    }

    fn is_ours(&self, function: &ArchivedFunction) -> bool {
        match &self.worker.settings.only_function {
            Some(only) => function.isolation == ArchivedIsolation::Process && function.name == only.as_str(),
            None => function.isolation == ArchivedIsolation::Shared,
        }
    }

    /// Waits for the reply to leave, with an eye on whether the client is still there.
    fn poll_between(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.exchange.is_unanswered() {
            self.exchange.wake_when_answered(cx.waker());
            if self.client_ended {
                ready!(self.head_deadline.poll_passed(cx));
                self.stage = Stage::Over(Outcome::Close { unread: false });
                return Poll::Ready(Ok(()));
            }
            if self.buffer.len() >= READ_AHEAD_BYTES_MAX {
                return Poll::Pending;
            }
            if ready!(self.poll_fill(cx))? == 0 {
                self.client_ended = true;
                self.head_deadline.set(ENDED_GRACE);
            }
        }
        self.stage = Stage::Head { tried: 0 };
        Poll::Ready(Ok(()))
    }

    /// Moves `length` bytes to hyper.
    fn feed(&mut self, into: &mut ReadBufCursor<'_>, length: usize) {
        into.put_slice(&self.buffer[..length]);
        self.buffer.advance(length);
    }
}

/// Parsing again at every byte of a head that trickles in would cost the square of its length: parse when it may be
/// complete, or has doubled, or is too long.
fn worth_parsing(buffer: &[u8], tried: usize) -> bool {
    if buffer.is_empty() || buffer.len() <= tried {
        return false;
    }
    let fresh = &buffer[tried.saturating_sub(3)..];
    buffer.len() >= tried.saturating_mul(2)
        || buffer.len() >= HEAD_BYTES_MAX
        || fresh.windows(2).any(|pair| pair == b"\n\n")
        || fresh.windows(3).any(|three| three == b"\n\r\n")
}

impl Read for Gate {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        loop {
            match &mut gate.stage {
                Stage::Head { tried } => {
                    let tried = *tried;
                    ready!(gate.poll_head(cx, tried))?;
                }
                Stage::Between => ready!(gate.poll_between(cx))?,
                Stage::Over(_) => return Poll::Ready(Ok(())),
                Stage::Counted { left: 0 } => {
                    gate.stage = match gate.then {
                        Framing::Chunked => Stage::Chunked(Scanner::new()),
                        Framing::None | Framing::Length(_) => Stage::Between,
                    };
                }
                Stage::Chunked(scanner) if scanner.is_done() => gate.stage = Stage::Between,
                Stage::Counted { .. } | Stage::Chunked(_) if gate.buffer.is_empty() => {
                    if ready!(gate.poll_fill(cx))? == 0 {
                        gate.stage = Stage::Over(Outcome::Close { unread: false });
                    }
                }
                Stage::Counted { left } => {
                    let most = usize::try_from(*left).unwrap_or(usize::MAX);
                    let length = gate.buffer.len().min(into.remaining()).min(most);
                    *left -= length as u64;
                    gate.feed(&mut into, length);
                    return Poll::Ready(Ok(()));
                }
                Stage::Chunked(scanner) => {
                    let most = gate.buffer.len().min(into.remaining());
                    let Ok(length) = scanner.advance(&gate.buffer[..most]) else {
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "malformed chunked body")));
                    };
                    gate.feed(&mut into, length);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl Gate {
    /// Passes a write's result on, with a deadline on clients that take nothing.
    fn written(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.write_deadline.clear();
            return written;
        }
        if !self.write_deadline.is_set() {
            self.write_deadline.set(self.timeouts.write);
        }
        ready!(self.write_deadline.poll_passed(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes none of the reply")))
    }
}

impl Write for Gate {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let gate = self.get_mut();
        let written = Pin::new(&mut gate.socket).poll_write(cx, bytes);
        gate.written(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let gate = self.get_mut();
        let written = Pin::new(&mut gate.socket).poll_write_vectored(cx, parts);
        gate.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Writes go straight to the socket, so all that hyper had has left.
        self.exchange.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's task ends the stream, once it knows how.
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::worth_parsing;

    #[test]
    fn a_trickling_head_is_parsed_a_few_times_and_when_complete() {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(5000));
        let (mut tried, mut parses) = (0, 0);
        for end in 1..=head.len() {
            if worth_parsing(&head.as_bytes()[..end], tried) {
                parses += 1;
                tried = end;
            }
        }
        assert_eq!(tried, head.len());
        assert!(parses < 20, "{parses}");
        assert!(worth_parsing(b"GET / HTTP/1.0\n\n", 15));
        assert!(!worth_parsing(b"", 0));
    }
}
