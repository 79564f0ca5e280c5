//! Waits for the next request of a connection, and decides what it is: for a function of this
//! worker, for another worker, or to be refused. The deadlines for heads and idle connections live
//! here. Owns no fds.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use abi::head::{self, Framing, header_room, is_http2, parse_into};
use abi::limits::{HEAD_BYTES_MAX, RETURNED_BYTES_MAX};
use abi::message::{Awaits, Ending};
use abi::problem::{Problem, Reply};
use bytes::{Buf as _, BytesMut};

use super::Connections;
use super::encode::Asked;
use super::end::End;
use super::forwarded::resolve_client;
use super::message::{Message, Outline};
use super::secure::location;
use super::wire::{SharedWire, Wire};
use crate::deadline::Deadline;
use crate::edge::websocket::Handshake;
use crate::origin::remove_reserved;
use crate::run::IsEvent;
use crate::serve::{Destination, Exchange};

/// The result of waiting.
pub(super) enum Next {
    Request(Parsed),
    End(End),
}

/// A request, and the connection's part of its head.
pub(super) struct Parsed {
    pub(super) exchange: Box<Exchange>,
    pub(super) asked: Asked,
    pub(super) framing: Framing,
    /// The client asks for WebSocket, and its function has such connections.
    pub(super) handshake: Option<Box<Handshake>>,
}

/// The wait for a request's head.
pub(super) struct Waiting {
    /// The length of the buffer when parsing last found no complete head.
    tried: usize,
    awaits: Awaits,
    deadline: Deadline,
    /// Whether the deadline is that of a head under way, and not of an idle connection.
    begun: bool,
    /// The time limit of the deadline.
    limit: Duration,
}

impl Waiting {
    /// Returns the wait for the first request in this worker, whose head may be under way already.
    pub(super) fn new(awaits: Awaits) -> Self {
        let begun = awaits != Awaits::Next;
        Self { tried: 0, awaits, deadline: Deadline::default(), begun, limit: Duration::ZERO }
    }

    /// Begins to wait for the next request.
    pub(super) fn again(&mut self) {
        self.tried = 0;
        self.awaits = Awaits::Next;
        self.begun = false;
        self.deadline.clear();
    }

    /// Resolves when a request has arrived, or the connection must end.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connections: &Connections,
        wire: &SharedWire,
        drain: Pin<&mut impl Future<Output = ()>>,
    ) -> Poll<Next> {
        let mut wire = wire.lock();
        loop {
            // The bytes that were read already go along with the connection.
            if connections.drain.ending() == Some(Ending::GiveBack)
                && wire.buffer.len() <= RETURNED_BYTES_MAX
            {
                return Poll::Ready(Next::End(End::GiveBack(self.awaits)));
            }
            skip_empty_lines(&mut wire.buffer);
            // An edge serves it, if it is a client's.
            if matches!(self.awaits, Awaits::First) && is_http2(&wire.buffer) {
                return Poll::Ready(Next::End(End::GiveBack(Awaits::First)));
            }
            if worth_parsing(&wire.buffer, self.tried)
                && let Some(next) = decide(connections, &mut wire, self.awaits)
            {
                return Poll::Ready(next);
            }
            self.tried = wire.buffer.len();
            if wire.buffer.is_empty() {
                // An idle connection holds no buffer.
                wire.buffer = BytesMut::new();
            }
            match wire.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => {
                    return Poll::Ready(Next::End(End::Close { unread: false }));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    // A complete head is answered first, even while the worker drains.
                    if drain.poll(cx).is_ready() {
                        let end = match connections.drain.ending() {
                            Some(Ending::GiveBack) => End::GiveBack(self.awaits),
                            _ => End::Close { unread: false },
                        };
                        return Poll::Ready(Next::End(end));
                    }
                    return self.poll_late(cx, connections, &wire.buffer).map(Next::End);
                }
            }
        }
    }

    fn poll_late(
        &mut self,
        cx: &mut Context<'_>,
        connections: &Connections,
        read: &[u8],
    ) -> Poll<End> {
        // Half an empty line does not begin a head, either.
        let empty = matches!(read, [] | [b'\r']);
        let begun = self.begun || !empty;
        if !self.deadline.is_set() || begun != self.begun {
            let pipeline = &connections.pipeline;
            self.begun = begun;
            self.limit = if begun { pipeline.head_timeout() } else { pipeline.idle_timeout() };
            self.deadline.set(self.limit);
        }
        ready!(self.deadline.poll_passed(cx));
        let limit = self.limit;
        Poll::Ready(match empty {
            true => End::Close { unread: false },
            false => {
                let problem =
                    Problem::new(408, format!("the request's head took longer than {limit:?}"));
                End::Refuse(problem, Reply::to(read))
            }
        })
    }
}

