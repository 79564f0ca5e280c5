//! Intended start times of an open loop. Holds no file descriptor, and reads no clock.

use std::num::NonZeroU64;

const NS_PER_SECOND: u128 = 1_000_000_000;

/// Evenly spaced start times, computed from the request's number so that rounding never adds up.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    per_second: NonZeroU64,
    taken: u64,
}

impl Schedule {
    pub fn new(per_second: NonZeroU64) -> Self {
        Self { per_second, taken: 0 }
    }

    /// When the next request should start.
    pub fn next(&self) -> u64 {
        let ns = u128::from(self.taken) * NS_PER_SECOND / u128::from(self.per_second.get());
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    /// The intended time of the next request, if that has come.
    pub fn take_due(&mut self, now: u64) -> Option<u64> {
        let next = self.next();
        (next <= now).then(|| {
            self.taken += 1;
            next
        })
    }

    /// The intended times not taken yet that lie before `end`: requests that never got a connection.
    pub fn due_before(mut self, end: u64) -> impl Iterator<Item = u64> {
        std::iter::from_fn(move || self.take_due(end.saturating_sub(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_is_due_early() {
        let mut schedule = Schedule::new(NonZeroU64::new(1000).unwrap());
        assert_eq!(schedule.take_due(0), Some(0));
        assert_eq!(schedule.take_due(999_999), None);
        assert_eq!(schedule.take_due(5_000_000), Some(1_000_000));
        assert_eq!(schedule.due_before(4_000_000).collect::<Vec<_>>(), [2_000_000, 3_000_000]);
    }

    proptest! {
        #[test]
        fn a_second_holds_exactly_the_rate(rate in 1_u64..50_000) {
            let mut schedule = Schedule::new(NonZeroU64::new(rate).unwrap());
            let times: Vec<u64> = std::iter::from_fn(|| schedule.take_due(999_999_999)).collect();
            prop_assert_eq!(times.len() as u64, rate);
            prop_assert!(times.is_sorted());
        }
    }
}
