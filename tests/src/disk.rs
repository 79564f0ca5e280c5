//! A small disk that a test can fill, and pictures of a folder to compare.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::needs;

/// A tmpfs of a few MiB. It is unmounted when this is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts a tmpfs of `mebibytes` MiB. Panics unless the tests run as root.
    #[track_caller]
    pub fn mount(mebibytes: usize) -> Self {
        needs::root("mount a small disk that it can fill");
        let folder = TempDir::new().expect("a temporary folder");
        let size = format!("size={mebibytes}m,mode=0700");
        mount(
            Some("sockhop-test"),
            folder.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            Some(size.as_str()),
        )
        .expect("root may mount a tmpfs (CAP_SYS_ADMIN, which a container may lack)");
        Self { folder }
    }

    /// Returns the folder that it is mounted on.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file until not one byte more fits, and returns its path. Removing that file makes
    /// room again.
    pub fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = File::create(&path).expect("room for an empty file");
        for piece in [&[0xff_u8; 4096][..], &[0xff]] {
            loop {
                match file.write(piece) {
                    Ok(_) => {}
                    Err(e) if e.kind() == ErrorKind::StorageFull => break,
                    Err(e) => panic!("filling {}: {e}", path.display()),
                }
            }
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A failing test may still have files open there. A detached mount ends with the last of
        // them.
        let _ = umount2(self.path(), MntFlags::MNT_DETACH);
    }
}

/// Returns every file below a folder. What a running node removes meanwhile is left out.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                true => folders.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    found
}

/// Returns the segments of the log in a folder and below it.
pub fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut found = files(folder);
    found.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    found
}

/// Returns the segments in the spool of a node that hold records: they are longer than the bytes
/// that every segment begins with.
pub fn spooled(data: &Path) -> Vec<PathBuf> {
    let mut found = segments(&data.join("spool"));
    found.retain(|path| path.metadata().is_ok_and(|metadata| metadata.len() > 16));
    found
}

/// Returns every file below `folder` with its contents, to compare with a later picture.
pub fn picture(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut picture = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let entries = fs::read_dir(&next).unwrap_or_else(|e| panic!("{}: {e}", next.display()));
        for entry in entries.map(|entry| entry.expect("a readable folder")) {
            let kind = entry.file_type().expect("a file that stays");
            if kind.is_dir() {
                folders.push(entry.path());
            }
            let content = if kind.is_file() {
                fs::read(entry.path()).expect("a file that stays")
            } else {
                Vec::new()
            };
            picture.insert(entry.path(), content);
        }
    }
    picture
}

/// Returns a small object of a store as the node writes it: a line with the digest of `contents`,
/// and `contents`.
pub fn checked(contents: &str) -> String {
    let digest: String =
        Sha256::digest(contents).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sockhop 1 sha256={digest}\n{contents}")
}
