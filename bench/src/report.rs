//! What one load found, as figures, text and JSON. Holds no file descriptor.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::client::{ErrorCounts, Record};

/// Above this share of its core the client, not the server, may set the rate.
const SATURATED_PERCENT: f64 = 95.0;

/// A client that waits longer than this for its own core has company on it.
const WAITED_PERCENT_MAX: f64 = 5.0;

/// Latency in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
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
    /// Bodies sent and come back, counted once, in millions of bytes; only where requests have bodies.
    pub payload_megabytes_per_second: Option<f64>,
    /// From the send of each request.
    pub latency: Latency,
    /// From when each request should have been sent; open loop only.
    pub latency_corrected: Option<Latency>,
    /// By kind, inside the window.
    pub errors: ErrorCounts,
    /// All kinds, before the window.
    pub errors_in_warmup: u64,
    /// Sent, but without a reply at the end: one per busy connection is usual.
    pub unanswered: u64,
    /// How long the oldest of those had waited.
    pub oldest_unanswered_us: f64,
    /// Due, but without a free connection until the end; open loop only.
    pub never_sent: u64,
    /// The client's own CPU time, in percent of the run.
    pub client_cpu_percent: f64,
    /// How long the client was ready to run while something else had its core, in percent of the run.
    pub client_waited_percent: f64,
    /// The client was the bottleneck, or close to it: the server may be faster than this report says.
    pub client_saturated: bool,
    /// Good replies of the whole run, warm-up included.
    #[serde(skip)]
    pub requests_in_run: u64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| us(histogram.value_at_quantile(quantile));
        Self {
            mean_us: histogram.mean() / 1000.0,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: us(histogram.max()),
        }
    }
}

impl Report {
    /// Of a finished run.
    pub fn of(record: &Record, window: Duration, payload_bytes: Option<usize>) -> Self {
        let requests_per_second = record.completed as f64 / window.as_secs_f64();
        let percent = |time: Duration| 100.0 * time.as_secs_f64() / record.wall.as_secs_f64();
        let client_cpu_percent = percent(record.client_cpu.ran);
        Self {
            requests: record.completed,
            requests_per_second,
            payload_megabytes_per_second: payload_bytes.map(|bytes| requests_per_second * bytes as f64 / 1e6),
            latency: Latency::of(&record.uncorrected),
            latency_corrected: record.corrected.as_ref().map(Latency::of),
            errors: record.errors,
            errors_in_warmup: record.errors_in_warmup,
            unanswered: record.unanswered,
            oldest_unanswered_us: record.oldest_unanswered.as_secs_f64() * 1e6,
            never_sent: record.never_sent,
            client_cpu_percent,
            client_waited_percent: percent(record.client_cpu.waited),
            client_saturated: client_cpu_percent > SATURATED_PERCENT,
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

    /// Whether other programs had so much of the client's core that the figures tell of them, too.
    pub fn client_was_robbed(&self) -> bool {
        self.client_waited_percent > WAITED_PERCENT_MAX
    }
}

/// Nanoseconds as microseconds.
fn us(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({} good replies)", self.rate(), self.requests)?;
        writeln!(
            f,
            "{:<32}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "latency, µs", "mean", "p50", "p90", "p99", "p99.9", "max"
        )?;
        match &self.latency_corrected {
            None => latency_line(f, "from send to reply", &self.latency)?,
            Some(corrected) => {
                latency_line(f, "corrected (from intended send)", corrected)?;
                latency_line(f, "uncorrected (from actual send)", &self.latency)?;
            }
        }
        write!(f, "errors: {}", self.errors.total())?;
        for (name, count) in self.errors.named().iter().filter(|(_, count)| *count > 0) {
            write!(f, ", {name} {count}")?;
        }
        writeln!(f, "; in the warm-up: {}", self.errors_in_warmup)?;
        write!(f, "unanswered at the end: {}", self.unanswered)?;
        if self.unanswered > 0 {
            write!(f, " (oldest {:.0} µs)", self.oldest_unanswered_us)?;
        }
        if self.never_sent > 0 {
            write!(f, "; due but never sent: {} (more connections, or a lower rate)", self.never_sent)?;
        }
        writeln!(
            f,
            "\nclient: ran {:.0} % of the time, waited {:.0} % for its core",
            self.client_cpu_percent, self.client_waited_percent
        )?;
        if self.client_was_robbed() {
            writeln!(f, "warning: other programs ran on the client's core; latencies hold its wait too")?;
        }
        if self.client_saturated {
            writeln!(f, "warning: the client was the bottleneck; the server may be faster than this")?;
        }
        Ok(())
    }
}

fn latency_line(f: &mut fmt::Formatter<'_>, name: &str, latency: &Latency) -> fmt::Result {
    let Latency { mean_us, p50_us, p90_us, p99_us, p999_us, max_us } = latency;
    writeln!(f, "{name:<32}{mean_us:>10.1}{p50_us:>10.1}{p90_us:>10.1}{p99_us:>10.1}{p999_us:>10.1}{max_us:>10.1}")
}
