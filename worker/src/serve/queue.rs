//! A function's queue in this worker: who waits for a place, and how much of the function runs.
//! Owns no fds.

use std::cell::Cell;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// A function's queue in this worker.
pub(super) struct Queue {
    /// Notified when an invocation has ended.
    freed: Notify,
    /// The permit of the first in the queue, which alone looks for a place.
    first: Semaphore,
    waiting: Cell<u32>,
    /// The weight of the function's invocations that run in this worker.
    running: Cell<u32>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            freed: Notify::new(),
            first: Semaphore::new(1),
            waiting: Cell::new(0),
            running: Cell::new(0),
        }
    }
}

impl Queue {
    /// Returns whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.get() == 0
    }

    /// Counts a request that waits.
    pub(super) fn enter(&self) {
        self.waiting.set(self.waiting.get() + 1);
    }

    /// Counts a request that waits no more.
    pub(super) fn leave(&self) {
        self.waiting.set(self.waiting.get() - 1);
    }

    /// Resolves when the caller is the first in the queue, and stays so until the permit is
    /// dropped.
    pub(super) async fn first(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is fair, and never closed.
        self.first.acquire().await.ok()
    }

    /// Resolves when an invocation of the function has ended.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Records that an invocation has ended, and wakes the first in the queue.
    pub(super) fn ended(&self) {
        if !self.is_empty() {
            self.freed.notify_one();
        }
    }

    /// Adds an invocation that runs.
    pub(super) fn add(&self, weight: u32) {
        self.running.set(self.running.get().saturating_add(weight));
    }

    /// Removes an invocation that ran.
    pub(super) fn remove(&self, weight: u32) {
        self.running.set(self.running.get().saturating_sub(weight));
    }

    /// Returns the weight of the function's invocations that run in this worker.
    pub(super) fn running(&self) -> u32 {
        self.running.get()
    }
}
