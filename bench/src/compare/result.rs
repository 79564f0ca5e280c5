//! What a comparison found: every round of every server, and what may be said of them together.
//! Holds no file descriptor.
//!
//! Medians, because one disturbed round should not move the figure; with their range, so that a reader
//! sees how far to trust it.

use std::time::Duration;

use serde::Serialize;

use crate::environment::Environment;
use crate::report::Report;
use crate::server::Kind;

/// What the name of every server begins with that the others are compared with.
const OURS: &str = "sockhop";

/// Everything.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// Where and when.
    pub environment: Environment,
    /// How.
    pub settings: Settings,
    /// What was measured.
    pub servers: Vec<Measured>,
    /// What was not there.
    pub missing: Vec<Missing>,
    /// What makes the numbers doubtful.
    pub warnings: Vec<String>,
}

/// How the rounds ran.
#[derive(Debug, Serialize)]
pub struct Settings {
    /// What was asked of the servers.
    pub measure: &'static str,
    /// Rounds.
    pub rounds: u32,
    /// Each window.
    pub seconds: f64,
    /// Before each window.
    pub warmup_seconds: f64,
    /// Of the client, at a time.
    pub connections: u32,
    /// Kept for many requests, or a new one for each.
    pub keep_alive: bool,
    /// Of each request's body, and of each reply's; none for GET.
    pub payload_bytes: Option<usize>,
    /// Where servers ran.
    pub server_core: usize,
    /// Where the client ran.
    pub load_core: usize,
}

/// A server that was not found.
#[derive(Debug, Serialize)]
pub struct Missing {
    /// Its name.
    pub name: &'static str,
    /// How to say where it is.
    pub option: &'static str,
}

/// One server.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// Its name.
    pub name: &'static str,
    /// What its binary says.
    pub version: String,
    /// How it was started; ports and scratch folders differ from round to round.
    pub commands: Vec<String>,
    /// One visit each.
    pub rounds: Vec<Round>,
}

/// One visit to one server.
#[derive(Debug, Serialize)]
pub struct Round {
    /// What the client saw.
    pub report: Report,
    /// User and system time of all the server's processes, per good reply; warm-up included in both.
    pub cpu_us_per_request: f64,
    /// Bytes of one whole reply, head included.
    pub reply_bytes: usize,
}

/// A middle and its range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of at least one value; none gives zeros.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        let last = values.len().saturating_sub(1);
        Self { median: (at(last / 2) + at(last.div_ceil(2))) / 2.0, min: at(0), max: at(last) }
    }
}

impl Round {
    pub fn new(report: Report, cpu: Duration, reply_bytes: usize) -> Self {
        let cpu_us_per_request = cpu.as_secs_f64() * 1e6 / report.requests_in_run.max(1) as f64;
        Self { report, cpu_us_per_request, reply_bytes }
    }
}

impl Measured {
    pub fn new(kind: &Kind) -> Self {
        Self { name: kind.name(), version: kind.version(), commands: Vec::new(), rounds: Vec::new() }
    }

    /// A figure of every round, together.
    pub fn spread(&self, figure: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(figure))
    }

    /// Errors of all rounds, warm-up included.
    pub fn errors(&self) -> u64 {
        self.rounds.iter().map(|round| round.report.errors.total() + round.report.errors_in_warmup).sum()
    }

    /// How many times as fast as this server `other` is, round against round: what a drift of the machine
    /// does to both cancels out.
    pub fn times_as_fast(&self, other: &Self) -> Spread {
        let rate = |round: &Round| round.report.requests_per_second;
        Spread::of(self.rounds.iter().zip(&other.rounds).map(|(this, other)| rate(other) / rate(this)))
    }

    /// Progress after a round.
    pub fn last_line(&self) -> String {
        self.rounds.last().map_or_else(String::new, |round| {
            format!("{} {}, {:.1} µs CPU each", self.name, round.report.rate(), round.cpu_us_per_request)
        })
    }
}

impl Comparison {
    pub fn new(environment: Environment, settings: Settings, servers: Vec<Measured>, missing: Vec<Missing>) -> Self {
        let mut warnings = environment.warnings();
        for server in &servers {
            if server.rounds.iter().any(|round| round.report.client_saturated) {
                warnings.push(format!(
                    "{}: the client was the bottleneck in at least one round; the server may be faster",
                    server.name
                ));
            }
            let robbed = |round: &&Round| round.report.client_was_robbed();
            let robbed = server.rounds.iter().filter(robbed).count();
            if robbed > 0 {
                warnings.push(format!(
                    "{}: other programs ran on the client's core in {robbed} of {} rounds",
                    server.name,
                    server.rounds.len()
                ));
            }
            if server.errors() > 0 {
                warnings.push(format!(
                    "{}: {} requests ended in errors; its figures are those of the rest",
                    server.name,
                    server.errors()
                ));
            }
        }
        Self { environment, settings, servers, missing, warnings }
    }

    /// Those the others are compared with, as far as they were measured.
    pub fn ours(&self) -> impl Iterator<Item = &Measured> {
        self.servers.iter().filter(|server| server.name.starts_with(OURS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_spread_has_the_middle_of_its_values() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(Spread::of([]), Spread { median: 0.0, min: 0.0, max: 0.0 });
    }

    proptest! {
        #[test]
        fn a_median_lies_in_its_range(values in prop::collection::vec(0.0..1e9, 1..20)) {
            let spread = Spread::of(values);
            prop_assert!(spread.min <= spread.median && spread.median <= spread.max);
        }
    }
}
