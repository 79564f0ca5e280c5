//! Up to which tick each schedule is settled, in a file of the data folder, and the lock that says
//! which engine rings.
//!
//! The file is written before a tick is rung: so one is rung at most once, whatever ends the engine.
//! The kernel's lock ends with the engine that has it (flock(2)). Owns the locked file.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use store::error::StoreError;
use store::objects::checked;

/// The file in the data folder.
const FILE: &str = "cron";
/// The file that is locked, and has nothing in it.
const LOCK: &str = "cron.lock";

/// The lock, until this is dropped.
#[derive(Debug)]
pub(super) struct Locked {
    _locked: File,
    path: PathBuf,
}

/// The file's contents.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Written {
    settled: BTreeMap<String, u64>,
}

impl Locked {
    /// Waits until no other engine on this data folder rings. Blocks its thread.
    ///
    /// # Errors
    /// When the file cannot be opened or locked.
    pub(super) fn wait(data: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(data.join(LOCK))?;
        file.lock()?;
        Ok(Self { _locked: file, path: data.join(FILE) })
    }

    /// Returns up to which tick each schedule is settled, as it was written last.
    pub(super) fn read(&self) -> BTreeMap<String, u64> {
        match checked::read_file::<Written>(&self.path) {
            Ok(written) => written.unwrap_or_default().settled,
            Err(error) => {
                tracing::warn!("which ticks were rung is not known any more: {error}");
                BTreeMap::new()
            }
        }
    }

    /// Returns what writes the file.
    pub(super) fn writer(
        &self,
        settled: BTreeMap<String, u64>,
    ) -> impl FnOnce() -> Result<(), StoreError> + Send + use<> {
        let path = self.path.clone();
        move || checked::write_file(&path, &Written { settled })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_engine_has_the_turn_and_the_next_goes_on_with_what_it_has_settled() {
        let data = tempfile::tempdir().unwrap();
        let turn = Locked::wait(data.path()).unwrap();
        assert!(turn.read().is_empty());
        let settled = BTreeMap::from([("web-01234567".to_owned(), 7)]);
        turn.writer(settled.clone())().unwrap();
        let again = data.path().to_owned();
        let other = std::thread::spawn(move || Locked::wait(&again).unwrap().read());
        drop(turn);
        assert_eq!(other.join().unwrap(), settled);
        // What is damaged is set aside, and said so.
        std::fs::write(data.path().join(FILE), "x").unwrap();
        assert!(Locked::wait(data.path()).unwrap().read().is_empty());
    }
}
