//! The runs of one schedule that are under way, and the ticks that wait for them. Pure; owns no fds.

use std::collections::VecDeque;

use crate::policy::Overlap;

/// So many ticks wait for a run with `overlap = "queue"`; more are left out.
pub const QUEUE_MAX: usize = 10;
/// So many runs of one schedule are under way with `overlap = "allow"`; more are left out.
pub const RUNS_MAX: usize = 100;

/// What becomes of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    /// It runs now.
    Now,
    /// It runs when those before it have ended.
    Later,
    /// It is left out.
    Skipped,
}

/// The runs of one schedule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runs {
    running: usize,
    waiting: VecDeque<u64>,
}

impl Runs {
    /// Returns how many are under way.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running
    }

    /// Returns how many ticks wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Decides about a tick, and notes it.
    pub fn admit(&mut self, tick_ms: u64, overlap: Overlap) -> Admitted {
        let admitted = match overlap {
            _ if self.running == 0 => Admitted::Now,
            Overlap::Allow if self.running < RUNS_MAX => Admitted::Now,
            Overlap::Queue if self.waiting.len() < QUEUE_MAX => Admitted::Later,
            Overlap::Skip | Overlap::Queue | Overlap::Allow => Admitted::Skipped,
        };
        match admitted {
            Admitted::Now => self.running += 1,
            Admitted::Later => self.waiting.push_back(tick_ms),
            Admitted::Skipped => {}
        }
        admitted
    }

    /// Notes that a run has ended. Returns the tick that runs next, if one waits.
    pub fn ended(&mut self) -> Option<u64> {
        self.running = self.running.saturating_sub(1);
        let next = if self.running == 0 { self.waiting.pop_front() } else { None };
        self.running += usize::from(next.is_some());
        next
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tick_is_left_out_waits_or_runs_beside_the_one_before() {
        for (overlap, second) in [
            (Overlap::Skip, Admitted::Skipped),
            (Overlap::Queue, Admitted::Later),
            (Overlap::Allow, Admitted::Now),
        ] {
            let mut runs = Runs::default();
            assert_eq!(runs.admit(1, overlap), Admitted::Now);
            assert_eq!(runs.admit(2, overlap), second);
            assert_eq!(runs.ended(), (overlap == Overlap::Queue).then_some(2));
        }
    }

    proptest! {
        /// Whatever comes, in whatever order and with options that change meanwhile: what is bounded
        /// stays so, ticks run in their order, and without `allow` one at a time.
        #[test]
        fn runs_are_bounded_and_in_order(steps in proptest::collection::vec(0..4_u8, 0..300)) {
            let (mut runs, mut tick, mut begun) = (Runs::default(), 0, Vec::new());
            let allows = steps.contains(&2);
            for step in steps {
                tick += 1;
                let overlap = match step {
                    0 => Overlap::Skip,
                    1 => Overlap::Queue,
                    2 => Overlap::Allow,
                    _ => {
                        if runs.running() > 0 {
                            begun.extend(runs.ended());
                        }
                        continue;
                    }
                };
                if runs.admit(tick, overlap) == Admitted::Now {
                    begun.push(tick);
                }
                prop_assert!(runs.waiting() <= QUEUE_MAX && runs.running() <= RUNS_MAX);
                prop_assert!(runs.running() > 0);
                prop_assert!(allows || runs.running() == 1);
            }
            if !allows {
                prop_assert!(begun.is_sorted_by(|one, other| one < other));
            }
        }
    }
}
