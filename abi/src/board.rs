//! The board: shared memory with one row of counters a worker, and in each row a slot of counters
//! for each function.
//!
//! The engine makes it, every worker maps it and writes only its own row; the engine, its shards
//! and the other workers read all of it for balancing, limits, metrics and status. A worker that
//! lies gets more or fewer connections, lets more or fewer requests through, or tells wrong
//! numbers, no more. The functions' slots take address space for every function there can be, and
//! memory only for those that are called: even to look at a slot is to take memory for it, so which
//! of them are in use stands beside them. The engine owns the memfd; a [`Board`] keeps a mapping
//! and no fd.

mod addresses;
mod counter;
mod slot;

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::ftruncate;

use crate::limits::{FUNCTIONS_MAX, WORKERS_MAX};
use crate::sealed::{self, SealedError};

pub use self::addresses::{Addresses, Places};
use self::slot::Ledger;

pub use self::counter::{Counter, Counters, Durations, Histogram, add_counts};
pub use self::slot::{Counts, FunctionTally, LATENCY_BOUNDS_US, REUSES, Reuse, Slot};

const WHAT: &str = "board";

/// One worker's counters. Written by that worker alone, save for [`Board::clear`].
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Row {
    /// Milliseconds since the worker started, at its last beat.
    pub heartbeat_ms: AtomicU64,
    /// Sockets taken from the channel.
    pub connections_taken: AtomicU64,
    /// Sockets done with: closed or given back.
    pub connections_done: AtomicU64,
    /// Of an edge: clients' connections of HTTP/2, which end there.
    pub sessions: AtomicU64,
    /// Sockets given back to the engine.
    pub returns: AtomicU64,
    /// Requests begun.
    pub requests: AtomicU64,
    /// Requests being run now.
    pub in_flight: AtomicU64,
    /// When the guest that has the worker's thread now must be off it, in milliseconds of the
    /// machine's monotonic clock; 0 while none has it. A time long past says that the worker is
    /// stuck.
    pub guest_deadline_ms: AtomicU64,
    /// Modules loaded.
    pub modules: AtomicU64,
    /// What only ever grows, and only metrics tell.
    pub counts: RowCounts,
}

/// Upper bounds of the buckets that hops are counted in by how long they took. They are tens of
/// microseconds on an idle machine and milliseconds where a worker is in the middle of a guest;
/// beyond a second something is broken.
pub const HOP_BOUNDS_US: [u64; 18] = [
    5,
    10,
    20,
    30,
    50,
    75,
    100,
    150,
    200,
    300,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    100_000,
    1_000_000,
    u64::MAX,
];

/// Statuses with which a request is refused before it has reached a function.
pub const REFUSED_STATUSES: [u16; 7] = [400, 404, 408, 413, 429, 431, 503];

/// The place of a status in [`REFUSED_STATUSES`]; beyond them for one that is not there.
#[must_use]
pub fn refused_index(status: u16) -> usize {
    REFUSED_STATUSES.iter().position(|refused| *refused == status).unwrap_or(REFUSED_STATUSES.len())
}

/// Where an invocation's instance came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Origin {
    /// It was made for the invocation.
    New,
    /// It had been made ready before.
    Standby,
    /// It had served others.
    Reused,
}

/// What [`Origin`] is called, in the order in which it is counted.
pub const ORIGINS: [&str; 3] = ["new", "standby", "reused"];

/// What one worker has logged ([`crate::spool`]).
#[derive(Debug, Default)]
#[repr(C)]
pub struct LogCounts {
    /// Invocations.
    pub records: Counter,
    /// Lines.
    pub lines: Counter,
    /// Records of either kind that could not be written.
    pub dropped: Counter,
    /// Bytes that were written.
    pub written_bytes: Counter,
}

impl LogCounts {
    fn clear(&self) {
        [&self.records, &self.lines, &self.dropped, &self.written_bytes]
            .into_iter()
            .for_each(Counter::clear);
    }
}

/// A worker's counters that only ever grow.
#[derive(Debug, Default)]
#[repr(C)]
pub struct RowCounts {
    /// Modules loaded because a function was called.
    pub cold_loads: Counter,
    /// Instances taken for invocations, by [`Origin`].
    pub instances: Counters<{ ORIGINS.len() }>,
    /// Requests that reached no function, by [`REFUSED_STATUSES`].
    pub refused: Counters<{ REFUSED_STATUSES.len() }>,
    /// From a connection's accept to the worker's first request of it, by [`HOP_BOUNDS_US`].
    pub hop: Histogram<{ HOP_BOUNDS_US.len() }>,
    /// What went to the log, and what of it was lost.
    pub log: LogCounts,
    /// Slots of this row that are in use.
    slots_used: Counter,
}

