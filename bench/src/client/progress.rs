//! How far a load is, for whoever looks at a terminal meanwhile. Holds no file descriptor.
//!
//! The client's threads add to it at their sweeps; nothing of a request's path goes through here.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(1);

/// Counts of all threads together, warm-up included.
#[derive(Debug, Default)]
pub struct Progress {
    good: AtomicU64,
    bad: AtomicU64,
    in_flight: AtomicU64,
}

impl Progress {
    /// A thread tells what it has counted; `told` is what it had told before.
    pub fn tell(&self, told: &mut (u64, u64, u64), good: u64, bad: u64, in_flight: u64) {
        self.good.fetch_add(good.wrapping_sub(told.0), Ordering::Relaxed);
        self.bad.fetch_add(bad.wrapping_sub(told.1), Ordering::Relaxed);
        // May be negative; wrapping adds take care of that.
        self.in_flight.fetch_add(in_flight.wrapping_sub(told.2), Ordering::Relaxed);
        *told = (good, bad, in_flight);
    }

    /// Shows a line on stderr every second, each in place of the last, until the other end of
    /// `done` is dropped. Shows nothing where stderr is no terminal: a log wants no such lines.
    pub fn show(&self, warmup: Duration, window: Duration, done: &Receiver<()>) {
        let mut stderr = std::io::stderr();
        if !stderr.is_terminal() {
            return;
        }
        let started = Instant::now();
        let (mut before, mut at) = (0, started);
        while done.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
            let (good, now) = (self.good.load(Ordering::Relaxed), Instant::now());
            let rate = (good - before) as f64 / (now - at).as_secs_f64();
            (before, at) = (good, now);
            let line = line(
                started.elapsed(),
                warmup,
                window,
                rate,
                self.bad.load(Ordering::Relaxed),
                self.in_flight.load(Ordering::Relaxed),
            );
            // What cannot be shown is no reason to stop.
            let _ = write!(stderr, "\r\x1b[K{line}");
            let _ = stderr.flush();
        }
        let _ = write!(stderr, "\r\x1b[K");
    }
}

fn line(
    elapsed: Duration,
    warmup: Duration,
    window: Duration,
    rate: f64,
    bad: u64,
    in_flight: u64,
) -> String {
    let (part, of) = match elapsed.checked_sub(warmup) {
        Some(part) => (part.min(window), window),
        None => (elapsed, warmup),
    };
    let what = if elapsed < warmup { "warm-up" } else { "measuring" };
    format!(
        "{what} {:.0} of {:.0} s: {rate:.0} requests/s, {in_flight} in flight, {bad} errors",
        part.as_secs_f64(),
        of.as_secs_f64()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_add_up() {
        let progress = Progress::default();
        let (mut one, mut other) = Default::default();
        progress.tell(&mut one, 5, 1, 8);
        progress.tell(&mut other, 7, 0, 2);
        progress.tell(&mut one, 6, 1, 3);
        assert_eq!(progress.good.load(Ordering::Relaxed), 13);
        assert_eq!(progress.bad.load(Ordering::Relaxed), 1);
        assert_eq!(progress.in_flight.load(Ordering::Relaxed), 5);
    }

    #[test]
    fn the_line_says_which_part_it_is() {
        let seconds = Duration::from_secs;
        assert!(
            line(seconds(1), seconds(2), seconds(10), 9.6, 0, 1)
                .starts_with("warm-up 1 of 2 s: 10 requests/s")
        );
        assert!(
            line(seconds(13), seconds(2), seconds(10), 0.0, 3, 0)
                .starts_with("measuring 10 of 10 s")
        );
    }
}
