//! Decides which requests enter the figures, and how. Holds no file descriptor, and reads no clock.
//!
//! * A reply counts towards the rate when it arrives inside the window.
//! * *Uncorrected* latency runs from when the request was sent. A server that stalls delays the
//!   client's sends too, so few requests see the stall: coordinated omission.
//! * *Corrected* latency (open loop only) runs from when the request should have been sent.
//!   Requests without a reply at the end enter it with the time that they had waited, which is too
//!   little, but better than nothing.
//! * A time-out enters the latencies with the time waited. Other failures, and replies with a wrong
//!   status or body, are counted by kind and enter no latency.
//!
//! The window has a section for each step of the rate. A request belongs to the section that its
//! time lies in.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};

use super::connection::{Ended, Failure, Handshakes, Times};
use super::error_counts::ErrorCounts;
use crate::cpu::ThreadTime;

/// The longest latency that is recorded; longer ones are recorded as this one.
const LATENCY_NS_MAX: u64 = 120_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// The figures of a section of the window.
#[derive(Debug, Clone)]
pub struct Section {
    /// Its time.
    pub time: Range<u64>,
    /// The good replies inside it.
    pub completed: u64,
    /// Latency from the send.
    pub uncorrected: Histogram<u64>,
    /// Latency from the intended send; open loop only.
    pub corrected: Option<Histogram<u64>>,
    /// The errors inside it.
    pub errors: ErrorCounts,
    /// Requests that were due in it and had no connection until the end; open loop only.
    pub never_sent: u64,
}

/// A thread of the client, over the whole run.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientThread {
    /// The core that it was pinned to.
    pub core: Option<usize>,
    /// Its use of the core.
    pub cpu: ThreadTime,
    /// How long it had work to do: the time that it ran, less the time that it polled in vain.
    pub busy: Duration,
    /// The length of its run.
    pub wall: Duration,
}

/// A finished run.
#[derive(Debug)]
pub struct Record {
    /// The sections in order; at least one.
    pub sections: Vec<Section>,
    /// The good replies of the whole run, including the warm-up. CPU time is divided by this.
    pub completed_in_run: u64,
    /// The errors before the window.
    pub errors_in_warmup: u64,
    /// The number of each status that was not good, inside the window.
    pub bad_statuses: BTreeMap<u16, u64>,
    /// The requests that were sent and not answered at the end.
    pub unanswered: u64,
    /// How long the oldest of the unanswered requests had waited.
    pub oldest_unanswered: Duration,
    /// The TLS handshakes of the whole run.
    pub handshakes: Handshakes,
    /// The threads that drove it.
    pub threads: Vec<ClientThread>,
}

impl Section {
    fn new(time: Range<u64>, open_loop: bool) -> Result<Self, CreationError> {
        let histogram = || Histogram::new_with_bounds(1, LATENCY_NS_MAX, SIGNIFICANT_DIGITS);
        Ok(Self {
            time,
            completed: 0,
            uncorrected: histogram()?,
            corrected: if open_loop { Some(histogram()?) } else { None },
            errors: ErrorCounts::default(),
            never_sent: 0,
        })
    }

    /// Adds the figures of another thread or section. All histograms have the same bounds, so
    /// adding them cannot fail.
    fn add(&mut self, other: &Self) {
        self.completed += other.completed;
        self.errors.add(&other.errors);
        self.never_sent += other.never_sent;
        let _ = self.uncorrected.add(&other.uncorrected);
        if let (Some(own), Some(other)) = (&mut self.corrected, &other.corrected) {
            let _ = own.add(other);
        }
    }
}

impl Record {
    /// Returns all sections as one.
    pub fn whole(&self) -> Section {
        let mut sections = self.sections.iter();
        let Some(first) = sections.next() else { unreachable!("a record has a section") };
        let mut whole = first.clone();
        for section in sections {
            whole.add(section);
            whole.time.end = section.time.end;
        }
        whole
    }

    /// Adds the figures of another thread for the same sections.
    pub fn merge(&mut self, other: Self) {
        for (own, other) in self.sections.iter_mut().zip(&other.sections) {
            own.add(other);
        }
        self.completed_in_run += other.completed_in_run;
        self.errors_in_warmup += other.errors_in_warmup;
        for (status, count) in other.bad_statuses {
            *self.bad_statuses.entry(status).or_default() += count;
        }
        self.unanswered += other.unanswered;
        self.oldest_unanswered = self.oldest_unanswered.max(other.oldest_unanswered);
        self.handshakes.add(other.handshakes);
        self.threads.extend(other.threads);
    }
}