impl RowCounts {
    fn clear(&self) {
        self.cold_loads.clear();
        self.instances.clear();
        self.refused.clear();
        self.hop.clear();
        self.log.clear();
        self.slots_used.clear();
    }
}

impl Row {
    /// Sockets the worker owns now.
    #[must_use]
    pub fn connections_open(&self) -> u64 {
        self.connections_taken.load(Relaxed).saturating_sub(self.connections_done.load(Relaxed))
    }

    fn clear(&self) {
        for counter in [
            &self.heartbeat_ms,
            &self.connections_taken,
            &self.connections_done,
            &self.sessions,
            &self.returns,
            &self.requests,
            &self.in_flight,
            &self.guest_deadline_ms,
            &self.modules,
        ] {
            counter.store(0, Relaxed);
        }
        self.counts.clear();
    }
}

/// The largest page of the machines we run on: each worker's part begins on one, so that it can be
/// given back alone.
const PAGE_BYTES: usize = 64 * 1024;
const ROWS_BYTES: usize = (WORKERS_MAX * size_of::<Row>()).next_multiple_of(PAGE_BYTES);
const PART_BYTES: usize = size_of::<Part>().next_multiple_of(PAGE_BYTES);

const LENGTH: NonZeroUsize = match NonZeroUsize::new(ROWS_BYTES + WORKERS_MAX * PART_BYTES) {
    Some(length) => length,
    None => panic!("WORKERS_MAX is 0"),
};

/// What one worker has besides its row: its clients' addresses, and the functions.
#[repr(C)]
struct Part {
    addresses: Addresses,
    /// A bit for each slot that is in use.
    used: [AtomicU64; FUNCTIONS_MAX.div_ceil(64)],
    slots: [Slot; FUNCTIONS_MAX],
    ledgers: [Ledger; FUNCTIONS_MAX],
}

/// The machine's monotonic clock in microseconds (clock_gettime(2)): the same for engine and
/// workers.
#[must_use]
pub fn now_us() -> u64 {
    // The clock is there on every Linux; a time of 0 would only mean that nothing is ever late.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        u64::try_from(std::time::Duration::from(time).as_micros()).unwrap_or(u64::MAX)
    })
}

/// The same clock in milliseconds.
#[must_use]
pub fn now_ms() -> u64 {
    now_us() / 1000
}

/// The mapped board.
#[derive(Debug)]
pub struct Board {
    rows: NonNull<Row>,
}

// SAFETY: the mapping is shared memory of atomics, valid from any thread until drop.
unsafe impl Send for Board {}
// SAFETY: as above: all access is through atomics.
unsafe impl Sync for Board {}

