//! A client's connection, from the engine's hand-off to its end.
//!
//! [`take`] makes the received fd a socket and gives it a task: [`next`] waits for a request and decides whose it is,
//! [`service`] has it answered, [`send`] sends the answer, and so on until the connection [ends](end). No byte behind a
//! request is looked at before its reply has left, so the socket can go back to the engine between any two requests with every
//! byte that was read and not used. The task owns the socket.

mod access;
mod account;
mod chunked;
mod client;
mod encode;
mod end;
mod incoming;
mod message;
mod next;
pub(crate) mod origin;
mod redirect;
pub(crate) mod request_body;
mod send;
pub(crate) mod send_batch;
mod service;
mod wire;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use abi::board::{Places, now_us};
use abi::limits::{LINGER_SILENT_TIMEOUT, LINGER_TIMEOUT, UNREAD_BODY_BYTES_MAX};
use abi::message::{Awaits, Ending};
use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::time::timeout;

use self::account::{Account, Arrived, Moved, Sent};
use self::client::Client;
use self::end::End;
use self::incoming::Continue;
use self::next::{Next, Waiting};
use self::origin::Origin;
use self::service::{Routed, answer};
use self::wire::{Peer, SharedWire, Wire};
use crate::worker::Worker;

/// Who a request is from, and the node's end of its connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) client: Origin,
    pub(crate) local: SocketAddr,
}

/// Takes over a client's socket, with the bytes that others have read from it already. `accepted_at_us` is when it was accepted,
/// or 0 when that tells nothing of how long its hop took.
pub(crate) fn take(worker: &Rc<Worker>, fd: OwnedFd, read: Vec<u8>, awaits: Awaits, accepted_at_us: u64) {
    let arrived = (accepted_at_us > 0).then(|| Arrived { accepted_us: accepted_at_us, received_us: now_us() });
    let socket = std::net::TcpStream::from(fd);
    let peer = socket.peer_addr();
    let open = worker.connection_taken(peer.as_ref().ok().map(SocketAddr::ip));
    // A socket without a peer is one whose client has gone.
    let Ok(peer) = peer else { return };
    let socket = socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket));
    match socket {
        Ok(socket) => {
            let worker = Rc::clone(worker);
            tokio::task::spawn_local(async move {
                serve(worker, (socket, peer), BytesMut::from(&read[..]), awaits, arrived, open.client()).await;
                drop(open);
            });
        }
        Err(error) => tracing::error!("a connection is lost: its socket cannot be watched: {error}"),
    }
}

async fn serve(
    worker: Rc<Worker>,
    (socket, peer): (TcpStream, SocketAddr),
    read: BytesMut,
    awaits: Awaits,
    mut arrived: Option<Arrived>,
    address: Option<Places>,
) {
    let wire = SharedWire::new(Wire::new(socket, Peer::new(peer), read, worker.write_timeout()));
    let mut connection = Connection { wire, client: Client::default(), address };
    let end = {
        let mut drain = pin!(worker.drain_begun());
        let mut waiting = Waiting::new(awaits);
        loop {
            match poll_fn(|cx| waiting.poll(cx, &worker, &connection.wire, drain.as_mut())).await {
                Next::Request(routed) => {
                    let arrived = arrived.take();
                    arrived.into_iter().for_each(|arrived| worker.count_hop(arrived.accepted_us));
                    // The setting may have changed since the last one.
                    connection.wire.lock().set_write_timeout(worker.write_timeout());
                    let exchanged = connection.exchange(&worker, *routed, arrived).await;
                    connection.client.request_over();
                    if let Err(end) = exchanged {
                        break end;
                    }
                }
                Next::End(end) => break end,
            }
            waiting.again();
        }
    };
    end::finish(&worker, connection.wire, end).await;
}

struct Connection {
    wire: SharedWire,
    client: Client,
    /// Where the client's address is counted.
    address: Option<Places>,
}

