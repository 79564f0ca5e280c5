//! How long to pause between attempts that fail: each time twice as long, up to a bound. Pure; owns
//! no fds.

use std::time::Duration;

/// The pauses of an exponential backoff. The caller counts its failures, and adds the jitter that
/// it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The pause after the first failure.
    pub first: Duration,
    /// The longest pause.
    pub max: Duration,
}

impl Backoff {
    /// Returns the pause after so many failures in a row. Returns no time if there were none.
    pub fn after(self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        self.first.saturating_mul(1 << doublings.min(31)).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(30) };
        let pauses = [0, 1, 2, 3, 5, 6, 40, u32::MAX].map(|failures| backoff.after(failures));
        assert_eq!(pauses.map(|pause| pause.as_secs()), [0, 1, 2, 4, 16, 30, 30, 30]);
    }
}
