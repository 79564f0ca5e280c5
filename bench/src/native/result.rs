//! The result of `native`, as figures, text and JSON. Holds no file descriptor.

use std::fmt;

use serde::Serialize;

use super::Error;
use crate::alone::Provenance;
use crate::compare::figure;
use crate::interrupt;
use crate::series::Series;

/// What the others are compared with.
const FLOOR: &str = "bare";

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Native {
    /// The conditions of the measurement.
    #[serde(flatten)]
    pub provenance: Provenance,
    /// The settings.
    pub settings: Settings,
    /// The figures: scenarios are programs here, and servers the ways of running them.
    pub series: Vec<Series>,
}

/// The settings of a run.
#[derive(Debug, Serialize)]
pub struct Settings {
    /// The rounds of cold starts.
    pub rounds: u32,
    /// The rounds in which memory was measured.
    pub memory_rounds: u32,
    /// The processes of a program while its memory was measured.
    pub processes: u32,
    /// The core of nodes and programs.
    pub server_core: usize,
    /// The client's core.
    pub load_core: usize,
}

impl Native {
    /// Adds a reason to doubt the figures, once.
    pub fn warn(&mut self, warning: String) {
        if !self.provenance.warnings.contains(&warning) {
            self.provenance.warnings.push(warning);
        }
    }

    /// Warns of what is left out because of an error, which is only passed on if it is a signal.
    pub fn give_up(&mut self, what: String, error: Error) -> Result<(), Error> {
        if interrupt::check().is_err() {
            return Err(error);
        }
        eprintln!("{what}: {error}");
        self.warn(format!("{what}: {error}"));
        Ok(())
    }

    /// After the last round: what all of them together make doubtful.
    pub fn finish(&mut self) {
        let high = self.series.iter().filter(|series| series.spread().is_high());
        let wandering = high.count();
        if wandering > 0 {
            self.warn(format!(
                "{wandering} of {} figures have a high spread over the rounds",
                self.series.len()
            ));
        }
    }

    fn find(&self, scenario: &str, server: &str, measure: &str) -> Option<&Series> {
        self.series.iter().find(|series| {
            series.scenario == scenario && series.server == server && series.measure == measure
        })
    }
}

impl fmt::Display for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { rounds, memory_rounds, processes, server_core, load_core } = self.settings;
        writeln!(
            f,
            "\nnative programs, medians of {rounds} rounds of cold starts (least to most) and of {memory_rounds} of memory with {processes} processes of each; nodes and programs on core {server_core}, client on core {load_core}; in brackets: how much above {FLOOR}"
        )?;
        let scenarios = distinct(self.series.iter().map(|series| &*series.scenario));
        let measures = distinct(self.series.iter().map(|series| (&*series.measure, &*series.unit)));
        for (measure, unit) in measures {
            let of_it = self.series.iter().filter(|series| series.measure == measure);
            let ways = distinct(of_it.map(|series| &*series.server));
            writeln!(f, "\n### {measure}, {unit}\n")?;
            writeln!(f, "| program | {} |\n|---|{}", ways.join(" | "), "---|".repeat(ways.len()))?;
            for scenario in &scenarios {
                write!(f, "| {scenario} |")?;
                let floor = self.find(scenario, FLOOR, measure);
                for way in &ways {
                    let cell = self.find(scenario, way, measure).map(|series| {
                        let above = floor.filter(|floor| floor.server != series.server);
                        cell(series, above)
                    });
                    write!(f, " {} |", cell.unwrap_or_default())?;
                }
                writeln!(f)?;
            }
        }
        write!(f, "{}", self.provenance)
    }
}

/// Returns what is in `all`, each once, in order of its first occurrence.
fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for one in all {
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}

/// A figure with its range, and how much it is above the floor.
fn cell(series: &Series, floor: Option<&Series>) -> String {
    let spread = series.spread();
    let range =
        format!("{} ({} to {})", figure(spread.median), figure(spread.min), figure(spread.max));
    match floor {
        Some(floor) => format!("{range} [{}]", figure(spread.median - floor.spread().median)),
        None => range,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{Better, add};

    #[test]
    fn figures_stand_beside_their_floor() {
        let provenance = Provenance::of(std::path::Path::new("/no/such/file"));
        let settings =
            Settings { rounds: 2, memory_rounds: 0, processes: 1, server_core: 0, load_core: 1 };
        let mut native = Native { provenance, settings, series: Vec::new() };
        for (way, value) in [("bare", 1.0), ("sockhop", 3.5), ("bare", 2.0), ("sockhop", 4.5)] {
            add(&mut native.series, ("c", way), ("start", "ms", Better::Lower), value);
        }
        add(&mut native.series, ("c", "sockhop"), ("second", "ms", Better::Lower), 0.1);
        assert_eq!(native.series.len(), 3);
        let text = native.to_string();
        assert!(text.contains("| program | bare | sockhop |"), "{text}");
        assert!(
            text.contains("| c | 1.500 (1.000 to 2.000) | 4.000 (3.500 to 4.500) [2.500] |"),
            "{text}"
        );
        assert!(text.contains("| program | sockhop |\n|---|---|\n| c | 0.100"), "{text}");
        native.finish();
        assert!(native.provenance.warnings.iter().any(|warning| warning.contains("2 of 3")));
    }
}
