//! What becomes known of an invocation while it runs: for its record in the log. Owns no fds.

use std::cell::{Cell, OnceCell};
use std::time::Duration;

use abi::board::{Places, now_us};
use abi::outcome::Reason;

use crate::trace::Entered;

/// Filled in by whoever sees it happen. Times are by [`now_us`], and 0 before they have come.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// It had its turn.
    admitted_us: Cell<u64>,
    /// It had an instance.
    ready_us: Cell<u64>,
    /// Its guest was done.
    ended_us: Cell<u64>,
    pub(crate) cpu: Cell<Duration>,
    pub(crate) memory_bytes: Cell<usize>,
    /// Its guest goes on although the reply is complete.
    pub(crate) goes_on: Cell<bool>,
    /// Its record was written before its guest had ended.
    recorded_us: Cell<u64>,
    /// Why it was refused or failed.
    pub(crate) reason: Cell<Option<Reason>>,
    /// Where its client's address is counted.
    pub(crate) client: Cell<Option<Places>>,
    /// The trace that it belongs to.
    trace: OnceCell<Entered>,
}

/// How long the parts of an invocation took, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) queue_us: u64,
    pub(crate) instantiate_us: u64,
    pub(crate) run_us: u64,
}

impl Facts {
    pub(crate) fn admitted(&self, at_us: u64) {
        self.admitted_us.set(at_us);
    }

    pub(crate) fn entered(&self, trace: Entered) {
        let _ = self.trace.set(trace);
    }

    pub(crate) fn trace(&self) -> Option<&Entered> {
        self.trace.get()
    }

    pub(crate) fn ready(&self) {
        self.ready_us.set(now_us());
    }

    pub(crate) fn ended(&self) {
        self.ended_us.set(now_us());
    }

    /// Its record is written at `at_us`. Says whether what its guest does from here on is to be
    /// recorded, too.
    pub(crate) fn record(&self, at_us: u64) -> bool {
        if self.goes_on.get() {
            self.recorded_us.set(at_us);
        }
        self.goes_on.get()
    }

    /// For how long its guest has gone on at `now_us` after its record was written; none when it
    /// has ended before.
    pub(crate) fn went_on(&self, now_us: u64) -> Option<u64> {
        let recorded_us = self.recorded_us.get();
        (recorded_us > 0).then(|| now_us.saturating_sub(recorded_us))
    }

    /// The parts of an invocation that began at `begun_us` and is over at `over_us`. What has not
    /// come is counted to the end.
    pub(crate) fn parts(&self, begun_us: u64, over_us: u64) -> Parts {
        let at = |time: &Cell<u64>| if time.get() == 0 { over_us } else { time.get() };
        let (admitted, ready) = (at(&self.admitted_us), at(&self.ready_us));
        Parts {
            queue_us: admitted.saturating_sub(begun_us),
            instantiate_us: ready.saturating_sub(admitted),
            run_us: at(&self.ended_us).saturating_sub(ready),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_guest_that_goes_on_behind_its_record_has_an_after() {
        let facts = Facts::default();
        assert!(!facts.record(5));
        assert_eq!(facts.went_on(9), None);
        facts.goes_on.set(true);
        assert_eq!(facts.went_on(9), None, "it ends before its record is written");
        assert!(facts.record(5));
        assert_eq!(facts.went_on(9), Some(4));
    }

    #[test]
    fn parts_follow_one_another_as_far_as_it_came() {
        let facts = Facts::default();
        let parts = |queue_us, instantiate_us, run_us| Parts { queue_us, instantiate_us, run_us };
        assert_eq!(facts.parts(10, 50), parts(40, 0, 0));
        facts.admitted(15);
        assert_eq!(facts.parts(10, 50), parts(5, 35, 0));
        facts.ready_us.set(20);
        assert_eq!(facts.parts(10, 50), parts(5, 5, 30));
        facts.ended_us.set(27);
        assert_eq!(facts.parts(10, 50), parts(5, 5, 7));
    }
}
