//! Where connections wait that no worker takes at once: one is being started, or all queues are full.
//!
//! Any thread parks; the supervisor takes them out, tries again, and gives up after a while. Owns the parked sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use abi::problem::Problem;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::hop::Connection;

/// Connections that may be parked at once; more are refused.
const PARKED_MAX: usize = 4096;
/// How long a connection is parked before it is refused: longer than a worker takes to start.
pub(crate) const PARKED_TIMEOUT: Duration = Duration::from_secs(3);

/// The way in.
#[derive(Debug, Clone)]
pub(crate) struct Parking {
    sender: UnboundedSender<Parked>,
    count: Arc<AtomicUsize>,
}

/// A connection that waits. Its place is free when this is dropped.
#[derive(Debug)]
pub(crate) struct Parked {
    connection: Option<Connection>,
    count: Arc<AtomicUsize>,
}

/// Makes a parking with its way out.
pub(crate) fn parking() -> (Parking, UnboundedReceiver<Parked>) {
    let (sender, receiver) = unbounded_channel();
    (Parking { sender, count: Arc::default() }, receiver)
}

impl Parking {
    /// Parks a connection.
    ///
    /// # Errors
    /// The connection itself, when there is no place or nobody takes it out any more.
    pub(crate) fn park(&self, connection: Connection) -> Result<(), Connection> {
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
    /// Takes the connection out; its place is free when `self` goes.
    pub(crate) fn take(&mut self) -> Option<Connection> {
        self.connection.take()
    }

    /// Puts it back to wait on.
    pub(crate) fn put_back(&mut self, connection: Connection) {
        self.connection = Some(connection);
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Relaxed);
    }
}

/// What a client is told for whom there is no worker.
pub(crate) fn node_full() -> Problem {
    Problem::new(503, "no worker of this node can take the request now; try again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::Pool;
    use abi::message::Awaits;

    fn connection() -> Connection {
        let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
        Connection { socket: socket.into(), read: Vec::new(), awaits: Awaits::First, pool: Pool::Shared }
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
