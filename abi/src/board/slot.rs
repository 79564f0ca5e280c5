//! One function's counters in one worker.
//!
//! A slot outlives the function that has it: when that is removed, another may get its slot. So
//! what is counted belongs to a *incarnation*, a number that every function gets with its slot and
//! none gets twice: the first invocation of a later incarnation begins the counters anew, what an
//! earlier one still has to tell is dropped, and a reader gets numbers only of the incarnation it
//! asks for. What admission goes by is not counted by incarnation: places are taken and given back
//! by whoever runs. It stands apart, because all workers look at it: a function's many counters
//! then take memory only where the function runs. Owns no fds.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, fence};

use super::counter::{self, Counter, Counters, Durations, Histogram};
use crate::outcome::{CLASSES, Reason};

/// Upper bounds of the buckets that invocations are counted in by how long they took. The quickest
/// take less than the first and the longest 15 minutes; 1-2-5 in each decade puts a quantile within
/// a factor of 2.5, and people can read it.
pub const LATENCY_BOUNDS_US: [u64; 18] = [
    50,
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    u64::MAX,
];

/// What becomes of an instance that may serve several requests, when it has served one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Reuse {
    /// It is kept for another.
    Kept,
    /// It has served as many as it may.
    Served,
    /// It still holds something of its request.
    Request,
    /// It has grown to near its memory limit.
    Memory,
    /// Its worker keeps as many as it can.
    Room,
}

/// What [`Reuse`] is called, in the order in which it is counted.
pub const REUSES: [&str; 5] = ["kept", "served", "request", "memory", "room"];

/// What admission goes by: one function in one worker.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Slot {
    /// Its invocations being run there now.
    pub in_flight: AtomicU32,
    /// Its requests that wait there for one of them to end.
    pub queued: AtomicU32,
}

/// What one function has counted in one worker.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Ledger {
    incarnation: AtomicU32,
    counts: Counts,
}

/// What is counted of one incarnation.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Counts {
    /// Invocations that are over, by the [class](crate::outcome::ReplyEnd::class) of their reply.
    pub outcomes: Counters<{ CLASSES.len() }>,
    /// Bytes of replies that the kernel has taken.
    pub sent_bytes: Counter,
    /// From a request's head to the last byte of its reply, by [`LATENCY_BOUNDS_US`].
    pub latency: Histogram<{ LATENCY_BOUNDS_US.len() }>,
    /// By [`Reason`].
    pub reasons: Counters<{ Reason::ALL.len() }>,
    /// Instances that have served and may serve several, by [`Reuse`].
    pub reuses: Counters<{ REUSES.len() }>,
}

impl Ledger {
    /// The counters for an invocation of `incarnation` to count in; none when a later incarnation
    /// has the slot by now. Only the slot's own worker may ask. `first` is called when the
    /// incarnation is new here.
    pub(super) fn counts(&self, incarnation: u32, first: impl FnOnce()) -> Option<&Counts> {
        let current = self.incarnation.load(Relaxed);
        if current < incarnation {
            // No incarnation while the numbers are nobody's.
            self.incarnation.store(0, Relaxed);
            fence(Release);
            self.counts.clear();
            self.incarnation.store(incarnation, Release);
            first();
        }
        (current <= incarnation).then_some(&self.counts)
    }

    /// Which incarnation the numbers are of, and what they are; none while that changes, or when
    /// there was no incarnation yet.
    pub(super) fn get(&self) -> Option<(u32, FunctionTally)> {
        let incarnation = self.incarnation.load(Acquire);
        let counts = &self.counts;
        let tally = FunctionTally {
            outcomes: counts.outcomes.get(),
            sent_bytes: counts.sent_bytes.get(),
            latency: counts.latency.get(),
            reasons: counts.reasons.get(),
            reuses: counts.reuses.get(),
        };
        fence(Acquire);
        (incarnation != 0 && self.incarnation.load(Relaxed) == incarnation)
            .then_some((incarnation, tally))
    }
}

impl Counts {
    fn clear(&self) {
        self.outcomes.clear();
        self.sent_bytes.clear();
        self.latency.clear();
        self.reasons.clear();
        self.reuses.clear();
    }
}

/// A function's counters as they were read, of one worker or of several.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct FunctionTally {
    /// By the class of their reply.
    pub outcomes: [u64; CLASSES.len()],
    /// Bytes of replies that the kernel has taken.
    pub sent_bytes: u64,
    /// By [`LATENCY_BOUNDS_US`].
    pub latency: Durations<{ LATENCY_BOUNDS_US.len() }>,
    /// By [`Reason`].
    pub reasons: [u64; Reason::ALL.len()],
    /// By [`Reuse`].
    pub reuses: [u64; REUSES.len()],
}

impl std::ops::AddAssign<&Self> for FunctionTally {
    fn add_assign(&mut self, other: &Self) {
        counter::add_counts(&mut self.outcomes, &other.outcomes);
        self.sent_bytes = self.sent_bytes.wrapping_add(other.sent_bytes);
        self.latency += &other.latency;
        counter::add_counts(&mut self.reasons, &other.reasons);
        counter::add_counts(&mut self.reuses, &other.reuses);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::ReplyEnd;

    #[test]
    fn a_later_function_finds_nothing_of_an_earlier_and_gets_nothing_from_it() {
        let slot = Ledger::default();
        assert_eq!(slot.get(), None);
        let mut incarnations = 0;
        slot.counts(3, || incarnations += 1).unwrap().outcomes.count(ReplyEnd::Whole(200).class());
        slot.counts(3, || incarnations += 1).unwrap().outcomes.count(ReplyEnd::Whole(503).class());
        let (incarnation, tally) = slot.get().unwrap();
        assert_eq!((incarnation, incarnations, tally.outcomes), (3, 1, [0, 1, 0, 0, 1, 0]));
        slot.counts(7, || incarnations += 1).unwrap().sent_bytes.add(9);
        assert!(slot.counts(3, || incarnations += 1).is_none(), "it has come too late");
        let (incarnation, tally) = slot.get().unwrap();
        assert_eq!((incarnation, incarnations), (7, 2));
        assert_eq!(tally, FunctionTally { sent_bytes: 9, ..FunctionTally::default() });
    }
}