/// Records requests as they end.
#[derive(Debug)]
pub struct Recorder {
    window: Range<u64>,
    record: Record,
    errors_in_run: u64,
}

impl Recorder {
    /// Returns a recorder for `sections`, which are in order and without gaps.
    pub fn new(
        sections: impl IntoIterator<Item = Range<u64>>,
        open_loop: bool,
    ) -> Result<Self, CreationError> {
        let sections: Result<Vec<Section>, _> =
            sections.into_iter().map(|time| Section::new(time, open_loop)).collect();
        let sections = sections?;
        let edge = |section: Option<&Section>, edge: fn(&Range<u64>) -> u64| {
            section.map_or(0, |it| edge(&it.time))
        };
        let window =
            edge(sections.first(), |time| time.start)..edge(sections.last(), |time| time.end);
        let record = Record {
            sections,
            completed_in_run: 0,
            errors_in_warmup: 0,
            bad_statuses: BTreeMap::new(),
            unanswered: 0,
            oldest_unanswered: Duration::ZERO,
            handshakes: Handshakes::default(),
            threads: Vec::new(),
        };
        Ok(Self { window, record, errors_in_run: 0 })
    }

    /// Returns the number of good replies and of errors so far, including the warm-up.
    pub fn so_far(&self) -> (u64, u64) {
        (self.record.completed_in_run, self.errors_in_run)
    }

    /// Notes the handshakes that there were.
    pub fn handshakes(&mut self, handshakes: Handshakes) {
        self.record.handshakes.add(handshakes);
    }

    pub fn record(&mut self, ended: &Ended, times: Times, at: u64) {
        let good = matches!(ended, Ended::Reply { status: 200..400, body_is_right: true });
        let record = &mut self.record;
        if good {
            record.completed_in_run += 1;
        } else {
            self.errors_in_run += 1;
            record.errors_in_warmup += u64::from(at < self.window.start);
        }
        let timed = good || *ended == Ended::Failed(Failure::Timeout);
        if let Some(section) = section_at(&mut record.sections, at) {
            section.completed += u64::from(good);
            section.errors.count(ended);
            if timed {
                section.uncorrected.saturating_record(at.saturating_sub(times.sent).max(1));
            }
            if let Ended::Reply { status, .. } = *ended
                && !(200..400).contains(&status)
            {
                *record.bad_statuses.entry(status).or_default() += 1;
            }
        }
        // The section is that of the intended time, not of the arrival. Otherwise a stall across
        // the window's start would add its queue, and one across the end would remove its queue.
        let corrected = section_at(&mut record.sections, times.intended)
            .and_then(|section| section.corrected.as_mut());
        if let Some(corrected) = corrected.filter(|_| timed) {
            corrected.saturating_record(at.saturating_sub(times.intended).max(1));
        }
    }

    /// Finishes the record with the requests in flight, and with those that were due and never sent
    /// (open loop).
    pub fn finish(
        mut self,
        in_flight: impl Iterator<Item = Times>,
        backlog: Option<impl Iterator<Item = u64>>,
        thread: ClientThread,
    ) -> Record {
        let Self { window, record, .. } = &mut self;
        let mut waited = |intended: u64, unsent: u64| {
            let Some(section) = section_at(&mut record.sections, intended) else { return };
            section.never_sent += unsent;
            if let Some(corrected) = &mut section.corrected {
                corrected.saturating_record((window.end - intended).max(1));
            }
        };
        let mut oldest = 0;
        for times in in_flight {
            record.unanswered += 1;
            oldest = oldest.max(window.end.saturating_sub(times.sent));
            waited(times.intended, 0);
        }
        for intended in backlog.into_iter().flatten() {
            waited(intended, 1);
        }
        record.oldest_unanswered = Duration::from_nanos(oldest);
        record.threads.push(thread);
        self.record
    }
}

