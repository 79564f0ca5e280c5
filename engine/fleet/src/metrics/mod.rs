//! What the node counts, read together: [`Metrics`] is what counts and keeps, a
//! [`Reading`](reading::Reading) what it stands at, [`text`] tells it to Prometheus.
//!
//! Workers count on the board, each thread that hands out connections in a [`Dispatcher`] of its
//! own. What a worker has counted is kept when its process ends, so that no number falls until the
//! node ends. A removed function's numbers go with it. Owns no fds.

pub mod reading;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use abi::board::{Board, Counter, Counters, FunctionTally, REFUSED_STATUSES, refused_index};
use abi::catalogue::CatalogueView;
use abi::limits::WORKERS_MAX;

use self::reading::WorkerTally;

/// What one thread counts that gives connections to workers: a shard, or the supervisor. Only that
/// thread counts.
#[derive(Debug)]
#[repr(align(128))]
pub struct Dispatcher {
    pub accepted: Counter,
    /// Connections for which no worker was free at once.
    pub parked: Counter,
    refused: Counters<{ REFUSED_STATUSES.len() }>,
    hops: Box<Counters<WORKERS_MAX>>,
}

impl Default for Dispatcher {
    fn default() -> Self {
        let (accepted, parked) = (Counter::default(), Counter::default());
        Self { accepted, parked, refused: Counters::default(), hops: Box::default() }
    }
}

impl Dispatcher {
    /// The worker of `row` has got a connection.
    pub fn hopped(&self, row: usize) {
        self.hops.count(row);
    }

    /// A client was answered with an error.
    pub fn refused(&self, status: u16) {
        self.refused.count(refused_index(status));
    }
}

/// What the node counts.
#[derive(Debug)]
pub struct Metrics {
    board: Arc<Board>,
    /// One for each shard, by its core, and then the supervisor's.
    dispatchers: Vec<(usize, Dispatcher)>,
    rerouting: Dispatcher,
    /// Held while rows are read, too: none is read that is being forgotten.
    kept: Mutex<Kept>,
}

/// What processes have counted that have ended.
#[derive(Debug, Default)]
struct Kept {
    /// By row.
    workers: BTreeMap<usize, WorkerTally>,
    /// By incarnation.
    functions: HashMap<u32, FunctionTally>,
}

impl Metrics {
    /// For the workers of `board`, and a shard on each of `cores`.
    pub fn new(board: Arc<Board>, cores: &[usize]) -> Self {
        let dispatchers = cores.iter().map(|core| (*core, Dispatcher::default())).collect();
        Self { board, dispatchers, rerouting: Dispatcher::default(), kept: Mutex::default() }
    }

    /// For the shard on `core` to count in. One that is not among the node's shares the
    /// supervisor's.
    pub fn of_shard(&self, core: usize) -> &Dispatcher {
        let found = self.dispatchers.iter().find(|(of, _)| *of == core);
        found.map_or(&self.rerouting, |(_, dispatcher)| dispatcher)
    }

    /// For the supervisor to count in.
    pub fn of_supervisor(&self) -> &Dispatcher {
        &self.rerouting
    }

    /// The process in `row` has ended: its numbers are kept, and the row is free for the next.
    pub fn retire(&self, row: usize, catalogue: &CatalogueView) {
        let mut kept = self.kept();
        let Some(counts) = self.board.rows().get(row) else { return };
        *kept.workers.entry(row).or_default() += &WorkerTally::read(counts);
        for (incarnation, tally, _) in self.board.tallies(row) {
            *kept.functions.entry(incarnation).or_default() += &tally;
        }
        let functions = &catalogue.get().functions;
        if kept.functions.len() > functions.len() {
            let incarnations: HashSet<u32> =
                functions.iter().map(|function| function.slot_incarnation.to_native()).collect();
            kept.functions.retain(|incarnation, _| incarnations.contains(incarnation));
        }
        self.board.clear(row);
    }

    /// The process in `row` has ended unasked.
    pub fn count_restart(&self, row: usize) {
        self.kept().workers.entry(row).or_default().restarts += 1;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
