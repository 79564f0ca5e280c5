//! The worker's one thread, and the guest that has it.
//!
//! All code of guests, for a request or at a start, is polled through [`GuestThread::poll`] and
//! nowhere else. There its time is measured, the engine learns until when it may have the thread,
//! and the observer hears of both. Owns no fds.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use super::cpu_time;
use crate::counters::Counters;

/// Hears of guests' turns on the thread.
pub(crate) trait TurnObserver {
    /// A guest is about to get the thread, and usually has it for `expected`.
    fn turn_begins(&self, expected: Duration);
    /// The guest has had the thread for `took`.
    fn turn_ended(&self, took: Duration);
}

pub(crate) struct GuestThread {
    counters: Rc<Counters>,
    observer: Rc<dyn TurnObserver>,
}

/// One guest's time on the thread.
pub(crate) struct ThreadTime {
    /// The time that it has had so far.
    pub(crate) used: Duration,
    /// When its time limit passes, in milliseconds of [`abi::board::now_us`]'s clock.
    pub(crate) deadline_ms: u64,
}

impl GuestThread {
    pub(crate) fn new(counters: Rc<Counters>, observer: Rc<dyn TurnObserver>) -> Self {
        Self { counters, observer }
    }

    /// Gives the thread to `guest` until it waits or ends. `typical` is the usual length of such a
    /// turn, and is updated by this one.
    pub(crate) fn poll<F: Future + ?Sized>(
        &self,
        cx: &mut Context<'_>,
        guest: Pin<&mut F>,
        time: &mut ThreadTime,
        typical: &TypicalTurn,
    ) -> Poll<F::Output> {
        self.observer.turn_begins(typical.get());
        let row = self.counters.row();
        row.guest_deadline_ms.store(time.deadline_ms, Relaxed);
        let before = time.used;
        let polled = cpu_time::measured(&mut time.used, || guest.poll(cx));
        let took = time.used.saturating_sub(before);
        row.guest_deadline_ms.store(0, Relaxed);
        self.observer.turn_ended(took);
        typical.add(took);
        polled
    }
}

/// The usual length of a turn of a function's guests on the thread.
pub(crate) struct TypicalTurn(Cell<Duration>);

impl Default for TypicalTurn {
    /// Until something is known, a turn is expected to be long.
    fn default() -> Self {
        Self(Cell::new(Duration::MAX))
    }
}

impl TypicalTurn {
    /// Returns the mean of the last turns, weighted towards the latest.
    pub(crate) fn get(&self) -> Duration {
        self.0.get()
    }

    pub(crate) fn add(&self, turn: Duration) {
        let before = if self.0.get() == Duration::MAX { turn } else { self.0.get() };
        self.0.set(before - before / 8 + turn / 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typical_turn_follows_the_last_ones() {
        let typical = TypicalTurn::default();
        let (short, long) = (Duration::from_micros(20), Duration::from_millis(2));
        typical.add(short);
        assert!(typical.get() <= short);
        (0..20).for_each(|_| typical.add(long));
        assert!(typical.get() > long * 9 / 10 && typical.get() <= long, "{:?}", typical.get());
        (0..50).for_each(|_| typical.add(short));
        assert!(typical.get() < short * 2, "{:?}", typical.get());
    }
}