/// Returns the section that `time` lies in. There is usually one section, and `time` is in it.
fn section_at(sections: &mut [Section], time: u64) -> Option<&mut Section> {
    let at = sections.partition_point(|section| section.time.end <= time);
    sections.get_mut(at).filter(|section| section.time.contains(&time))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Ended = Ended::Reply { status: 200, body_is_right: true };

    fn finish(recorder: Recorder, in_flight: &[Times], backlog: &[u64]) -> Record {
        recorder.finish(
            in_flight.iter().copied(),
            Some(backlog.iter().copied()),
            ClientThread::default(),
        )
    }

    #[test]
    fn warm_up_does_not_count() {
        let mut recorder = Recorder::new(std::iter::once(1000..2000), true).unwrap();
        recorder.record(&GOOD, Times { intended: 0, sent: 0 }, 999);
        recorder.record(&Ended::Failed(Failure::Reset), Times::default(), 999);
        let record = finish(recorder, &[], &[]);
        let whole = record.whole();
        assert_eq!((whole.completed, record.completed_in_run), (0, 1));
        assert_eq!((whole.errors.total(), record.errors_in_warmup), (0, 1));
        assert!(whole.uncorrected.is_empty() && whole.corrected.unwrap().is_empty());
    }

    #[test]
    fn a_stall_shows_in_the_corrected_latency_only() {
        let mut recorder = Recorder::new(std::iter::once(0..2000), true).unwrap();
        recorder.record(&GOOD, Times { intended: 100, sent: 1100 }, 1110);
        let record = finish(recorder, &[Times { intended: 200, sent: 1900 }], &[500, 3000]);
        let whole = record.whole();
        assert_eq!((whole.uncorrected.len(), whole.uncorrected.max()), (1, 10));
        let corrected = whole.corrected.unwrap();
        assert_eq!(corrected.len(), 3);
        assert!((1800..1805).contains(&corrected.max()), "{}", corrected.max());
        assert_eq!((record.unanswered, record.oldest_unanswered), (1, Duration::from_nanos(100)));
        assert_eq!(whole.never_sent, 1);
    }

    #[test]
    fn a_time_out_is_a_latency_and_an_error() {
        let mut recorder = Recorder::new(std::iter::once(0..2000), true).unwrap();
        recorder.record(&Ended::Failed(Failure::Timeout), Times { intended: 100, sent: 200 }, 1200);
        recorder.record(&Ended::Reply { status: 503, body_is_right: true }, Times::default(), 1300);
        let record = finish(recorder, &[], &[]);
        let whole = record.whole();
        assert_eq!((whole.completed, whole.errors.timeout, whole.errors.status_5xx), (0, 1, 1));
        assert_eq!((whole.uncorrected.len(), whole.corrected.unwrap().len()), (1, 1));
        assert_eq!(record.bad_statuses, BTreeMap::from([(503, 1)]));
    }

    #[test]
    fn every_kind_has_its_counter() {
        let mut recorder = Recorder::new(std::iter::once(0..10), false).unwrap();
        for failure in [Failure::Connect, Failure::Reset, Failure::Timeout, Failure::Malformed] {
            recorder.record(&Ended::Failed(failure), Times::default(), 5);
        }
        for (status, body_is_right) in [(404, true), (503, false), (101, true), (200, false)] {
            recorder.record(&Ended::Reply { status, body_is_right }, Times::default(), 5);
        }
        assert_eq!(recorder.so_far(), (0, 8));
        let whole = finish(recorder, &[], &[]).whole();
        assert_eq!(whole.errors.named().map(|(_, count)| count), [1; 8]);
        assert_eq!(whole.completed, 0);
        assert_eq!(whole.uncorrected.len(), 1, "the time-out alone has a latency");
    }

    #[test]
    fn a_request_belongs_to_the_section_of_its_time() {
        let mut recorder = Recorder::new([1000..2000, 2000..3000], true).unwrap();
        recorder.record(&GOOD, Times { intended: 1900, sent: 1900 }, 2100);
        let mut other = Recorder::new([1000..2000, 2000..3000], true).unwrap();
        other.record(&GOOD, Times { intended: 2000, sent: 2000 }, 2100);
        let mut record = finish(recorder, &[], &[1500]);
        record.merge(finish(other, &[], &[]));
        let figures: Vec<_> = record
            .sections
            .iter()
            .map(|section| {
                (section.completed, section.corrected.as_ref().unwrap().len(), section.never_sent)
            })
            .collect();
        assert_eq!(figures, [(0, 2, 1), (2, 1, 0)]);
        let whole = record.whole();
        assert_eq!((whole.time, whole.completed, record.threads.len()), (1000..3000, 2, 2));
    }
}
