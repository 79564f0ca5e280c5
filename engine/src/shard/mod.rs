//! A shard: one pinned glommio executor that accepts, peeks, and lets sockets hop.
//!
//! It never waits for a client and never holds one: what it accepts has gone to a worker, to the supervisor or to its
//! end before it accepts again. Each shard owns its listeners; an accepted socket is an `OwnedFd` at once.

pub(crate) mod listen;
mod refuse;

use std::net::TcpListener as StdListener;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use abi::limits::PEEK_BYTES_MAX;
use arc_swap::{ArcSwap, ArcSwapOption};
use glommio::net::{TcpListener, UnixStream as GlommioUnixStream};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use crate::dispatch::Snapshot;
use crate::dispatch::hop::{Connection, hop};
use crate::dispatch::parking::{Parking, node_full};
use crate::dispatch::verdict::{Verdict, verdict};

/// glommio's preemption timer, as good as off. When it fires before the first task has run (the kernel gave the core to
/// somebody else for so long), glommio 0.9's run loop takes that for idleness and parks with a runnable task: the
/// shard then sleeps until the next event, whatever is queued. Tasks here are short and wait often; none needs preempting.
const PREEMPT_TIMER: Duration = Duration::from_secs(3600);
/// Should glommio ever park like that for another reason, this is how long it lasts.
const HEARTBEAT: Duration = Duration::from_millis(100);
/// Connections taken in a row before other tasks of the shard get a turn: a full backlog is accepted without waiting.
const ACCEPTS_IN_A_ROW: u32 = 64;
/// A shard does no file I/O; this is the least glommio registers for it.
const IO_MEMORY_BYTES: usize = 64 << 10;
/// How long a shard lets be after the kernel had no fd or memory for another connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(20);

/// What every shard works with.
pub(crate) struct Shared {
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) domain: ArcSwapOption<String>,
    pub(crate) parking: Parking,
}

/// A running shard.
pub(crate) struct Shard {
    thread: ExecutorJoinHandle<()>,
    /// Closing this end tells the shard to stop.
    stop: UnixStream,
}

/// Starts a shard on `core` with its own listeners.
///
/// # Errors
/// What glommio or the kernel refused.
pub(crate) fn start(core: usize, listeners: Vec<StdListener>, shared: Arc<Shared>) -> Result<Shard, String> {
    let (stop, stopped) = UnixStream::pair().map_err(|error| error.to_string())?;
    let thread = LocalExecutorBuilder::new(Placement::Fixed(core))
        .name(&format!("shard-{core}"))
        .preempt_timer(PREEMPT_TIMER)
        .io_memory(IO_MEMORY_BYTES)
        .spawn(move || run(core, listeners, shared, stopped))
        .map_err(|error| error.to_string())?;
    Ok(Shard { thread, stop })
}

impl Shard {
    /// Stops accepting; returns when the shard's listeners are closed.
    pub(crate) fn stop(self) {
        drop(self.stop);
        if let Err(error) = self.thread.join() {
            tracing::error!("a shard ended badly: {error}");
        }
    }
}

async fn run(core: usize, listeners: Vec<StdListener>, shared: Arc<Shared>, stopped: UnixStream) {
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            // Kept beside glommio's listener for the last look at the backlog; both are closed by then.
            let last = listener.try_clone();
            // SAFETY: the fd was just given up by its only owner.
            let listener = unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) };
            let shared = Arc::clone(&shared);
            (glommio::spawn_local(async move { accept(core, &listener, &shared).await }), last)
        })
        .collect();
    let heartbeat = glommio::spawn_local(async {
        loop {
            glommio::timer::sleep(HEARTBEAT).await;
        }
    });
    // SAFETY: as above.
    let mut stopped = unsafe { GlommioUnixStream::from_raw_fd(stopped.into_raw_fd()) };
    let _ = futures_util::AsyncReadExt::read(&mut stopped, &mut [0]).await;
    heartbeat.cancel().await;
    for (task, last) in accepting {
        task.cancel().await;
        if let Ok(listener) = last {
            accept_backlog(core, &listener, &shared);
        }
    }
}

async fn accept(core: usize, listener: &TcpListener, shared: &Arc<Shared>) {
    let mut in_a_row = 0;
    loop {
        in_a_row += 1;
        if in_a_row == ACCEPTS_IN_A_ROW {
            in_a_row = 0;
            glommio::executor().yield_task_queue_now().await;
        }
        match listener.accept().await {
            Ok(stream) => {
                // glommio queues a poll on every new stream. Our own copy of the fd, and the stream dropped before this
                // task waits for anything: then that poll is never submitted, and cannot hold back the FIN.
                // SAFETY: `stream` owns the fd and lives until the end of this statement.
                let socket = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }.try_clone_to_owned();
                drop(stream);
                match socket {
                    Ok(socket) => take(core, socket, shared),
                    Err(error) => exhausted(core, &error).await,
                }
            }
            Err(error) => exhausted(core, &error).await,
        }
    }
}

/// Out of fds or memory, mostly: it passes as connections end. Until then, neither spin nor give up.
async fn exhausted(core: usize, error: &impl std::fmt::Display) {
    tracing::warn!("shard {core}: a connection was not accepted: {error}; raise `ulimit -n` if this stays");
    glommio::timer::sleep(EXHAUSTED_PAUSE).await;
}

/// Takes what the kernel has already accepted, so that closing the listener resets nobody.
fn accept_backlog(core: usize, listener: &StdListener, shared: &Arc<Shared>) {
    if listener.set_nonblocking(true).is_ok() {
        while let Ok((socket, _)) = listener.accept() {
            take(core, socket.into(), shared);
        }
    }
}

/// Decides about a new connection. Does not wait.
fn take(core: usize, socket: OwnedFd, shared: &Arc<Shared>) {
    let mut peeked = [0; PEEK_BYTES_MAX];
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    let bytes = match recv(socket.as_raw_fd(), &mut peeked, flags) {
        // It has gone already.
        Ok(0) => return,
        Ok(length) => &peeked[..length],
        Err(Errno::EAGAIN) => &[],
        Err(_) => return,
    };
    let snapshot = shared.snapshot.load();
    match verdict(bytes, &snapshot.catalogue, shared.domain.load().as_deref().map(String::as_str)) {
        Verdict::Refuse(problem) => refuse::refuse(socket, &problem),
        Verdict::Hop(pool) => {
            let connection = Connection { socket, read: Vec::new(), pool };
            if let Err(connection) = hop(&snapshot, Some(core), connection) {
                // No worker takes it now: one is being started, or all queues are full. The supervisor waits for it.
                if let Err(connection) = shared.parking.park(connection) {
                    refuse::refuse(connection.socket, &node_full());
                }
            }
        }
    }
}
