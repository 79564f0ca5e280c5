//! A client's connection, from the engine's hand-off to its end.
//!
//! [`take`] makes the received fd a socket and gives it a task. The [`gate`] under hyper decides message by message what
//! hyper gets to see; [`service`] runs what it sees. The task owns the socket, and at the end closes it, or
//! sends it back to the engine with every byte that was read and not used.

mod chunked;
mod exchange;
mod gate;
pub(crate) mod request_body;
mod service;

use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use abi::invocation_id::InvocationId;
use abi::message::ToEngine;
use abi::problem::Problem;
use bytes::BytesMut;
use hyper::server::conn::http1;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use self::exchange::Exchange;
use self::gate::{Gate, Outcome};
use crate::worker::Worker;

/// What hyper may hold of one message: a whole head and a piece of its body.
const HYPER_BUFFER_BYTES: usize = abi::limits::HEAD_BYTES_MAX + 32 * 1024;
/// How long a refused client may go on sending before the connection is closed on it.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// How much of what it sends is read and thrown away meanwhile.
const LINGER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Takes over a client's socket, with the bytes that others have read from it already.
pub(crate) fn take(worker: &Rc<Worker>, fd: OwnedFd, read: Vec<u8>) {
    let open = worker.connection_taken();
    let socket = std::net::TcpStream::from(fd);
    let socket = socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket));
    match socket {
        Ok(socket) => {
            let worker = Rc::clone(worker);
            tokio::task::spawn_local(async move {
                serve(worker, socket, BytesMut::from(&read[..])).await;
                drop(open);
            });
        }
        Err(error) => tracing::error!("a connection is lost: its socket cannot be watched: {error}"),
    }
}

async fn serve(worker: Rc<Worker>, socket: TcpStream, read: BytesMut) {
    let exchange = Rc::new(Exchange::default());
    let gate = Gate::new(Rc::clone(&worker), Rc::clone(&exchange), socket, read);
    let service = service::Service { worker: Rc::clone(&worker), exchange };
    let mut builder = http1::Builder::new();
    // Deadlines for heads are the gate's: it sees them first.
    builder.header_read_timeout(None).max_buf_size(HYPER_BUFFER_BYTES);
    let mut connection = builder.serve_connection(gate, service);
    let mut drain = std::pin::pin!(worker.drain_begun());
    let mut told_to_drain = false;
    let ended = poll_fn(|cx| {
        // The connection first: one that came with its request is answered even while the worker drains.
        let ended = connection.poll_without_shutdown(cx);
        if ended.is_ready() || told_to_drain || drain.as_mut().poll(cx).is_pending() {
            return ended;
        }
        told_to_drain = true;
        Pin::new(&mut connection).graceful_shutdown();
        connection.poll_without_shutdown(cx)
    })
    .await;
    if let Err(error) = &ended {
        tracing::debug!("connection ended early: {error}");
    }
    finish(&worker, connection.into_parts().io).await;
}

/// Ends a connection the way its gate decided.
async fn finish(worker: &Worker, gate: Gate) {
    let (mut socket, read, outcome) = gate.into_parts();
    match outcome {
        Outcome::GiveBack => give_back(worker, socket, &read),
        Outcome::Refuse(problem) => {
            refuse(&mut socket, &problem).await;
            close(socket, true).await;
        }
        Outcome::Close { unread } => close(socket, unread).await,
    }
}

fn give_back(worker: &Worker, socket: TcpStream, read: &BytesMut) {
    worker.row().returns.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    match socket.into_std() {
        Ok(socket) => worker.outbox.send(ToEngine::Return { read: read.to_vec() }, Some(socket.into())),
        Err(error) => tracing::error!("a connection could not be given back: {error}"),
    }
}

async fn refuse(socket: &mut TcpStream, problem: &Problem) {
    let reply = problem.reply(InvocationId::new());
    // It fits the socket's buffer unless the client takes nothing; then it gets nothing.
    let _ = tokio::time::timeout(LINGER_TIMEOUT, socket.write_all(&reply)).await;
}

/// Ends the stream. With bytes unread, closing would reset it and the client could lose the reply (RFC 9112 9.6): read
/// on for a moment first.
async fn close(mut socket: TcpStream, unread: bool) {
    let _ = socket.shutdown().await;
    if !unread {
        return;
    }
    let drained = async {
        let mut scrap = BytesMut::with_capacity(16 * 1024);
        let mut total = 0;
        while socket.readable().await.is_ok() && total < LINGER_BYTES_MAX {
            scrap.clear();
            match socket.try_read_buf(&mut scrap) {
                Ok(0) => return,
                Ok(read) => total += read,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_TIMEOUT, drained).await;
}
