//! Processor time of guests: how long each has had the worker's thread.
//!
//! One thread runs one guest at a time, so a thread-local says which since when. Time is read when a guest gets the thread
//! and when it leaves it, and at every epoch between, where a guest over its limit is stopped. What the host does for a guest
//! meanwhile counts as the guest's. Owns no fds.

use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! {
    /// When the guest that has the thread would have begun, had it never waited.
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The guest has used up its processor time.
#[derive(Debug, thiserror::Error)]
#[error("the limit on processor time is reached")]
pub(super) struct CpuTimeExceeded;

/// Gives the thread to a guest that has used `used` of it so far, for as long as `poll` takes, and adds that.
pub(super) fn measured<T>(used: &mut Duration, poll: impl FnOnce() -> T) -> T {
    let now = Instant::now();
    let before = BEGUN.replace(Some(now.checked_sub(*used).unwrap_or(now)));
    let polled = poll();
    *used += now.elapsed();
    BEGUN.set(before);
    polled
}

/// Whether the guest that has the thread may go on.
///
/// # Errors
/// [`CpuTimeExceeded`] when it has had it for longer than `limit`.
pub(super) fn check(limit: Duration) -> Result<(), CpuTimeExceeded> {
    match BEGUN.get() {
        Some(begun) if begun.elapsed() > limit => Err(CpuTimeExceeded),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_off_the_thread_does_not_count_and_time_on_it_adds_up() {
        let mut used = Duration::from_secs(5);
        measured(&mut used, || {
            assert!(check(Duration::from_secs(4)).is_err());
            assert!(check(Duration::from_secs(60)).is_ok());
        });
        assert!(used >= Duration::from_secs(5) && used < Duration::from_secs(30), "{used:?}");
        assert!(check(Duration::ZERO).is_ok(), "no guest has the thread");
    }
}
