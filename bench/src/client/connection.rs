//! One connection of the load that speaks HTTP/1: it sends a request, reads the reply, and reports
//! how that ended; or it shakes hands, and that is all. It reads while it still sends, because a
//! server that echoes a body would otherwise wait for the client to read, and the client for the
//! server.
//!
//! Owns its socket. `start` opens it if there is none, it is kept between requests if both sides
//! keep it alive, and dropped in every other case.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use rustls::HandshakeKind;
use serde::Serialize;

use super::request_mix::{PreparedRequest, RequestMix};
use crate::reply::{Head, ReplyParser};
use crate::tls::{Stream, Tls};

/// What all connections share.
#[derive(Debug)]
pub struct Job<'a> {
    pub address: SocketAddr,
    /// What is said before the first request.
    pub tls: Option<&'a Tls>,
    pub mix: &'a RequestMix,
    /// Whether there are no requests but handshakes, each on a connection of its own.
    pub only_handshakes: bool,
    /// Whether the connect is part of a request's latency. It is if connections end with their
    /// requests.
    pub connect_counts: bool,
}

/// A request to start.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// The number of the request in [`Job::mix`].
    pub request: usize,
    /// Whether it is the connection's last.
    pub last: bool,
    /// When it should start.
    pub intended: u64,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With a whole reply.
    Reply { status: u16, body_is_right: bool },
    /// Without one.
    Failed(Failure),
}

/// Why a request has no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    Connect,
    /// The connection broke, or was closed before a reply's first byte.
    Reset,
    Timeout,
    /// The bytes are no reply, or the connection ended in the middle of one.
    Malformed,
}

/// When a request should have started and when it did, in nanoseconds of the client's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    pub intended: u64,
    pub sent: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Connecting,
    Sending,
    Receiving,
}

/// The TLS handshakes of a load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Handshakes {
    /// With certificates and all.
    pub full: u64,
    /// By what was remembered of an earlier one.
    pub resumed: u64,
}

impl Handshakes {
    /// Adds those of others.
    pub fn add(&mut self, other: Self) {
        self.full += other.full;
        self.resumed += other.resumed;
    }

    /// Returns how many of them were resumed, in percent.
    pub fn resumed_percent(&self) -> f64 {
        100.0 * self.resumed as f64 / (self.full + self.resumed).max(1) as f64
    }

    /// Notes one that is over, if it is.
    pub fn count(&mut self, kind: Option<HandshakeKind>) {
        match kind {
            Some(HandshakeKind::Resumed) => self.resumed += 1,
            Some(_) => self.full += 1,
            None => {}
        }
    }
}

#[derive(Debug)]
pub struct Connection {
    token: Token,
    stream: Option<Stream<TcpStream>>,
    phase: Phase,
    parser: ReplyParser,
    /// The bytes of the request that the socket has taken.
    sent_bytes: usize,
    /// The bytes of the reply's body so far.
    body_bytes: usize,
    body_is_right: bool,
    times: Times,
    turn: Turn,
    handshakes: Handshakes,
}

impl Connection {
    pub fn new(token: Token) -> Self {
        Self {
            token,
            stream: None,
            phase: Phase::Idle,
            parser: ReplyParser::default(),
            sent_bytes: 0,
            body_bytes: 0,
            body_is_right: true,
            times: Times::default(),
            turn: Turn { request: 0, last: false, intended: 0 },
            handshakes: Handshakes::default(),
        }
    }

    fn prepared<'a>(&self, job: &'a Job<'_>) -> &'a PreparedRequest {
        job.mix.get(self.turn.request)
    }

    /// Returns the bytes of the current request.
    fn request<'a>(&self, job: &'a Job<'_>) -> &'a [u8] {
        let prepared = self.prepared(job);
        if self.turn.last { &prepared.close } else { &prepared.keep }
    }

    /// Returns the times of the current request, or of the last one.
    pub fn times(&self) -> Times {
        self.times
    }

    /// Returns the handshakes that are over.
    pub fn handshakes(&self) -> Handshakes {
        self.handshakes
    }

