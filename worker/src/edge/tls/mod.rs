//! The edge: the process that ends clients' TLS connections. It runs no functions.
//!
//! It is started as a worker is, and the engine's first message makes it one or the other. It gets
//! clients' sockets and sends plaintext ends back; [`tls`] does what is between. Connections of
//! HTTP/2 it serves itself ([`session`]). All that it ever
//! opens it has before the first connection, and then it [confines](sandbox::confine) itself. Owns
//! the channel, and by its tasks the sockets.

mod counts;
mod detach;

use std::future::pending;
use std::io::Cursor;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use abi::board::Board;
use abi::certificates::Certificates;
use abi::channel::{ReceiveError, Received};
use abi::head::is_http2;
use abi::huge_pages::{self, Pages};
use abi::message::{Awaits, Ending, Settings, ToEngine, ToWorker};
use abi::origin::Origin;
use anyhow::{Context as _, bail};
use tls::{Configs, Connections, Plaintext, Stream, Timeouts};
use tokio::io::{AsyncReadExt as _, join};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use self::counts::{CountedAddress, Counts};
use super::h2::session::{self, Sessions};
use crate::counters::BEAT_INTERVAL;
use crate::link::{Inbox, Outbox};
use crate::log;
use crate::origin::NODE_ADDRESS;

/// How long a drain waits for clients that have not sent a byte of a request: one that means well
/// is through its handshake in a few round trips.
const HANDSHAKES_TIMEOUT: Duration = Duration::from_secs(3);

/// What an edge is started with.
pub(crate) struct Parts {
    pub(crate) row: usize,
    pub(crate) settings: Settings,
    pub(crate) board: Board,
}

/// A running edge.
struct Edge {
    connections: Rc<Connections>,
    sessions: Rc<Sessions>,
    counts: Rc<Counts>,
    outbox: Outbox<ToEngine>,
    drain: Option<Drain>,
}

/// What the engine wants of an edge that it has no more use for.
#[derive(Debug, Clone, Copy)]
struct Drain {
    ending: Ending,
    begun: Instant,
    deadline: Instant,
}

/// Ends TLS connections until the engine is gone, or the edge has drained, or, detached from the
/// engine, has relayed to the end what it had.
///
/// # Errors
/// If the engine breaks the protocol, or the first certificates cannot be read.
pub(crate) async fn serve(
    mut inbox: Inbox<ToWorker>,
    outbox: Outbox<ToEngine>,
    parts: Parts,
    filter: &log::Filter,
) -> anyhow::Result<()> {
    let Parts { row, settings, board } = parts;
    detach::name_process();
    // Huge pages are for guests' memory, of which there is none.
    let _ = huge_pages::set(Pages::Small);
    let first = inbox.next().await.context("waiting for the certificates")?;
    let configs = match (first.message, first.fd) {
        (ToWorker::Certificates, Some(fd)) => configs(&fd).context("the first certificates")?,
        (other, _) => bail!("expected certificates from the engine, got {other:?}"),
    };
    let mut edge = Edge {
        connections: Connections::new(configs, timeouts(&settings)),
        sessions: Sessions::new(outbox.clone(), session_timeouts(&settings)),
        counts: Counts::new(board, row, settings.address_seed),
        outbox,
        drain: None,
    };
    log::own_stderr();
    confine();
    // An edge has no catalogue. This says that it is ready.
    edge.outbox.send(ToEngine::Applied { generation: 0 }, None);

    let mut beat = interval(BEAT_INTERVAL);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            // The inbox first: what the engine has sent before the end of a drain is still taken.
            biased;
            received = inbox.next() => match received {
                Ok(received) => edge.handle(filter, received)?,
                Err(error @ ReceiveError::FdLost) => tracing::error!("a connection is lost: {error}"),
                // The engine has gone, and nobody else can send more.
                Err(_) => return Ok(()),
            },
            _ = beat.tick() => edge.counts.beat(),
            () = edge.drained() => break,
        }
    }
    if edge.drain.is_some_and(|drain| drain.ending == Ending::GiveBack) {
        let Edge { connections, sessions, counts, outbox, .. } = edge;
        sessions.let_go();
        detach::detach(inbox, outbox, &counts).await;
        tokio::join!(connections.none_open(), sessions.none_open());
        tracing::debug!("the last connection of this edge has ended");
    } else {
        edge.outbox.flushed().await;
    }
    Ok(())
}

