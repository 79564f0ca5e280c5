//! [`Proxy`]: what the worker holds for a function. Owns no fds; whoever serves a stream does.

use std::rc::Rc;
use std::sync::Arc;

use abi::outbound::AllowList;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use crate::connect::Connect;
use crate::connection;
use crate::gate::Gate;
use crate::limits::Limits;

/// What a client is told whose connection is one too many. It is not read from first: a client with
/// so many connections does not get more of the node's time.
const TOO_MANY_CONNECTIONS: &[u8] = b"HTTP/1.1 503 the function has too many connections to its \
    proxy; close those that are idle\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// The proxy of one function in one worker.
#[derive(Debug)]
pub struct Proxy<C> {
    gate: Rc<Gate<C>>,
    connections: Arc<Semaphore>,
}

impl<C: Connect> Proxy<C> {
    /// Returns a proxy to the destinations of `allow`, which `connect` connects to.
    pub fn new(allow: Arc<AllowList>, connect: C, limits: Limits) -> Self {
        let connections = limits.connections_max.min(Semaphore::MAX_PERMITS);
        let gate = Rc::new(Gate::new(allow, connect, limits));
        Self { gate, connections: Arc::new(Semaphore::new(connections)) }
    }

    /// Serves a connection that a process has made, until it ends: CONNECT to any allowed
    /// destination, and requests for whole `http` URLs.
    ///
    /// `on_denied` is called with a sentence for the function's log whenever a destination is not
    /// allowed. What goes wrong is told to the client alone.
    ///
    /// Each connection needs a task of its own in a [`LocalSet`](tokio::task::LocalSet), with I/O
    /// and time. Dropping the future closes the client's stream and those to servers.
    pub async fn serve<I>(self: Rc<Self>, mut stream: I, on_denied: impl Fn(&str) + 'static)
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        match Arc::clone(&self.connections).try_acquire_owned() {
            Ok(_permit) => connection::serve(Rc::clone(&self.gate), stream, on_denied).await,
            // A new connection has room for so little. If not, the client learns less.
            Err(_) => drop(stream.write_all(TOO_MANY_CONNECTIONS).await),
        }
    }
}