    /// Returns the times of the current request, if there is one.
    pub fn in_flight(&self) -> Option<Times> {
        (self.phase != Phase::Idle).then_some(self.times)
    }

    /// Starts a request, on the open socket or on a new one. Returns how it ended if it ended at
    /// once.
    pub fn start(
        &mut self,
        job: &Job<'_>,
        registry: &Registry,
        turn: Turn,
        now: u64,
    ) -> Option<Ended> {
        self.times = Times { intended: turn.intended, sent: now };
        self.turn = turn;
        self.sent_bytes = 0;
        self.body_bytes = 0;
        self.body_is_right = true;
        let head_only = self.prepared(job).head_only;
        if self.stream.is_some() {
            self.parser.expect(head_only);
            self.phase = Phase::Sending;
            return self.send(job);
        }
        self.parser = ReplyParser::default();
        self.parser.expect(head_only);
        self.phase = Phase::Connecting;
        match open(job.address, registry, self.token).and_then(|socket| secured(socket, job.tls)) {
            Ok(stream) => {
                self.stream = Some(stream);
                None
            }
            Err(_) => Some(self.fail(Failure::Connect)),
        }
    }

    /// Handles an event of the socket. `closed` says that the server has ended its side. Returns
    /// how and when the request ended, if it did.
    pub fn on_event(
        &mut self,
        job: &Job<'_>,
        closed: bool,
        buffer: &mut [u8],
        now: &impl Fn() -> u64,
    ) -> Option<(Ended, u64)> {
        match self.phase {
            Phase::Connecting | Phase::Receiving if job.only_handshakes => {
                self.shake_hands().map(|ended| (ended, now()))
            }
            Phase::Connecting => {
                if !job.connect_counts {
                    self.times.sent = now();
                }
                // There can be no reply yet, so nothing is read here: its arrival is another event.
                self.send(job).map(|ended| (ended, now()))
            }
            Phase::Sending => match self.send(job) {
                Some(ended) => Some((ended, now())),
                None => self.receive(job, closed, buffer, now),
            },
            Phase::Receiving => self.receive(job, closed, buffer, now),
            Phase::Idle => {
                // No reply is expected, so the server closes the connection, or sends bytes that
                // nobody asked for.
                let mut byte = [0];
                let read = self.stream.as_mut().map(|stream| stream.read(&mut byte));
                if !matches!(read, Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock) {
                    self.stream = None;
                }
                None
            }
        }
    }

