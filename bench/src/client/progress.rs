//! The progress of a load, for a user at a terminal. Holds no file descriptor.
//!
//! The client's threads add to it at their sweeps; no request's path goes through here.

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

/// What one thread has counted, warm-up included.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Good replies.
    pub good: u64,
    /// Requests that failed, and bad replies.
    pub bad: u64,
    /// Requests in flight now.
    pub in_flight: u64,
}

impl Progress {
    /// Adds what a thread has counted since its last report. `reported` has that report's counts,
    /// and is updated.
    pub fn report(&self, reported: &mut Counts, counts: Counts) {
        let add = |sum: &AtomicU64, before: u64, now: u64| {
            // A difference may be negative; the additions wrap.
            sum.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        };
        add(&self.good, reported.good, counts.good);
        add(&self.bad, reported.bad, counts.bad);
        add(&self.in_flight, reported.in_flight, counts.in_flight);
        *reported = counts;
    }

    /// Shows a line on stderr every second, each in place of the last, until the other end of
    /// `done` is dropped. Shows nothing if stderr is no terminal: a log has no use for such lines.
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
            // The load goes on even if its progress cannot be shown.
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
        progress.report(&mut one, Counts { good: 5, bad: 1, in_flight: 8 });
        progress.report(&mut other, Counts { good: 7, bad: 0, in_flight: 2 });
        progress.report(&mut one, Counts { good: 6, bad: 1, in_flight: 3 });
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