impl Connection {
    /// Has a request answered and its reply sent. `Ok` when the connection may serve another.
    async fn exchange(&mut self, worker: &Rc<Worker>, routed: Routed, arrived: Option<Arrived>) -> Result<(), End> {
        let account = Account::open(worker, &routed, arrived);
        account.facts.client.set(self.client_of(worker, &routed.origin));
        let mut asked = routed.asked();
        let reply = {
            let wire = self.wire.clone();
            let mut answer = pin!(answer(worker, routed, &wire, &account));
            let client = &mut self.client;
            poll_fn(|cx| {
                if let Poll::Ready(reply) = answer.as_mut().poll(cx) {
                    return Poll::Ready(Some(reply));
                }
                let mut wire = wire.lock();
                if poll_continue(cx, &mut wire).is_pending() || client.poll_gone(cx, &mut wire).is_pending() {
                    return Poll::Pending;
                }
                Poll::Ready(None)
            })
            .await
        };
        let Some(reply) = reply else {
            account.close(worker, Sent::Nothing, self.moved());
            return Err(End::Close { unread: false });
        };
        // A guest may have begun its reply before it asked for the body: the client is told before it sees the reply.
        poll_fn(|cx| poll_continue(cx, &mut self.wire.lock())).await;
        {
            let mut wire = self.wire.lock();
            let Wire { incoming, buffer, .. } = &mut *wire;
            // A client that was never told to send its body may send it or not: what follows cannot be told from it.
            asked.keep_alive &= incoming.continues != Continue::Awaited && incoming.can_be_passed(buffer);
        }
        asked.keep_alive &= worker.draining() != Some(Ending::Close);
        let status = reply.status().as_u16();
        let sent = self.send(worker, reply, asked, account.id).await;
        let told = if sent.is_ok() { Sent::Whole(status) } else { Sent::Cut(status) };
        account.close(worker, told, self.moved());
        worker.spent.unmake();
        let kept = sent?;
        if !kept {
            return Err(End::Close { unread: !self.wire.lock().incoming.is_done() });
        }
        self.rest_of_body().await
    }

    /// Whom a request counts for: its connection's address, or the client's that a trusted proxy has named.
    fn client_of(&self, worker: &Worker, origin: &Origin) -> Option<Places> {
        match origin.address == self.wire.lock().peer.address.ip().to_canonical() {
            true => self.address,
            false => Some(Places::of(origin.address, worker.settings.borrow().address_seed)),
        }
    }

    /// What the request and its reply have moved.
    fn moved(&self) -> Moved {
        let mut wire = self.wire.lock();
        Moved { received_bytes: wire.incoming.taken_bytes(), sent_bytes: wire.outgoing.take_sent_bytes() }
    }

    /// Reads away what the guest has left of the request's body, so that the next request comes after it.
    async fn rest_of_body(&mut self) -> Result<(), End> {
        poll_fn(|cx| self.wire.lock().poll_released(cx)).await;
        if self.wire.lock().incoming.is_done() {
            return Ok(());
        }
        let read_away = async {
            let mut bytes = 0;
            while bytes <= UNREAD_BODY_BYTES_MAX {
                let piece = poll_fn(|cx| self.wire.lock().poll_body(cx));
                match timeout(LINGER_SILENT_TIMEOUT, piece).await {
                    Ok(Some(Ok(frame))) => bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
                    Ok(None) => return Ok(()),
                    Ok(Some(Err(_))) | Err(_) => break,
                }
            }
            Err(End::Close { unread: true })
        };
        timeout(LINGER_TIMEOUT, read_away).await.unwrap_or(Err(End::Close { unread: true }))
    }
}

/// Tells a client to send its body, once somebody asks for it (RFC 9110 10.1.1). Resolves when there is nothing to tell; a
/// client that cannot be told is found gone by others.
fn poll_continue(cx: &mut Context<'_>, wire: &mut Wire) -> Poll<()> {
    if wire.incoming.continues == Continue::Wanted {
        wire.incoming.continues = Continue::Settled;
        wire.outgoing.own.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    if wire.outgoing.is_empty() {
        return Poll::Ready(());
    }
    wire.poll_send(cx).map(drop)
}
