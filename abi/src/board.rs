//! The board: shared memory with one row of counters a worker, and one pair of counters for each function in each row.
//!
//! The engine makes it, every worker maps it and writes only its own row; the engine, its shards and the other workers
//! read all of it for balancing, limits and status. A worker that lies gets more or fewer connections, or lets more or
//! fewer requests through, no more. The functions' counters take address space for every function there can be, and memory
//! only for those there are. The engine owns the memfd; a [`Board`] keeps a mapping and no fd.

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::ftruncate;

use crate::limits::{FUNCTIONS_MAX, WORKERS_MAX};
use crate::sealed::{self, SealedError};

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
    /// Sockets given back to the engine.
    pub returns: AtomicU64,
    /// Requests begun.
    pub requests: AtomicU64,
    /// Requests being run now.
    pub in_flight: AtomicU64,
    /// When the guest that has the worker's thread now must be off it, in milliseconds of the machine's monotonic clock; 0
    /// while none has it. A time long past says that the worker is stuck.
    pub guest_deadline_ms: AtomicU64,
    /// Modules loaded.
    pub modules: AtomicU64,
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
            &self.returns,
            &self.requests,
            &self.in_flight,
            &self.guest_deadline_ms,
            &self.modules,
        ] {
            counter.store(0, Relaxed);
        }
    }
}

/// One function's counters in one worker.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Slot {
    /// Its invocations being run there now.
    pub in_flight: AtomicU32,
    /// Its requests that wait there for one of them to end.
    pub queued: AtomicU32,
}

/// The largest page of the machines we run on: each worker's part begins on one, so that it can be given back alone.
const PAGE_BYTES: usize = 64 * 1024;
const ROWS_BYTES: usize = (WORKERS_MAX * size_of::<Row>()).next_multiple_of(PAGE_BYTES);
const SLOTS_BYTES: usize = (FUNCTIONS_MAX * size_of::<Slot>()).next_multiple_of(PAGE_BYTES);

const LENGTH: NonZeroUsize = match NonZeroUsize::new(ROWS_BYTES + WORKERS_MAX * SLOTS_BYTES) {
    Some(length) => length,
    None => panic!("WORKERS_MAX is 0"),
};

/// The machine's monotonic clock in milliseconds (clock_gettime(2)): the same for engine and workers.
#[must_use]
pub fn now_ms() -> u64 {
    // The clock is there on every Linux; a time of 0 would only mean that nothing is ever late.
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |time| u64::try_from(std::time::Duration::from(time).as_millis()).unwrap_or(u64::MAX))
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
        let failed = |call| move |errno: nix::Error| SealedError::Call { what: WHAT, call, source: errno.into() };
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
        let failed = |call| move |errno: nix::Error| SealedError::Call { what: WHAT, call, source: errno.into() };
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
        // SAFETY: a new shared mapping of exactly the file's length, which a seal keeps from shrinking. Zero bytes are
        // valid rows of atomics, and a page's alignment is more than a row's.
        let start = unsafe { mmap(None, LENGTH, access, MapFlags::MAP_SHARED, fd, 0) }.map_err(failed("mmap"))?;
        Ok(Self { rows: start.cast() })
    }

    /// All rows.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        // SAFETY: the mapping holds WORKERS_MAX rows of atomics and lives until drop.
        unsafe { std::slice::from_raw_parts(self.rows.as_ptr(), WORKERS_MAX) }
    }

    /// The counters of all functions in the worker of `row`; none for a row that there is not.
    #[must_use]
    pub fn slots(&self, row: usize) -> &[Slot] {
        if row >= WORKERS_MAX {
            return &[];
        }
        // SAFETY: the part of `row` lies within the mapping (see LENGTH), holds FUNCTIONS_MAX slots of atomics, and lives
        // until drop.
        unsafe { std::slice::from_raw_parts(self.part(row).cast::<Slot>().as_ptr(), FUNCTIONS_MAX) }
    }

    /// One function's counters in the workers of `rows`, added up: in flight, and queued. Sequentially consistent: of two
    /// workers that count themselves in and then look, one at least sees both.
    #[must_use]
    pub fn sum(&self, rows: std::ops::Range<usize>, slot: usize) -> (u32, u32) {
        rows.filter_map(|row| self.slots(row).get(slot)).fold((0, 0), |(in_flight, queued): (u32, u32), slot| {
            (in_flight.saturating_add(slot.in_flight.load(SeqCst)), queued.saturating_add(slot.queued.load(SeqCst)))
        })
    }

    /// Forgets a dead worker's numbers before its successor gets the row: what it held is free again.
    pub fn clear(&self, row: usize) {
        let Some(counters) = self.rows().get(row) else { return };
        counters.clear();
        // SAFETY: exactly the part of `row`, page-aligned and within the mapping. Its pages read as zeros afterwards, which are
        // valid atomics.
        let removed = unsafe { madvise(self.part(row).cast(), SLOTS_BYTES, MmapAdvise::MADV_REMOVE) };
        debug_assert!(removed.is_ok());
    }

    /// Where the functions' counters of `row` begin. The caller has checked `row`.
    fn part(&self, row: usize) -> NonNull<u8> {
        // SAFETY: within the mapping, see LENGTH.
        unsafe { self.rows.cast::<u8>().add(ROWS_BYTES + row * SLOTS_BYTES) }
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
        engine.clear(1);
        assert_eq!(worker.sum(0..2, last), (2, 1));
        assert_eq!(engine.sum(0..2, FUNCTIONS_MAX), (0, 0));
        assert!(engine.slots(WORKERS_MAX).is_empty());
    }

    #[test]
    fn other_memory_is_refused() {
        assert!(Board::map(sealed::unsealed(WHAT).unwrap()).is_err());
        assert!(Board::map(sealed::create(WHAT, b"short").unwrap()).is_err());
        assert!(Board::map(nix::unistd::pipe().unwrap().0).is_err());
    }
}
