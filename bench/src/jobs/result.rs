//! The result of `jobs`, as text and JSON. Holds no file descriptor.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::alone::Provenance;
use crate::peers::value;
use crate::series::Series;

/// The whole report, which `compare` reads.
#[derive(Debug, Serialize)]
pub struct Jobs {
    #[serde(flatten)]
    pub provenance: Provenance,
    pub settings: Settings,
    /// A scenario is a number of clients; a server is a way to submit.
    pub series: Vec<Series>,
}

/// The settings of a run.
#[derive(Debug, Serialize)]
pub struct Settings {
    pub rounds: u32,
    pub seconds: f64,
    /// How many were sent one at a time.
    pub single: u32,
    /// The node's.
    pub cores: Vec<usize>,
}

/// Returns the percentiles that count, with their names. Each is a time that was seen.
pub fn percentiles(mut times: Vec<Duration>) -> [(&'static str, Duration); 3] {
    times.sort_unstable();
    let at = |percent: usize| {
        let rank = (times.len() * percent).div_ceil(100);
        times.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    };
    [("p50", at(50)), ("p90", at(90)), ("p99", at(99))]
}

impl Jobs {
    /// After the last round: what all of them make doubtful.
    pub fn finish(&mut self) {
        let lost = self.series.iter().filter(|series| series.measure == "lost");
        let lost: f64 = lost.flat_map(|series| &series.rounds).sum();
        if lost > 0.0 {
            self.provenance
                .warnings
                .push(format!("{lost} jobs were answered with 202 and not run"));
        }
    }
}

impl fmt::Display for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { rounds, seconds, single, cores } = &self.settings;
        writeln!(
            f,
            "\njobs: medians of {rounds} rounds (least to most); {single} one at a time, then windows of {seconds} s of clients that wait for their answer only; node on cores {cores:?}, clients on any\n"
        )?;
        writeln!(f, "| clients | submitted by | figure | |\n|---|---|---|---|")?;
        for series in &self.series {
            let Series { scenario, server, measure, unit, .. } = series;
            writeln!(f, "| {scenario} | {server} | {measure} | {} {unit} |", value(series))?;
        }
        write!(f, "{}", self.provenance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_seen() {
        let times: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        let [p50, p90, p99] = percentiles(times).map(|(_, time)| time.as_millis());
        assert_eq!((p50, p90, p99), (100, 180, 198));
        assert_eq!(percentiles(Vec::new())[0].1, Duration::ZERO);
    }
}
