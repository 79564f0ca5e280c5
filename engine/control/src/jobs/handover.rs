//! What an engine that is taken over from still runs: a file of the data folder, beside the lock. The
//! next engine does not run those, until the one before it has gone. Owns the turn.

use std::io;
use std::path::{Path, PathBuf};

use jobs::JobId;
use serde::{Deserialize, Serialize};
use store::objects::checked;

use crate::turn::Turn;

/// The file in the data folder.
const FILE: &str = "jobs.running";
/// The file that is locked, and has nothing in it.
const LOCK: &str = "jobs.lock";

/// The turn to run jobs.
#[derive(Debug)]
pub(super) struct Handover {
    _turn: Turn,
    path: PathBuf,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Written {
    running: Vec<String>,
}

impl Handover {
    /// Waits until no other engine on this data folder begins attempts. Blocks its thread.
    ///
    /// # Errors
    /// When the file cannot be opened or locked.
    pub(super) fn wait(data: &Path) -> io::Result<Self> {
        Ok(Self { _turn: Turn::wait(data, LOCK)?, path: data.join(FILE) })
    }

    /// Returns what the engine before this one said that it runs.
    pub(super) fn read(&self) -> Vec<JobId> {
        let written = checked::read_file::<Written>(&self.path).unwrap_or_else(|error| {
            tracing::warn!("what the engine before this one runs is not known: {error}");
            None
        });
        written.unwrap_or_default().running.iter().filter_map(|id| id.parse().ok()).collect()
    }

    /// Says what this engine still runs, and gives up the turn. Blocks its thread.
    pub(super) fn give(self, running: &[JobId]) {
        let running = running.iter().map(ToString::to_string).collect();
        if let Err(error) = checked::write_file(&self.path, &Written { running }) {
            tracing::warn!("jobs that run now may run once more beside: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_engine_knows_what_the_one_before_it_runs() {
        let data = tempfile::tempdir().unwrap();
        let turn = Handover::wait(data.path()).unwrap();
        assert!(turn.read().is_empty());
        let running = [jobs::new_id(), jobs::new_id()];
        let again = data.path().to_owned();
        let other = std::thread::spawn(move || Handover::wait(&again).unwrap().read());
        turn.give(&running);
        assert_eq!(other.join().unwrap(), running);
    }
}
