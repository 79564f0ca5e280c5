//! What one load found, as figures and JSON; `report_text` shows it. Holds no file descriptor.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::client::{ClientThread, ErrorCounts, Record, Section};

/// Above this share of its core the client, not the server, may set the rate.
const SATURATED_PERCENT: f64 = 95.0;

/// A client that waits longer than this for its own core has company on it.
const WAITED_PERCENT_MAX: f64 = 5.0;

/// Latency in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// How many requests it is of.
    pub count: u64,
    /// Mean.
    pub mean_us: f64,
    /// Median.
    pub p50_us: f64,
    /// 90 %.
    pub p90_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// 99.9 %.
    pub p999_us: f64,
    /// 99.99 %.
    pub p9999_us: f64,
    /// The longest.
    pub max_us: f64,
}

/// What a load found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Good replies inside the window.
    pub requests: u64,
    /// The same per second.
    pub requests_per_second: f64,
    /// Bodies sent and come back, counted once, in millions of bytes; only where requests have
    /// bodies.
    pub payload_megabytes_per_second: Option<f64>,
    /// From the send of each request.
    pub latency: Latency,
    /// From when each request should have been sent; open loop only.
    pub latency_corrected: Option<Latency>,
    /// By kind, inside the window.
    pub errors: ErrorCounts,
    /// Every status that was not good, inside the window.
    pub bad_statuses: BTreeMap<u16, u64>,
    /// All kinds, before the window.
    pub errors_in_warmup: u64,
    /// Sent, but without a reply at the end: one per busy connection is usual.
    pub unanswered: u64,
    /// How long the oldest of those had waited.
    pub oldest_unanswered_us: f64,
    /// Due, but without a free connection until the end; open loop only.
    pub never_sent: u64,
    /// One entry a step or part of a ramp; none when the rate was the same all the time.
    pub sections: Vec<SectionReport>,
    /// One entry a thread.
    pub client: Vec<ThreadReport>,
    /// The client's own CPU time, in percent of the run; of its busiest thread.
    pub client_cpu_percent: f64,
    /// How long it had work to do; of its busiest thread. Less than it ran where it spins.
    pub client_busy_percent: f64,
    /// How long the client was ready to run while something else had its core, in percent of the
    /// run; of the thread that waited longest.
    pub client_waited_percent: f64,
    /// The client was the bottleneck, or close to it: the server may be faster than this report
    /// says.
    pub client_saturated: bool,
    /// Good replies of the whole run, warm-up included.
    #[serde(skip)]
    pub requests_in_run: u64,
}

/// What one step of the rate found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SectionReport {
    /// The rate that was wanted.
    pub rate: String,
    /// Good replies per second.
    pub requests_per_second: f64,
    /// From the send.
    pub latency: Latency,
    /// From the intended send.
    pub latency_corrected: Option<Latency>,
    /// By kind.
    pub errors: ErrorCounts,
    /// Due in it, but without a free connection until the end.
    pub never_sent: u64,
}

/// One of the client's threads, in percent of the run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ThreadReport {
    /// Where it was pinned.
    pub core: Option<usize>,
    /// It ran.
    pub cpu_percent: f64,
    /// It was ready to run while something else had its core.
    pub waited_percent: f64,
    /// It had work to do; less than it ran where it spins.
    pub busy_percent: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| us(histogram.value_at_quantile(quantile));
        Self {
            count: histogram.len(),
            mean_us: histogram.mean() / 1000.0,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            p9999_us: at(0.9999),
            max_us: us(histogram.max()),
        }
    }
}

impl ThreadReport {
    fn of(thread: &ClientThread) -> Self {
        let percent = |time: Duration| 100.0 * time.as_secs_f64() / thread.wall.as_secs_f64();
        Self {
            core: thread.core,
            cpu_percent: percent(thread.cpu.ran),
            waited_percent: percent(thread.cpu.waited),
            busy_percent: percent(thread.busy),
        }
    }
}

impl SectionReport {
    fn of(section: &Section, rate: String) -> Self {
        Self {
            rate,
            requests_per_second: per_second(section),
            latency: Latency::of(&section.uncorrected),
            latency_corrected: section.corrected.as_ref().map(Latency::of),
            errors: section.errors,
            never_sent: section.never_sent,
        }
    }
}

impl Report {
    /// Of a finished run; `rates` names its sections where there are several, and `payload_bytes`
    /// is a body's length.
    pub fn of(record: &Record, rates: Vec<String>, payload_bytes: Option<usize>) -> Self {
        let whole = record.whole();
        let requests_per_second = per_second(&whole);
        let client: Vec<ThreadReport> = record.threads.iter().map(ThreadReport::of).collect();
        let most = |figure: fn(&ThreadReport) -> f64| client.iter().map(figure).fold(0.0, f64::max);
        Self {
            requests: whole.completed,
            requests_per_second,
            payload_megabytes_per_second: payload_bytes
                .map(|bytes| requests_per_second * bytes as f64 / 1e6),
            latency: Latency::of(&whole.uncorrected),
            latency_corrected: whole.corrected.as_ref().map(Latency::of),
            errors: whole.errors,
            bad_statuses: record.bad_statuses.clone(),
            errors_in_warmup: record.errors_in_warmup,
            unanswered: record.unanswered,
            oldest_unanswered_us: record.oldest_unanswered.as_secs_f64() * 1e6,
            never_sent: whole.never_sent,
            sections: record
                .sections
                .iter()
                .zip(rates)
                .map(|(section, rate)| SectionReport::of(section, rate))
                .collect(),
            client_cpu_percent: most(|thread| thread.cpu_percent),
            client_waited_percent: most(|thread| thread.waited_percent),
            client_busy_percent: most(|thread| thread.busy_percent),
            client_saturated: most(|thread| thread.busy_percent) > SATURATED_PERCENT,
            client,
            requests_in_run: record.completed_in_run,
        }
    }

    /// The headline.
    pub fn rate(&self) -> String {
        let requests = format!("{:.0} requests/s", self.requests_per_second);
        match self.payload_megabytes_per_second {
            Some(megabytes) => format!("{megabytes:.1} MB/s each way, {requests}"),
            None => requests,
        }
    }

    /// Latency as a client that does not wait for anybody sees it: corrected, where the loop was
    /// open.
    pub fn felt(&self) -> &Latency {
        self.latency_corrected.as_ref().unwrap_or(&self.latency)
    }

    /// Whether other programs had so much of the client's core that the figures tell of them, too.
    pub fn client_was_robbed(&self) -> bool {
        self.client_waited_percent > WAITED_PERCENT_MAX
    }
}

fn per_second(section: &Section) -> f64 {
    let length = Duration::from_nanos(section.time.end.saturating_sub(section.time.start));
    if length.is_zero() { 0.0 } else { section.completed as f64 / length.as_secs_f64() }
}

/// Nanoseconds as microseconds.
fn us(ns: u64) -> f64 {
    ns as f64 / 1000.0
}
