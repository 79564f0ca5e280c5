//! A shard: one pinned glommio executor that accepts connections, peeks at them, and sends them to
//! workers.
//!
//! It never waits for a client. A connection has gone to a worker or to the supervisor, or was
//! refused, before the shard accepts the next. Each shard owns its listeners, which other shards
//! may share. An accepted socket is an `OwnedFd` at once.

mod accept;
mod proxied;
mod refuse;

use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::board::{Places, now_us};
use abi::limits::PEEK_BYTES_MAX;
use abi::message::Awaits;
use abi::origin::Origin;
use abi::problem::Problem;
use abi::route::Caller;
use futures_util::AsyncReadExt as _;
use glommio::net::UnixStream as GlommioUnixStream;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use nix::sys::socket::{SockaddrStorage, getpeername};

use crate::core::admit::admit;
use crate::core::verdict::{Verdict, is_plain, tls_verdict, verdict};
use crate::dispatch::Shared;
use crate::dispatch::challenges::is_challenge;
use crate::dispatch::hop::{Connection, hop};
use crate::dispatch::parking::node_full;
use crate::dispatch::peek::{has_empty_line, peek};
use crate::metrics::Dispatcher;
use host::listen::{Listener, Listeners, Scheme, Spoken};

/// glommio's preemption timer, as good as off. It may fire before the first task has run, if the
/// kernel gave the core to another thread for so long. glommio 0.9's run loop takes that for
/// idleness and parks with a runnable task, and the shard sleeps until the next event. Tasks here
/// are short and wait often, so none needs to be preempted.
const PREEMPT_TIMER: Duration = Duration::from_secs(3600);
/// How long the shard sleeps at most, should glommio park like that for another reason.
const HEARTBEAT: Duration = Duration::from_millis(100);
/// Connections accepted in a row before other tasks of the shard get a turn. A full backlog would
/// keep them waiting.
const ACCEPTS_IN_A_ROW: u32 = 64;
/// The least memory that glommio registers for file I/O, of which a shard does none.
const IO_MEMORY_BYTES: usize = 64 << 10;
/// How long a shard pauses when the kernel has no fd or memory for another connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(20);
/// How often that is logged.
const EXHAUSTED_WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// A running shard.
#[derive(Debug)]
pub struct Shard {
    thread: ExecutorJoinHandle<()>,
    /// How the shard is controlled. A byte from it means that it runs, and a byte to it that it may
    /// accept. It stops when this end is closed, or at a second byte.
    control: UnixStream,
}

/// What a shard that stops does with connections that the kernel has accepted for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backlog {
    /// It takes them. Its listeners are closed next, which would reset them.
    Take,
    /// It leaves them to another process that has the same listeners.
    Leave,
}

/// Starts a shard on `core`. It accepts connections from [`Shard::accept`] on.
///
/// # Errors
/// Returns what glommio or the kernel refused.
pub fn start(core: usize, listeners: Listeners, shared: Arc<Shared>) -> Result<Shard, String> {
    let (mut control, shards_end) = UnixStream::pair().map_err(|error| error.to_string())?;
    let thread = LocalExecutorBuilder::new(Placement::Fixed(core))
        .name(&format!("shard-{core}"))
        .preempt_timer(PREEMPT_TIMER)
        .io_memory(IO_MEMORY_BYTES)
        .spawn(move || run(core, listeners, shared, shards_end))
        .map_err(|error| error.to_string())?;
    match control.read_exact(&mut [0]) {
        Ok(()) => Ok(Shard { thread, control }),
        // It has dropped its end, because glommio could not make its ring.
        Err(_) => Err(thread
            .join()
            .err()
            .map_or_else(|| "it ended at once".to_owned(), |error| error.to_string())),
    }
}

impl Shard {
    /// Lets the shard accept connections.
    pub fn accept(&self) {
        if let Err(error) = (&self.control).write_all(&[0]) {
            tracing::error!("a shard has ended before its time: {error}");
        }
    }

    /// Stops the shard. Returns when its listeners are closed.
    pub fn stop(self, backlog: Backlog) {
        if backlog == Backlog::Leave {
            // The byte means this way to stop. It fails if the shard has ended, which does no harm.
            let _ = (&self.control).write_all(&[0]);
        }
        drop(self.control);
        if let Err(error) = self.thread.join() {
            tracing::error!("a shard ended badly: {error}");
        }
    }
}

/// Runs a shard until it is told to stop.
async fn run(core: usize, listeners: Listeners, shared: Arc<Shared>, mut control: UnixStream) {
    if control.write_all(&[0]).is_err() {
        return;
    }
    // SAFETY: the fd was just given up by its only owner.
    let mut control = unsafe { GlommioUnixStream::from_raw_fd(control.into_raw_fd()) };
    if !matches!(control.read(&mut [0]).await, Ok(1)) {
        return;
    }
    let listeners: Vec<Rc<Listener>> = listeners.into_iter().map(Rc::new).collect();
    let accepting: Vec<_> = listeners
        .iter()
        .map(|listener| {
            let (listener, shared) = (Rc::clone(listener), Arc::clone(&shared));
            glommio::spawn_local(async move { accept(core, &listener, &shared).await })
        })
        .collect();
    let heartbeat = glommio::spawn_local(async {
        loop {
            glommio::timer::sleep(HEARTBEAT).await;
        }
    });
    let backlog =
        if matches!(control.read(&mut [0]).await, Ok(1)) { Backlog::Leave } else { Backlog::Take };
    // The tasks end first, so that none accepts what is left to another process.
    heartbeat.cancel().await;
    for task in accepting {
        task.cancel().await;
    }
    if backlog == Backlog::Take {
        for listener in listeners {
            while let Ok(Some(socket)) = accept::try_accept(&listener) {
                accepted(core, socket, listener.spoken, &shared);
            }
        }
    }
    proxied::stopped().await;
}

