//! The lock on a data folder, so that one node uses it. It dies with its holder and names it
//! (flock(2)).
//!
//! The kernel's lock belongs to the open file, not to the process: a process that is given a copy
//! of the fd holds it too, and the lock is free when the last copy is closed. Owns the locked file,
//! and unlocks it only by closing it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Why the folder cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "the data folder {folder:?} is in use by another node ({holder}); stop that one, take over from it with --take-over, or choose another --data"
    )]
    Held { folder: PathBuf, holder: String },
    #[error("the lock {path:?} cannot be taken: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "what was handed over is not the lock {path:?}; is the running engine one of another data folder?"
    )]
    Foreign { path: PathBuf },
}

/// The lock, which is held until it is dropped.
#[derive(Debug)]
pub struct DataLock {
    file: File,
    path: PathBuf,
}

/// Locks `folder` for this process.
///
/// # Errors
/// [`LockError::Held`] naming the process that has it.
pub fn lock(folder: &Path) -> Result<DataLock, LockError> {
    let path = folder.join("lock");
    let failed = |source| LockError::Io { path: path.clone(), source };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path);
    let mut file = file.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {
            let mut lock = DataLock { file, path };
            lock.sign()?;
            Ok(lock)
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = if holder.is_empty() { "of unknown pid".to_owned() } else { holder };
            Err(LockError::Held { folder: folder.to_owned(), holder })
        }
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

impl DataLock {
    /// Returns the lock of `folder` that its holder has given as `fd`. The holder has it, too,
    /// until it closes its own copy.
    ///
    /// # Errors
    /// [`LockError::Foreign`] when `fd` is another file, or is not locked.
    pub fn given(fd: OwnedFd, folder: &Path) -> Result<Self, LockError> {
        let path = folder.join("lock");
        let failed = |source| LockError::Io { path: path.clone(), source };
        let file = File::from(fd);
        let (given, ours) = (file.metadata().map_err(failed)?, path.metadata().map_err(failed)?);
        // To lock an open file again that has the lock changes nothing (flock(2)).
        if (given.dev(), given.ino()) != (ours.dev(), ours.ino()) || file.try_lock().is_err() {
            return Err(LockError::Foreign { path });
        }
        Ok(Self { file, path })
    }

    /// Writes the pid of this process into the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn sign(&mut self) -> Result<(), LockError> {
        let file = &mut self.file;
        let signed = file.set_len(0).and_then(|()| file.rewind());
        let signed = signed.and_then(|()| write!(file, "pid {}", std::process::id()));
        signed.map_err(|source| LockError::Io { path: self.path.clone(), source })
    }
}

impl AsFd for DataLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_and_told_who_is_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(folder.path()).unwrap();
        let error = lock(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        drop(first);
        assert!(lock(folder.path()).is_ok());
    }

    #[test]
    fn it_is_held_until_the_last_copy_has_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(folder.path()).unwrap();
        let given =
            DataLock::given(first.as_fd().try_clone_to_owned().unwrap(), folder.path()).unwrap();
        drop(first);
        assert!(lock(folder.path()).is_err());
        drop(given);
        let again = lock(folder.path()).unwrap();
        let given =
            DataLock::given(again.as_fd().try_clone_to_owned().unwrap(), folder.path()).unwrap();
        drop(given);
        assert!(lock(folder.path()).is_err(), "one that is dropped does not unlock the other");
    }

    #[test]
    fn another_file_is_refused() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let _lock = lock(folder.path()).unwrap();
        let foreign = lock(other.path()).unwrap().as_fd().try_clone_to_owned().unwrap();
        assert!(matches!(DataLock::given(foreign, folder.path()), Err(LockError::Foreign { .. })));
        let unlocked = File::open(folder.path().join("lock")).unwrap();
        assert!(matches!(
            DataLock::given(unlocked.into(), folder.path()),
            Err(LockError::Foreign { .. })
        ));
    }
}
