//! When a dead worker is replaced: at once the first time, ever later while it keeps dying young.
//! Pure; owns no fds.

use std::time::Duration;

/// A worker that lived so long died of something new: the next one starts at once again. Starting
/// one takes a hundredth of it.
const SETTLED_AFTER: Duration = Duration::from_secs(3);
/// The first wait; doubled each time.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest wait: half of what connections wait for a worker, so that those of a function with
/// only one find the next.
const DELAY_MAX: Duration = Duration::from_secs(5);

/// One worker's history of deaths.
#[derive(Debug, Default, Clone, Copy)]
pub struct BackOff {
    young_deaths: u32,
    /// Workers in a row that did not come to serve.
    failed_starts: u32,
}

impl BackOff {
    /// The worker has died after `lived`. How long to wait before the next one.
    pub fn exited(&mut self, lived: Duration) -> Duration {
        if lived >= SETTLED_AFTER {
            self.young_deaths = 0;
        }
        self.delay()
    }

    /// It had not come to serve. How long to wait before the next one: never none, as what kept it
    /// from that is still there.
    pub fn did_not_start(&mut self, lived: Duration) -> Duration {
        self.failed_starts = self.failed_starts.saturating_add(1);
        self.exited(lived).max(FIRST_DELAY)
    }

    /// A worker has come to serve.
    pub fn served(&mut self) {
        self.failed_starts = 0;
    }

    /// Workers in a row that did not come to serve.
    pub fn failed_starts(self) -> u32 {
        self.failed_starts
    }

    fn delay(&mut self) -> Duration {
        let delay = match self.young_deaths {
            0 => Duration::ZERO,
            deaths => FIRST_DELAY.saturating_mul(1 << (deaths - 1).min(16)).min(DELAY_MAX),
        };
        self.young_deaths = self.young_deaths.saturating_add(1);
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
