//! The result of a load, as figures and JSON; `report_text` formats it. Holds no file descriptor.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::client::{ClientThread, ErrorCounts, Handshakes, Record, Section};

/// Above this share of its core, the client may limit the rate instead of the server.
const SATURATED_PERCENT: f64 = 95.0;

/// A client that waits longer than this for its own core shares it with other programs.
const WAITED_PERCENT_MAX: f64 = 5.0;

/// Latency in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// The number of requests.
    pub count: u64,
    /// The mean.
    pub mean_us: f64,
    /// The median.
    pub p50_us: f64,
    /// The 90th percentile.
    pub p90_us: f64,
    /// The 99th percentile.
    pub p99_us: f64,
    /// The 99.9th percentile.
    pub p999_us: f64,
    /// The 99.99th percentile.
    pub p9999_us: f64,
    /// The longest.
    pub max_us: f64,
}

/// The result of a load.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The good replies inside the window.
    pub requests: u64,
    /// The same per second.
    pub requests_per_second: f64,
    /// The bodies that were sent and came back, counted once, in millions of bytes; only if
    /// requests have bodies.
    pub payload_megabytes_per_second: Option<f64>,
    /// The latency from the send of each request.
    pub latency: Latency,
    /// The latency from when each request should have been sent; open loop only.
    pub latency_corrected: Option<Latency>,
    /// The errors inside the window, by kind.
    pub errors: ErrorCounts,
    /// The number of each status that was not good, inside the window.
    pub bad_statuses: BTreeMap<u16, u64>,
    /// The errors of all kinds before the window.
    pub errors_in_warmup: u64,
    /// The requests that were sent and had no reply at the end. One for each busy connection is
    /// usual.
    pub unanswered: u64,
    /// How long the oldest of those had waited.
    pub oldest_unanswered_us: f64,
    /// The requests that were due and had no free connection until the end; open loop only.
    pub never_sent: u64,
    /// The TLS handshakes of the whole run. Those of HTTP/2 are not counted.
    pub handshakes: Handshakes,
    /// An entry for each step or part of a ramp. Empty if the rate was constant.
    pub sections: Vec<SectionReport>,
    /// An entry for each thread.
    pub client: Vec<ThreadReport>,
    /// The CPU time of the client's busiest thread, in percent of the run.
    pub client_cpu_percent: f64,
    /// How long the client's busiest thread had work to do. Less than its CPU time if it never
    /// sleeps.
    pub client_busy_percent: f64,
    /// How long the client was ready to run while something else had its core, in percent of the
    /// run; of the thread that waited longest.
    pub client_waited_percent: f64,
    /// Whether the client was the bottleneck, or close to it: the server may be faster than this
    /// report says.
    pub client_saturated: bool,
    /// The good replies of the whole run, including the warm-up.
    #[serde(skip)]
    pub requests_in_run: u64,
}

/// The result of one step of the rate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SectionReport {
    /// The intended rate.
    pub rate: String,
    /// Good replies per second.
    pub requests_per_second: f64,
    /// The latency from the send.
    pub latency: Latency,
    /// The latency from the intended send.
    pub latency_corrected: Option<Latency>,
    /// The errors by kind.
    pub errors: ErrorCounts,
    /// The requests that were due in it and had no free connection until the end.
    pub never_sent: u64,
}

/// One of the client's threads, in percent of the run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ThreadReport {
    /// The core that it was pinned to.
    pub core: Option<usize>,
    /// The time that it ran.
    pub cpu_percent: f64,
    /// The time that it was ready to run while something else had its core.
    pub waited_percent: f64,
    /// The time that it had work to do. Less than it ran if it never sleeps.
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
    /// Returns the report of a finished run. `rates` names its sections if there are several, and
    /// `payload_bytes` is the length of a body.
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
            handshakes: record.handshakes,
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

    /// Returns the headline.
    pub fn rate(&self) -> String {
        let requests = format!("{:.0} requests/s", self.requests_per_second);
        match self.payload_megabytes_per_second {
            Some(megabytes) => format!("{megabytes:.1} MB/s each way, {requests}"),
            None => requests,
        }
    }

    /// Returns the latency as a client sees it that does not wait for others: corrected, if the
    /// loop was open.
    pub fn felt(&self) -> &Latency {
        self.latency_corrected.as_ref().unwrap_or(&self.latency)
    }

    /// Returns whether other programs had so much of the client's core that the figures show it.
    pub fn client_was_robbed(&self) -> bool {
        self.client_waited_percent > WAITED_PERCENT_MAX
    }
}

fn per_second(section: &Section) -> f64 {
    let length = Duration::from_nanos(section.time.end.saturating_sub(section.time.start));
    if length.is_zero() { 0.0 } else { section.completed as f64 / length.as_secs_f64() }
}

/// Converts nanoseconds to microseconds.
fn us(ns: u64) -> f64 {
    ns as f64 / 1000.0
}
