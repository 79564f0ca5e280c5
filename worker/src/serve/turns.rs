//! A function's queue in this worker: who waits for a place, and how much of the function runs.
//! Owns no fds.

use std::cell::Cell;

use tokio::sync::{Notify, Semaphore};

/// A function's queue in this worker.
pub(super) struct Turns {
    /// Notified when an invocation has ended.
    pub(super) free: Notify,
    /// The permit of the first in the queue, which alone looks for a place.
    pub(super) first: Semaphore,
    pub(super) waiting: Cell<u32>,
    /// The weight of the function's invocations that run in this worker.
    running: Cell<u32>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            free: Notify::new(),
            first: Semaphore::new(1),
            waiting: Cell::new(0),
            running: Cell::new(0),
        }
    }
}

impl Turns {
    /// Records that an invocation has ended, and wakes the first in the queue.
    pub(super) fn ended(&self) {
        if self.waiting.get() > 0 {
            self.free.notify_one();
        }
    }

    pub(super) fn add(&self, weight: u32) {
        self.running.set(self.running.get().saturating_add(weight));
    }

    pub(super) fn remove(&self, weight: u32) {
        self.running.set(self.running.get().saturating_sub(weight));
    }

    pub(super) fn running(&self) -> u32 {
        self.running.get()
    }
}
