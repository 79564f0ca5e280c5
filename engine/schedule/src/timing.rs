//! Which tick is due, by what is settled already and by the clock. Pure; owns no fds.
//!
//! Ticks are settled in their order: what is settled was rung, or never will be. So no clock that
//! goes back has one rung twice, and of all that a clock going forward, or a late start, leaves
//! behind, the last one alone can be rung.

use sha2::{Digest as _, Sha256};

use crate::expression::Schedule;
use crate::policy::Missed;

/// A tick is rung if it is not later than this, as after a restart. One that is later was missed.
pub const LATE_MAX_MS: u64 = 60 * 1000;
/// A clock that goes back so far at most repeats ticks, which are not rung again. One that goes back
/// further was wrong before.
pub const STEP_BACK_MAX_MS: u64 = 3 * 60 * 60 * 1000;
/// So many missed ticks are counted at once, and no more.
pub const MISSED_COUNTED_MAX: u64 = 100;
/// The most that a schedule may be put off.
pub const JITTER_MAX_MS: u64 = 24 * 60 * 60 * 1000;

/// A schedule with what says when it is rung.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    schedule: Schedule,
    missed: Missed,
    /// How much later than its ticks it is rung.
    offset_ms: u64,
    created_ms: u64,
}

/// What is to be done about a schedule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The tick to ring now.
    pub ring: Option<u64>,
    /// How much later than it was due that is.
    pub late_ms: u64,
    /// How many ticks were missed.
    pub missed: u64,
    /// Ticks up to this one are settled, once the verdict is carried out.
    pub settled_ms: u64,
    /// When the next one is to be rung.
    pub next_ms: Option<u64>,
}

impl Timing {
    /// Returns the timing of the schedule called `id`, which is rung up to `jitter_ms` late: always
    /// as much, and another schedule otherwise.
    #[must_use]
    pub fn new(
        id: &str,
        schedule: Schedule,
        missed: Missed,
        jitter_ms: u64,
        created_ms: u64,
    ) -> Self {
        // Within a period, so that the order of ticks is that of the times at which they are rung.
        let within = schedule.period_ms().map_or(jitter_ms, |period| period.min(jitter_ms));
        let offset_ms = spread(id).checked_rem(within).unwrap_or(0);
        Self { schedule, missed, offset_ms, created_ms }
    }

    /// Returns when the schedule is rung next, after `now_ms`.
    #[must_use]
    pub fn next_ms(&self, now_ms: u64) -> Option<u64> {
        self.rung_after(now_ms.saturating_sub(self.offset_ms))
    }

    /// Decides at `now_ms`, when ticks up to `settled_ms` are settled; `None` if nothing is known of
    /// the schedule yet.
    #[must_use]
    pub fn look(&self, settled_ms: Option<u64>, now_ms: u64) -> Verdict {
        // Ticks up to here are due.
        let due_ms = now_ms.saturating_sub(self.offset_ms);
        let after_ms = self.settled(settled_ms, due_ms, now_ms);
        let Some(first) = self.schedule.next(after_ms).filter(|first| *first <= due_ms) else {
            let next_ms = self.rung_after(after_ms);
            return Verdict { settled_ms: after_ms, next_ms, ..Verdict::default() };
        };
        let last = self.schedule.last(after_ms, due_ms).unwrap_or(first).max(first);
        let late_ms = due_ms - last;
        let rings = late_ms <= LATE_MAX_MS || self.missed == Missed::RunOnce;
        let before = self.schedule.count(after_ms, last, MISSED_COUNTED_MAX);
        Verdict {
            ring: rings.then_some(last),
            late_ms: if rings { late_ms } else { 0 },
            missed: before + u64::from(!rings),
            settled_ms: last,
            next_ms: self.rung_after(last),
        }
    }

    fn rung_after(&self, after_ms: u64) -> Option<u64> {
        self.schedule.next(after_ms)?.checked_add(self.offset_ms)
    }

    /// Returns up to which tick all are settled.
    fn settled(&self, known_ms: Option<u64>, due_ms: u64, now_ms: u64) -> u64 {
        match known_ms {
            // Others may have rung it until now. If it is new, it is due from its first tick on.
            None => match now_ms.checked_sub(self.created_ms) {
                Some(age) if age <= LATE_MAX_MS => self.created_ms,
                _ => due_ms,
            },
            Some(known) => {
                let back_ms = known.saturating_sub(due_ms);
                // A period has no time of day: it keeps its pace on a clock that goes back.
                let back_max_ms = self.schedule.period_ms().unwrap_or(STEP_BACK_MAX_MS);
                if back_ms > back_max_ms.min(STEP_BACK_MAX_MS) { due_ms } else { known }
            }
        }
    }
}

/// Returns a number that is the same for `id` on all nodes.
fn spread(id: &str) -> u64 {
    let digest = Sha256::digest(id);
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
#[path = "timing_tests.rs"]
mod tests;
