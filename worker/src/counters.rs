//! This worker's row on the board, and its view of the other workers' rows.
//!
//! Shares the board's mapping; owns no fds.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use abi::board::{
    Addresses, Board, Counts, HOP_BOUNDS_US, Reuse, Row, Slot, now_us, refused_index,
};
use abi::catalogue::ArchivedFunction;
use abi::outcome::Reason;

/// Interval of the heartbeat by which the engine sees that the process of a row is alive.
pub(crate) const BEAT_INTERVAL: Duration = Duration::from_millis(100);

/// Where a function is counted on the board.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FunctionSlot {
    pub(crate) index: usize,
    /// Which of the functions that have had this slot is meant.
    pub(crate) incarnation: u32,
}

impl From<&ArchivedFunction> for FunctionSlot {
    fn from(function: &ArchivedFunction) -> Self {
        let index = usize::try_from(function.slot.to_native()).unwrap_or(usize::MAX);
        Self { index, incarnation: function.slot_incarnation.to_native() }
    }
}

/// The counters of this worker.
pub(crate) struct Counters {
    board: Arc<Board>,
    row: usize,
}

impl Counters {
    /// Returns the counters of the worker that has `row` of `board`.
    pub(crate) fn new(board: Arc<Board>, row: usize) -> Self {
        Self { board, row }
    }

    /// Returns this worker's row.
    pub(crate) fn row(&self) -> &Row {
        // The engine's `Start` was checked against WORKERS_MAX, the board's length.
        &self.board.rows()[self.row]
    }

    /// Returns the counts of its connections by client address.
    pub(crate) fn addresses(&self) -> Option<&Addresses> {
        self.board.addresses(self.row)
    }

    /// Returns the counts of a function in this worker. Returns `None` if the function was removed
    /// and another has its slot.
    pub(crate) fn function(&self, slot: FunctionSlot) -> Option<&Counts> {
        self.board.counts(self.row, slot.index, slot.incarnation)
    }

    /// Returns the counters of a function in this worker that admission reads.
    pub(crate) fn slot(&self, slot: FunctionSlot) -> Option<&Slot> {
        self.board.slots(self.row).get(slot.index)
    }

    /// Counts a hop whose first request has arrived.
    pub(crate) fn count_hop(&self, accepted_at_us: u64) {
        self.row().counts.hop.record(&HOP_BOUNDS_US, now_us().saturating_sub(accepted_at_us));
    }

    /// Counts a request that was refused before it belonged to a function.
    pub(crate) fn count_refused(&self, status: u16) {
        self.row().counts.refused.count(refused_index(status));
    }

    /// Counts why an invocation was refused or failed.
    pub(crate) fn count_reason(&self, slot: FunctionSlot, reason: Reason) {
        if let Some(counts) = self.function(slot) {
            counts.reasons.count(reason as usize);
        }
    }

    /// Counts what became of an instance that may serve several requests.
    pub(crate) fn count_reuse(&self, slot: FunctionSlot, reuse: Reuse) {
        if let Some(counts) = self.function(slot) {
            counts.reuses.count(reuse as usize);
        }
    }

    /// Returns the rows of the workers that run the same functions as this one: its own row if it
    /// is one function's own worker, otherwise those of all `shared_rows` shared workers.
    pub(crate) fn peers(&self, is_own_worker: bool, shared_rows: u16) -> Range<usize> {
        if is_own_worker { self.row..self.row + 1 } else { 0..usize::from(shared_rows) }
    }

    /// Returns the number of a function's invocations in the workers of `rows`, where each other
    /// worker counts as running at least `reserved`. While this worker runs no more than
    /// `reserved`, the other rows are not read.
    pub(crate) fn running(&self, rows: Range<usize>, slot: FunctionSlot, reserved: u32) -> u32 {
        let own = self.slot(slot).map_or(0, |slot| slot.in_flight.load(SeqCst));
        if own <= reserved { own } else { self.board.in_flight(rows, slot.index, reserved) }
    }

    /// Returns the number of a function's requests that are queued in the workers of `rows`.
    pub(crate) fn queued(&self, rows: Range<usize>, slot: FunctionSlot) -> u32 {
        self.board.sum(rows, slot.index).1
    }
}
