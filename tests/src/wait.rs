//! Waits for a condition, up to a deadline. Tests wait nowhere else.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(5);

/// Calls `look` until it returns a value, and returns that. Panics with `what` after `limit`.
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

/// Calls `look` until `wanted` accepts its value, and returns that. Panics with `what` and the last
/// value after `limit`.
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

/// Calls `holds` for the whole of `span`, and panics if it returns false: for what must *not*
/// happen.
pub fn throughout(what: &str, span: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < span {
        assert!(holds(), "after {:?} no longer true: {what}", start.elapsed());
        pause();
    }
}

/// Waits for the time between two looks.
pub fn pause() {
    sleep(PAUSE);
}

/// Sets the flag that stops the threads of a load, also if an assertion fails, so that the test
/// ends.
#[derive(Debug)]
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}
