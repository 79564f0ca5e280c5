//! Where a database is. Owns no fds.

use std::fmt;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError};

/// What of the file is kept in memory. The library's default is a GiB.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// A place for a database.
pub trait Medium: Send + Sync + fmt::Debug {
    /// Opens the database. Returns `None` if there is none, unless it is to be made.
    ///
    /// # Errors
    /// Those of the database.
    fn open(&self, make: bool) -> Result<Option<Database>, DatabaseError>;

    /// Returns how many bytes can be written before there is no more room.
    fn room(&self) -> u64;
}

/// A file. Its folder is made with it.
#[derive(Debug)]
pub(crate) struct OnDisk(pub(crate) PathBuf);

impl Medium for OnDisk {
    fn open(&self, make: bool) -> Result<Option<Database>, DatabaseError> {
        if !self.0.try_exists()? {
            if !make {
                return Ok(None);
            }
            self.make()?;
        }
        builder().open(&self.0).map(Some)
    }

    fn room(&self) -> u64 {
        let folder = self.0.parent().filter(|folder| folder.is_dir());
        let room = folder.and_then(|folder| nix::sys::statvfs::statvfs(folder).ok());
        room.map_or(u64::MAX, |of| of.blocks_available().saturating_mul(of.fragment_size()))
    }
}

impl OnDisk {
    /// Makes an empty database. It gets its name when it is whole: one that a crash has left half
    /// made could not be opened.
    fn make(&self) -> Result<(), DatabaseError> {
        let folder = self.0.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        // Another engine may be at it, too.
        let lock = File::create(folder.join("lock"))?;
        lock.lock()?;
        if self.0.try_exists()? {
            return Ok(());
        }
        let beside = self.0.with_extension("new");
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        builder().create(&beside)?.close()?;
        std::fs::rename(&beside, &self.0)?;
        Ok(File::open(folder)?.sync_all()?)
    }
}

/// Returns how a database is opened.
#[must_use]
pub fn builder() -> redb::Builder {
    let mut builder = redb::Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}
