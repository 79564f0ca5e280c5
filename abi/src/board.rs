//! The board: shared memory with one row of counters a worker.
//!
//! The engine makes it, every worker maps it and writes only its own row; the engine and its shards read all of it for
//! balancing and status. Numbers on it are hints: a worker that lies gets more or fewer connections, no more. The
//! engine owns the memfd; a [`Board`] keeps a mapping and no fd.

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::unistd::ftruncate;

use crate::limits::WORKERS_MAX;
use crate::sealed::{self, SealedError};

const WHAT: &str = "board";

/// One worker's counters. Written by that worker alone, save for [`Row::clear`].
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
    /// Modules loaded.
    pub modules: AtomicU64,
}

impl Row {
    /// Sockets the worker owns now.
    #[must_use]
    pub fn connections_open(&self) -> u64 {
        self.connections_taken.load(Relaxed).saturating_sub(self.connections_done.load(Relaxed))
    }

    /// Forgets a dead worker's numbers before its successor gets the row.
    pub fn clear(&self) {
        for counter in [
            &self.heartbeat_ms,
            &self.connections_taken,
            &self.connections_done,
            &self.returns,
            &self.requests,
            &self.in_flight,
            &self.modules,
        ] {
            counter.store(0, Relaxed);
        }
    }
}

const LENGTH: NonZeroUsize = {
    let bytes = WORKERS_MAX * size_of::<Row>();
    match NonZeroUsize::new(bytes) {
        Some(length) => length,
        None => panic!("WORKERS_MAX is 0"),
    }
};

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
        engine.rows()[3].clear();
        assert_eq!(worker.rows()[3].connections_open(), 0);
    }

    #[test]
    fn other_memory_is_refused() {
        assert!(Board::map(sealed::unsealed(WHAT).unwrap()).is_err());
        assert!(Board::map(sealed::create(WHAT, b"short").unwrap()).is_err());
        assert!(Board::map(nix::unistd::pipe().unwrap().0).is_err());
    }
}
