//! The processor time of guests: how long each has had the worker's thread.
//!
//! One thread runs one guest at a time, so a thread-local holds the start of the current guest's
//! time. The clock is read when a guest gets the thread and when it leaves it, and at every epoch
//! in between, where a guest over its limit is stopped. The host's work for a guest counts as the
//! guest's. Owns no fds.
//!
//! A guest that has had the thread for [`SHORT`] yields it at every epoch. Most requests have ended
//! by then. If a guest yielded at any epoch, each request of a millisecond that happens to meet one
//! would wait for all others in the middle of its work.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// A request that takes no longer never yields.
const SHORT: Duration = Duration::from_millis(2);

thread_local! {
    /// When the current guest would have begun, had it never waited.
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// What a guest does at an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EpochAction {
    Continue,
    Yield,
}

/// The guest has used up its processor time.
#[derive(Debug, thiserror::Error)]
#[error("the limit on processor time is reached")]
pub(crate) struct CpuTimeExceeded;

/// Runs `poll` for a guest that has used `used` of processor time so far, and adds the time that it
/// takes.
pub(super) fn measured<T>(used: &mut Duration, poll: impl FnOnce() -> T) -> T {
    let now = Instant::now();
    let before = BEGUN.replace(Some(now.checked_sub(*used).unwrap_or(now)));
    let polled = poll();
    *used += now.elapsed();
    BEGUN.set(before);
    polled
}

/// Returns whether the current guest goes on or yields.
///
/// # Errors
/// [`CpuTimeExceeded`] if it has used more processor time than `limit`.
pub(crate) fn at_epoch(limit: Duration) -> Result<EpochAction, CpuTimeExceeded> {
    BEGUN.get().map_or(Ok(EpochAction::Yield), |begun| turn(begun.elapsed(), limit))
}

fn turn(used: Duration, limit: Duration) -> Result<EpochAction, CpuTimeExceeded> {
    match used {
        used if used > limit => Err(CpuTimeExceeded),
        used if used < SHORT => Ok(EpochAction::Continue),
        _ => Ok(EpochAction::Yield),
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
    fn what_is_short_goes_on_what_is_not_lets_others_and_what_is_too_long_ends() {
        let (limit, instant) = (10 * SHORT, Duration::from_nanos(1));
        for used in [Duration::ZERO, SHORT - instant] {
            assert_eq!(turn(used, limit).unwrap(), EpochAction::Continue);
        }
        for used in [SHORT, limit] {
            assert_eq!(turn(used, limit).unwrap(), EpochAction::Yield);
        }
        assert!(turn(limit + instant, limit).is_err());
        assert!(turn(SHORT / 2, SHORT / 4).is_err(), "its limit may be shorter");
    }
}