impl Board {
    /// Makes a board of zeros. The fd is for the workers; its size is sealed, its contents are not.
    ///
    /// # Errors
    /// [`SealedError`] when memory or file descriptors run out.
    pub fn create() -> Result<(Self, OwnedFd), SealedError> {
        let failed = |call| {
            move |errno: nix::Error| SealedError::Call { what: WHAT, call, source: errno.into() }
        };
        let fd = sealed::unsealed(WHAT)?;
        let length = i64::try_from(LENGTH.get()).unwrap_or(i64::MAX);
        ftruncate(&fd, length).map_err(failed("ftruncate"))?;
        let seals = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).map_err(failed("fcntl(F_ADD_SEALS)"))?;
        Ok((Self::map(&fd)?, fd))
    }

    /// Maps the board behind `fd`, which is only borrowed.
    ///
    /// # Errors
    /// [`SealedError`] when it has another size, could still shrink, or cannot be mapped.
    pub fn map(fd: impl AsFd) -> Result<Self, SealedError> {
        let failed = |call| {
            move |errno: nix::Error| SealedError::Call { what: WHAT, call, source: errno.into() }
        };
        let seals = fcntl(&fd, FcntlArg::F_GET_SEALS).map_err(failed("fcntl(F_GET_SEALS)"))?;
        let found = SealFlag::from_bits_truncate(seals);
        if !found.contains(SealFlag::F_SEAL_SHRINK) {
            return Err(SealedError::NotSealed { what: WHAT, found });
        }
        let size = nix::sys::stat::fstat(&fd).map_err(failed("fstat"))?.st_size;
        if usize::try_from(size) != Ok(LENGTH.get()) {
            let length = u64::try_from(size).unwrap_or(0);
            return Err(SealedError::Size { what: WHAT, length, limit: LENGTH.get() as u64 });
        }
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new shared mapping of exactly the file's length, which a seal keeps from
        // shrinking. Zero bytes are valid rows of atomics, and a page's alignment is more than a
        // row's.
        let start = unsafe { mmap(None, LENGTH, access, MapFlags::MAP_SHARED, fd, 0) }
            .map_err(failed("mmap"))?;
        Ok(Self { rows: start.cast() })
    }

    /// All rows.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        // SAFETY: the mapping holds WORKERS_MAX rows of atomics and lives until drop.
        unsafe { std::slice::from_raw_parts(self.rows.as_ptr(), WORKERS_MAX) }
    }

    /// The clients of the worker of `row`; none for a row that there is not.
    #[must_use]
    pub fn addresses(&self, row: usize) -> Option<&Addresses> {
        self.part(row).map(|part| &part.addresses)
    }

    /// What admission goes by, of all functions in the worker of `row`; none for a row that there
    /// is not.
    #[must_use]
    pub fn slots(&self, row: usize) -> &[Slot] {
        self.part(row).map_or(&[], |part| &part.slots)
    }

    /// The counters for an invocation, in the worker of `row`, of the function that has `slot` for
    /// its `incarnation`. None when another function has the slot by now. Only that worker may ask.
    #[must_use]
    pub fn counts(&self, row: usize, slot: usize, incarnation: u32) -> Option<&Counts> {
        let part = self.part(row)?;
        part.ledgers.get(slot)?.counts(incarnation, || {
            let (word, bit) = (&part.used[slot / 64], 1 << (slot % 64));
            if word.load(Relaxed) & bit == 0 {
                word.store(word.load(Relaxed) | bit, Relaxed);
                self.rows()[row].counts.slots_used.add(1);
            }
        })
    }

    /// What has been counted of each incarnation in the row, with the slot that it has.
    pub fn tallies(&self, row: usize) -> impl Iterator<Item = (u32, FunctionTally, &Slot)> {
        self.used_slots(row).filter_map(move |at| {
            let part = self.part(row)?;
            let (incarnation, tally) = part.ledgers.get(at)?.get()?;
            Some((incarnation, tally, part.slots.get(at)?))
        })
    }

    /// The slots of `row` that are in use, in order.
    fn used_slots(&self, row: usize) -> impl Iterator<Item = usize> {
        let any = self.rows().get(row).is_some_and(|row| row.counts.slots_used.get() > 0);
        let part = if any { self.part(row) } else { None };
        part.into_iter().flat_map(|part| {
            part.used.iter().enumerate().flat_map(move |(at, word)| {
                let mut bits = word.load(Relaxed);
                std::iter::from_fn(move || {
                    let bit = usize::try_from(bits.trailing_zeros()).unwrap_or(64);
                    bits &= bits.wrapping_sub(1);
                    (bit < 64).then_some(at * 64 + bit)
                })
            })
        })
    }

    /// One function's counters in the workers of `rows`, added up: in flight, and queued.
    /// Sequentially consistent: of two workers that count themselves in and then look, one at least
    /// sees both.
    #[must_use]
    pub fn sum(&self, rows: std::ops::Range<usize>, slot: usize) -> (u32, u32) {
        rows.filter_map(|row| self.slots(row).get(slot)).fold(
            (0, 0),
            |(in_flight, queued): (u32, u32), slot| {
                (
                    in_flight.saturating_add(slot.in_flight.load(SeqCst)),
                    queued.saturating_add(slot.queued.load(SeqCst)),
                )
            },
        )
    }

    /// One function's invocations in flight in the workers of `rows`, each of them taken to have
    /// `reserved` at least. Sequentially consistent, as [`Self::sum`].
    #[must_use]
    pub fn in_flight(&self, rows: std::ops::Range<usize>, slot: usize, reserved: u32) -> u32 {
        let slots = rows.filter_map(|row| self.slots(row).get(slot));
        slots
            .fold(0, |sum: u32, slot| sum.saturating_add(slot.in_flight.load(SeqCst).max(reserved)))
    }

    /// Forgets a dead worker's numbers before its successor gets the row: what it held is free
    /// again.
    pub fn clear(&self, row: usize) {
        let (Some(counters), Some(part)) = (self.rows().get(row), self.part(row)) else { return };
        counters.clear();
        // SAFETY: exactly the part of `row`, page-aligned and within the mapping. Its pages read as
        // zeros afterwards, which are valid atomics.
        let removed =
            unsafe { madvise(NonNull::from(part).cast(), PART_BYTES, MmapAdvise::MADV_REMOVE) };
        debug_assert!(removed.is_ok());
    }

    /// What the worker of `row` has besides it.
    fn part(&self, row: usize) -> Option<&Part> {
        if row >= WORKERS_MAX {
            return None;
        }
        // SAFETY: the part of `row` lies within the mapping (see LENGTH) and on a page's boundary,
        // is of atomics alone, for which any bytes are valid, and lives until drop.
        Some(unsafe {
            self.rows.cast::<u8>().add(ROWS_BYTES + row * PART_BYTES).cast::<Part>().as_ref()
        })
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, unmapped once; no row outlives `self`.
        let unmapped = unsafe { munmap(self.rows.cast(), LENGTH.get()) };
        debug_assert!(unmapped.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_mapping_counts_another_sees() {
        let (engine, fd) = Board::create().unwrap();
        let worker = Board::map(&fd).unwrap();
        worker.rows()[3].connections_taken.fetch_add(5, Relaxed);
        worker.rows()[3].connections_done.fetch_add(2, Relaxed);
        assert_eq!(engine.rows()[3].connections_open(), 3);
        assert_eq!(engine.rows()[2].connections_open(), 0);
        engine.clear(3);
        assert_eq!(worker.rows()[3].connections_open(), 0);
    }

    #[test]
    fn functions_are_counted_over_workers_and_a_dead_one_holds_nothing() {
        let (engine, fd) = Board::create().unwrap();
        let worker = Board::map(&fd).unwrap();
        let last = FUNCTIONS_MAX - 1;
        for row in [0, 1, WORKERS_MAX - 1] {
            worker.slots(row)[last].in_flight.fetch_add(2, Relaxed);
            worker.slots(row)[last].queued.fetch_add(1, Relaxed);
        }
        assert_eq!(engine.sum(0..2, last), (4, 2));
        assert_eq!(engine.sum(0..WORKERS_MAX, last), (6, 3));
        assert_eq!(engine.sum(0..2, last - 1), (0, 0));
        assert_eq!([0, 2, 3].map(|reserved| engine.in_flight(0..3, last, reserved)), [4, 6, 9]);
        engine.clear(1);
        assert_eq!(worker.sum(0..2, last), (2, 1));
        assert_eq!(engine.sum(0..2, FUNCTIONS_MAX), (0, 0));
        assert!(engine.slots(WORKERS_MAX).is_empty());
    }

    #[test]
    fn the_engine_finds_the_slots_that_are_in_use_and_a_dead_row_has_none() {
        let (engine, fd) = Board::create().unwrap();
        let worker = Board::map(&fd).unwrap();
        let used = |row| engine.used_slots(row).collect::<Vec<_>>();
        assert!(used(2).is_empty());
        for slot in [0, 63, 64, FUNCTIONS_MAX - 1, 64] {
            worker.counts(2, slot, 5).unwrap().sent_bytes.add(1);
        }
        assert_eq!(used(2), [0, 63, 64, FUNCTIONS_MAX - 1]);
        assert!(used(1).is_empty());
        let (incarnation, tally, _) = engine.tallies(2).nth(2).unwrap();
        assert_eq!((incarnation, tally.sent_bytes), (5, 2));
        assert!(
            worker.counts(2, FUNCTIONS_MAX, 5).is_none()
                && worker.counts(WORKERS_MAX, 0, 5).is_none()
        );
        engine.clear(2);
        assert!(used(2).is_empty());
    }

    #[test]
    fn other_memory_is_refused() {
        assert!(Board::map(sealed::unsealed(WHAT).unwrap()).is_err());
        assert!(Board::map(sealed::create(WHAT, b"short").unwrap()).is_err());
        assert!(Board::map(nix::unistd::pipe().unwrap().0).is_err());
    }
}
