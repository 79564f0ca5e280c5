//! When a dead worker is replaced: at once the first time, and later and later while its successors
//! die young. Pure; owns no fds.

use std::time::Duration;

use host::backoff::Backoff;

/// A worker that ran for so long died of something new, so the next one starts at once. A start
/// takes a hundredth of this time.
const SETTLED_AFTER: Duration = Duration::from_secs(3);
/// The delays. The longest is half of what connections wait for a worker, so that those of a
/// function with only one worker find the next.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) };

/// When the next process of one slot starts, by how those before have ended.
#[derive(Debug, Default, Clone, Copy)]
pub struct RestartDelay {
    /// Processes that died one after another without having run for [`SETTLED_AFTER`].
    short_runs: u32,
    /// Processes that ended one after another without having come to serve.
    failed_starts: u32,
}

impl RestartDelay {
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
        self.exited(ran).max(BACKOFF.first)
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
        let delay = BACKOFF.after(self.short_runs);
        self.short_runs = self.short_runs.saturating_add(1);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_while_it_dies_young_and_start_anew_when_it_has_lived() {
        let mut restart = RestartDelay::default();
        let young = Duration::from_millis(50);
        let delays: Vec<u128> = (0..10).map(|_| restart.exited(young).as_millis()).collect();
        assert_eq!(delays, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        assert_eq!(restart.exited(Duration::from_secs(60)), Duration::ZERO);
        assert_eq!(restart.exited(young).as_millis(), 100);
    }

    #[test]
    fn whoever_waits_longest_finds_the_next_worker() {
        assert!(BACKOFF.max * 2 <= crate::core::waiting::WAIT_TIMEOUT);
    }

    #[test]
    fn those_that_never_served_are_counted() {
        let mut restart = RestartDelay::default();
        assert_eq!(restart.did_not_start(Duration::ZERO), BACKOFF.first);
        assert_eq!(restart.did_not_start(Duration::ZERO), BACKOFF.first);
        assert_eq!(restart.failed_starts(), 2);
        restart.served();
        assert_eq!(restart.failed_starts(), 0);
    }
}
