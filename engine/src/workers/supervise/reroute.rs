//! Connections without a place: those that came back from a worker, were never received by one, or found none.
//!
//! Owns their sockets until a worker has them or they are refused.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use abi::problem::Problem;

use super::Supervisor;
use crate::dispatch::hop::{Connection, hop};
use crate::dispatch::parking::node_full;
use crate::dispatch::refuse::{Client, LINGER, LOOK_INTERVAL, answer, read_away};
use crate::dispatch::verdict::{Verdict, verdict};

impl Supervisor {
    /// Tries again for those that are parked, and gives up on those that have waited too long.
    pub(super) fn retry_parked(&mut self, now: Instant) {
        let snapshot = self.shared.snapshot.load_full();
        for (deadline, mut parked) in std::mem::take(&mut self.parked) {
            let Some(connection) = parked.take() else { continue };
            match hop(&snapshot, None, connection) {
                Ok(()) => {}
                Err(connection) if now >= deadline => refuse(connection.socket, &node_full()),
                Err(connection) => {
                    parked.put_back(connection);
                    self.parked.push((deadline, parked));
                }
            }
        }
    }

    /// Finds a place for a connection that came back.
    pub(super) fn route_again(&self, socket: OwnedFd, read: Vec<u8>) {
        let snapshot = self.shared.snapshot.load_full();
        match verdict(&read, &snapshot.catalogue, self.shared.domain.load().as_deref().map(String::as_str)) {
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
