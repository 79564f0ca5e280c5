//! Files that are whole or not there: temp, fsync, rename, fsync of the folder (rename(2),
//! fsync(2)).
//!
//! A [`Temporary`] owns a path until it becomes a file under its real name, and a
//! [`TemporaryFolder`] a folder; dropped before, they are removed.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

/// What the names of temporary files begin with; a UUID follows. Those that a crash left behind are
/// removed at start.
pub const TEMPORARY_PREFIX: &str = ".tmp-";

/// A file being written.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
    kept: bool,
}

impl Temporary {
    /// Creates an empty file in `folder`, which must be on the file system where the file is to
    /// stay.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!("{TEMPORARY_PREFIX}{}", uuid::Uuid::now_v7()));
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { path, kept: false })
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Renames the file to `path`, durably. Its contents must have been synced.
    ///
    /// # Errors
    /// When it cannot be renamed, or the folder cannot be synced.
    pub fn become_file(mut self, path: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, path)?;
        self.kept = true;
        sync_folder(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A folder being filled. It is removed with all that is in it, unless it becomes one under its real
/// name.
#[derive(Debug)]
pub struct TemporaryFolder {
    path: PathBuf,
    kept: bool,
}

impl TemporaryFolder {
    /// Creates an empty folder in `folder`, for this user only.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!("{TEMPORARY_PREFIX}{}", uuid::Uuid::now_v7()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path, kept: false })
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Renames the folder to `path`, durably. What is in it must have been synced.
    ///
    /// # Errors
    /// When it cannot be renamed, for example because `path` is a folder that is not empty.
    pub fn become_folder(mut self, path: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, path)?;
        self.kept = true;
        sync_folder(path)
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes a folder with all that is in it. It is gone under its name before the first file of it
/// is.
///
/// # Errors
/// When it cannot be renamed or removed.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    let above = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let gone = above.join(format!("{TEMPORARY_PREFIX}{}", uuid::Uuid::now_v7()));
    std::fs::rename(path, &gone)?;
    std::fs::remove_dir_all(gone)
}

/// Creates a folder and those above it, durably and for this user only.
///
/// # Errors
/// When one of them cannot be created or synced.
pub fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    above.map_or(Ok(()), create_folder)?;
    match DirBuilder::new().mode(0o700).create(path) {
        // Another process has just created it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made.and_then(|()| File::open(above.unwrap_or(Path::new(".")))?.sync_all()),
    }
}

/// Writes a whole file durably. Readers see the old contents or the new ones.
///
/// # Errors
/// When the file cannot be written, synced or renamed.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = Temporary::new(folder)?;
    let mut file = OpenOptions::new().write(true).open(temporary.path())?;
    file.write_all(bytes)?;
    file.sync_all()?;
    temporary.become_file(path)
}

/// Removes a file durably. A file that does not exist is no error.
///
/// # Errors
/// When the file cannot be removed, or its folder cannot be synced.
pub fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => sync_folder(path),
    }
}

/// Makes the names in the folder of `path` durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    File::open(folder)?.sync_all()
}

/// Removes the temporary files and folders that crashed writers left in `folder` at least `age` ago.
///
/// # Errors
/// When the folder cannot be read, or a file cannot be removed.
pub fn sweep(folder: &Path, age: Duration) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let id = entry
            .file_name()
            .to_string_lossy()
            .strip_prefix(TEMPORARY_PREFIX)
            .map(uuid::Uuid::try_parse);
        if id.is_some_and(|id| id.is_ok()) {
            let written = entry.metadata().and_then(|metadata| metadata.modified());
            let is_old = |written| {
                let now = now_in(folder);
                age.is_zero()
                    || now.is_ok_and(|now| now.duration_since(written).unwrap_or_default() >= age)
            };
            // A file whose age cannot be read has gone already, or is left for the next time.
            if written.is_ok_and(is_old) {
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let remove = if is_folder { std::fs::remove_dir_all } else { std::fs::remove_file };
                found(remove(entry.path()))?;
            }
        }
    }
    Ok(())
}

/// Returns the time by the clock that stamps files in `folder`, which may be another machine's.
fn now_in(folder: &Path) -> io::Result<SystemTime> {
    std::fs::metadata(Temporary::new(folder)?.path())?.modified()
}

/// Returns `None` for the error that something does not exist.
///
/// # Errors
/// Any other error of `result`.
pub fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the SHA-256 and the length of a file.
///
/// # Errors
/// When the file cannot be read.
pub fn digest_of(path: &Path) -> io::Result<([u8; 32], u64)> {
    let mut file = File::open(path)?;
    let (mut hash, mut length, mut buffer) = (Sha256::new(), 0, vec![0; 64 * 1024]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((hash.finalize().into(), length));
        }
        hash.update(&buffer[..read]);
        length += read as u64;
    }
}

/// Returns `bytes` as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    ::hex::encode(bytes)
}

/// Returns the digest that [`hex()`] wrote as `text`. Returns `None` if `text` is not one.
pub fn unhex(text: &str) -> Option<[u8; 32]> {
    // A digest has one spelling: names of files and keys of objects are compared as text.
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut digest = [0; 32];
    ::hex::decode_to_slice(text, &mut digest).ok().map(|()| digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_or_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        drop(Temporary::new(folder.path()).unwrap());
        let crashed = Temporary::new(folder.path()).unwrap();
        std::mem::forget(crashed);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        sweep(folder.path(), Duration::ZERO).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn digests_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write(&path, b"abc").unwrap();
        let (digest, length) = digest_of(&path).unwrap();
        assert_eq!(
            hex(&digest),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(length, 3);
        assert_eq!(unhex(&hex(&digest)), Some(digest));
        assert_eq!(unhex("xyz"), None);
        assert_eq!(unhex(&"é".repeat(32)), None);
        assert_eq!(unhex(&format!("+{}", &hex(&digest)[1..])), None);
        assert_eq!(unhex(&hex(&digest).to_uppercase()), None);
        assert_eq!(unhex(&hex(&digest[1..])), None);
    }
}
