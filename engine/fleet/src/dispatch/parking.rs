//! Where connections wait that no worker takes at once, because one is being started or all queues
//! are full.
//!
//! Any thread may park a connection. The supervisor takes it out, tries again, and gives up after a
//! while (see [`crate::core::waiting`]). Owns the parked sockets on their way there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use abi::problem::Problem;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::hop::Connection;
use crate::core::Pool;

/// Connections that may be parked at a time. More are refused.
const PARKED_MAX: usize = 4096;

/// The entrance of the parking.
#[derive(Debug, Clone)]
pub struct Parking {
    sender: Sender<Parked>,
    count: Arc<AtomicUsize>,
}

/// A connection that waits. Its place is free again when this is dropped. It is empty only while a
/// worker is tried.
#[derive(Debug)]
pub struct Parked {
    connection: Option<Connection>,
    count: Arc<AtomicUsize>,
}

/// Makes a parking. Returns its entrance and its exit.
pub fn parking() -> (Parking, Receiver<Parked>) {
    // Connections that were taken out and still wait have places, too, so the channel has room for
    // every connection that gets one.
    let (sender, receiver) = channel(PARKED_MAX);
    (Parking { sender, count: Arc::default() }, receiver)
}

impl Parking {
    /// Returns how many connections are parked.
    pub fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// Parks a connection.
    ///
    /// # Errors
    /// Returns the connection if there is no place, or nobody takes it out any more.
    pub fn park(&self, connection: Connection) -> Result<(), Connection> {
        if self.count.fetch_add(1, Relaxed) >= PARKED_MAX {
            self.count.fetch_sub(1, Relaxed);
            return Err(connection);
        }
        let parked = Parked { connection: Some(connection), count: Arc::clone(&self.count) };
        match self.sender.try_send(parked) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(mut refused) | TrySendError::Closed(mut refused)) => {
                refused.connection.take().map_or(Ok(()), Err)
            }
        }
    }
}

impl Parked {
    /// Returns the pool whose workers it waits for.
    pub fn pool(&self) -> Option<&Pool> {
        self.connection.as_ref().map(|connection| &connection.pool)
    }

    /// Takes the connection out. Its place is free when `self` is dropped.
    pub fn take(&mut self) -> Option<Connection> {
        self.connection.take()
    }

    /// Tries to `place` the connection.
    ///
    /// # Errors
    /// Returns `self` if that has failed.
    pub fn try_place(
        mut self,
        place: impl FnOnce(Connection) -> Result<(), Connection>,
    ) -> Result<(), Self> {
        match self.take().map_or(Ok(()), place) {
            Ok(()) => Ok(()),
            Err(connection) => {
                self.connection = Some(connection);
                Err(self)
            }
        }
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Relaxed);
    }
}

/// Returns the error for a client that no worker takes.
pub fn node_full() -> Problem {
    Problem::new(503, "no worker of this node can take the request now; try again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::message::Awaits;

    fn connection() -> Connection {
        let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
        let (read, awaits) = (Vec::new(), Awaits::First);
        Connection {
            socket: socket.into(),
            read,
            awaits,
            origin: None,
            pool: Pool::Shared,
            accepted_at_us: 0,
        }
    }

    #[test]
    fn places_are_limited_and_freed() {
        let (parking, mut out) = parking();
        let taken = (0..=PARKED_MAX).take_while(|_| parking.park(connection()).is_ok()).count();
        assert_eq!(taken, PARKED_MAX);
        let mut parked = out.try_recv().unwrap();
        assert!(parking.park(connection()).is_err());
        assert!(parked.take().is_some());
        drop(parked);
        assert!(parking.park(connection()).is_ok());
        drop(out);
        assert!(parking.park(connection()).is_err());
    }
}
