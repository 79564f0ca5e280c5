//! When a dead worker is replaced: at once the first time, and later and later while its successors
//! die young. Pure; owns no fds.

use std::time::Duration;

/// A worker that ran for so long died of something new, so the next one starts at once. A start
/// takes a hundredth of this time.
const SETTLED_AFTER: Duration = Duration::from_secs(3);
/// The first delay. Each later one is twice the one before.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest delay: half of what connections wait for a worker, so that those of a function with
/// only one worker find the next.
const DELAY_MAX: Duration = Duration::from_secs(5);

/// How the processes of one slot have ended so far.
#[derive(Debug, Default, Clone, Copy)]
pub struct BackOff {
    /// Processes that died one after another without having run for [`SETTLED_AFTER`].
    short_runs: u32,
    /// Processes that ended one after another without having come to serve.
    failed_starts: u32,
}

impl BackOff {
    /// Notes that a process has exited that ran for `ran`. Returns the delay before the next one
    /// starts.
    pub fn exited(&mut self, ran: Duration) -> Duration {
        if ran >= SETTLED_AFTER {
            self.short_runs = 0;
        }
        self.delay()
    }

    /// Notes that a process has exited that had not come to serve. Returns the delay before the
    /// next one starts. It is never zero, as what kept the process from serving is still there.
    pub fn did_not_start(&mut self, ran: Duration) -> Duration {
        self.failed_starts = self.failed_starts.saturating_add(1);
        self.exited(ran).max(FIRST_DELAY)
    }

    /// Notes that a process has come to serve.
    pub fn served(&mut self) {
        self.failed_starts = 0;
    }

    /// Returns how many processes ended one after another without having come to serve.
    pub fn failed_starts(self) -> u32 {
        self.failed_starts
    }

    fn delay(&mut self) -> Duration {
        let delay = match self.short_runs {
            0 => Duration::ZERO,
            runs => FIRST_DELAY.saturating_mul(1 << (runs - 1).min(16)).min(DELAY_MAX),
        };
        self.short_runs = self.short_runs.saturating_add(1);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_while_it_dies_young_and_start_anew_when_it_has_lived() {
        let mut back_off = BackOff::default();
        let young = Duration::from_millis(50);
        let delays: Vec<u128> = (0..10).map(|_| back_off.exited(young).as_millis()).collect();
        assert_eq!(delays, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        assert_eq!(back_off.exited(Duration::from_secs(60)), Duration::ZERO);
        assert_eq!(back_off.exited(young).as_millis(), 100);
    }

    #[test]
    fn whoever_waits_longest_finds_the_next_worker() {
        assert!(DELAY_MAX * 2 <= crate::core::waiting::WAIT_TIMEOUT);
    }

    #[test]
    fn those_that_never_served_are_counted() {
        let mut back_off = BackOff::default();
        assert_eq!(back_off.did_not_start(Duration::ZERO), FIRST_DELAY);
        assert_eq!(back_off.did_not_start(Duration::ZERO), FIRST_DELAY);
        assert_eq!(back_off.failed_starts(), 2);
        back_off.served();
        assert_eq!(back_off.failed_starts(), 0);
    }
}
