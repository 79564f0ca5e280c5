//! A client's connection, from the engine's hand-off to its end.
//!
//! [`Connections::take`] turns the received fd into a socket and gives it a task: [`next`] waits
//! for a request and decides whose it is, [`crate::serve`] answers it, [`send`] sends the answer,
//! and so on until the connection [ends](end). No byte behind a request is looked at before its
//! reply has left. So between any two requests the socket can go back to the engine with every byte
//! that was read and not used. The task owns the socket.

mod chunked;
mod client;
pub(super) mod encode;
mod end;
pub(super) mod forwarded;
mod incoming;
pub(super) mod message;
mod next;
mod request_body;
pub(super) mod secure;
mod send;
mod send_batch;
pub(super) mod wire;

use std::cell::Cell;
use std::future::poll_fn;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use abi::board::{Places, now_us};
use abi::invocation_id::InvocationId;
use abi::limits::{LINGER_SILENT_TIMEOUT, LINGER_TIMEOUT, UNREAD_BODY_BYTES_MAX};
use abi::message::{Awaits, Ending, ToEngine};
use abi::origin::Origin;
use abi::outcome::ReplyEnd;
use bytes::BytesMut;
use http::{HeaderMap, StatusCode};
use tokio::net::TcpStream;
use tokio::time::timeout;

use self::client::ClientWatch;
use self::encode::{Asked, Framing};
use self::end::End;
use self::incoming::Continue;
use self::next::{Next, Parsed, Waiting};
use self::request_body::OnWire;
pub(crate) use self::send_batch::SendBatch;
use self::wire::{Peer, SharedWire, Wire};
use crate::counters::Counters;
use crate::drain::Drain;
use crate::edge::websocket::{self, Opening};
use crate::link::Outbox;
use crate::origin::Client;
use crate::serve::{Account, Arrived, Destination, Moved, Pipeline, ReplyBody, problem_response};

/// The connections of a worker, and what they share.
pub(crate) struct Connections {
    pipeline: Rc<Pipeline>,
    counters: Rc<Counters>,
    drain: Rc<Drain>,
    outbox: Outbox<ToEngine>,
    send_batch: Rc<SendBatch>,
    websockets: Rc<websocket::Shared>,
    open: Cell<u32>,
    /// The value of the header Date (RFC 9110 6.6.1), as of the last beat.
    date: Cell<[u8; 29]>,
}

impl Connections {
    pub(crate) fn new(
        pipeline: Rc<Pipeline>,
        counters: Rc<Counters>,
        drain: Rc<Drain>,
        outbox: Outbox<ToEngine>,
        send_batch: Rc<SendBatch>,
    ) -> Rc<Self> {
        let (open, date) = (Cell::new(0), Cell::new(date()));
        let websockets = websocket::Shared::new(Rc::clone(&pipeline), Rc::clone(&drain));
        Rc::new(Self { pipeline, counters, drain, outbox, send_batch, websockets, open, date })
    }

    /// Returns the number of open connections.
    pub(crate) fn open(&self) -> u32 {
        self.open.get()
    }

    /// Updates the value of the header Date.
    pub(crate) fn beat(&self) {
        self.date.set(date());
    }

    /// Sends batches of replies. Never returns.
    pub(crate) async fn send_batches(&self) {
        self.send_batch.run().await;
    }

