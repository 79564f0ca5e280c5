//! Counters on shared memory that one thread writes and others read: alone, in rows, and as
//! histograms.
//!
//! With one writer, counting is a load and a store: no locked instruction, no system call. A reader
//! sees each counter at most a moment old, and counters of one event perhaps apart. Owns no fds.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// A number that one thread counts up.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `more`. Only its one writer may.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// What it stands at.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Begins anew. Only its writer may, or others when that is dead.
    pub(super) fn clear(&self) {
        self.0.store(0, Relaxed);
    }
}

/// Counters of things of `N` kinds.
#[derive(Debug)]
#[repr(transparent)]
pub struct Counters<const N: usize>([Counter; N]);

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl<const N: usize> Counters<N> {
    /// Counts one of the kind `at`; a kind that there is not is not counted.
    pub fn count(&self, at: usize) {
        if let Some(counter) = self.0.get(at) {
            counter.add(1);
        }
    }

    /// What they stand at.
    #[must_use]
    pub fn get(&self) -> [u64; N] {
        std::array::from_fn(|at| self.0[at].get())
    }

    pub(super) fn clear(&self) {
        self.0.iter().for_each(Counter::clear);
    }
}

/// How often something took how long: by upper bounds in microseconds, the last of them
/// [`u64::MAX`].
#[derive(Debug, Default)]
#[repr(C)]
pub struct Histogram<const N: usize> {
    buckets: Counters<N>,
    sum_us: Counter,
}

impl<const N: usize> Histogram<N> {
    /// Counts one that took `micros`, by bounds in their order.
    pub fn record(&self, bounds_us: &[u64; N], micros: u64) {
        self.buckets.count(bounds_us.partition_point(|bound| *bound < micros));
        self.sum_us.add(micros);
    }

    /// What has been counted.
    #[must_use]
    pub fn get(&self) -> Durations<N> {
        Durations { counts: self.buckets.get(), sum_us: self.sum_us.get() }
    }

    pub(super) fn clear(&self) {
        self.buckets.clear();
        self.sum_us.clear();
    }
}

/// A histogram as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durations<const N: usize> {
    /// How many there are in each bucket, and in no lower one.
    pub counts: [u64; N],
    /// Of all of them together.
    pub sum_us: u64,
}

impl<const N: usize> Default for Durations<N> {
    fn default() -> Self {
        Self { counts: [0; N], sum_us: 0 }
    }
}

impl<const N: usize> std::ops::AddAssign<&Self> for Durations<N> {
    fn add_assign(&mut self, other: &Self) {
        add_counts(&mut self.counts, &other.counts);
        self.sum_us = self.sum_us.wrapping_add(other.sum_us);
    }
}

/// Adds counters of the same kinds.
pub fn add_counts<const N: usize>(to: &mut [u64; N], more: &[u64; N]) {
    to.iter_mut().zip(more).for_each(|(to, more)| *to = to.wrapping_add(*more));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS_US: [u64; 4] = [10, 100, 1000, u64::MAX];

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::<4>::default();
        [0, 10, 11, 100, 1001, u64::MAX / 2]
            .into_iter()
            .for_each(|micros| histogram.record(&BOUNDS_US, micros));
        assert_eq!(
            histogram.get(),
            Durations { counts: [2, 2, 0, 2], sum_us: 1122 + u64::MAX / 2 }
        );
        histogram.clear();
        assert_eq!(histogram.get(), Durations::default());
    }

    proptest! {
        /// Whatever is recorded is in exactly one bucket, and two histograms added are as one.
        #[test]
        fn everything_recorded_is_counted_once(one in proptest::collection::vec(0u64..5000, 0..50), other in proptest::collection::vec(0u64..5000, 0..50)) {
            let (first, second, both) = (Histogram::<4>::default(), Histogram::<4>::default(), Histogram::<4>::default());
            one.iter().for_each(|micros| first.record(&BOUNDS_US, *micros));
            other.iter().for_each(|micros| second.record(&BOUNDS_US, *micros));
            one.iter().chain(&other).for_each(|micros| both.record(&BOUNDS_US, *micros));
            let mut added = first.get();
            added += &second.get();
            prop_assert_eq!(added, both.get());
            prop_assert_eq!(added.counts.iter().sum::<u64>(), (one.len() + other.len()) as u64);
        }
    }
}
