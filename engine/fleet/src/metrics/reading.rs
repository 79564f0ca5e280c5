//! All counters of the node at one moment. Those of processes that have exited are included. Owns
//! no fds.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use abi::board::{
    Durations, FunctionTally, HOP_BOUNDS_US, ORIGINS, REFUSED_STATUSES, Row, add_counts as add,
};
use abi::catalogue::CatalogueView;
use abi::limits::WORKERS_MAX;

use super::Metrics;

/// What all processes that ever had one row have counted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct WorkerTally {
    pub connections_taken: u64,
    pub returns: u64,
    pub requests: u64,
    pub cold_loads: u64,
    /// By [`ORIGINS`].
    pub instances: [u64; ORIGINS.len()],
    /// By [`REFUSED_STATUSES`].
    pub refused: [u64; REFUSED_STATUSES.len()],
    /// By [`HOP_BOUNDS_US`].
    pub hop: Durations<{ HOP_BOUNDS_US.len() }>,
    /// The invocations and lines that were logged, the records that could not be, and the bytes of
    /// those that were.
    pub log_records: u64,
    pub log_lines: u64,
    pub log_dropped: u64,
    pub log_bytes: u64,
    /// The processes that have died.
    pub restarts: u64,
}

impl WorkerTally {
    /// Reads the numbers of a row.
    pub(super) fn read(row: &Row) -> Self {
        Self {
            connections_taken: row.connections_taken.load(Relaxed),
            returns: row.returns.load(Relaxed),
            requests: row.requests.load(Relaxed),
            cold_loads: row.counts.cold_loads.get(),
            instances: row.counts.instances.get(),
            refused: row.counts.refused.get(),
            hop: row.counts.hop.get(),
            log_records: row.counts.log.records.get(),
            log_lines: row.counts.log.lines.get(),
            log_dropped: row.counts.log.dropped.get(),
            log_bytes: row.counts.log.written_bytes.get(),
            restarts: 0,
        }
    }
}

impl std::ops::AddAssign<&Self> for WorkerTally {
    fn add_assign(&mut self, other: &Self) {
        self.connections_taken += other.connections_taken;
        self.returns += other.returns;
        self.requests += other.requests;
        self.cold_loads += other.cold_loads;
        add(&mut self.instances, &other.instances);
        add(&mut self.refused, &other.refused);
        self.hop += &other.hop;
        self.log_records += other.log_records;
        self.log_lines += other.log_lines;
        self.log_dropped += other.log_dropped;
        self.log_bytes += other.log_bytes;
        self.restarts += other.restarts;
    }
}

/// What shards and the supervisor have counted.
#[derive(Debug, Default, Clone)]
pub struct DispatchReading {
    /// By the shard's core.
    pub accepted: Vec<(usize, u64)>,
    /// By the worker's row.
    pub hops: BTreeMap<usize, u64>,
    pub parked: u64,
    /// By [`REFUSED_STATUSES`].
    pub refused: [u64; REFUSED_STATUSES.len()],
}

/// What was counted of a function that was called.
#[derive(Debug, Clone, Default)]
pub struct FunctionReading {
    pub name: String,
    pub in_flight: u64,
    pub queued: u64,
    pub tally: FunctionTally,
}

/// All counters of the node at one moment.
#[derive(Debug, Default, Clone)]
pub struct Reading {
    pub dispatch: DispatchReading,
    /// By row. Rows that never had a worker are not there.
    pub workers: BTreeMap<usize, WorkerTally>,
    /// By name. Functions that were never called are not there.
    pub functions: Vec<FunctionReading>,
}

impl Metrics {
    /// Reads all counters. Of functions, those in `catalogue` are read.
    pub fn read(&self, catalogue: &CatalogueView) -> Reading {
        let (workers, mut by_incarnation) = self.read_board();
        let called = catalogue.get().functions.iter().filter_map(|function| {
            let found = by_incarnation.remove(&function.slot_incarnation.to_native())?;
            Some(FunctionReading { name: function.name.as_str().to_owned(), ..found })
        });
        Reading { functions: called.collect(), dispatch: self.read_dispatchers(), workers }
    }

    fn read_board(&self) -> (BTreeMap<usize, WorkerTally>, HashMap<u32, FunctionReading>) {
        let kept = self.kept();
        let mut workers = kept.workers.clone();
        let read = |tally: &FunctionTally| FunctionReading {
            tally: tally.clone(),
            ..FunctionReading::default()
        };
        let mut by_incarnation: HashMap<u32, FunctionReading> =
            kept.functions.iter().map(|(incarnation, tally)| (*incarnation, read(tally))).collect();
        for (at, row) in self.board.rows().iter().enumerate() {
            let tally = WorkerTally::read(row);
            if tally != WorkerTally::default() {
                *workers.entry(at).or_default() += &tally;
            }
            for (incarnation, tally, slot) in self.board.tallies(at) {
                let function = by_incarnation.entry(incarnation).or_default();
                function.tally += &tally;
                function.in_flight += u64::from(slot.in_flight.load(SeqCst));
                function.queued += u64::from(slot.queued.load(SeqCst));
            }
        }
        (workers, by_incarnation)
    }

