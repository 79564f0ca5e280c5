//! What becomes known about an invocation while it runs, for its record in the log. Owns no fds.

use std::cell::{Cell, OnceCell};
use std::time::Duration;

use abi::board::{Places, now_us};
use abi::outcome::Reason;

use crate::trace::RecordedSpan;

/// The facts about one invocation. Each is set by the part of the pipeline that it happens in.
/// Times are by [`now_us`], and 0 until they are known.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// When it was admitted.
    admitted_us: Cell<u64>,
    /// When it had an instance.
    ready_us: Cell<u64>,
    /// When its guest had ended.
    ended_us: Cell<u64>,
    pub(crate) cpu: Cell<Duration>,
    pub(crate) memory_bytes: Cell<usize>,
    /// Whether its guest goes on although the reply is complete.
    pub(crate) goes_on: Cell<bool>,
    /// When its record was written, if its guest had not ended before.
    recorded_us: Cell<u64>,
    /// Why it was refused or failed.
    pub(crate) reason: Cell<Option<Reason>>,
    /// The board's places where its client's address is counted.
    pub(crate) client_places: Cell<Option<Places>>,
    /// The trace that it belongs to.
    trace: OnceCell<RecordedSpan>,
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

    pub(crate) fn set_trace(&self, trace: RecordedSpan) {
        let _ = self.trace.set(trace);
    }

    pub(crate) fn trace(&self) -> Option<&RecordedSpan> {
        self.trace.get()
    }

    pub(crate) fn ready(&self) {
        self.ready_us.set(now_us());
    }

    pub(crate) fn ended(&self) {
        self.ended_us.set(now_us());
    }

    /// Records that the log's record is written at `at_us`. Returns whether a second record must
    /// follow, for what the guest does from here on.
    pub(crate) fn record(&self, at_us: u64) -> bool {
        if self.goes_on.get() {
            self.recorded_us.set(at_us);
        }
        self.goes_on.get()
    }

    /// Returns for how long the guest has gone on until `now_us` since its record was written.
    /// Returns `None`, without a look at the clock, if it had ended before the record.
    pub(crate) fn went_on(&self, now_us: impl FnOnce() -> u64) -> Option<u64> {
        let recorded_us = self.recorded_us.get();
        (recorded_us > 0).then(|| now_us().saturating_sub(recorded_us))
    }

    /// Returns the parts of an invocation that began at `begun_us` and ended at `over_us`. A step
    /// that was never reached counts as lasting until the end.
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
        assert_eq!(facts.went_on(|| 9), None);
        facts.goes_on.set(true);
        assert_eq!(facts.went_on(|| 9), None, "it ends before its record is written");
        assert!(facts.record(5));
        assert_eq!(facts.went_on(|| 9), Some(4));
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
