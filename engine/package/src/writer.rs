//! Files, folders and links made below one folder, and never outside of it.
//!
//! A [`Writer`] owns an fd of that folder and one of the folder that it wrote to last. Each step
//! down is an openat(2) that follows no link, and each file is new (`O_EXCL`), so nothing outside
//! is reached even if somebody changes the folder meanwhile. Modes are set after the fact: the
//! umask does not count, and everybody may read, as the program runs under another uid.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::symlinkat;

const FOLDER: OFlag =
    OFlag::O_DIRECTORY.union(OFlag::O_RDONLY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

const FILE: OFlag = OFlag::O_WRONLY
    .union(OFlag::O_CREAT)
    .union(OFlag::O_EXCL)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Writes below one folder.
#[derive(Debug)]
pub(crate) struct Writer {
    top: OwnedFd,
    /// The folder that was written to last, as most entries follow others of their folder.
    last: Option<(String, OwnedFd)>,
}

impl Writer {
    /// Opens an existing folder, which must be empty.
    ///
    /// # Errors
    /// When it cannot be opened, or has something in it (`DirectoryNotEmpty`).
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        if std::fs::read_dir(folder)?.next().is_some() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let top = File::options().read(true).open(folder)?.into();
        Ok(Self { top, last: None })
    }

    /// Makes the folder at `path`, with those above it, if it is not there.
    ///
    /// # Errors
    /// When it cannot be made, or something else is in its place.
    pub(crate) fn folder(&mut self, path: &str) -> io::Result<BorrowedFd<'_>> {
        let known = self.last.take().filter(|(last, _)| last == path);
        let folder = match known {
            Some((_, folder)) => folder,
            None => descend(self.top.as_fd(), path)?,
        };
        Ok(self.last.insert((path.to_owned(), folder)).1.as_fd())
    }

    /// Makes a new file at `path`, with the folders above it: 0755 if it is `executable`, else
    /// 0644. Returns it open for writing.
    ///
    /// # Errors
    /// When it cannot be made, or is there already.
    pub(crate) fn file(&mut self, path: &str, executable: bool) -> io::Result<File> {
        let (above, name) = split(path);
        let file = openat(self.folder(above)?, name, FILE, Mode::S_IRUSR | Mode::S_IWUSR)?;
        fchmod(&file, if executable { mode(0o755) } else { mode(0o644) })?;
        Ok(file.into())
    }

    /// Makes a symbolic link at `path`, with the folders above it.
    ///
    /// # Errors
    /// When it cannot be made, or something is there already.
    pub(crate) fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        let (above, name) = split(path);
        Ok(symlinkat(target, self.folder(above)?, name)?)
    }
}

/// Returns the folder above `path`, and the name in it.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn mode(bits: u32) -> Mode {
    Mode::from_bits_truncate(bits)
}

/// Opens the folder at `path` below `top`, and makes what is missing of it.
fn descend(top: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    let mut folder = top.try_clone_to_owned()?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        let made = match mkdirat(&folder, name, Mode::S_IRWXU) {
            Ok(()) => true,
            Err(Errno::EEXIST) => false,
            Err(error) => return Err(error.into()),
        };
        folder = openat(&folder, name, FOLDER, Mode::empty())?;
        if made {
            fchmod(&folder, mode(0o755))?;
        }
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn files_are_new_and_for_everybody_to_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(folder.path()).unwrap();
        writer.file("task/a/run", true).unwrap();
        writer.file("task/a/data", false).unwrap();
        writer.link("task/b/link", "../a/data").unwrap();
        let mode = |path: &str| {
            let metadata = std::fs::symlink_metadata(folder.path().join(path)).unwrap();
            metadata.permissions().mode() & 0o7777
        };
        assert_eq!(mode("task"), 0o755);
        assert_eq!(mode("task/a"), 0o755);
        assert_eq!(mode("task/a/run"), 0o755);
        assert_eq!(mode("task/a/data"), 0o644);
        let twice = writer.file("task/a/run", true).unwrap_err();
        assert_eq!(twice.kind(), io::ErrorKind::AlreadyExists);
        let full = Writer::open(folder.path()).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::DirectoryNotEmpty);
    }

    #[test]
    fn no_link_is_followed() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut writer = Writer::open(folder.path()).unwrap();
        symlink(outside.path(), folder.path().join("task")).unwrap();
        symlink(outside.path().join("f"), folder.path().join("f")).unwrap();
        writer.file("task/x", false).unwrap_err();
        writer.file("task/a/x", false).unwrap_err();
        writer.file("f", false).unwrap_err();
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
