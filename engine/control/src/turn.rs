//! Whose turn it is, of the engines on a data folder: to ring by schedules, or to run jobs. The
//! kernel's lock ends with the engine that has it (flock(2)). Owns the locked file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "it is held, and not used")] File);

impl Turn {
    /// Waits until no other engine on this data folder has the file `lock` locked, which has nothing
    /// in it. Blocks its thread.
    ///
    /// # Errors
    /// When the file cannot be opened or locked.
    pub(crate) fn wait(data: &Path, lock: &str) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(data.join(lock))?;
        file.lock()?;
        Ok(Self(file))
    }
}
