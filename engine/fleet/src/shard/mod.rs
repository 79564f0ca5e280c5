//! A shard: one pinned glommio executor that accepts, peeks, and lets sockets hop.
//!
//! It never waits for a client and never holds one: what it accepts has gone to a worker, to the
//! supervisor or to its end before it accepts again. Each shard owns its listeners, which others
//! may share; an accepted socket is an `OwnedFd` at once.

mod accept;
mod refuse;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::board::{Places, now_us};
use abi::limits::PEEK_BYTES_MAX;
use abi::message::Awaits;
use abi::problem::Problem;
use abi::route::Caller;
use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::AsyncReadExt as _;
use glommio::net::UnixStream as GlommioUnixStream;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockaddrStorage, getpeername, recv};

use crate::core::admit::{ConnectionLimits, admit};
use crate::core::verdict::{Verdict, verdict};
use crate::dispatch::Snapshot;
use crate::dispatch::hop::{Connection, hop};
use crate::dispatch::parking::{Parking, node_full};
use crate::metrics::{Dispatcher, Metrics};

/// glommio's preemption timer, as good as off. When it fires before the first task has run (the
/// kernel gave the core to somebody else for so long), glommio 0.9's run loop takes that for
/// idleness and parks with a runnable task: the shard then sleeps until the next event, whatever is
/// queued. Tasks here are short and wait often; none needs preempting.
const PREEMPT_TIMER: Duration = Duration::from_secs(3600);
/// Should glommio ever park like that for another reason, this is how long it lasts.
const HEARTBEAT: Duration = Duration::from_millis(100);
/// Connections taken in a row before other tasks of the shard get a turn: a full backlog is
/// accepted without waiting.
const ACCEPTS_IN_A_ROW: u32 = 64;
/// A shard does no file I/O; this is the least glommio registers for it.
const IO_MEMORY_BYTES: usize = 64 << 10;
/// How long a shard lets be after the kernel had no fd or memory for another connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(20);
/// How often it is told.
const EXHAUSTED_SAID: Duration = Duration::from_secs(1);

/// What every shard works with.
#[derive(Debug)]
pub struct Shared {
    pub snapshot: ArcSwap<Snapshot>,
    pub domain: ArcSwapOption<String>,
    pub limits: ArcSwap<ConnectionLimits>,
    /// The secret that clients' addresses are counted by.
    pub address_seed: u64,
    pub parking: Parking,
    pub metrics: Metrics,
}

/// A running shard.
#[derive(Debug)]
pub struct Shard {
    thread: ExecutorJoinHandle<()>,
    /// A byte from the shard says that it runs, one to it that it may accept; closing this end
    /// tells it to stop.
    line: UnixStream,
}

/// What a shard that stops does about connections that the kernel has accepted for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backlog {
    /// Takes them: its listeners are closed next, which would reset them.
    Take,
    /// Leaves them to another process that has the same listeners.
    Leave,
}

/// Starts a shard on `core`. It accepts from [`Shard::accept`] on.
///
/// # Errors
/// What glommio or the kernel refused.
pub fn start(
    core: usize,
    listeners: Vec<TcpListener>,
    shared: Arc<Shared>,
) -> Result<Shard, String> {
    let (mut line, shards_end) = UnixStream::pair().map_err(|error| error.to_string())?;
    let thread = LocalExecutorBuilder::new(Placement::Fixed(core))
        .name(&format!("shard-{core}"))
        .preempt_timer(PREEMPT_TIMER)
        .io_memory(IO_MEMORY_BYTES)
        .spawn(move || run(core, listeners, shared, shards_end))
        .map_err(|error| error.to_string())?;
    match line.read_exact(&mut [0]) {
        Ok(()) => Ok(Shard { thread, line }),
        // It has dropped its end: glommio could not make its ring.
        Err(_) => Err(thread
            .join()
            .err()
            .map_or_else(|| "it ended at once".to_owned(), |error| error.to_string())),
    }
}

impl Shard {
    /// Lets it accept.
    pub fn accept(&self) {
        if let Err(error) = (&self.line).write_all(&[0]) {
            tracing::error!("a shard has ended before its time: {error}");
        }
    }

    /// Stops accepting; returns when the shard's listeners are closed.
    pub fn stop(self, backlog: Backlog) {
        if backlog == Backlog::Leave {
            // This byte tells the two ways apart; a shard that has gone needs telling nothing.
            let _ = (&self.line).write_all(&[0]);
        }
        drop(self.line);
        if let Err(error) = self.thread.join() {
            tracing::error!("a shard ended badly: {error}");
        }
    }
}

