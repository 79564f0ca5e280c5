//! The verdict on a figure by its confidence interval. Pure; holds no file descriptor.

use std::fmt;

use serde::Serialize;

use crate::series::Better;
use crate::stats::Interval;

/// The verdict on a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is better, beyond noise and tolerance.
    Better,
    /// Beyond noise and tolerance.
    Worse,
    /// It is alike: the interval contains 1, or values within the tolerance.
    Alike,
    /// It is unknown.
    TooFewRounds,
}

impl Verdict {
    /// Returns the verdict on a ratio of after to before. The whole interval must lie beyond the
    /// tolerance for a difference.
    pub fn of(ratio: Option<Interval>, better: Better, tolerance_percent: f64) -> Self {
        let Some(Interval { low, high, .. }) = ratio else {
            return Self::TooFewRounds;
        };
        let tolerance = tolerance_percent / 100.0;
        let (more, less) = (low > 1.0 + tolerance, high < 1.0 - tolerance);
        match better {
            Better::Higher if more => Self::Better,
            Better::Higher if less => Self::Worse,
            Better::Lower if more => Self::Worse,
            Better::Lower if less => Self::Better,
            _ => Self::Alike,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Better => "better",
            Self::Worse => "WORSE",
            Self::Alike => "alike",
            Self::TooFewRounds => "too few rounds",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_way_is_better_decides() {
        let less = Some(Interval { ratio: 0.95, low: 0.93, high: 0.97 });
        assert_eq!(Verdict::of(less, Better::Higher, 0.0), Verdict::Worse);
        assert_eq!(Verdict::of(less, Better::Lower, 0.0), Verdict::Better);
        assert_eq!(Verdict::of(less, Better::Higher, 5.0), Verdict::Alike);
        let around = Some(Interval { ratio: 1.02, low: 0.99, high: 1.05 });
        assert_eq!(Verdict::of(around, Better::Lower, 0.0), Verdict::Alike);
        assert_eq!(Verdict::of(None, Better::Lower, 0.0), Verdict::TooFewRounds);
    }
}
