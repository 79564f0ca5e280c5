//! The folders that stand for `/tmp` in sandboxes without a root of their own
//! ([`abi::sandbox::Level::Basic`]). Owns no fds.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use crate::identity::Identity;

/// Where they are.
const PARENT: &str = "/tmp";

/// Makes one, for the program's user alone.
///
/// # Errors
/// What the kernel said; one that is there already is nobody's to take.
pub(super) fn create(name: &str, identity: Identity) -> io::Result<PathBuf> {
    let folder = Path::new(PARENT).join(name);
    fs::DirBuilder::new().mode(0o700).create(&folder)?;
    let (uid, gid) = identity.program_on_host();
    if fs::metadata(&folder)?.uid() != uid {
        chown(&folder, Some(uid), Some(gid))?;
    }
    Ok(folder)
}

/// Removes one with everything in it.
pub(super) fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder) {
        eprintln!("sockhop: the folder {} cannot be removed: {error}", folder.display());
    }
}