/// Accepts connections from one listener.
async fn accept(core: usize, listener: &Listener, shared: &Arc<Shared>) {
    let mut in_a_row = 0;
    let mut exhausted = Exhausted { core, warned_at: None };
    loop {
        in_a_row += 1;
        if in_a_row == ACCEPTS_IN_A_ROW {
            in_a_row = 0;
            glommio::executor().yield_task_queue_now().await;
        }
        let done = match accept::try_accept(listener) {
            Ok(Some(socket)) => {
                accepted(core, socket, listener.spoken, shared);
                Ok(())
            }
            Ok(None) => accept::acceptable(listener).await,
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            exhausted.pause(&error).await;
        }
    }
}

/// What a shard does when the kernel has no more fds or memory: it neither spins nor gives up. New
/// connections wait in the kernel until others have ended.
struct Exhausted {
    core: usize,
    warned_at: Option<Instant>,
}

impl Exhausted {
    async fn pause(&mut self, error: &impl std::fmt::Display) {
        if self.warned_at.is_none_or(|at| at.elapsed() >= EXHAUSTED_WARNING_INTERVAL) {
            self.warned_at = Some(Instant::now());
            let core = self.core;
            tracing::warn!(
                "shard {core}: connections wait to be accepted: {error}; raise `ulimit -n` if this stays"
            );
        }
        glommio::timer::sleep(EXHAUSTED_PAUSE).await;
    }
}

/// Takes a connection that was just accepted. Does not wait.
fn accepted(core: usize, socket: OwnedFd, spoken: Spoken, shared: &Arc<Shared>) {
    match spoken.proxy_protocol {
        true => proxied::take(core, (socket, spoken.scheme), shared),
        false => take(core, (socket, spoken.scheme), None, shared),
    }
}

/// Decides about a new connection, and sends it to a worker, parks it or refuses it. Does not wait.
/// `origin` says where it comes from, if the socket does not.
fn take(
    core: usize,
    (socket, scheme): (OwnedFd, Scheme),
    origin: Option<Origin>,
    shared: &Arc<Shared>,
) {
    let (counts, now) = (shared.metrics.of_shard(core), now_us());
    counts.accepted.add(1);
    let mut peeked = [0; PEEK_BYTES_MAX];
    let Some(bytes) = peek(&socket, &mut peeked) else { return };
    // The time until a head has arrived is the client's, and does not count as the hop's.
    let accepted_at_us = if has_empty_line(bytes) { now } else { 0 };
    let snapshot = shared.snapshot.load();
    let from = |peer| snapshot.connections_from(Places::of(peer, shared.address_seed));
    let client = || match origin {
        Some(origin) => Some(origin.client.ip().to_canonical()),
        None => peer(&socket),
    };
    if let Err(full) = admit(snapshot.connections_open(), client, from, &shared.limits.load()) {
        let problem = full.into();
        return refused(counts, (socket, scheme), bytes, &problem);
    }
    if let Some(challenger) = &shared.challenger
        && is_challenge(bytes)
    {
        return match challenger.pass(socket) {
            Ok(()) => {}
            Err(socket) => refused(counts, (socket, scheme), bytes, &node_full()),
        };
    }
    let names = shared.names.load();
    let verdict = match scheme {
        Scheme::Http => verdict(bytes, &snapshot.catalogue, &names, Caller::Public),
        Scheme::Https => tls_verdict(bytes),
    };
    match verdict {
        Verdict::Refuse(problem) => refused(counts, (socket, scheme), bytes, &problem),
        Verdict::Hop(pool) => {
            let connection = Connection {
                socket,
                read: Vec::new(),
                awaits: Awaits::First,
                origin: origin.map(Box::new),
                pool,
                accepted_at_us,
            };
            match hop(&snapshot, Some(core), connection) {
                Ok(row) => counts.hopped(row),
                // No worker takes it now, because one is being started or all queues are full. The
                // supervisor tries again.
                Err(connection) => match shared.parking.park(connection) {
                    Ok(()) => counts.parked.add(1),
                    Err(Connection { socket, .. }) => {
                        refused(counts, (socket, scheme), bytes, &node_full())
                    }
                },
            }
        }
    }
}

/// Counts and answers an error.
fn refused(
    counts: &Dispatcher,
    (socket, scheme): (OwnedFd, Scheme),
    read: &[u8],
    problem: &Problem,
) {
    counts.refused(problem.status);
    // A client that speaks TLS could not read the answer: its connection is closed.
    if scheme == Scheme::Http || is_plain(read) {
        refuse::refuse(socket, read, problem);
    }
}

/// Returns the address of the other end. Returns `None` if that has gone, or the socket is a Unix
/// socket.
fn peer(socket: &OwnedFd) -> Option<IpAddr> {
    let peer = getpeername::<SockaddrStorage>(socket.as_raw_fd()).ok()?;
    let v4 = || Some(IpAddr::V4(peer.as_sockaddr_in()?.ip()));
    let v6 = || Some(IpAddr::V6(peer.as_sockaddr_in6()?.ip()));
    v4().or_else(v6)
}