impl Edge {
    fn handle(&mut self, filter: &log::Filter, received: Received<ToWorker>) -> anyhow::Result<()> {
        match (received.message, received.fd) {
            (ToWorker::Connection { read, origin, .. }, Some(fd)) => self.take(fd, read, origin),
            (ToWorker::Certificates, Some(fd)) => match configs(&fd) {
                Ok(configs) => self.connections.set_configs(configs),
                Err(error) => tracing::error!("the certificates stay as they were: {error:#}"),
            },
            (ToWorker::Settings { settings }, None) => {
                filter.change(&settings.log_filter);
                self.connections.set_timeouts(timeouts(&settings));
                self.sessions.set_timeouts(session_timeouts(&settings));
                tracing::debug!("the node's new settings are taken over");
            }
            (ToWorker::Drain { ending, deadline_ms }, None) => {
                let begun = Instant::now();
                let deadline = begun + Duration::from_millis(u64::from(deadline_ms));
                self.drain = Some(Drain { ending, begun, deadline });
                self.sessions.drain();
                self.outbox.send(ToEngine::Draining, None);
            }
            (other, _) => bail!("the engine sent {other:?} to an edge"),
        }
        Ok(())
    }

    /// Takes over a client's socket, with the bytes that were already read from it. `origin` says
    /// where it comes from, if the socket does not.
    fn take(&self, fd: OwnedFd, read: Vec<u8>, origin: Option<Origin>) {
        let is_http2 = begins_with_http2(&fd, &read);
        let socket = std::net::TcpStream::from(fd);
        let counted = self.counts.count();
        // A socket without a peer has lost its client.
        let Some(origin) = origin.or_else(|| plain_origin(&socket)) else { return };
        let address = self.counts.count_address(origin);
        if is_http2 {
            let guards = (counted, address, self.counts.count_session());
            return serve_http2(&self.sessions, socket, read, origin, guards);
        }
        let origin = Origin { https: true, ..origin };
        let (outbox, sessions) = (self.outbox.clone(), Rc::clone(&self.sessions));
        let inside = Inside { origin, address, outbox, sessions, counts: Rc::clone(&self.counts) };
        if let Err(error) = self.connections.take(socket, read, inside, counted) {
            tracing::error!("a connection is lost: its socket cannot be watched: {error}");
        }
    }

    /// Resolves when nothing is left to wait for after a drain has begun, or when its deadline has
    /// come. Never does while there is no drain.
    async fn drained(&self) {
        let Some(Drain { ending, begun, deadline }) = self.drain else { return pending().await };
        let over = async {
            let shaken = self.connections.no_handshakes();
            if timeout_at(begun + HANDSHAKES_TIMEOUT, shaken).await.is_err() {
                self.connections.abort_handshakes();
            }
            if ending == Ending::Close {
                self.connections.none_open().await;
            }
            // Clients were told to open other connections. What they have asked for by then still
            // needs an engine.
            self.sessions.none_open().await;
        };
        if timeout_at(deadline, over).await.is_err() {
            let (open, handshakes) = (self.connections.open(), self.connections.handshakes());
            tracing::warn!(open, handshakes, "drain deadline: TLS connections are cut off");
            self.connections.abort_handshakes();
        }
    }
}

/// What becomes of what is inside of a client's TLS.
struct Inside {
    origin: Origin,
    /// Counts the client's address until a worker does.
    address: CountedAddress,
    outbox: Outbox<ToEngine>,
    sessions: Rc<Sessions>,
    counts: Rc<Counts>,
}

