//! Connections without a place: a worker gave them back or never received them, or no worker took
//! them.
//!
//! Owns their sockets until a worker has them or they are refused.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use abi::limits::PEEK_BYTES_MAX;
use abi::message::Awaits;
use abi::problem::Problem;

use super::Supervisor;
use crate::core::Pool;
use crate::core::fleet::Event;
use crate::core::verdict::{Verdict, is_tls, verdict};
use crate::dispatch::challenges::is_challenge;
use crate::dispatch::hop::{Connection, hop};
use crate::dispatch::parking::{Parked, node_full};
use crate::dispatch::peek::peek;
use crate::dispatch::refuse::{Client, LOOK_INTERVAL, Lingering, LingeringPlace, answer};
use takeover::Handed;

impl Supervisor {
    /// Has a parked connection wait, and has a worker of its pool started if there is none. If
    /// another engine has taken over, the connection goes there.
    pub(super) fn on_parked(&mut self, mut parked: Parked) {
        if self.successor.is_some() {
            if let Some(Connection { socket, read, awaits, origin, .. }) = parked.take() {
                self.reroute(Handed { socket, read, awaits, origin: origin.map(|origin| *origin) });
            }
            return;
        }
        let Some(pool) = parked.pool().cloned() else { return };
        self.waiting.push(pool.clone(), parked, Instant::now());
        self.on(Event::Needed(pool));
    }

    /// Tries to place the connections that wait, and refuses those that have waited too long.
    pub(super) fn retry_waiting(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        if self.successor.is_some() {
            let waiting: Vec<Parked> = self.waiting.drain().collect();
            waiting.into_iter().for_each(|parked| self.on_parked(parked));
            return;
        }
        let snapshot = self.shared.snapshot.load_full();
        let place = |parked: Parked| {
            parked.try_place(|connection| {
                hop(&snapshot, None, connection)
                    .map(|row| self.shared.metrics.of_supervisor().hopped(row))
            })
        };
        for mut late in self.waiting.retry(Instant::now(), place) {
            if let Some(connection) = late.take() {
                self.refuse_full(connection);
            }
        }
    }

    /// Finds a place for a connection that came back, or that another engine has handed over.
    pub(super) fn reroute(&self, handed: Handed) {
        if let Some(successor) = &self.successor {
            // This fails only after the take-over has ended, and then nobody is left to take it.
            let _ = successor.send(handed);
            return;
        }
        let Handed { socket, read, awaits, origin } = handed;
        // Nobody has looked at it yet if it comes from an edge or was meant for one.
        let mut peeked = [0; PEEK_BYTES_MAX];
        let bytes = match (&read[..], awaits) {
            // One whose client has gone goes to a worker as before, which ends it.
            ([], Awaits::First | Awaits::Streams) => peek(&socket, &mut peeked).unwrap_or_default(),
            (read, _) => read,
        };
        if let Some(challenger) = &self.shared.challenger
            && read.is_empty()
            && is_challenge(bytes)
        {
            if let Err(socket) = challenger.pass(socket) {
                self.refuse(socket, &read, &node_full());
            }
            return;
        }
        let snapshot = self.shared.snapshot.load_full();
        let names = self.shared.names.load();
        // What comes out of TLS is not TLS again.
        let is_inside = origin.is_some_and(|origin| origin.https);
        let verdict = match is_tls(bytes) && !is_inside && self.fleet.ends_tls() {
            true => Verdict::Hop(Pool::Edge),
            false => verdict(bytes, &snapshot.catalogue, &names, awaits.into()),
        };
        match verdict {
            Verdict::Refuse(problem) => self.refuse(socket, &read, &problem),
            Verdict::Hop(pool) => {
                let counts = self.shared.metrics.of_supervisor();
                match hop(
                    &snapshot,
                    None,
                    Connection {
                        socket,
                        read,
                        awaits,
                        origin: origin.map(Box::new),
                        pool,
                        accepted_at_us: 0,
                    },
                ) {
                    Ok(row) => counts.hopped(row),
                    Err(connection) => match self.shared.parking.park(connection) {
                        Ok(()) => counts.parked.add(1),
                        Err(connection) => self.refuse_full(connection),
                    },
                }
            }
        }
    }

    /// Refuses a connection for which there is no worker.
    fn refuse_full(&self, Connection { socket, read, pool, .. }: Connection) {
        match pool {
            // Its client could not read an answer without TLS.
            Pool::Edge => self.shared.metrics.of_supervisor().refused(node_full().status),
            _ => self.refuse(socket, &read, &node_full()),
        }
    }

    fn refuse(&self, socket: OwnedFd, read: &[u8], problem: &Problem) {
        self.shared.metrics.of_supervisor().refused(problem.status);
        refuse(socket, read, problem);
    }
}

/// Answers an error, and lingers in a task of the main thread.
fn refuse(socket: OwnedFd, read: &[u8], problem: &Problem) {
    let mut lingering = Lingering::new(Instant::now());
    // What has arrived is read away even if there is no place to linger: unread, it would reset the
    // connection, and the answer with it.
    if answer(socket.as_fd(), read, problem) == Client::Done
        || lingering.look(socket.as_fd(), Instant::now()) == Client::Done
    {
        return;
    }
    let Some(place) = LingeringPlace::take() else { return };
    tokio::task::spawn_local(async move {
        let _place = place;
        while lingering.look(socket.as_fd(), Instant::now()) == Client::Sending {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    });
}
