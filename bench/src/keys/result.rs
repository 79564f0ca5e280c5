//! The result of `keys`, as text and JSON. Holds no file descriptor.

use std::fmt;

use serde::Serialize;

use crate::alone::Provenance;
use crate::compare::figure;
use crate::report::Latency;
use crate::stats::Spread;

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Keys {
    #[serde(flatten)]
    pub provenance: Provenance,
    pub settings: Settings,
    figures: Vec<Figure>,
}

/// The settings of a run.
#[derive(Debug, Serialize)]
pub struct Settings {
    pub keys: u32,
    pub value_bytes: usize,
    /// Operations a second while latency is measured.
    pub rate: u64,
    pub seconds: f64,
    pub server_core: usize,
    pub load_core: usize,
}

/// What was found, in the order of the steps.
#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
}

/// What clients have felt over some seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Felt {
    /// The median second's.
    p50_us: f64,
    /// The worst second's.
    p99_us: f64,
    /// The longest request of all.
    max_us: f64,
    failed: u64,
}

impl Felt {
    /// Of each second, and how many requests failed in it.
    pub fn of(seconds: &[(Latency, u64)]) -> Self {
        let most = |of: fn(&Latency) -> f64| {
            seconds.iter().map(|(latency, _)| of(latency)).fold(0.0, f64::max)
        };
        Self {
            p50_us: Spread::of(seconds.iter().map(|(latency, _)| latency.p50_us)).median,
            p99_us: most(|latency| latency.p99_us),
            max_us: most(|latency| latency.max_us),
            failed: seconds.iter().map(|(_, failed)| failed).sum(),
        }
    }
}

impl Keys {
    pub fn new(provenance: Provenance, settings: Settings) -> Self {
        Self { provenance, settings, figures: Vec::new() }
    }

    /// Adds a figure, and says it on stderr: all of them take minutes.
    pub fn add(&mut self, name: &str, value: f64, unit: &'static str) {
        eprintln!("{name}: {} {unit}", figure(value));
        self.figures.push(Figure { name: name.to_owned(), value, unit });
    }

    /// Adds what clients have felt.
    pub fn felt(&mut self, name: &str, felt: &Felt) {
        self.add(&format!("{name}: p50"), felt.p50_us, "µs");
        self.add(&format!("{name}: p99 of the worst second"), felt.p99_us, "µs");
        self.add(&format!("{name}: longest"), felt.max_us, "µs");
        if felt.failed > 0 {
            self.provenance.warnings.push(format!("{name}: {} requests failed", felt.failed));
        }
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { keys, value_bytes, rate, server_core, load_core, .. } = &self.settings;
        writeln!(
            f,
            "\nkeys: {keys} in one bucket, of {value_bytes} bytes each; latency at {rate} operations/s by HTTP, half of them sets, as of each second; node on core {server_core}, client on core {load_core}\n"
        )?;
        writeln!(f, "| figure | |\n|---|---|")?;
        for Figure { name, value, unit } in &self.figures {
            writeln!(f, "| {name} | {} {unit} |", figure(*value))?;
        }
        write!(f, "{}", self.provenance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_second_counts() {
        let second = |p50_us: f64, p99_us: f64| Latency {
            count: 1,
            mean_us: p50_us,
            p50_us,
            p90_us: p99_us,
            p99_us,
            p999_us: p99_us,
            p9999_us: p99_us,
            max_us: 2.0 * p99_us,
        };
        let felt =
            Felt::of(&[(second(1.0, 9.0), 0), (second(3.0, 20.0), 2), (second(2.0, 8.0), 1)]);
        assert_eq!(felt, Felt { p50_us: 2.0, p99_us: 20.0, max_us: 40.0, failed: 3 });
    }
}
