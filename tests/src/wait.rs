//! The one place where a test waits: for a condition, up to a deadline.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(5);

/// Polls `look` until it gives a value, and panics with `what` when `limit` has passed first.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        pause();
    }
}

/// Polls `look` until it gives what `wanted` accepts; the failure shows the last value seen.
pub fn for_value<T: Debug>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> T,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let start = Instant::now();
    loop {
        let value = look();
        if wanted(&value) {
            return value;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}; last seen: {value:#?}");
        pause();
    }
}

/// Looks again and again for the whole of `span` and panics as soon as `holds` says no: for what
/// must *not* happen.
pub fn throughout(what: &str, span: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < span {
        assert!(holds(), "after {:?} no longer true: {what}", start.elapsed());
        pause();
    }
}

/// One step of a poll.
pub fn pause() {
    sleep(PAUSE);
}

/// Tells the threads of a load to stop, also when an assertion fails, so that the failure is seen.
#[derive(Debug)]
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}