async fn run(core: usize, listeners: Vec<TcpListener>, shared: Arc<Shared>, mut line: UnixStream) {
    if line.write_all(&[0]).is_err() {
        return;
    }
    // SAFETY: the fd was just given up by its only owner.
    let mut line = unsafe { GlommioUnixStream::from_raw_fd(line.into_raw_fd()) };
    if !matches!(line.read(&mut [0]).await, Ok(1)) {
        return;
    }
    let listeners: Vec<Rc<TcpListener>> = listeners.into_iter().map(Rc::new).collect();
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
        if matches!(line.read(&mut [0]).await, Ok(1)) { Backlog::Leave } else { Backlog::Take };
    heartbeat.cancel().await;
    for task in accepting {
        task.cancel().await;
    }
    if backlog == Backlog::Take {
        for listener in listeners {
            while let Ok(Some(socket)) = accept::try_accept(&listener) {
                take(core, socket, &shared);
            }
        }
    }
}

async fn accept(core: usize, listener: &TcpListener, shared: &Arc<Shared>) {
    let mut in_a_row = 0;
    let mut exhausted = Exhausted { core, said: None };
    loop {
        in_a_row += 1;
        if in_a_row == ACCEPTS_IN_A_ROW {
            in_a_row = 0;
            glommio::executor().yield_task_queue_now().await;
        }
        let accepted = match accept::try_accept(listener) {
            Ok(Some(socket)) => {
                take(core, socket, shared);
                Ok(())
            }
            Ok(None) => accept::acceptable(listener).await,
            Err(error) => Err(error),
        };
        if let Err(error) = accepted {
            exhausted.pause(&error).await;
        }
    }
}

/// What a shard does when there are no more fds or memory: neither spin nor give up. It passes as
/// connections end; until then, new ones wait in the kernel.
struct Exhausted {
    core: usize,
    said: Option<Instant>,
}

impl Exhausted {
    async fn pause(&mut self, error: &impl std::fmt::Display) {
        if self.said.is_none_or(|said| said.elapsed() >= EXHAUSTED_SAID) {
            self.said = Some(Instant::now());
            let core = self.core;
            tracing::warn!(
                "shard {core}: connections wait to be accepted: {error}; raise `ulimit -n` if this stays"
            );
        }
        glommio::timer::sleep(EXHAUSTED_PAUSE).await;
    }
}

/// Decides about a new connection. Does not wait.
fn take(core: usize, socket: OwnedFd, shared: &Arc<Shared>) {
    let (counts, now) = (shared.metrics.of_shard(core), now_us());
    counts.accepted.add(1);
    let mut peeked = [0; PEEK_BYTES_MAX];
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    let bytes = match recv(socket.as_raw_fd(), &mut peeked, flags) {
        // It has gone already.
        Ok(0) => return,
        Ok(length) => &peeked[..length],
        Err(Errno::EAGAIN) => &[],
        Err(_) => return,
    };
    // A head that is not there yet is the client's time, not the hop's.
    let accepted_at_us = if bytes.windows(3).any(|three| three == b"\n\r\n") { now } else { 0 };
    let snapshot = shared.snapshot.load();
    let from = |peer| snapshot.connections_from(Places::of(peer, shared.address_seed));
    if let Err(full) =
        admit(snapshot.connections_open(), || peer(&socket), from, &shared.limits.load())
    {
        let problem = full.into();
        return refused(counts, socket, bytes, &problem);
    }
    let domain = shared.domain.load();
    match verdict(bytes, &snapshot.catalogue, domain.as_deref().map(String::as_str), Caller::Public)
    {
        Verdict::Refuse(problem) => refused(counts, socket, bytes, &problem),
        Verdict::Hop(pool) => {
            let connection = Connection {
                socket,
                read: Vec::new(),
                awaits: Awaits::First,
                pool,
                accepted_at_us,
            };
            match hop(&snapshot, Some(core), connection) {
                Ok(row) => counts.hopped(row),
                // No worker takes it now: one is being started, or all queues are full. The
                // supervisor waits for it.
                Err(connection) => match shared.parking.park(connection) {
                    Ok(()) => counts.parked.add(1),
                    Err(connection) => refused(counts, connection.socket, bytes, &node_full()),
                },
            }
        }
    }
}

fn refused(counts: &Dispatcher, socket: OwnedFd, read: &[u8], problem: &Problem) {
    counts.refused(problem.status);
    refuse::refuse(socket, read, problem);
}

/// The client's address.
fn peer(socket: &OwnedFd) -> Option<IpAddr> {
    let peer = getpeername::<SockaddrStorage>(socket.as_raw_fd()).ok()?;
    let v4 = || Some(IpAddr::V4(peer.as_sockaddr_in()?.ip()));
    let v6 = || Some(IpAddr::V6(peer.as_sockaddr_in6()?.ip()));
    v4().or_else(v6)
}
