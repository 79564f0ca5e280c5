//! When a dead worker is replaced: at once the first time, ever later while it keeps dying young. Pure; owns no fds.

use std::time::Duration;

/// A worker that lived so long died of something new: the next one starts at once again.
const SETTLED_AFTER: Duration = Duration::from_secs(10);
/// The first wait; doubled each time.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest wait.
const DELAY_MAX: Duration = Duration::from_secs(10);

/// One worker's history of deaths.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct BackOff {
    young_deaths: u32,
    /// Of those, in a row, before they had served.
    unready_deaths: u32,
}

impl BackOff {
    /// The worker has died after `lived`; whether it had served by then. How long to wait before the next one.
    pub(crate) fn died(&mut self, lived: Duration, served: bool) -> Duration {
        if lived >= SETTLED_AFTER {
            self.young_deaths = 0;
        }
        self.unready_deaths = if served { 0 } else { self.unready_deaths.saturating_add(1) };
        self.delay()
    }

    /// There was no worker to begin with. Never at once: what kept it from starting is still there.
    pub(crate) fn not_started(&mut self) -> Duration {
        self.unready_deaths = self.unready_deaths.saturating_add(1);
        self.delay().max(FIRST_DELAY)
    }

    /// Workers in a row that died before they had served.
    pub(crate) fn unready_deaths(self) -> u32 {
        self.unready_deaths
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
        let delays: Vec<u128> = (0..10).map(|_| back_off.died(young, true).as_millis()).collect();
        assert_eq!(delays, [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(back_off.died(Duration::from_secs(60), true), Duration::ZERO);
        assert_eq!(back_off.died(young, true).as_millis(), 100);
    }

    #[test]
    fn those_that_never_served_are_counted() {
        let mut back_off = BackOff::default();
        assert_eq!(back_off.not_started(), FIRST_DELAY);
        assert_eq!(back_off.died(Duration::ZERO, false), FIRST_DELAY);
        assert_eq!(back_off.unready_deaths(), 2);
        back_off.died(Duration::ZERO, true);
        assert_eq!(back_off.unready_deaths(), 0);
    }
}
