//! How a connection gets to a worker: what shards and the supervisor share for it.
//!
//! [`crate::core`] decides. [`hop`] sends the socket, [`parking`] takes connections that no worker
//! takes at once, and [`refuse`] answers errors. A [`Snapshot`] is replaced whole at any change and
//! read without locks. A [`WorkerHandle`] owns the engine's end of a worker's channel.

pub mod challenges;
pub mod hop;
pub mod parking;
pub(crate) mod peek;
pub mod refuse;
mod shared;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use abi::board::{Addresses, Board, Places};
use abi::catalogue::CatalogueView;
use abi::channel::Channel;

pub use self::shared::Shared;
use crate::core::Pool;

/// What connections are routed by: the functions of the node, and the workers that are ready.
#[derive(Debug)]
pub struct Snapshot {
    pub catalogue: Arc<CatalogueView>,
    pub workers: HashMap<Pool, Vec<Arc<WorkerHandle>>>,
}

impl Snapshot {
    /// Returns how many connections all ready workers have. One of HTTP/2 ends in an edge, and each
    /// of its legs counts besides.
    pub fn connections_open(&self) -> u64 {
        let sessions =
            |edge: &Arc<WorkerHandle>| edge.board.rows()[edge.row].sessions.load(Relaxed);
        let sessions: u64 = self.pool(&Pool::Edge).iter().map(sessions).sum();
        sessions + self.workers_that_serve().map(|worker| worker.load()).sum::<u64>()
    }

    /// Returns the ready workers without the edges: what an edge relays, one of the others has.
    fn workers_that_serve(&self) -> impl Iterator<Item = &Arc<WorkerHandle>> {
        let pools = self.workers.iter().filter(|(pool, _)| **pool != Pool::Edge);
        pools.flat_map(|(_, workers)| workers)
    }

    /// Returns how many of them are from one address. Those that are still in queues do not count.
    pub fn connections_from(&self, at: Places) -> u32 {
        let workers = self.workers.values().flatten();
        Addresses::sum(workers.filter_map(|worker| worker.board.addresses(worker.row)), at)
    }

    /// Returns the ready workers of a pool.
    pub fn pool(&self, pool: &Pool) -> &[Arc<WorkerHandle>] {
        self.workers.get(pool).map_or(&[], Vec::as_slice)
    }
}

/// A worker, for those that send it connections.
#[derive(Debug)]
pub struct WorkerHandle {
    pub channel: Channel,
    pub core: usize,
    /// Its row on the board.
    pub row: usize,
    pub board: Arc<Board>,
    /// How many connections were sent to it so far, by all threads.
    pub sent: AtomicU64,
    /// The most connections that it has file descriptors for.
    pub connections_max: u64,
}

impl WorkerHandle {
    /// Returns how many connections it has. Those that are still in its queue count.
    pub fn load(&self) -> u64 {
        let done = self.board.rows()[self.row].connections_done.load(Relaxed);
        self.sent.load(Relaxed).saturating_sub(done)
    }

    /// Returns whether it can have no more connections.
    pub fn is_full(&self) -> bool {
        self.load() >= self.connections_max
    }
}