    /// Takes over a client's socket, with the bytes that were already read from it.
    /// `accepted_at_us` is when it was accepted, or 0 if that says nothing about the duration of
    /// its hop. `origin` says where it comes from, if the socket does not.
    pub(crate) fn take(
        self: &Rc<Self>,
        fd: OwnedFd,
        read: Vec<u8>,
        awaits: Awaits,
        accepted_at_us: u64,
        origin: Option<Origin>,
    ) {
        let arrived = (accepted_at_us > 0)
            .then(|| Arrived { accepted_us: accepted_at_us, received_us: now_us() });
        // This is also right for one end of a pair of the node's own: the calls are the same for
        // every stream socket.
        let socket = std::net::TcpStream::from(fd);
        let peer = origin.map_or_else(|| peer(&socket), |origin| Some(Client::of(origin)));
        // Whoever may open the node's Unix socket speaks for many clients: it is a trusted proxy,
        // and none of them by itself. What the control API passes on is the node's own.
        let is_of_the_node = peer == Some(Client::NODE);
        let is_trusted = is_of_the_node && matches!(awaits, Awaits::First | Awaits::Next);
        let open = self.count(peer.map(|peer| peer.address).filter(|_| !is_of_the_node));
        // A socket without a peer has lost its client.
        let Some(peer) = peer else { return };
        let socket = socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket));
        match socket {
            Ok(socket) => {
                let connections = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    let read = BytesMut::from(&read[..]);
                    let wire = Wire::new(
                        socket,
                        Peer { is_trusted, ..Peer::new(peer, origin) },
                        read,
                        connections.pipeline.write_timeout(),
                    );
                    serve(connections, wire, awaits, arrived, open).await;
                });
            }
            Err(error) => {
                tracing::error!("a connection is lost: its socket cannot be watched: {error}")
            }
        }
    }

    /// Returns what answers requests.
    pub(super) fn pipeline(&self) -> &Rc<Pipeline> {
        &self.pipeline
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) fn drain(&self) -> &Drain {
        &self.drain
    }

    pub(super) fn outbox(&self) -> &Outbox<ToEngine> {
        &self.outbox
    }

    /// Returns what the WebSocket connections share.
    pub(super) fn websockets(&self) -> &Rc<websocket::Shared> {
        &self.websockets
    }

    /// Returns the value of the header Date.
    pub(super) fn date(&self) -> [u8; 29] {
        self.date.get()
    }

    /// Counts a connection until the guard is dropped.
    pub(super) fn count(self: &Rc<Self>, peer: Option<IpAddr>) -> Open {
        self.counters.row().connections_taken.fetch_add(1, Relaxed);
        self.open.set(self.open.get() + 1);
        let places = peer.map(|peer| Places::of(peer, self.pipeline.settings().address_seed));
        if let (Some(addresses), Some(places)) = (self.counters.addresses(), places) {
            addresses.add(places);
        }
        Open { connections: Rc::clone(self), places }
    }
}

/// Returns the peer of a client's socket. Returns `None` if it has gone.
fn peer(socket: &std::net::TcpStream) -> Option<Client> {
    let peer = match socket.peer_addr() {
        Ok(peer) => peer,
        // The kernel has returned an address that is not TCP's: this is one end of a pair of the
        // node's own, and it does not matter who has passed it on.
        Err(error) if error.raw_os_error().is_none() => return Some(Client::NODE),
        Err(_) => return None,
    };
    Some(Client { address: peer.ip().to_canonical(), port: Some(peer.port()), https: false })
}

fn date() -> [u8; 29] {
    let text = httpdate::fmt_http_date(std::time::SystemTime::now());
    text.as_bytes().try_into().unwrap_or(*b"Thu, 01 Jan 1970 00:00:00 GMT")
}

/// The guard of a counted connection.
pub(super) struct Open {
    connections: Rc<Connections>,
    /// Where its client's address is counted.
    places: Option<Places>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let Connections { counters, open, drain, .. } = &*self.connections;
        counters.row().connections_done.fetch_add(1, Relaxed);
        if let (Some(addresses), Some(places)) = (counters.addresses(), self.places) {
            addresses.remove(places);
        }
        open.set(open.get() - 1);
        drain.one_ended();
    }
}

