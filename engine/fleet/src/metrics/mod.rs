//! The node's counters: [`Metrics`] counts and keeps, and a [`Reading`](reading::Reading) is all
//! numbers at one moment.
//!
//! Workers count on the board. Each thread that sends connections to workers counts in a
//! [`Dispatcher`] of its own. What a worker has counted is kept when its process exits, so that no
//! number falls until the node ends. A removed function's numbers go with it. Owns no fds.

pub mod reading;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use abi::board::{Board, Counter, Counters, FunctionTally, REFUSED_STATUSES, refused_index};
use abi::catalogue::CatalogueView;
use abi::limits::WORKERS_MAX;

use self::reading::WorkerTally;

/// The counters of one thread that sends connections to workers: a shard, or the supervisor. Only
/// that thread counts in it.
#[derive(Debug)]
#[repr(align(128))]
pub struct Dispatcher {
    pub accepted: Counter,
    /// Connections that no worker took at once.
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
    /// Counts a connection that was sent to the worker in `row`.
    pub fn hopped(&self, row: usize) {
        self.hops.count(row);
    }

    /// Counts a client that was answered with an error.
    pub fn refused(&self, status: u16) {
        self.refused.count(refused_index(status));
    }
}

/// The node's counters.
#[derive(Debug)]
pub struct Metrics {
    board: Arc<Board>,
    /// One for each shard, with its core.
    dispatchers: Vec<(usize, Dispatcher)>,
    /// The supervisor's.
    rerouting: Dispatcher,
    /// It is locked while rows are read, too, so that no row is read while it is cleared.
    kept: Mutex<Kept>,
}

/// The numbers of processes that have exited.
#[derive(Debug, Default)]
struct Kept {
    /// By row.
    workers: BTreeMap<usize, WorkerTally>,
    /// By incarnation.
    functions: HashMap<u32, FunctionTally>,
}

impl Metrics {
    /// Makes the counters for the workers of `board` and a shard on each of `cores`.
    pub fn new(board: Arc<Board>, cores: &[usize]) -> Self {
        let dispatchers = cores.iter().map(|core| (*core, Dispatcher::default())).collect();
        Self { board, dispatchers, rerouting: Dispatcher::default(), kept: Mutex::default() }
    }

    /// Returns the counters of the shard on `core`. Returns the supervisor's if the node has no
    /// such shard.
    pub fn of_shard(&self, core: usize) -> &Dispatcher {
        let found = self.dispatchers.iter().find(|(of, _)| *of == core);
        found.map_or(&self.rerouting, |(_, dispatcher)| dispatcher)
    }

    /// Returns the counters of the supervisor.
    pub fn of_supervisor(&self) -> &Dispatcher {
        &self.rerouting
    }

    /// Keeps the numbers of the process in `row`, which has exited, and clears the row for the
    /// next.
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

    /// Counts that the process in `row` has died.
    pub fn count_restart(&self, row: usize) {
        self.kept().workers.entry(row).or_default().restarts += 1;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
