//! The weight of the invocations that run in a worker, and how much of it each client's address
//! has. Owns no fds.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use abi::board::Places;
use abi::limits::INVOCATIONS_PER_WORKER_MAX;

/// While a worker runs no more than this, it does not count its clients' shares.
const UNCOUNTED_MAX: u32 = INVOCATIONS_PER_WORKER_MAX / 4;

/// The weight of what runs in a worker, by its clients' addresses.
#[derive(Default)]
pub(in crate::serve) struct Clients {
    all: Cell<u32>,
    /// What began while no more than [`UNCOUNTED_MAX`] ran. It counts as any client's.
    uncounted: Cell<u32>,
    /// What began later.
    counted: RefCell<HashMap<Places, u32>>,
}

impl Clients {
    /// Counts an invocation. Returns the places to pass to [`Self::remove`].
    pub(super) fn add(&self, client: Option<Places>, weight: u32) -> Option<Places> {
        self.all.set(self.all.get().saturating_add(weight));
        // Most of the time a worker is nowhere near full, and then spares itself the map.
        let Some(client) = client.filter(|_| self.all.get() > UNCOUNTED_MAX) else {
            self.uncounted.set(self.uncounted.get().saturating_add(weight));
            return None;
        };
        *self.counted.borrow_mut().entry(client).or_default() += weight;
        Some(client)
    }

    /// Removes an invocation. `client` is what [`Self::add`] returned for it.
    pub(super) fn remove(&self, client: Option<Places>, weight: u32) {
        self.all.set(self.all.get().saturating_sub(weight));
        let Some(client) = client else {
            return self.uncounted.set(self.uncounted.get().saturating_sub(weight));
        };
        let mut counted = self.counted.borrow_mut();
        if let Some(count) = counted.get_mut(&client) {
            *count = count.saturating_sub(weight);
            if *count == 0 {
                counted.remove(&client);
            }
        }
    }

    /// Returns the weight of all that runs in the worker.
    pub(super) fn all(&self) -> u32 {
        self.all.get()
    }

    /// Returns the most that a client may have of it.
    pub(super) fn of(&self, client: Option<Places>) -> u32 {
        let counted = client.and_then(|client| self.counted.borrow().get(&client).copied());
        counted.unwrap_or(0).saturating_add(self.uncounted.get())
    }

    /// Returns whether nothing is counted.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.all() == 0 && self.counted.borrow().is_empty()
    }
}
