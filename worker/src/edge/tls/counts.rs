//! An edge's row on the board, as long as it has one. Owns the board's mapping.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use abi::board::{Board, Places};
use abi::origin::Origin;
use tokio::time::Instant;

use crate::counters::Counters;

/// Counts connections on the board.
pub(super) struct Counts {
    /// None of an edge that is detached: the row is somebody else's then.
    counters: RefCell<Option<Counters>>,
    address_seed: u64,
    started: Instant,
}

impl Counts {
    pub(super) fn new(board: Board, row: usize, address_seed: u64) -> Rc<Self> {
        let counters = RefCell::new(Some(Counters::new(Arc::new(board), row)));
        Rc::new(Self { counters, address_seed, started: Instant::now() })
    }

    /// Says that this process is alive.
    pub(super) fn beat(&self) {
        if let Some(counters) = &*self.counters.borrow() {
            let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            counters.row().heartbeat_ms.store(millis, Relaxed);
        }
    }

    /// Counts a connection until the guard is dropped.
    pub(super) fn count(self: &Rc<Self>) -> Counted {
        if let Some(counters) = &*self.counters.borrow() {
            counters.row().connections_taken.fetch_add(1, Relaxed);
        }
        Counted { counts: Rc::clone(self) }
    }

    /// Counts a client's address until the guard is dropped. Once a worker has the plaintext, the
    /// worker counts it; that of a connection of HTTP/2 is counted here to its end.
    pub(super) fn count_address(self: &Rc<Self>, origin: Origin) -> CountedAddress {
        let address = origin.client.ip().to_canonical();
        let places = Places::of(address, self.address_seed);
        if let Some(addresses) = self.counters.borrow().as_ref().and_then(Counters::addresses) {
            addresses.add(places);
        }
        CountedAddress { counts: Rc::clone(self), places }
    }

    /// Counts a connection of HTTP/2, which no worker has, until the guard is dropped.
    pub(super) fn count_session(self: &Rc<Self>) -> CountedSession {
        if let Some(counters) = &*self.counters.borrow() {
            counters.row().sessions.fetch_add(1, Relaxed);
        }
        CountedSession { counts: Rc::clone(self) }
    }

    /// Lets go of the board. Nothing is counted any more.
    pub(super) fn let_go(&self) {
        *self.counters.borrow_mut() = None;
    }
}

/// The guard of a counted connection.
pub(super) struct Counted {
    counts: Rc<Counts>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(counters) = &*self.counts.counters.borrow() {
            counters.row().connections_done.fetch_add(1, Relaxed);
        }
    }
}

/// The guard of a counted connection of HTTP/2.
pub(super) struct CountedSession {
    counts: Rc<Counts>,
}

impl Drop for CountedSession {
    fn drop(&mut self) {
        if let Some(counters) = &*self.counts.counters.borrow() {
            counters.row().sessions.fetch_sub(1, Relaxed);
        }
    }
}

/// The guard of a counted address.
pub(super) struct CountedAddress {
    counts: Rc<Counts>,
    places: Places,
}

impl Drop for CountedAddress {
    fn drop(&mut self) {
        let counters = self.counts.counters.borrow();
        if let Some(addresses) = counters.as_ref().and_then(Counters::addresses) {
            addresses.remove(self.places);
        }
    }
}
