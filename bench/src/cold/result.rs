//! The result of `cold`, as figures, text and JSON. Holds no file descriptor.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::alone::Provenance;

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Cold {
    /// The conditions of the measurement.
    #[serde(flatten)]
    pub provenance: Provenance,
    /// The settings.
    pub settings: Settings,
    /// The times of the first request to each function.
    pub first: Figures,
    /// The times of the second request, right after it: the control.
    pub second: Figures,
}

/// The settings of a run.
#[derive(Debug, Serialize)]
pub struct Settings {
    /// The number of distinct functions, each requested twice.
    pub functions: u32,
    /// The kind of native program that they are. Null for components.
    pub kind: Option<String>,
    /// The bytes of each function's file.
    pub component_bytes: usize,
    /// The node's core.
    pub server_core: usize,
    /// The client's core.
    pub load_core: usize,
}

/// The times in microseconds, from the send to the whole reply.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// The median.
    pub p50_us: f64,
    /// The 90th percentile.
    pub p90_us: f64,
    /// The 99th percentile.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
    /// All times, in the order of the requests.
    pub all_us: Vec<f64>,
}

impl Figures {
    /// Returns the figures of `times`. They are zero if there are none.
    pub fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        let all_us: Vec<f64> = times.into_iter().map(|time| time.as_secs_f64() * 1e6).collect();
        let mut sorted = all_us.clone();
        sorted.sort_by(f64::total_cmp);
        // The least value that this share of the times does not exceed.
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100);
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
        };
        Self { p50_us: at(50), p90_us: at(90), p99_us: at(99), max_us: at(100), all_us }
    }
}

impl Cold {
    pub fn new(provenance: Provenance, settings: Settings, times: &[[Duration; 2]]) -> Self {
        let figures = |which: usize| Figures::of(times.iter().map(|pair| pair[which]));
        Self { provenance, settings, first: figures(0), second: figures(1) }
    }
}

impl fmt::Display for Cold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { functions, kind, component_bytes, server_core, load_core } = &self.settings;
        let kind = kind.as_ref().map_or_else(String::new, |kind| format!(" of kind {kind}"));
        writeln!(
            f,
            "\ncold, {functions} distinct functions{kind}, of {component_bytes} bytes, one after another on one warm connection, no load; node on core {server_core}, client on core {load_core}"
        )?;
        writeln!(f, "what a deploy makes of them was written then, so it is in the page cache\n")?;
        writeln!(
            f,
            "{:<28}{:>10}{:>10}{:>10}{:>10}",
            "request to each, µs", "p50", "p90", "p99", "max"
        )?;
        for (name, Figures { p50_us, p90_us, p99_us, max_us, .. }) in
            [("first", &self.first), ("second (control)", &self.second)]
        {
            writeln!(f, "{name:<28}{p50_us:>10.1}{p90_us:>10.1}{p99_us:>10.1}{max_us:>10.1}")?;
        }
        writeln!(
            f,
            "{:<28}{:>10.1}",
            "being cold costs, medians",
            self.first.p50_us - self.second.p50_us
        )?;
        write!(f, "{}", self.provenance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let figures = Figures::of((1..=10).rev().map(Duration::from_micros));
        assert_eq!((figures.p50_us, figures.p90_us, figures.max_us), (5.0, 9.0, 10.0));
        assert_eq!(figures.all_us[0], 10.0);
        assert_eq!(Figures::of([]).max_us, 0.0);
        let one = Figures::of([Duration::from_micros(3)]);
        assert_eq!((one.p50_us, one.max_us), (3.0, 3.0));
    }
}
