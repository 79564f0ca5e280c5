//! Pushing to WebSocket connections: which of them this worker has, what waits to be sent on each,
//! and the way to those of the node's other workers.
//!
//! A connection has an [id](ConnectionId), which its function is told and nobody can guess. A guest
//! gives an [`Order`] to one of its own function's connections: of this worker ([`WebSockets`]), or
//! of another one that runs the same functions ([`remote`]). Guests' requests are futures that may
//! be sent between threads, as wasmtime wants them; so what is shared here has locks, which one
//! thread never waits for. Owns no fds but those of [`remote`]'s socket pairs.

mod id;
mod mailbox;
mod message;
pub(crate) mod remote;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

pub(crate) use self::id::ConnectionId;
pub(crate) use self::mailbox::{Full, Mailbox, Pushed};
pub(crate) use self::message::Message;

/// Pushes to other workers that wait for the engine's channel.
const REMOTE_QUEUE_MAX: usize = 256;

/// What a function may do with one of its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// See whether it is open.
    Look,
    /// Send a message.
    Send(Message),
    /// Close it with this code.
    Close(u16),
}

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The connection is open, and what was ordered will be done.
    Taken,
    /// There is no such connection of the function, or not any more.
    Gone,
    /// Too much waits for its client already.
    Full,
}

impl Outcome {
    /// Returns the status that the function is answered with.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Taken => 200,
            Self::Gone => 410,
            Self::Full => 429,
        }
    }
}

struct Connection {
    function: Arc<str>,
    mailbox: Arc<Mailbox>,
}

/// The open WebSocket connections of a worker.
pub(crate) struct WebSockets {
    row: u16,
    open: Mutex<HashMap<ConnectionId, Connection>>,
    remote: mpsc::Sender<(u16, OwnedFd)>,
}

/// The sockets that are to go to the workers of other rows.
pub(crate) type Remote = mpsc::Receiver<(u16, OwnedFd)>;

impl WebSockets {
    /// Returns the connections of the worker that has `row`: none yet.
    pub(crate) fn new(row: usize) -> (Arc<Self>, Remote) {
        let (remote, sockets) = mpsc::channel(REMOTE_QUEUE_MAX);
        let (row, open) = (u16::try_from(row).unwrap_or(u16::MAX), Mutex::default());
        (Arc::new(Self { row, open, remote }), sockets)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<ConnectionId, Connection>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a connection of `function` until the guard is dropped.
    ///
    /// # Errors
    /// If the kernel has no random bytes for its id.
    pub(crate) fn register(self: &Arc<Self>, function: &Arc<str>) -> Result<Registered, NoRandom> {
        let (id, mailbox) = (ConnectionId::new(self.row)?, Arc::<Mailbox>::default());
        let connection =
            Connection { function: Arc::clone(function), mailbox: Arc::clone(&mailbox) };
        self.open().insert(id, connection);
        Ok(Registered { id, mailbox, websockets: Arc::clone(self) })
    }

    /// Returns whether the connection `id` is, or was, this worker's.
    pub(crate) fn is_own(&self, id: ConnectionId) -> bool {
        id.row() == self.row
    }

    /// Carries out an order of `function` to a connection of this worker. Those of others are as
    /// unknown as those that never were.
    pub(crate) fn order(&self, function: &str, id: ConnectionId, order: Order) -> Outcome {
        let open = self.open();
        let Some(connection) = open.get(&id).filter(|known| *known.function == *function) else {
            return Outcome::Gone;
        };
        let pushed = match order {
            Order::Look => return Outcome::Taken,
            Order::Send(message) => Pushed::Message(message),
            Order::Close(code) => Pushed::Close(code),
        };
        match connection.mailbox.push(pushed) {
            Ok(()) => Outcome::Taken,
            Err(Full) => Outcome::Full,
        }
    }
}

/// The system has no random bytes.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the system gives no random bytes")]
pub(crate) struct NoRandom;

/// A connection that can be pushed to, until this is dropped.
pub(crate) struct Registered {
    pub(crate) id: ConnectionId,
    pub(crate) mailbox: Arc<Mailbox>,
    websockets: Arc<WebSockets>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.websockets.open().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &'static str) -> Order {
        Order::Send(Message { is_text: true, bytes: text.into() })
    }

    #[test]
    fn only_its_function_reaches_a_connection_and_only_while_it_is_open() {
        let (websockets, _remote) = WebSockets::new(3);
        let connection = websockets.register(&"chat".into()).unwrap();
        let id = connection.id;
        assert!(websockets.is_own(id));
        assert_eq!(websockets.order("chat", id, Order::Look), Outcome::Taken);
        assert_eq!(websockets.order("chat", id, text("a")), Outcome::Taken);
        for order in [Order::Look, text("b"), Order::Close(1000)] {
            assert_eq!(websockets.order("other", id, order), Outcome::Gone);
        }
        let other = websockets.register(&"chat".into()).unwrap();
        assert_ne!(other.id, id);
        drop(connection);
        assert_eq!(websockets.order("chat", id, Order::Look), Outcome::Gone);
        assert_eq!(websockets.order("chat", other.id, Order::Look), Outcome::Taken);
    }
}
