//! The end of a connection: closed, refused, or given back to the engine. Owns the socket to its
//! end.

use std::future::poll_fn;
use std::time::Duration;

use abi::invocation_id::InvocationId;
use abi::message::{Awaits, ToEngine};
use abi::problem::{Problem, Reply};
use tls::linger;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::wire::SharedWire;
use super::{Connections, Open};
use crate::edge::websocket::Accepted;

/// The time limit for sending an error to a client.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(1);

/// How a connection ends.
pub(super) enum End {
    /// With a FIN. `unread` says that the client may still be sending.
    Close { unread: bool },
    /// At once, so that the reply looks cut.
    Cut,
    /// With an error of the node's own; nothing more can be read after it.
    Refuse(Problem, Reply),
    /// Not at all: the connection goes back to the engine.
    GiveBack(Awaits),
    /// Not at all: it is a WebSocket connection now. The head is still to be sent.
    Changed { accepted: Box<Accepted>, head: Vec<u8> },
}

/// Ends a connection. `open` counts it until then.
pub(super) async fn finish(connections: &Connections, wire: SharedWire, end: End, open: Open) {
    let (mut socket, read, origin) = match wire.into_inner() {
        Ok(wire) => wire.into_parts(),
        Err(shared) => {
            // A guest that has replied goes on, and may still read its request. The client sees the
            // end now; the socket is closed with the guest.
            let _ = poll_fn(|cx| shared.lock().poll_shutdown(cx)).await;
            return;
        }
    };
    match end {
        End::Cut => {}
        End::Close { unread } => close(socket, unread || !read.is_empty()).await,
        End::Refuse(problem, asked) => {
            connections.counters.count_refused(problem.status);
            let reply = problem.reply(InvocationId::new(), asked);
            // The reply fits the socket's buffer unless the client reads nothing; then it gets
            // nothing.
            let _ = timeout(REFUSED_TIMEOUT, socket.write_all(&reply)).await;
            close(socket, true).await;
        }
        End::Changed { accepted, head } => {
            let write_timeout = connections.pipeline.write_timeout();
            accepted.start(socket, read, head, write_timeout, open);
        }
        End::GiveBack(awaits) => {
            connections.counters.row().returns.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            match socket.into_std() {
                Ok(socket) => {
                    let read = read.to_vec();
                    connections
                        .outbox
                        .send(ToEngine::Return { read, awaits, origin }, Some(socket.into()));
                }
                Err(error) => tracing::error!("a connection could not be given back: {error}"),
            }
        }
    }
}

/// Ends the stream. Closing a socket with unread bytes would reset it, and the client could lose
/// the reply (RFC 9112 9.6), so bytes are read on first, within limits.
async fn close(mut socket: TcpStream, unread: bool) {
    match unread {
        true => linger::end(socket).await,
        false => drop(socket.shutdown().await),
    }
}