async fn serve(
    connections: Rc<Connections>,
    wire: Wire,
    awaits: Awaits,
    mut arrived: Option<Arrived>,
    open: Open,
) {
    let (peer, places) = (wire.peer.client.address, open.places);
    let mut connection =
        Connection { wire: SharedWire::new(wire), client: ClientWatch::default(), peer, places };
    let end = {
        let mut drain = pin!(connections.drain.begun());
        let mut waiting = Waiting::new(awaits);
        loop {
            match poll_fn(|cx| waiting.poll(cx, &connections, &connection.wire, drain.as_mut()))
                .await
            {
                Next::Request(parsed) => {
                    let arrived = arrived.take();
                    if let Some(arrived) = arrived {
                        connections.counters.count_hop(arrived.accepted_us);
                    }
                    let exchanged = connection.exchange(&connections, parsed, arrived).await;
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
    end::finish(&connections, connection.wire, end, open).await;
}

struct Connection {
    wire: SharedWire,
    client: ClientWatch,
    /// The address of the socket's other end.
    peer: IpAddr,
    /// Where that address is counted.
    places: Option<Places>,
}

impl Connection {
    /// Has a request answered, and sends its reply. Returns `Ok` if the connection may serve
    /// another request.
    async fn exchange(
        &mut self,
        connections: &Connections,
        parsed: Parsed,
        arrived: Option<Arrived>,
    ) -> Result<(), End> {
        let pipeline = &connections.pipeline;
        let Parsed { mut exchange, mut asked, framing, handshake } = parsed;
        exchange.arrived = arrived;
        exchange.client_places = self.places_of(pipeline, exchange.client.address);
        let opening = handshake.and_then(|handshake| {
            let local = self.wire.lock().local_address();
            let opening = Opening::new(&connections.websockets, handshake, &mut exchange, local);
            opening.map_err(|why| exchange.destination = Destination::Problem(why)).ok()
        });
        let account = Account::open(pipeline, &exchange);
        let reply = {
            let wire = self.wire.clone();
            let source = OnWire { wire: &wire, framing };
            let mut answer = pin!(pipeline.answer(exchange, &source, &account));
            let client = &mut self.client;
            poll_fn(|cx| {
                if let Poll::Ready(reply) = answer.as_mut().poll(cx) {
                    return Poll::Ready(Some(reply));
                }
                // The guest waits for something. It may be the body, for which the client may wait
                // to be asked.
                let mut wire = wire.lock();
                if poll_continue(cx, &mut wire).is_pending()
                    || client.poll_gone(cx, &mut wire).is_pending()
                {
                    return Poll::Pending;
                }
                Poll::Ready(None)
            })
            .await
        };
        let Some(reply) = reply else {
            account.close(pipeline, ReplyEnd::None, self.moved());
            return Err(End::Close { unread: false });
        };
        let reply = match opening {
            Some(opening) if reply.status().is_success() => {
                // In a box, as every request has room for what it waits for.
                match Box::pin(opening.accept(reply, account.id)).await {
                    Ok((headers, accepted, sent_bytes)) => {
                        let head = self.changing(connections, &headers, asked, account.id);
                        let outcome = ReplyEnd::Whole(StatusCode::SWITCHING_PROTOCOLS.as_u16());
                        account.close(pipeline, outcome, Moved { received_bytes: 0, sent_bytes });
                        pipeline.drop_retired();
                        return Err(End::Changed { accepted, head });
                    }
                    Err(problem) => problem_response(&problem, account.id).map(ReplyBody::Whole),
                }
            }
            _ => reply,
        };
        // A guest may have begun its reply before it asked for the body. The client must get the
        // interim reply first.
        asked.keep_alive &= poll_fn(|cx| {
            let mut wire = self.wire.lock();
            ready!(poll_continue(cx, &mut wire));
            let Wire { incoming, buffer, .. } = &mut *wire;
            // A client that waits for 100 (Continue) and never got it may send its body or not.
            // Nothing behind the head can be trusted to be the next request.
            // A change of the protocol that was asked for is answered below.
            let kept = incoming.is_asking()
                || incoming.continues != Continue::Expected && incoming.can_be_passed(buffer);
            Poll::Ready(kept)
        })
        .await;
        asked.keep_alive &= connections.drain.ending() != Some(Ending::Close);
        let changes = reply.status() == StatusCode::SWITCHING_PROTOCOLS;
        self.wire.lock().answer_upgrade(changes);
        let status = reply.status().as_u16();
        let sent = self.send(connections, reply, asked, account.id).await;
        let outcome = if sent.is_ok() { ReplyEnd::Whole(status) } else { ReplyEnd::Cut(status) };
        account.close(pipeline, outcome, self.moved());
        // The reply has left, so dropping the instance delays nobody.
        pipeline.drop_retired();
        let kept = sent?;
        if !kept {
            return Err(End::Close { unread: !self.wire.lock().incoming.is_done() });
        }
        self.rest_of_body().await
    }

    /// Returns the head of the reply by which the connection becomes a WebSocket connection.
    fn changing(
        &self,
        connections: &Connections,
        headers: &HeaderMap,
        asked: Asked,
        id: InvocationId,
    ) -> Vec<u8> {
        let (mut head, status) = (Vec::new(), StatusCode::SWITCHING_PROTOCOLS);
        let (framing, date) = (Framing::Changed, connections.date.get());
        encode::head(&mut head, asked, status, headers, framing, &id.text(), &date);
        head
    }

    /// Returns the places of a request's client: those of the connection's address, or of the
    /// client that a trusted proxy has named.
    fn places_of(&self, pipeline: &Pipeline, client: IpAddr) -> Option<Places> {
        if client == self.peer {
            return self.places;
        }
        Some(Places::of(client, pipeline.settings().address_seed))
    }

    /// Returns the sizes of the request's body and of the reply.
    fn moved(&self) -> Moved {
        let mut wire = self.wire.lock();
        Moved {
            received_bytes: wire.incoming.taken_bytes(),
            sent_bytes: wire.outgoing.take_sent_bytes(),
        }
    }

    /// Reads and discards the rest of the request's body, so that the next request follows.
    async fn rest_of_body(&mut self) -> Result<(), End> {
        let is_done = poll_fn(|cx| {
            let mut wire = self.wire.lock();
            wire.poll_released(cx).map(|()| wire.incoming.is_done())
        });
        if is_done.await {
            return Ok(());
        }
        let read_away = async {
            let mut bytes = 0;
            while bytes <= UNREAD_BODY_BYTES_MAX {
                let piece = poll_fn(|cx| self.wire.lock().poll_body(cx));
                match timeout(LINGER_SILENT_TIMEOUT, piece).await {
                    Ok(Some(Ok(frame))) => {
                        bytes += frame.data_ref().map_or(0, |data| data.len() as u64)
                    }
                    Ok(None) => return Ok(()),
                    Ok(Some(Err(_))) | Err(_) => break,
                }
            }
            Err(End::Close { unread: true })
        };
        timeout(LINGER_TIMEOUT, read_away).await.unwrap_or(Err(End::Close { unread: true }))
    }
}

/// Sends 100 (Continue) once somebody asks for the body (RFC 9110 10.1.1). Resolves when nothing is
/// left to send. An error is ignored here: whatever uses the socket next runs into it.
fn poll_continue(cx: &mut Context<'_>, wire: &mut Wire) -> Poll<()> {
    if wire.incoming.continues == Continue::Requested {
        wire.incoming.continues = Continue::Settled;
        wire.outgoing.own.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    if wire.outgoing.is_empty() {
        return Poll::Ready(());
    }
    wire.poll_send(cx).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_client_is_told_from_the_node_itself_and_from_one_that_has_gone() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert_eq!(peer(&OwnedFd::from(ours).into()), Some(Client::NODE));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let port = Some(client.local_addr().unwrap().port());
        let found = Client { address: address.ip(), port, https: false };
        assert_eq!(peer(&accepted), Some(found));
        let without_a_peer = std::net::TcpStream::from(OwnedFd::from(listener));
        assert_eq!(peer(&without_a_peer), None);
    }
}
