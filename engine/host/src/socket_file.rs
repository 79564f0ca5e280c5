//! How the file of a socket replaces another one, in one step. Owns no fds.
//!
//! A socket is made [`beside`] its path, and accepts connections there. [`replace`] moves it to its
//! path, so that a client finds the old socket or the new one.

use std::io;
use std::path::{Path, PathBuf};

/// Returns the path at which to make the socket that is to be at `path`, and removes what was left
/// there. It is no longer than `path` for a name that ends in `.sock`: a socket's path must be
/// short (unix(7)).
///
/// # Errors
/// The error of the file system.
pub fn beside(path: &Path) -> io::Result<PathBuf> {
    let beside = path.with_extension("new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(beside),
    }
}

/// Moves the socket that was made beside `path` to `path`.
///
/// # Errors
/// The error of the file system.
pub fn replace(path: &Path) -> io::Result<()> {
    std::fs::rename(path.with_extension("new"), path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_stays_until_the_new_one_is_published() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        for text in ["one", "two"] {
            let before = std::fs::read(&path).ok();
            std::fs::write(beside(&path).unwrap(), "left behind by one that died").unwrap();
            std::fs::write(beside(&path).unwrap(), text).unwrap();
            assert_eq!(std::fs::read(&path).ok(), before);
            replace(&path).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), text.as_bytes());
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
