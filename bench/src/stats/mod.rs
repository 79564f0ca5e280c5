//! What may be said of a few measured values: their middle and range, and how sure a ratio of
//! middles is. Pure; holds no file descriptor.

mod bootstrap;

use serde::{Deserialize, Serialize};

pub use bootstrap::{Interval, ROUNDS_MIN, paired, unpaired};

/// A range wider than this, in parts of the median, makes the median doubtful.
const HIGH_SPREAD: f64 = 0.15;

/// A middle and its range.
///
/// The median, because one disturbed round should not move the figure; with the range, so that a
/// reader sees how far to trust it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of at least one value; none gives zeros.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        let median = median(&mut values);
        // Sorted by now.
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        Self { median, min: at(0), max: at(values.len().saturating_sub(1)) }
    }

    /// Whether the values lie so far apart that something else was at work.
    pub fn is_high(&self) -> bool {
        self.median > 0.0 && (self.max - self.min) / self.median > HIGH_SPREAD
    }
}

/// The middle; sorts the values. Of nothing, 0.
fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
    let last = values.len().saturating_sub(1);
    f64::midpoint(at(last / 2), at(last.div_ceil(2)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_spread_has_the_middle_of_its_values() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(Spread::of([]), Spread { median: 0.0, min: 0.0, max: 0.0 });
        assert!(Spread::of([1.0, 1.0, 1.2]).is_high() && !Spread::of([1.0, 1.0, 1.1]).is_high());
    }

    proptest! {
        #[test]
        fn a_median_lies_in_its_range(values in prop::collection::vec(0.0..1e9, 1..20)) {
            let spread = Spread::of(values);
            prop_assert!(spread.min <= spread.median && spread.median <= spread.max);
        }
    }
}
