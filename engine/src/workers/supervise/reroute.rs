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
use crate::takeover::Handed;

impl Supervisor {
    /// Tries again for those that are parked, and gives up on those that have waited too long.
    pub(super) fn retry_parked(&mut self, now: Instant) {
        self.forward_parked();
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

    /// When another engine has taken over, those that are parked are its own.
    pub(super) fn forward_parked(&mut self) {
        if self.successor.is_none() {
            return;
        }
        for (_, mut parked) in std::mem::take(&mut self.parked) {
            if let Some(Connection { socket, read, awaits, .. }) = parked.take() {
                self.route_again(Handed { socket, read, awaits });
            }
        }
    }

    /// Finds a place for a connection that came back, or that another engine has handed over.
    pub(super) fn route_again(&self, handed: Handed) {
        if let Some(successor) = &self.successor {
            // It fails only after the hand-over has ended, and then nobody is left to take it.
            let _ = successor.send(handed);
            return;
        }
        let Handed { socket, read, awaits } = handed;
        let snapshot = self.shared.snapshot.load_full();
        match verdict(&read, &snapshot.catalogue, self.shared.domain.as_deref()) {
            Verdict::Refuse(problem) => refuse(socket, &problem),
            Verdict::Hop(pool) => {
                let refused = hop(&snapshot, None, Connection { socket, read, awaits, pool });
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
