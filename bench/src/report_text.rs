//! A load's report as text. Holds no file descriptor.

use std::fmt;

use crate::client::Handshakes;
use crate::report::{Latency, Report};

/// Below so many requests a percentile is one or two of them, not a share.
const COUNT_FOR_P9999: u64 = 20_000;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({} good replies)", self.rate(), self.requests)?;
        writeln!(
            f,
            "{:<32}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "latency, µs", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"
        )?;
        match &self.latency_corrected {
            None => latency_line(f, "from send to reply", &self.latency)?,
            Some(corrected) => {
                latency_line(f, "corrected (from intended send)", corrected)?;
                latency_line(f, "uncorrected (from actual send)", &self.latency)?;
            }
        }
        if self.felt().count < COUNT_FOR_P9999 {
            writeln!(
                f,
                "p99.99 of {} requests is little more than the longest of them",
                self.felt().count
            )?;
        }
        write!(f, "errors: {}", self.errors.total())?;
        for (name, count) in self.errors.named().iter().filter(|(_, count)| *count > 0) {
            write!(f, ", {name} {count}")?;
        }
        writeln!(f, "; in the warm-up: {}", self.errors_in_warmup)?;
        for (status, count) in &self.bad_statuses {
            writeln!(f, "status {status}: {count} times")?;
        }
        write!(f, "unanswered at the end: {}", self.unanswered)?;
        if self.unanswered > 0 {
            write!(f, " (oldest {:.0} µs)", self.oldest_unanswered_us)?;
        }
        if self.never_sent > 0 {
            write!(
                f,
                "; due but never sent: {} (more connections, or a lower rate)",
                self.never_sent
            )?;
        }
        writeln!(f)?;
        let Handshakes { full, resumed } = self.handshakes;
        if full + resumed > 0 {
            writeln!(f, "TLS handshakes: {full} in full, {resumed} resumed")?;
        }
        self.sections(f)?;
        self.client(f)
    }
}

impl Report {
    fn sections(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sections.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "{:<18}{:>12}{:>10}{:>10}{:>10}{:>10}{:>10}{:>12}",
            "wanted",
            "requests/s",
            "p50 µs",
            "p99 µs",
            "p99.9 µs",
            "max µs",
            "errors",
            "never sent"
        )?;
        for section in &self.sections {
            let latency = section.latency_corrected.as_ref().unwrap_or(&section.latency);
            writeln!(
                f,
                "{:<18}{:>12.0}{:>10.0}{:>10.0}{:>10.0}{:>10.0}{:>10}{:>12}",
                section.rate,
                section.requests_per_second,
                latency.p50_us,
                latency.p99_us,
                latency.p999_us,
                latency.max_us,
                section.errors.total(),
                section.never_sent
            )?;
        }
        Ok(())
    }

    fn client(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for thread in &self.client {
            let place =
                thread.core.map_or_else(|| "not pinned".to_owned(), |core| format!("core {core}"));
            writeln!(
                f,
                "client, {place}: ran {:.0} % of the time, had work for {:.0} %, waited {:.0} % for its core",
                thread.cpu_percent, thread.busy_percent, thread.waited_percent
            )?;
        }
        if self.client_was_robbed() {
            writeln!(
                f,
                "warning: other programs ran on the client's core; latencies hold its wait too"
            )?;
        }
        if self.client_saturated {
            writeln!(
                f,
                "warning: the client was the bottleneck; the server may be faster than this (more --cores for the client?)"
            )?;
        }
        Ok(())
    }
}

fn latency_line(f: &mut fmt::Formatter<'_>, name: &str, latency: &Latency) -> fmt::Result {
    let Latency { mean_us, p50_us, p90_us, p99_us, p999_us, p9999_us, max_us, .. } = latency;
    writeln!(
        f,
        "{name:<32}{mean_us:>10.1}{p50_us:>10.1}{p90_us:>10.1}{p99_us:>10.1}{p999_us:>10.1}{p9999_us:>10.1}{max_us:>10.1}"
    )
}
