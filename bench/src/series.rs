//! The format of figures in a file, whichever command made them; `compare` reads it. Opens a file
//! for the length of one read only.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::stats::Spread;

/// A file of results cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be opened.
    #[error("cannot read {} ({source})", path.display())]
    Read {
        /// The path as given.
        path: PathBuf,
        /// The kernel's error.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{} holds no results ({source}); want what `sockhop-bench peers --json` or `cpu --json` wrote", path.display())]
    Parse {
        /// As given.
        path: PathBuf,
        /// The parser's error.
        source: serde_json::Error,
    },
}

/// Whether higher or lower values are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Higher values, for rates.
    Higher,
    /// Lower values, for times, costs and memory.
    Lower,
}

/// One figure of one server in one scenario, round by round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The scenario.
    pub scenario: String,
    /// The server.
    pub server: String,
    /// The measure.
    pub measure: String,
    /// The unit.
    pub unit: String,
    /// Whether higher or lower values are better.
    pub better: Better,
    /// Whether the client was the bottleneck in a round, so that the server may be better than
    /// this.
    #[serde(default)]
    pub client_saturated: bool,
    /// The requests that failed meanwhile. The values are of the others.
    #[serde(default)]
    pub failed: u64,
    /// The values, in the rounds' order.
    pub rounds: Vec<f64>,
}

/// The part of a results file that a comparison needs. The rest is for people.
#[derive(Debug, Clone, Deserialize)]
pub struct File {
    /// What was measured.
    pub series: Vec<Series>,
    /// The reasons to doubt it.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The machine and the date.
    #[serde(default)]
    pub environment: serde_json::Value,
}

/// Adds a round's value to a figure, which is made if it is not there. Returns the figure.
pub fn add<'a>(
    all: &'a mut Vec<Series>,
    (scenario, server): (&str, &str),
    (measure, unit, better): (&str, &str, Better),
    value: f64,
) -> &'a mut Series {
    let found = all.iter().position(|series| {
        series.scenario == scenario && series.server == server && series.measure == measure
    });
    let at = found.unwrap_or_else(|| {
        all.push(Series {
            scenario: scenario.to_owned(),
            server: server.to_owned(),
            measure: measure.to_owned(),
            unit: unit.to_owned(),
            better,
            client_saturated: false,
            failed: 0,
            rounds: Vec::new(),
        });
        all.len() - 1
    });
    all[at].rounds.push(value);
    &mut all[at]
}

impl Series {
    /// Returns the median and the range.
    pub fn spread(&self) -> Spread {
        Spread::of(self.rounds.iter().copied())
    }

    /// Returns whether it is the same figure of the same scenario, for any server.
    pub fn is_like(&self, other: &Self) -> bool {
        self.scenario == other.scenario && self.measure == other.measure
    }
}

impl File {
    /// Reads a results file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes =
            std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        serde_json::from_slice(&bytes)
            .map_err(|source| Error::Parse { path: path.to_owned(), source })
    }
}
