//! Legs, in a worker: connections of HTTP/2 from the node's edges. Each has a task, which owns the
//! socket.
//!
//! The head that comes first says for which function the leg was made. If another worker runs it,
//! the leg goes back to the engine before anything is said. A stream for such a function is reset
//! with REFUSED_STREAM.

mod duplex;
mod exchange;
mod extended_connect;
mod reply;
mod request_body;

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use abi::board::Places;
use abi::head::{Parsed, parse};
use abi::message::{Awaits, Ending, ToEngine};
use abi::origin::Origin;
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{LEG_FRAME_BYTES_MAX, LEG_STREAM_WINDOW_BYTES, LEG_WINDOW_BYTES, STREAMS_MAX};
use crate::edge::h1::Connections;
use crate::edge::h1::wire::Peer;
use crate::origin::{Client, NODE_ADDRESS};

/// Streams that may be reset before this process has looked at them, which it does between what its
/// guests compute. The edge counts what its client resets.
const UNSEEN_RESETS_MAX: usize = 8 * STREAMS_MAX as usize;

/// What the streams of a leg have in common.
struct Leg {
    connections: Rc<Connections>,
    origin: Origin,
    peer: Peer,
    /// Where its address is counted.
    places: Option<Places>,
}

/// What becomes of a leg.
enum Fate {
    Serve,
    GiveBack,
    Close,
}

/// Takes over a leg, with the bytes that were already read from it.
pub(crate) fn take(connections: &Rc<Connections>, fd: OwnedFd, read: &[u8], origin: Origin) {
    // Both are the node's own where a Unix socket has none. Whoever may open that is believed.
    let is_trusted = origin.client == NODE_ADDRESS && origin.local == NODE_ADDRESS;
    let peer = Peer { is_trusted, ..Peer::new(Client::of(origin), Some(origin)) };
    // The edge counts the client's address.
    let open = connections.count(None);
    // The calls are the same for every stream socket.
    let socket = std::net::TcpStream::from(fd);
    let socket = socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket));
    let socket = match socket {
        Ok(socket) => socket,
        Err(error) => {
            return tracing::error!("streams are lost: their socket cannot be watched: {error}");
        }
    };
    let seed = connections.pipeline().settings().address_seed;
    let places = (!is_trusted).then(|| Places::of(peer.client.address, seed));
    let leg = Leg { connections: Rc::clone(connections), origin, peer, places };
    let read = BytesMut::from(read);
    tokio::task::spawn_local(async move {
        serve(Rc::new(leg), socket, read).await;
        drop(open);
    });
}

async fn serve(leg: Rc<Leg>, mut socket: TcpStream, mut read: BytesMut) {
    let head_timeout = leg.connections.pipeline().head_timeout();
    let fate = timeout(head_timeout, fate(&leg.connections, &mut socket, &mut read)).await;
    match fate {
        Ok(Fate::Serve) => {}
        Ok(Fate::GiveBack) => return give_back(&leg, socket, read),
        Ok(Fate::Close) | Err(_) => return,
    }
    let handshake = h2::server::Builder::new()
        .initial_window_size(LEG_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(LEG_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .max_frame_size(LEG_FRAME_BYTES_MAX)
        .max_send_buffer_size(LEG_STREAM_WINDOW_BYTES as usize)
        .enable_connect_protocol()
        .max_pending_accept_reset_streams(UNSEEN_RESETS_MAX)
        .handshake::<_, Bytes>(socket);
    let mut connection = match timeout(head_timeout, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!("an edge's streams are refused: {error}"),
        Err(_) => return,
    };
    let drain = leg.connections.drain();
    let mut told = false;
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    tokio::task::spawn_local(exchange::run(Rc::clone(&leg), request, respond));
                }
                // The edge has gone, or its client.
                Some(Err(_)) | None => return,
            },
            () = drain.begun(), if !told => {
                told = true;
                connection.graceful_shutdown();
            }
        }
    }
}

/// Reads the head, and decides by it. `read` is empty behind a leg that is served.
async fn fate(connections: &Connections, socket: &mut TcpStream, read: &mut BytesMut) -> Fate {
    loop {
        if connections.drain().ending() == Some(Ending::GiveBack) {
            return Fate::GiveBack;
        }
        let length = match parse(read) {
            Ok(Parsed::Complete(head)) => {
                let pipeline = connections.pipeline();
                if pipeline.find(head.host, head.target, Awaits::Streams).is_none() {
                    return Fate::GiveBack;
                }
                head.length
            }
            Ok(Parsed::Partial) => match socket.read_buf(read).await {
                Ok(1..) => continue,
                Ok(0) | Err(_) => return Fate::Close,
            },
            Err(_) => return Fate::Close,
        };
        read.advance(length);
        // An edge waits for the preface before it says more.
        return if read.is_empty() { Fate::Serve } else { Fate::Close };
    }
}

fn give_back(leg: &Leg, socket: TcpStream, read: BytesMut) {
    leg.connections.counters().row().returns.fetch_add(1, Relaxed);
    let origin = Some(leg.origin);
    let message = ToEngine::Return { read: read.to_vec(), awaits: Awaits::Streams, origin };
    match socket.into_std() {
        Ok(socket) => leg.connections.outbox().send(message, Some(socket.into())),
        Err(error) => tracing::error!("streams could not be given back: {error}"),
    }
}
