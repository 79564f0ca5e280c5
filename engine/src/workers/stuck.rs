//! When a worker counts as stuck: the guest on its thread should have been off it long ago, and nothing in the worker has
//! seen to that. Pure; owns no fds.
//!
//! This is the third line of defence behind a function's time limits: epochs end what loops in a guest, timers what waits
//! in a host call, both within the worker; what keeps its thread from running at all is ended from here.

use std::time::Duration;

use abi::limits::STUCK_GRACE;

/// How often workers are looked at.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// What was seen of one worker so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watch {
    /// The deadline that was found long past at the last look; 0 for none.
    late_ms: u64,
}

impl Watch {
    /// Looks once: `deadline_ms` is what stands in the worker's row (0: no guest has its thread), `now_ms` is by the same
    /// clock. Says by how much the worker is late when it is to be killed. One late look is not enough: a machine that
    /// stood still for a while finds all its workers late, and alive.
    pub(crate) fn look(&mut self, deadline_ms: u64, now_ms: u64) -> Option<Duration> {
        let over = Duration::from_millis(now_ms.saturating_sub(deadline_ms));
        let late = deadline_ms != 0 && over > STUCK_GRACE;
        let before = std::mem::replace(&mut self.late_ms, if late { deadline_ms } else { 0 });
        (late && before == deadline_ms).then_some(over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GRACE_MS: u64 = STUCK_GRACE.as_secs() * 1000;

    #[test]
    fn a_worker_late_at_two_looks_is_stuck() {
        let mut watch = Watch::default();
        assert_eq!(watch.look(1000, 1000 + GRACE_MS), None);
        assert_eq!(watch.look(1000, 1001 + GRACE_MS), None);
        assert_eq!(watch.look(1000, 1251 + GRACE_MS), Some(Duration::from_millis(251 + GRACE_MS)));
    }

    #[test]
    fn one_that_moves_on_is_not() {
        let mut watch = Watch::default();
        assert_eq!(watch.look(1000, 99_000), None);
        // Another guest, late too: the machine stood still, not the worker.
        assert_eq!(watch.look(2000, 99_250), None);
        assert_eq!(watch.look(0, 99_500), None);
        assert_eq!(watch.look(2000, 99_750), None);
    }

    proptest! {
        #[test]
        fn without_a_guest_or_within_its_time_nobody_is_stuck(looks in proptest::collection::vec((any::<u64>(), 0..=GRACE_MS), 0..20)) {
            let mut watch = Watch::default();
            for (deadline_ms, over_ms) in looks {
                prop_assert_eq!(watch.look(0, deadline_ms), None);
                prop_assert_eq!(watch.look(deadline_ms, deadline_ms.saturating_add(over_ms)), None);
            }
        }
    }
}