    fn read_dispatchers(&self) -> DispatchReading {
        let mut reading = DispatchReading::default();
        let mut hops = [0; WORKERS_MAX];
        reading.accepted =
            self.dispatchers.iter().map(|(core, shard)| (*core, shard.accepted.get())).collect();
        for dispatcher in self.dispatchers.iter().map(|(_, shard)| shard).chain([&self.rerouting]) {
            add(&mut hops, &dispatcher.hops.get());
            add(&mut reading.refused, &dispatcher.refused.get());
            reading.parked += dispatcher.parked.get();
        }
        reading.hops = hops.into_iter().enumerate().filter(|(_, hops)| *hops > 0).collect();
        reading
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use abi::board::Board;
    use abi::catalogue::{Catalogue, Function};
    use abi::function::Isolation;
    use abi::outcome::ReplyEnd;

    use super::*;

    fn catalogue(functions: &[(&str, u32, u32)]) -> CatalogueView {
        let function = |(name, slot, slot_incarnation): &(&str, u32, u32)| Function {
            name: (*name).to_owned(),
            isolation: Isolation::Shared,
            slot: *slot,
            slot_incarnation: *slot_incarnation,
            secrets: 0,
            previews: true,
            aliases: Vec::new(),
            versions: Vec::new(),
        };
        let functions = functions.iter().map(function).collect();
        CatalogueView::new(
            Catalogue { generation: 1, functions, ..Catalogue::default() }.seal().unwrap(),
        )
        .unwrap()
    }

    struct Bench {
        metrics: Metrics,
        board: Board,
    }

    impl Bench {
        fn new() -> Self {
            let (board, fd) = Board::create().unwrap();
            Self { metrics: Metrics::new(Arc::new(board), &[4]), board: Board::map(fd).unwrap() }
        }

        /// An invocation in the worker of `row`.
        fn invoke(&self, row: usize, slot: usize, incarnation: u32) {
            self.board.rows()[row].requests.fetch_add(1, Relaxed);
            let counts = self.board.counts(row, slot, incarnation);
            counts
                .into_iter()
                .for_each(|counts| counts.outcomes.count(ReplyEnd::Whole(200).class()));
        }

        fn read(&self, catalogue: &CatalogueView) -> Vec<(String, u64)> {
            let functions = self.metrics.read(catalogue).functions;
            functions
                .into_iter()
                .map(|function| (function.name, function.tally.outcomes.iter().sum()))
                .collect()
        }
    }

    #[test]
    fn what_a_dead_worker_has_counted_is_counted_still() {
        let (bench, catalogue) =
            (Bench::new(), catalogue(&[("a", 0, 1), ("b", 1, 2), ("never", 2, 3)]));
        for (row, slot, incarnation) in [(0, 0, 1), (0, 0, 1), (1, 0, 1), (1, 1, 2)] {
            bench.invoke(row, slot, incarnation);
        }
        let before = [("a".to_owned(), 3), ("b".to_owned(), 1)];
        assert_eq!(bench.read(&catalogue), before);
        bench.metrics.count_restart(1);
        bench.metrics.retire(1, &catalogue);
        assert_eq!(bench.read(&catalogue), before);
        bench.invoke(1, 1, 2);
        bench.metrics.retire(1, &catalogue);
        assert_eq!(bench.read(&catalogue), [("a".to_owned(), 3), ("b".to_owned(), 2)]);
        let workers = bench.metrics.read(&catalogue).workers;
        assert_eq!((workers[&0].requests, workers[&1].requests, workers[&1].restarts), (2, 3, 1));
        assert!(!workers.contains_key(&2));
    }

    #[test]
    fn a_slot_that_another_function_gets_shows_nothing_of_the_first() {
        let bench = Bench::new();
        let (first, second) = (catalogue(&[("a", 0, 1)]), catalogue(&[("b", 0, 2)]));
        bench.invoke(0, 0, 1);
        bench.invoke(1, 0, 1);
        bench.metrics.retire(1, &first);
        assert_eq!(bench.read(&second), [], "not called yet");
        bench.invoke(0, 0, 2);
        // One of the first that ends late.
        bench.invoke(0, 0, 1);
        assert_eq!(bench.read(&second), [("b".to_owned(), 1)]);
        // Deployed again, it begins anew; what was kept of it and of others that are gone is not
        // kept for ever.
        bench.metrics.retire(0, &second);
        assert_eq!(bench.metrics.kept().functions.len(), 1);
        assert_eq!(bench.read(&catalogue(&[("a", 0, 3), ("b", 1, 2)])), [("b".to_owned(), 1)]);
    }

    #[test]
    fn dispatchers_are_added_up() {
        let bench = Bench::new();
        let (shard, supervisor) = (bench.metrics.of_shard(4), bench.metrics.of_supervisor());
        shard.accepted.add(3);
        shard.hopped(7);
        supervisor.hopped(7);
        shard.refused(404);
        supervisor.refused(503);
        supervisor.refused(999);
        let reading = bench.metrics.read(&catalogue(&[])).dispatch;
        assert_eq!((reading.accepted, reading.hops), (vec![(4, 3)], BTreeMap::from([(7, 2)])));
        assert_eq!(reading.refused, [0, 1, 0, 0, 0, 0, 1]);
    }
}
