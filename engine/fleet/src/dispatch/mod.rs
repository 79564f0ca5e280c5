//! Carrying out which worker gets a connection: what shards and supervisor share for it.
//!
//! [`crate::core`] decides; [`hop`] sends the socket, [`parking`] takes those that no worker takes
//! at once, [`refuse`] answers errors. A [`Snapshot`] is replaced whole at any change and read
//! without locks. A [`WorkerHandle`] owns the engine's end of a worker's channel.

pub mod hop;
pub mod parking;
pub mod refuse;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use abi::board::{Addresses, Board, Places};
use abi::catalogue::CatalogueView;
use abi::channel::Channel;

use crate::core::Pool;

/// What decisions are made by: the functions there are and the workers that are ready.
#[derive(Debug)]
pub struct Snapshot {
    pub catalogue: Arc<CatalogueView>,
    pub workers: HashMap<Pool, Vec<Arc<WorkerHandle>>>,
}

impl Snapshot {
    /// Connections that all ready workers have.
    pub fn connections_open(&self) -> u64 {
        self.workers.values().flatten().map(|worker| worker.load()).sum()
    }

    /// Those of them that are from one address; those still in queues are not among them.
    pub fn connections_from(&self, at: Places) -> u32 {
        let workers = self.workers.values().flatten();
        Addresses::sum(workers.filter_map(|worker| worker.board.addresses(worker.row)), at)
    }

    /// The ready workers of a pool.
    pub fn pool(&self, pool: &Pool) -> &[Arc<WorkerHandle>] {
        self.workers.get(pool).map_or(&[], Vec::as_slice)
    }
}

/// A worker as those see it who send it connections.
#[derive(Debug)]
pub struct WorkerHandle {
    pub channel: Channel,
    pub core: usize,
    pub row: usize,
    pub board: Arc<Board>,
    /// Connections sent to it so far, by anybody.
    pub sent: AtomicU64,
    /// As many as it has file descriptors for.
    pub connections_max: u64,
}

impl WorkerHandle {
    /// Connections it has, those still in its queue among them.
    pub fn load(&self) -> u64 {
        let done = self.board.rows()[self.row].connections_done.load(Relaxed);
        self.sent.load(Relaxed).saturating_sub(done)
    }

    /// Whether it can have no more.
    pub fn is_full(&self) -> bool {
        self.load() >= self.connections_max
    }
}
