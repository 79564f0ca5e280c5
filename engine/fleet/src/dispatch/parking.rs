//! Where connections wait that no worker takes at once: one is being started, or all queues are
//! full.
//!
//! Any thread parks; the supervisor takes them out, tries again, and gives up after a while (see
//! [`crate::core::waiting`]). Owns the parked sockets on their way there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use abi::problem::Problem;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::hop::Connection;
use crate::core::Pool;

/// Connections that may be parked at once; more are refused.
const PARKED_MAX: usize = 4096;

/// The way in.
#[derive(Debug, Clone)]
pub struct Parking {
    sender: UnboundedSender<Parked>,
    count: Arc<AtomicUsize>,
}

/// A connection that waits. Its place is free when this is dropped; it is empty only while it is
/// tried.
#[derive(Debug)]
pub struct Parked {
    connection: Option<Connection>,
    count: Arc<AtomicUsize>,
}

/// Makes a parking with its way out.
pub fn parking() -> (Parking, UnboundedReceiver<Parked>) {
    let (sender, receiver) = unbounded_channel();
    (Parking { sender, count: Arc::default() }, receiver)
}

impl Parking {
    /// Returns how many connections are parked now.
    pub fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// Parks a connection.
    ///
    /// # Errors
    /// The connection itself, when there is no place or nobody takes it out any more.
    pub fn park(&self, connection: Connection) -> Result<(), Connection> {
        if self.count.fetch_add(1, Relaxed) >= PARKED_MAX {
            self.count.fetch_sub(1, Relaxed);
            return Err(connection);
        }
        let parked = Parked { connection: Some(connection), count: Arc::clone(&self.count) };
        match self.sender.send(parked) {
            Ok(()) => Ok(()),
            Err(mut refused) => match refused.0.connection.take() {
                Some(connection) => Err(connection),
                None => Ok(()),
            },
        }
    }
}

impl Parked {
    /// Whose workers it waits for.
    pub fn pool(&self) -> Option<&Pool> {
        self.connection.as_ref().map(|connection| &connection.pool)
    }

    /// Takes the connection out; its place is free when `self` goes.
    pub fn take(&mut self) -> Option<Connection> {
        self.connection.take()
    }

    /// Tries a place for it, and keeps it when there is none.
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

/// What a client is told for whom there is no worker.
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
        Connection { socket: socket.into(), read, awaits, pool: Pool::Shared, accepted_at_us: 0 }
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
