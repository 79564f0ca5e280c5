//! The hop: a socket goes to a worker of its pool.
//!
//! Owns the socket until a worker has it. Then this process's copy is closed.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;

use abi::channel::SendError;
use abi::message::{Awaits, ToWorker};
use abi::origin::Origin;

use super::{Snapshot, WorkerHandle};
use crate::core::Pool;
use crate::core::choose::{Candidate, place};

/// A connection on its way to a worker.
#[derive(Debug)]
pub struct Connection {
    /// The client's socket.
    pub socket: OwnedFd,
    /// What has been read from it already.
    pub read: Vec<u8>,
    /// Which request it waits for.
    pub awaits: Awaits,
    /// Where it comes from, if the socket does not say it. Most do.
    pub origin: Option<Box<Origin>>,
    /// The pool whose workers may have it.
    pub pool: Pool,
    /// When it was accepted, if its first request had arrived by then. Otherwise 0 (see
    /// [`ToWorker::Connection`]).
    pub accepted_at_us: u64,
}

/// Sends the connection to the best worker that takes it. Returns the row of that worker. Never
/// blocks.
///
/// # Errors
/// Returns the connection if its pool has no ready worker, or all their queues are full.
pub fn hop(
    snapshot: &Snapshot,
    core: Option<usize>,
    connection: Connection,
) -> Result<usize, Connection> {
    let workers = snapshot.pool(&connection.pool);
    let candidate = |worker: &std::sync::Arc<WorkerHandle>| Candidate {
        load: worker.load(),
        own_core: Some(worker.core) == core,
        refused: worker.is_full(),
    };
    let mut candidates: Vec<Candidate> = workers.iter().map(candidate).collect();
    let message = ToWorker::Connection {
        read: connection.read,
        awaits: connection.awaits,
        accepted_at_us: connection.accepted_at_us,
        origin: connection.origin.as_deref().copied(),
    };
    let send = |at: usize| {
        let worker = &workers[at];
        // It is counted before it is sent. Otherwise the worker could be done with it first, and
        // its load would be less than nothing.
        worker.sent.fetch_add(1, Relaxed);
        match worker.channel.send(&message, Some(connection.socket.as_fd())) {
            Ok(()) => return true,
            // A worker that is gone has died since the snapshot was made. The supervisor will know.
            Err(SendError::Busy | SendError::Gone) => {}
            Err(error) => {
                tracing::error!(
                    "a connection could not be sent to the worker on core {}: {error}",
                    worker.core
                )
            }
        }
        worker.sent.fetch_sub(1, Relaxed);
        false
    };
    if let Some(at) = place(&mut candidates, send) {
        return Ok(workers[at].row);
    }
    let ToWorker::Connection { read, .. } = message else { unreachable!("made above") };
    Err(Connection { read, ..connection })
}
