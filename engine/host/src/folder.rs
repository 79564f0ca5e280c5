//! The data folder, which only its user may enter: tokens, keys and the control socket are in it,
//! and whoever can write there decides what the node runs. Decided by [`judge`], which is pure.
//! Owns no fds beyond a call.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::files;

/// The mode of the folder: all for its owner, nothing for others.
const MODE: u32 = 0o700;
/// The bits of a mode that give others any right.
const OTHERS: u32 = 0o077;
/// The bits of a mode that let others change the folder's contents.
const OTHERS_WRITE: u32 = 0o022;

/// Why a node does not start on a data folder.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("the data folder {folder:?} cannot be made: {source}")]
    Make { folder: PathBuf, source: io::Error },
    #[error("the data folder {folder:?} cannot be looked at: {source}")]
    Look { folder: PathBuf, source: io::Error },
    #[error(
        "the data folder {folder:?} belongs to user {owner}, who can change all that is in it, and this process runs as user {ours}; run it as user {owner}, or give the folder away: chown -R {ours} {folder:?}"
    )]
    Owner { folder: PathBuf, owner: u32, ours: u32 },
    #[error(
        "others than its owner may write to the data folder {folder:?} (its mode is {mode:04o}), and may have put anything there; see that all of it is yours, then run: chmod 700 {folder:?}"
    )]
    Writable { folder: PathBuf, mode: u32 },
    #[error(
        "others than its owner may look into the data folder {folder:?} (its mode is {mode:04o}), and that cannot be changed: {source}; run: chmod 700 {folder:?}"
    )]
    Chmod { folder: PathBuf, mode: u32, source: io::Error },
}

/// What the node does about a folder.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    /// Others have rights that have done no harm yet: they are taken away.
    Mend,
    Owner,
    Writable,
}

/// Creates the folder if it is missing, and ensures that only this user may enter it.
///
/// # Errors
/// [`FolderError`] names the command that would help.
pub fn take(folder: &Path) -> Result<(), FolderError> {
    let named = || folder.to_owned();
    files::create_folder(folder).map_err(|source| FolderError::Make { folder: named(), source })?;
    let look = || Ok((folder.metadata()?, folder.read_dir()?.next().is_none()));
    let (metadata, empty) =
        look().map_err(|source| FolderError::Look { folder: named(), source })?;
    let (owner, ours, mode) = (metadata.uid(), geteuid().as_raw(), metadata.mode() & 0o7777);
    match judge(owner == ours, mode, empty) {
        Verdict::Fine => Ok(()),
        Verdict::Owner => Err(FolderError::Owner { folder: named(), owner, ours }),
        Verdict::Writable => Err(FolderError::Writable { folder: named(), mode }),
        Verdict::Mend => {
            let mended = std::fs::set_permissions(folder, Permissions::from_mode(MODE));
            mended.map_err(|source| FolderError::Chmod { folder: named(), mode, source })?;
            tracing::warn!(
                "others than its owner could look into the data folder {folder:?} (its mode was {mode:04o}); it is {MODE:04o} now, \
                 as by: chmod 700 {folder:?}"
            );
            Ok(())
        }
    }
}

/// Decides by the folder's owner, its mode, and whether it is empty.
fn judge(ours: bool, mode: u32, empty: bool) -> Verdict {
    if !ours {
        Verdict::Owner
    } else if mode & OTHERS_WRITE != 0 && !empty {
        Verdict::Writable
    } else if mode & OTHERS != 0 {
        Verdict::Mend
    } else {
        Verdict::Fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ones_own_folder_is_taken() {
        for (ours, mode, empty, verdict) in [
            (true, 0o700, false, Verdict::Fine),
            (true, 0o500, false, Verdict::Fine),
            (true, 0o755, false, Verdict::Mend),
            (true, 0o710, true, Verdict::Mend),
            (true, 0o704, false, Verdict::Mend),
            (true, 0o775, true, Verdict::Mend),
            (true, 0o1777, true, Verdict::Mend),
            (true, 0o775, false, Verdict::Writable),
            (true, 0o702, false, Verdict::Writable),
            (true, 0o1777, false, Verdict::Writable),
            (false, 0o700, true, Verdict::Owner),
            (false, 0o777, false, Verdict::Owner),
        ] {
            assert_eq!(judge(ours, mode, empty), verdict, "{ours} {mode:o} {empty}");
        }
    }

    #[test]
    fn a_folder_is_made_mended_or_refused_with_what_helps() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("new/data");
        let mode = || folder.metadata().unwrap().mode() & 0o7777;
        take(&folder).unwrap();
        assert_eq!(mode(), MODE);
        std::fs::write(folder.join("x"), "").unwrap();
        std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        take(&folder).unwrap();
        assert_eq!(mode(), MODE);
        std::fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
        let said = take(&folder).unwrap_err().to_string();
        assert!(said.contains("0777") && said.contains("chmod 700"), "{said}");
        assert_eq!(mode(), 0o777, "nothing is done to it");
        assert!(take(&folder.join("x")).is_err());
    }
}
