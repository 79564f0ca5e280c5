//! Processor time of guests: how long each has had the worker's thread.
//!
//! One thread runs one guest at a time, so a thread-local says which since when. Time is read when a guest gets the thread
//! and when it leaves it, and at every epoch between, where a guest over its limit is stopped. What the host does for a guest
//! meanwhile counts as the guest's. Owns no fds.
//!
//! Others get their turn when a guest has had the thread for [`SLICE`], at the next epoch: most requests are over by then. Were
//! one to leave at whatever epoch comes first, each request of a millisecond that happens to meet one would wait for all others
//! in the middle of its work, and their memories would push each other out of the processor's cache.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// What a guest has the thread for before others get their turn, if it does not wait before: up to an epoch longer.
const SLICE: Duration = Duration::from_millis(2);

/// The guest that has the thread.
#[derive(Clone, Copy)]
struct Running {
    /// When it would have begun, had it never waited.
    begun: Instant,
    /// Since when it has the thread.
    since: Instant,
}

thread_local! {
    static RUNNING: Cell<Option<Running>> = const { Cell::new(None) };
}

/// What a guest is to do at an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    GoOn,
    LetOthers,
}

/// The guest has used up its processor time.
#[derive(Debug, thiserror::Error)]
#[error("the limit on processor time is reached")]
pub(super) struct CpuTimeExceeded;

/// Gives the thread to a guest that has used `used` of it so far, for as long as `poll` takes, and adds that.
pub(super) fn measured<T>(used: &mut Duration, poll: impl FnOnce() -> T) -> T {
    let now = Instant::now();
    let running = Running { begun: now.checked_sub(*used).unwrap_or(now), since: now };
    let before = RUNNING.replace(Some(running));
    let polled = poll();
    *used += now.elapsed();
    RUNNING.set(before);
    polled
}

/// Whether the guest that has the thread may go on, and whether it does so now.
///
/// # Errors
/// [`CpuTimeExceeded`] when it has had it for longer than `limit`.
pub(super) fn at_epoch(limit: Duration) -> Result<Turn, CpuTimeExceeded> {
    let Some(running) = RUNNING.get() else { return Ok(Turn::LetOthers) };
    running.at_epoch(limit, Instant::now())
}

impl Running {
    fn at_epoch(self, limit: Duration, now: Instant) -> Result<Turn, CpuTimeExceeded> {
        if now.saturating_duration_since(self.begun) > limit {
            return Err(CpuTimeExceeded);
        }
        let slice = now.saturating_duration_since(self.since);
        Ok(if slice < SLICE { Turn::GoOn } else { Turn::LetOthers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_off_the_thread_does_not_count_and_time_on_it_adds_up() {
        let mut used = Duration::from_secs(5);
        measured(&mut used, || {
            assert!(at_epoch(Duration::from_secs(4)).is_err());
            assert!(at_epoch(Duration::from_secs(60)).is_ok());
        });
        assert!(used >= Duration::from_secs(5) && used < Duration::from_secs(30), "{used:?}");
        assert!(at_epoch(Duration::ZERO).is_ok(), "no guest has the thread");
    }

    #[test]
    fn others_get_their_turn_once_a_slice_is_used_up() {
        let since = Instant::now();
        let running = Running { begun: since.checked_sub(10 * SLICE).unwrap(), since };
        let turn = |after: Duration| running.at_epoch(11 * SLICE, since + after).map_err(|error| error.to_string());
        assert_eq!(turn(Duration::ZERO), Ok(Turn::GoOn));
        assert_eq!(turn(SLICE - Duration::from_nanos(1)), Ok(Turn::GoOn));
        assert_eq!(turn(SLICE), Ok(Turn::LetOthers));
        assert!(turn(SLICE + Duration::from_nanos(1)).is_err());
    }
}