    /// Shakes hands, and ends the connection. Its end by the server says that it, too, was through.
    fn shake_hands(&mut self) -> Option<Ended> {
        let stream = self.stream.as_mut()?;
        if self.phase == Phase::Connecting {
            match stream.shake_hands() {
                Ok(()) => {}
                Err(error) if must_wait(&error) => return None,
                Err(_) => return Some(self.fail(Failure::Connect)),
            }
            self.handshakes.count(stream.handshake());
            stream.say_goodbye();
            self.phase = Phase::Receiving;
        }
        match stream.read(&mut [0]) {
            Err(error) if must_wait(&error) => None,
            // It has sent an alert, or worse.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Some(self.fail(Failure::Malformed))
            }
            // With a word of TLS or without.
            Ok(0) | Err(_) => {
                self.stream = None;
                self.phase = Phase::Idle;
                Some(Ended::Reply { status: 200, body_is_right: true })
            }
            Ok(_) => Some(self.fail(Failure::Malformed)),
        }
    }

    /// Gives up on a request older than `timeout`. Returns whether it did.
    pub fn expire(&mut self, now: u64, timeout: u64) -> bool {
        let expired = self.phase != Phase::Idle && now.saturating_sub(self.times.sent) >= timeout;
        if expired {
            self.fail(Failure::Timeout);
        }
        expired
    }

    fn send(&mut self, job: &Job<'_>) -> Option<Ended> {
        while let Some(rest) =
            self.request(job).get(self.sent_bytes..).filter(|rest| !rest.is_empty())
        {
            let stream = self.stream.as_mut()?;
            match stream.write(rest) {
                Ok(count) => {
                    if self.phase == Phase::Connecting {
                        self.handshakes.count(stream.handshake());
                    }
                    self.sent_bytes += count;
                    self.phase = Phase::Sending;
                }
                // The socket is not connected yet, or has no room: the next event continues.
                Err(error) if must_wait(&error) => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if self.phase == Phase::Connecting => {
                    return Some(self.fail(Failure::Connect));
                }
                Err(_) => return Some(self.fail(Failure::Reset)),
            }
        }
        self.phase = Phase::Receiving;
        None
    }

    fn receive(
        &mut self,
        job: &Job<'_>,
        closed: bool,
        buffer: &mut [u8],
        now: &impl Fn() -> u64,
    ) -> Option<(Ended, u64)> {
        loop {
            let stream = self.stream.as_mut()?;
            let count = match stream.read(buffer) {
                Ok(0) => {
                    let at = now();
                    let head = self.parser.end();
                    self.stream = None;
                    return Some((self.at_end(job, head), at));
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Some((self.fail(Failure::Reset), now())),
            };
            let is_emptied = stream.is_emptied(count, buffer.len());
            let expected_body = &self.prepared(job).expected_body;
            let Self { parser, body_bytes, body_is_right, .. } = self;
            let parsed = parser.feed(&buffer[..count], &mut |part| {
                if let Some(expected) = expected_body {
                    *body_is_right &=
                        expected.get(*body_bytes..*body_bytes + part.len()) == Some(part);
                }
                *body_bytes += part.len();
            });
            match parsed {
                Ok((used, Some(head))) if used == count => {
                    let at = now();
                    // A reply that came before the whole request was sent leaves the connection
                    // unusable.
                    let sent = self.sent_bytes == self.request(job).len();
                    if closed || self.turn.last || !(sent && head.keep_alive) {
                        self.close();
                    }
                    return Some((self.complete(job, head), at));
                }
                Ok((_, None)) => {}
                // This includes bytes beyond the reply: no other request was sent.
                Ok(_) | Err(_) => return Some((self.fail(Failure::Malformed), now())),
            }
            // A short read has emptied the socket, and later bytes raise a new edge: see epoll(7).
            // This saves the second read of every reply. But an end that arrived with the bytes
            // raises none.
            if is_emptied && !closed {
                return None;
            }
        }
    }

    fn at_end(&mut self, job: &Job<'_>, head: Result<Head, crate::reply::Error>) -> Ended {
        match head {
            Ok(head) => self.complete(job, head),
            Err(crate::reply::Error::NoReply) => self.fail(Failure::Reset),
            Err(_) => self.fail(Failure::Malformed),
        }
    }

    fn complete(&mut self, job: &Job<'_>, head: Head) -> Ended {
        self.phase = Phase::Idle;
        let length_is_right = self
            .prepared(job)
            .expected_body
            .as_ref()
            .is_none_or(|body| body.len() == self.body_bytes);
        Ended::Reply { status: head.status, body_is_right: self.body_is_right && length_is_right }
    }

    /// Ends a connection that nothing more is expected of.
    fn close(&mut self) {
        if let Some(mut stream) = self.stream.take() {
            stream.say_goodbye();
        }
    }

    fn fail(&mut self, failure: Failure) -> Ended {
        self.stream = None;
        self.phase = Phase::Idle;
        Ended::Failed(failure)
    }
}

/// Returns whether another event will continue what has failed.
pub fn must_wait(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}

/// Puts TLS around a new socket, if there is any.
pub fn secured(socket: TcpStream, tls: Option<&Tls>) -> io::Result<Stream<TcpStream>> {
    Stream::new(socket, tls).map_err(io::Error::other)
}

/// Opens a socket. It is registered once for both directions, edge-triggered, so requests need no
/// epoll_ctl.
pub fn open(address: SocketAddr, registry: &Registry, token: Token) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
    Ok(stream)
}
