//! What counts: which requests enter the figures, and how. Holds no file descriptor, and reads no clock.
//!
//! * A reply counts towards the rate when it arrives inside the window.
//! * *Uncorrected* latency runs from when the request was sent. A server that stalls delays the sends
//!   too, so it sees few of its own worst moments: coordinated omission.
//! * *Corrected* latency (open loop only) runs from when the request should have been sent. Requests not
//!   answered by the end enter it with the time they had waited: too little, but not nothing.
//! * A time-out enters the latencies with the time waited; other failures, and replies with a wrong
//!   status or body, are counted by kind and enter no latency.

use std::ops::Range;
use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};

use super::connection::{Ended, Failure, Times};
use super::error_counts::ErrorCounts;
use crate::cpu::ThreadTime;

/// Longer latencies are shown as this one.
const LATENCY_NS_MAX: u64 = 120_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// A finished run.
#[derive(Debug)]
pub struct Record {
    /// Good replies inside the window.
    pub completed: u64,
    /// Good replies of the whole run, warm-up included: what CPU time is divided by.
    pub completed_in_run: u64,
    /// Latency from the send.
    pub uncorrected: Histogram<u64>,
    /// Latency from the intended send; open loop only.
    pub corrected: Option<Histogram<u64>>,
    /// Inside the window.
    pub errors: ErrorCounts,
    /// Before the window.
    pub errors_in_warmup: u64,
    /// Requests sent but not answered at the end, and how long the oldest had waited.
    pub unanswered: u64,
    /// See `unanswered`.
    pub oldest_unanswered: Duration,
    /// Requests due in the window that never got a connection; open loop only.
    pub never_sent: u64,
    /// The client's thread over the whole run.
    pub client_cpu: ThreadTime,
    /// Length of the whole run.
    pub wall: Duration,
}

/// Takes in requests as they end.
#[derive(Debug)]
pub struct Recorder {
    window: Range<u64>,
    record: Record,
}

impl Recorder {
    pub fn new(window: Range<u64>, open_loop: bool) -> Result<Self, CreationError> {
        let histogram = || Histogram::new_with_bounds(1, LATENCY_NS_MAX, SIGNIFICANT_DIGITS);
        let record = Record {
            completed: 0,
            completed_in_run: 0,
            uncorrected: histogram()?,
            corrected: if open_loop { Some(histogram()?) } else { None },
            errors: ErrorCounts::default(),
            errors_in_warmup: 0,
            unanswered: 0,
            oldest_unanswered: Duration::ZERO,
            never_sent: 0,
            client_cpu: ThreadTime::default(),
            wall: Duration::ZERO,
        };
        Ok(Self { window, record })
    }

    pub fn record(&mut self, ended: &Ended, times: Times, at: u64) {
        let good = matches!(ended, Ended::Reply { status: 200..400, body_is_right: true });
        let in_window = self.window.contains(&at);
        let record = &mut self.record;
        if good {
            record.completed_in_run += 1;
            record.completed += u64::from(in_window);
        } else if in_window {
            record.errors.count(ended);
        } else if at < self.window.start {
            record.errors_in_warmup += 1;
        }
        if !good && *ended != Ended::Failed(Failure::Timeout) {
            return;
        }
        if in_window {
            record.uncorrected.saturating_record(at.saturating_sub(times.sent).max(1));
        }
        // By the intended time, not the arrival: else a stall that spans the window's start would bring
        // its queue in, and one that spans the end would take its queue out.
        if let Some(corrected) = record.corrected.as_mut().filter(|_| self.window.contains(&times.intended)) {
            corrected.saturating_record(at.saturating_sub(times.intended).max(1));
        }
    }

    /// Closes the record: with the requests in flight, and those due but never sent (open loop).
    pub fn finish(
        mut self,
        in_flight: impl Iterator<Item = Times>,
        backlog: Option<impl Iterator<Item = u64>>,
        client_cpu: ThreadTime,
        wall: Duration,
    ) -> Record {
        let Self { window, record } = &mut self;
        let mut waited = |intended: u64| {
            if let Some(corrected) = record.corrected.as_mut().filter(|_| window.contains(&intended)) {
                corrected.saturating_record((window.end - intended).max(1));
            }
        };
        let mut oldest = 0;
        for times in in_flight {
            record.unanswered += 1;
            oldest = oldest.max(window.end.saturating_sub(times.sent));
            waited(times.intended);
        }
        record.oldest_unanswered = Duration::from_nanos(oldest);
        for intended in backlog.into_iter().flatten() {
            record.never_sent += u64::from(window.contains(&intended));
            waited(intended);
        }
        record.client_cpu = client_cpu;
        record.wall = wall;
        self.record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Ended = Ended::Reply { status: 200, body_is_right: true };

    fn finish(recorder: Recorder, in_flight: &[Times], backlog: &[u64]) -> Record {
        recorder.finish(in_flight.iter().copied(), Some(backlog.iter().copied()), ThreadTime::default(), Duration::ZERO)
    }

    #[test]
    fn warm_up_does_not_count() {
        let mut recorder = Recorder::new(1000..2000, true).unwrap();
        recorder.record(&GOOD, Times { intended: 0, sent: 0 }, 999);
        recorder.record(&Ended::Failed(Failure::Reset), Times::default(), 999);
        let record = finish(recorder, &[], &[]);
        assert_eq!((record.completed, record.completed_in_run), (0, 1));
        assert_eq!((record.errors.total(), record.errors_in_warmup), (0, 1));
        assert!(record.uncorrected.is_empty() && record.corrected.unwrap().is_empty());
    }

    #[test]
    fn a_stall_shows_in_the_corrected_latency_only() {
        let mut recorder = Recorder::new(0..2000, true).unwrap();
        recorder.record(&GOOD, Times { intended: 100, sent: 1100 }, 1110);
        let record = finish(recorder, &[Times { intended: 200, sent: 1900 }], &[500, 3000]);
        assert_eq!((record.uncorrected.len(), record.uncorrected.max()), (1, 10));
        let corrected = record.corrected.unwrap();
        assert_eq!(corrected.len(), 3);
        assert!((1800..1805).contains(&corrected.max()), "{}", corrected.max());
        assert_eq!((record.unanswered, record.never_sent), (1, 1));
        assert_eq!(record.oldest_unanswered, Duration::from_nanos(100));
    }

    #[test]
    fn every_kind_has_its_counter() {
        let mut recorder = Recorder::new(0..10, false).unwrap();
        for failure in [Failure::Connect, Failure::Reset, Failure::Timeout, Failure::Malformed] {
            recorder.record(&Ended::Failed(failure), Times::default(), 5);
        }
        for (status, body_is_right) in [(404, true), (503, false), (101, true), (200, false)] {
            recorder.record(&Ended::Reply { status, body_is_right }, Times::default(), 5);
        }
        let record = finish(recorder, &[], &[]);
        assert_eq!(record.errors.named().map(|(_, count)| count), [1; 8]);
        assert_eq!(record.completed, 0);
        assert_eq!(record.uncorrected.len(), 1, "the time-out alone has a latency");
    }
}
