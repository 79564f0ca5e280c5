//! Who waits for one of a function's invocations to end, and what runs of it in this worker. Owns
//! no fds.

use std::cell::Cell;

use tokio::sync::{Notify, Semaphore};

/// A function's turns in this worker.
pub(super) struct Turns {
    /// Notified when one has ended.
    pub(super) free: Notify,
    /// Had by the first of those who wait.
    pub(super) first: Semaphore,
    pub(super) waiting: Cell<u32>,
    /// What runs of it in this worker, weighed.
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
    /// An invocation has ended: whoever has waited longest may look.
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
