//! The edge: the process that ends clients' TLS connections. It runs no functions.
//!
//! It is started as a worker is, and the engine's first message makes it one or the other. It gets
//! clients' sockets and sends plaintext ends back; [`tls`] does what is between. All that it ever
//! opens it has before the first connection, and then it [confines](sandbox::confine) itself. Owns
//! the channel, and by its tasks the sockets.

mod counts;
mod detach;

use std::future::pending;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use abi::board::Board;
use abi::certificates::Certificates;
use abi::channel::{ReceiveError, Received};
use abi::huge_pages::{self, Pages};
use abi::message::{Awaits, Ending, Settings, ToEngine, ToWorker};
use abi::origin::Origin;
use anyhow::{Context as _, bail};
use tls::{Configs, Connections, Timeouts};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use self::counts::Counts;
use crate::counters::BEAT_INTERVAL;
use crate::link::{Inbox, Outbox};
use crate::log;

/// What an edge is started with.
pub(crate) struct Parts {
    pub(crate) row: usize,
    pub(crate) settings: Settings,
    pub(crate) board: Board,
}

/// A running edge.
struct Edge {
    connections: Rc<Connections>,
    counts: Rc<Counts>,
    outbox: Outbox<ToEngine>,
    drain: Option<Drain>,
}

/// What the engine wants of an edge that it has no more use for.
#[derive(Debug, Clone, Copy)]
struct Drain {
    ending: Ending,
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
        let Edge { connections, counts, outbox, .. } = edge;
        detach::detach(inbox, outbox, &counts).await;
        connections.none_open().await;
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
                tracing::debug!("the node's new settings are taken over");
            }
            (ToWorker::Drain { ending, deadline_ms }, None) => {
                let deadline = Instant::now() + Duration::from_millis(u64::from(deadline_ms));
                self.drain = Some(Drain { ending, deadline });
                self.outbox.send(ToEngine::Draining, None);
            }
            (other, _) => bail!("the engine sent {other:?} to an edge"),
        }
        Ok(())
    }

    /// Takes over a client's socket, with the bytes that were already read from it. `origin` says
    /// where it comes from, if the socket does not.
    fn take(&self, fd: OwnedFd, read: Vec<u8>, origin: Option<Origin>) {
        let socket = std::net::TcpStream::from(fd);
        let origin = match origin {
            Some(origin) => Some(Origin { https: true, ..origin }),
            None => tls::origin(&socket),
        };
        let counted = self.counts.count();
        // A socket without a peer has lost its client.
        let Some(origin) = origin else { return };
        let address = self.counts.count_address(origin);
        let outbox = self.outbox.clone();
        let hand_over = move |end| {
            drop(address);
            let message =
                ToEngine::Return { read: Vec::new(), awaits: Awaits::First, origin: Some(origin) };
            outbox.send(message, Some(end));
        };
        if let Err(error) = self.connections.take(socket, read, hand_over, counted) {
            tracing::error!("a connection is lost: its socket cannot be watched: {error}");
        }
    }

    /// Resolves when nothing is left to wait for after a drain has begun, or when its deadline has
    /// come. Never does while there is no drain.
    async fn drained(&self) {
        let Some(Drain { ending, deadline }) = self.drain else { return pending().await };
        let over = async {
            match ending {
                Ending::Close => self.connections.none_open().await,
                Ending::GiveBack => self.connections.no_handshakes().await,
            }
        };
        if timeout_at(deadline, over).await.is_err() {
            let (open, handshakes) = (self.connections.open(), self.connections.handshakes());
            tracing::warn!(open, handshakes, "drain deadline: TLS connections are cut off");
            self.connections.abort_handshakes();
        }
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
