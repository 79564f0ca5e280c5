//! One node a data folder: a lock that dies with its holder and names it (flock(2)). Owns the locked file.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Why the folder is not ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    #[error("the data folder {folder:?} is in use by another node ({holder}); stop that one, or choose another --data")]
    Held { folder: PathBuf, holder: String },
    #[error("the lock {path:?} cannot be taken: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// Held until the process ends.
#[derive(Debug)]
pub(crate) struct DataLock {
    _file: Flock<std::fs::File>,
}

/// Locks `folder` for this process.
///
/// # Errors
/// [`LockError::Held`] naming the process that has it.
pub(crate) fn lock(folder: &Path) -> Result<DataLock, LockError> {
    let path = folder.join("lock");
    let failed = |source| LockError::Io { path: path.clone(), source };
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    match Flock::lock(file.map_err(failed)?, FlockArg::LockExclusiveNonblock) {
        Ok(mut file) => {
            file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
            write!(file, "pid {}", std::process::id()).map_err(failed)?;
            Ok(DataLock { _file: file })
        }
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = if holder.is_empty() { "of unknown pid".to_owned() } else { holder };
            Err(LockError::Held { folder: folder.to_owned(), holder })
        }
        Err((_, errno)) => Err(failed(errno.into())),
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
}