impl Plaintext for Inside {
    fn hand_over(self, end: OwnedFd) {
        let Self { origin, address, outbox, .. } = self;
        drop(address);
        let (read, awaits) = (Vec::new(), Awaits::First);
        outbox.send(ToEngine::Return { read, awaits, origin: Some(origin) }, Some(end));
    }

    async fn serve(self, stream: &mut Stream<'_>) {
        let _counted = self.counts.count_session();
        self.sessions.serve(stream, self.origin).await;
    }
}

/// Serves a client that speaks HTTP/2 on `socket`, or inside of TLS that has ended elsewhere.
fn serve_http2<G: 'static>(
    sessions: &Rc<Sessions>,
    socket: std::net::TcpStream,
    read: Vec<u8>,
    origin: Origin,
    guard: G,
) {
    // The calls are the same for every stream socket. One that sends small frames at once is only
    // a slower one if this fails.
    let _ = socket.set_nodelay(true);
    let socket = socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket));
    match socket {
        Ok(socket) if read.is_empty() => sessions.take(socket, origin, guard),
        Ok(socket) => {
            let (receiver, sender) = socket.into_split();
            let stream = join(Cursor::new(read).chain(receiver), sender);
            sessions.take(stream, origin, guard);
        }
        Err(error) => {
            tracing::error!("a connection is lost: its socket cannot be watched: {error}");
        }
    }
}

/// Returns where a connection without TLS comes from, if its socket says it. Whoever comes by a Unix
/// socket is on this machine. Returns `None` if the client has gone.
fn plain_origin(socket: &std::net::TcpStream) -> Option<Origin> {
    match socket.peer_addr() {
        Ok(_) => Some(Origin { https: false, ..tls::origin(socket)? }),
        // The kernel has returned an address that is not TCP's.
        Err(error) if error.raw_os_error().is_none() => {
            Some(Origin { client: NODE_ADDRESS, local: NODE_ADDRESS, https: false })
        }
        Err(_) => None,
    }
}

/// Returns whether the client speaks HTTP/2 without TLS around it, or within the TLS that has ended
/// already.
fn begins_with_http2(socket: &OwnedFd, read: &[u8]) -> bool {
    if !read.is_empty() {
        return is_http2(read);
    }
    let mut peeked = [0; 16];
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: the buffer is as long as it says, and outlives the call.
    let length =
        unsafe { libc::recv(socket.as_raw_fd(), peeked.as_mut_ptr().cast(), peeked.len(), flags) };
    usize::try_from(length).is_ok_and(|length| is_http2(&peeked[..length]))
}

fn session_timeouts(settings: &Settings) -> session::Timeouts {
    let millis = |millis: u32| Duration::from_millis(millis.into());
    session::Timeouts {
        preface: millis(settings.head_timeout_ms),
        idle: millis(settings.idle_timeout_ms),
        write: millis(settings.write_timeout_ms),
    }
}

fn timeouts(settings: &Settings) -> Timeouts {
    Timeouts {
        first_byte: Duration::from_millis(settings.head_timeout_ms.into()),
        write: Duration::from_millis(settings.write_timeout_ms.into()),
    }
}

/// Reads certificates, and says in the log which of them cannot be used.
fn configs(fd: &OwnedFd) -> anyhow::Result<Configs> {
    let (configs, refused) = Configs::new(&Certificates::read(fd)?);
    refused.iter().for_each(|error| tracing::error!("{error}"));
    Ok(configs)
}

/// Gives up what this process needs no more. A host that cannot confine it serves all the same: the
/// process has nothing open but its sockets.
fn confine() {
    match sandbox::confine() {
        Ok(by_landlock) => tracing::debug!(by_landlock, "this edge is confined"),
        Err(error) => tracing::warn!("the process that ends TLS is not confined: {error}"),
    }
}
