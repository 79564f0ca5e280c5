//! What carries requests: connections, or the streams of connections. Each is a *slot*, which
//! carries one request at a time. Owns the connections, and through them the sockets.

use mio::{Registry, Token};

use super::Protocol;
use super::connection::{Connection, Ended, Handshakes, Job, Times, Turn};
use super::http2::Session;

/// The slots of a thread.
pub enum Transport<'a> {
    /// A connection each.
    Connections(Vec<Connection>),
    /// So many of each session.
    Sessions {
        sessions: Vec<Session<'a>>,
        streams: usize,
        /// The sessions that may have something to do.
        touched: Vec<usize>,
    },
}

/// A slot, how its request ended, and when.
pub type SlotEnded = (usize, Ended, u64);

impl<'a> Transport<'a> {
    pub fn new(protocol: Protocol, connections: usize) -> Self {
        match protocol {
            Protocol::Http1 | Protocol::Handshakes => {
                let connection = |index| Connection::new(Token(index));
                Self::Connections((0..connections).map(connection).collect())
            }
            Protocol::Http2 { streams } => {
                let streams = streams as usize;
                let session = |index| Session::new(Token(index), streams);
                let sessions = (0..connections).map(session).collect();
                Self::Sessions { sessions, streams, touched: Vec::new() }
            }
        }
    }

    /// Returns the number of slots.
    pub fn slots(&self) -> usize {
        match self {
            Self::Connections(connections) => connections.len(),
            Self::Sessions { sessions, streams, .. } => sessions.len() * streams,
        }
    }

    /// Starts a request in a slot that has none. Returns how it ended if it ended at once.
    pub fn start(
        &mut self,
        job: &Job<'_>,
        registry: &Registry,
        slot: usize,
        turn: Turn,
        now: u64,
    ) -> Option<Ended> {
        match self {
            Self::Connections(connections) => connections[slot].start(job, registry, turn, now),
            Self::Sessions { sessions, streams, touched } => {
                let session = slot / *streams;
                touched.push(session);
                sessions[session].start(job, registry, slot % *streams, turn, now)
            }
        }
    }

    /// Handles an event of the socket with that token. Adds the slots whose requests have ended.
    pub fn on_event(
        &mut self,
        job: &Job<'a>,
        token: usize,
        closed: bool,
        buffer: &mut [u8],
        now: &impl Fn() -> u64,
        ended: &mut Vec<SlotEnded>,
    ) {
        match self {
            Self::Connections(connections) => {
                let done = connections[token].on_event(job, closed, buffer, now);
                ended.extend(done.map(|(how, at)| (token, how, at)));
            }
            Self::Sessions { touched, .. } => touched.push(token),
        }
    }

    /// Does what was only noted so far. Adds the slots whose requests have ended.
    pub fn advance(&mut self, job: &Job<'a>, now: &impl Fn() -> u64, ended: &mut Vec<SlotEnded>) {
        let Self::Sessions { sessions, streams, touched } = self else { return };
        touched.sort_unstable();
        touched.dedup();
        for index in touched.drain(..) {
            let before = ended.len();
            sessions[index].advance(job, now, ended);
            ended[before..].iter_mut().for_each(|(slot, ..)| *slot += index * *streams);
        }
    }

    /// Returns the times of a slot's request, or of its last one.
    pub fn times(&self, slot: usize) -> Times {
        match self {
            Self::Connections(connections) => connections[slot].times(),
            Self::Sessions { sessions, streams, .. } => {
                sessions[slot / streams].times(slot % streams)
            }
        }
    }

    /// Returns the times of the requests on their way.
    pub fn in_flight(&self) -> Vec<Times> {
        match self {
            Self::Connections(connections) => {
                connections.iter().filter_map(Connection::in_flight).collect()
            }
            Self::Sessions { sessions, .. } => {
                sessions.iter().flat_map(Session::in_flight).collect()
            }
        }
    }

    /// Returns the TLS handshakes that are over. Those of sessions are not counted: there is one
    /// each.
    pub fn handshakes(&self) -> Handshakes {
        let mut all = Handshakes::default();
        if let Self::Connections(connections) = self {
            connections.iter().for_each(|connection| all.add(connection.handshakes()));
        }
        all
    }

    /// Gives up on a slot's request if it is older than `timeout`. Returns whether it did.
    pub fn expire(&mut self, slot: usize, now: u64, timeout: u64) -> bool {
        match self {
            Self::Connections(connections) => connections[slot].expire(now, timeout),
            Self::Sessions { sessions, streams, touched } => {
                let expired = sessions[slot / *streams].expire(slot % *streams, now, timeout);
                if expired {
                    touched.push(slot / *streams);
                }
                expired
            }
        }
    }
}
