//! Whether the store's clock can be trusted: only while it runs as fast as this machine's monotonic
//! clock, which nobody sets. This finds a clock that was set, or stood still. Its trust then begins
//! anew. Pure; owns no fds.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

/// How much the two clocks may differ between two readings.
const APART_MAX: Duration = Duration::from_secs(5 * 60);
/// How many readings are kept of the time for which the clock must run evenly.
const READINGS: u32 = 16;

/// A reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// The time since the machine started.
    pub(super) monotonic: Duration,
    pub(super) store: SystemTime,
}

/// How the store's clock runs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// It was not watched for long enough.
    Unknown,
    /// It runs evenly, and has for long enough.
    Even,
    /// It has run differently from this machine's clock since an earlier reading.
    Jumped { monotonic: Duration, from: SystemTime, to: SystemTime },
}

/// The store's clock, as one process has read it.
#[derive(Debug)]
pub(super) struct Clock {
    /// How long the clock must run evenly before it is trusted.
    span: Duration,
    /// The first is the latest reading that is at least `span` old, if there is one.
    readings: VecDeque<Reading>,
}

impl Clock {
    pub(super) fn new(span: Duration) -> Self {
        Self { span, readings: VecDeque::new() }
    }

    /// Adds a reading. Returns how the clock runs.
    pub(super) fn read(&mut self, now: Reading) -> Pace {
        let Some(first) = self.readings.front().copied() else {
            self.readings.push_back(now);
            return Pace::Unknown;
        };
        let monotonic = now.monotonic.saturating_sub(first.monotonic);
        let goes_along = first.store.checked_add(monotonic).is_some_and(|expected| {
            let ahead = now.store.duration_since(expected);
            ahead.unwrap_or_else(|behind| behind.duration()) <= APART_MAX
        });
        if !goes_along {
            self.readings.clear();
            self.readings.push_back(now);
            return Pace::Jumped { monotonic, from: first.store, to: now.store };
        }
        let since = |reading: &Reading| now.monotonic.saturating_sub(reading.monotonic);
        while self.readings.get(1).is_some_and(|second| since(second) >= self.span) {
            self.readings.pop_front();
        }
        if self.readings.back().is_some_and(|last| since(last) >= self.span / READINGS) {
            self.readings.push_back(now);
        }
        if monotonic >= self.span { Pace::Even } else { Pace::Unknown }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPAN: Duration = Duration::from_secs(55 * 60);

    fn at(monotonic_min: u64, store_min: u64) -> Reading {
        let minutes = |minutes| Duration::from_secs(60 * minutes);
        Reading {
            monotonic: minutes(monotonic_min),
            store: SystemTime::UNIX_EPOCH + minutes(1_000_000 + store_min),
        }
    }

    #[test]
    fn a_clock_is_believed_when_it_has_gone_evenly_for_long_enough() {
        let mut clock = Clock::new(SPAN);
        for (minute, pace) in [
            (0, Pace::Unknown),
            (1, Pace::Unknown),
            (54, Pace::Unknown),
            (55, Pace::Even),
            (56, Pace::Even),
            (5000, Pace::Even),
        ] {
            assert_eq!(clock.read(at(minute, minute)), pace, "{minute}");
        }
        // A few minutes in an hour are the slewing of NTP, or a slow request.
        assert_eq!(clock.read(at(5060, 5064)), Pace::Even);
    }

    #[test]
    fn a_clock_that_jumps_is_watched_anew() {
        for (store_min, what) in [(60 + 8 * 1440, "ahead"), (0, "back"), (54, "stood still")] {
            let mut clock = Clock::new(SPAN);
            clock.read(at(0, 0));
            assert_eq!(clock.read(at(55, 55)), Pace::Even);
            let jumped = clock.read(at(61, store_min));
            assert!(matches!(jumped, Pace::Jumped { .. }), "{what}: {jumped:?}");
            assert_eq!(clock.read(at(100, store_min + 39)), Pace::Unknown, "{what}");
            assert_eq!(clock.read(at(116, store_min + 55)), Pace::Even, "{what}");
        }
    }

    proptest! {
        #[test]
        fn what_is_believed_has_gone_evenly_since_a_reading_that_is_old_enough(
            steps in prop::collection::vec((0u64..40, 0u64..3, -20i64..20), 1..60),
        ) {
            let (mut clock, mut all) = (Clock::new(SPAN), Vec::<Reading>::new());
            let (mut monotonic, mut store) = (0u64, 0i64);
            for (passed, jumps, by) in steps {
                monotonic += passed;
                store += i64::try_from(passed).unwrap() + if jumps == 0 { by } else { 0 };
                let now = at(monotonic, u64::try_from(store + 100_000).unwrap());
                let even = clock.read(now) == Pace::Even;
                let agrees = |before: &Reading| {
                    let passed = now.monotonic - before.monotonic;
                    let expected = before.store + passed;
                    let apart = now.store.duration_since(expected);
                    passed >= SPAN && apart.unwrap_or_else(|e| e.duration()) <= APART_MAX
                };
                prop_assert!(!even || all.iter().any(agrees));
                prop_assert!(clock.readings.len() <= usize::try_from(READINGS).unwrap() + 2);
                all.push(now);
            }
        }
    }
}
