//! Connections without a place: those that came back from a worker, were never received by one, or found none.
//!
//! Owns their sockets until a worker has them or they are refused.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use abi::problem::Problem;

use super::Supervisor;
use crate::core::fleet::Event;
use crate::core::verdict::{Verdict, verdict};
use crate::dispatch::hop::{Connection, hop};
use crate::dispatch::parking::{Parked, node_full};
use crate::dispatch::refuse::{Client, LINGER, LOOK_INTERVAL, answer, read_away};

impl Supervisor {
    /// Somebody has parked a connection: it waits, and its pool's worker is started if it has to be.
    pub(super) fn on_parked(&mut self, parked: Parked) {
        let Some(pool) = parked.pool().cloned() else { return };
        self.waiting.push(pool.clone(), parked, Instant::now());
        self.on(Event::Wanted(pool));
    }

    /// Tries again for those that wait, and gives up on those that have waited too long.
    pub(super) fn retry_waiting(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let snapshot = self.shared.snapshot.load_full();
        let place = |parked: Parked| parked.try_place(|connection| hop(&snapshot, None, connection));
        for mut late in self.waiting.retry(Instant::now(), place) {
            late.take().into_iter().for_each(|connection| refuse(connection.socket, &node_full()));
        }
    }

    /// Finds a place for a connection that came back.
    pub(super) fn route_again(&self, socket: OwnedFd, read: Vec<u8>) {
        let snapshot = self.shared.snapshot.load_full();
        match verdict(&read, &snapshot.catalogue, self.shared.domain.as_deref()) {
            Verdict::Refuse(problem) => refuse(socket, &problem),
            Verdict::Hop(pool) => {
                let refused = hop(&snapshot, None, Connection { socket, read, pool });
                if let Err(connection) = refused.or_else(|connection| self.shared.parking.park(connection)) {
                    refuse(connection.socket, &node_full());
                }
            }
        }
    }
}

/// Answers an error on the main thread's runtime.
fn refuse(socket: OwnedFd, problem: &Problem) {
    if answer(socket.as_fd(), problem) == Client::Sending {
        tokio::task::spawn_local(async move {
            let deadline = Instant::now() + LINGER;
            while Instant::now() < deadline && read_away(socket.as_fd()) == Client::Sending {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        });
    }
}