/// Parses the head in the buffer and decides about it. Returns `None` if the head is not complete.
fn decide(connections: &Connections, wire: &mut Wire, awaits: Awaits) -> Option<Next> {
    let mut room = header_room();
    let (head, headers) = match parse_into(&wire.buffer, &mut room) {
        Ok((head::Parsed::Complete(head), headers)) => (head, headers),
        Ok((head::Parsed::Partial, _)) => return None,
        Err(error) => return Some(Next::End(End::Refuse(error.into(), Reply::to(&wire.buffer)))),
    };
    let Some((mut destination, prefix_length)) =
        connections.pipeline.find(head.host, head.target, awaits)
    else {
        return Some(Next::End(End::GiveBack(awaits)));
    };
    let is_public = matches!(awaits, Awaits::First | Awaits::Next);
    // Only the public is sent elsewhere.
    let secure = match connections.pipeline.settings().https_redirect {
        Some(port) if is_public => location(head.host, head.target, port),
        _ => None,
    };
    // The head borrows the buffer that it is taken off, so its outline is what survives.
    let framing = head.framing;
    let Some(outline) = Outline::new(&wire.buffer, &head, headers) else {
        let problem = Problem::new(400, "the request's method is not well formed");
        return Some(Next::End(End::Refuse(problem, Reply::to(&wire.buffer))));
    };
    // Read now: the head is no longer in the buffer when the request turns out to be bad.
    let refused = Reply::to(&wire.buffer);
    Some(match outline.take(&mut wire.buffer, prefix_length) {
        Ok(mut message) => {
            let settings = connections.pipeline.settings();
            if awaits == Awaits::Event {
                message.request.extensions_mut().insert(IsEvent);
            }
            let headers = message.request.headers_mut();
            if message.reserved && is_public {
                remove_reserved(headers);
            }
            let client =
                resolve_client(headers, message.forwarded, &wire.peer, &settings.trusted_proxies);
            if let Some(location) = secure.filter(|_| !client.https) {
                destination = Destination::Secure(location);
            }
            let handshake = (framing == Framing::None && message.upgrades && is_public)
                .then_some(&destination)
                .filter(|destination| destination.takes_messages())
                .and_then(|_| Handshake::take(&mut message.request))
                .and_then(|read| read.map_err(|why| destination = Destination::Problem(why)).ok())
                .map(Box::new);
            match framing {
                Framing::None if message.upgrades && handshake.is_none() => {
                    wire.incoming.begin_upgrade()
                }
                framing => wire.incoming.begin(framing, message.continues),
            }
            // The setting may have changed since the last request.
            wire.set_write_timeout(connections.pipeline.write_timeout());
            let Message { request, asked, prefix, upgrades, .. } = message;
            let exchange = Box::new(Exchange {
                request,
                prefix,
                client,
                client_places: None,
                destination,
                may_wait: is_public && !upgrades,
                arrived: None,
            });
            Next::Request(Parsed { exchange, asked, framing, handshake })
        }
        Err(problem) => Next::End(End::Refuse(problem, refused)),
    })
}

/// Removes the empty lines that some clients send after a request (RFC 9112 2.2). They do not make
/// an idle connection one with a request under way.
fn skip_empty_lines(buffer: &mut BytesMut) {
    while buffer.starts_with(b"\r\n") {
        buffer.advance(2);
    }
}

/// Returns whether the buffer should be parsed. Parsing at every byte of a head that trickles in
/// would cost the square of its length, so it is parsed if it may be complete, has doubled, or is
/// too long.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_lines_before_a_head_are_passed_over() {
        for (bytes, left) in [
            ("\r\n\r\nGET", "GET"),
            ("\r\n", ""),
            ("\r\n\r", "\r"),
            ("\r", "\r"),
            ("\nGET", "\nGET"),
            ("", ""),
            ("G\r\n", "G\r\n"),
        ] {
            let mut buffer = BytesMut::from(bytes);
            skip_empty_lines(&mut buffer);
            assert_eq!(buffer, left, "{bytes:?}");
        }
    }

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
