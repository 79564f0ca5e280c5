//! Files that only their owner may read. Owns no fds: what is opened is the caller's.

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// The permissions of others than the owner.
const OTHERS: u32 = 0o077;

/// Why a file is not opened.
#[derive(Debug, thiserror::Error)]
pub enum NotPrivate {
    /// It cannot be.
    #[error("it cannot be opened: {0}")]
    Io(#[from] io::Error),
    /// Others than its owner may do something with it.
    #[error("others may use it (mode {mode:04o}); chmod 600 it")]
    Open {
        /// Its permissions, with the bits before them.
        mode: u32,
    },
}

/// Opens a file for reading.
///
/// # Errors
/// When it cannot be opened, or is not its owner's alone.
pub fn open(path: &Path) -> Result<File, NotPrivate> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o7777;
    if mode & OTHERS == 0 { Ok(file) } else { Err(NotPrivate::Open { mode }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;

    #[test]
    fn a_file_is_opened_only_if_it_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(matches!(open(&path), Err(NotPrivate::Io(_))));
        std::fs::write(&path, "x").unwrap();
        for (mode, fits) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            match open(&path) {
                Ok(_) => assert!(fits, "{mode:o}"),
                Err(error) => assert!(!fits && error.to_string().contains("chmod"), "{error}"),
            }
        }
    }
}
