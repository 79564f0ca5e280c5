//! The one form that figures of rounds have in a file, whichever command made them: what `compare`
//! reads. Opens a file for the length of one read only.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::stats::Spread;

/// What goes wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not there.
    #[error("cannot read {} ({source})", path.display())]
    Read {
        /// As given.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Something else.
    #[error("{} holds no results ({source}); want what `sockhop-bench peers --json` or `cpu --json` wrote", path.display())]
    Parse {
        /// As given.
        path: PathBuf,
        /// What serde said.
        source: serde_json::Error,
    },
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Rates.
    Higher,
    /// Times, costs, memory.
    Lower,
}

/// One figure of one server in one scenario, round by round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// What was asked of the server.
    pub scenario: String,
    /// Whom.
    pub server: String,
    /// What was measured.
    pub measure: String,
    /// In what.
    pub unit: String,
    /// Which way is better.
    pub better: Better,
    /// The client was the bottleneck in a round, so that the server may be better than this.
    #[serde(default)]
    pub client_saturated: bool,
    /// Requests that failed while it was measured; the values are of the rest.
    #[serde(default)]
    pub failed: u64,
    /// The values, in the rounds' order.
    pub rounds: Vec<f64>,
}

/// As much of a results file as a comparison needs; whatever else is in it is for people.
#[derive(Debug, Clone, Deserialize)]
pub struct File {
    /// What was measured.
    pub series: Vec<Series>,
    /// What made it doubtful.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Where and when.
    #[serde(default)]
    pub environment: serde_json::Value,
}

impl Series {
    /// Their middle and range.
    pub fn spread(&self) -> Spread {
        Spread::of(self.rounds.iter().copied())
    }

    /// Whether it is the same figure of the same scenario, whoever the server is.
    pub fn is_like(&self, other: &Self) -> bool {
        self.scenario == other.scenario && self.measure == other.measure
    }
}

impl File {
    /// Reads one.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes =
            std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        serde_json::from_slice(&bytes)
            .map_err(|source| Error::Parse { path: path.to_owned(), source })
    }
}
