//! The spool: segments on this node's disk, from their first record until the store has them.
//!
//! The kernel knows whether a worker still writes to a segment. A segment is locked (flock(2)) when
//! it is made, the lock belongs to the open file, and the worker gets that file. The lock goes when
//! the worker closes the file or dies in any way. So a segment that can be locked is whole, and no
//! engine has to remember which segments are, not even one that takes over from another. What ships
//! a segment holds its lock meanwhile. Owns the folder; a [`Sealed`] owns the locked fd.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use abi::spool::HEADER;
use uuid::Uuid;

use host::files;
use store::segment::SUFFIX;

/// A segment in the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub id: Uuid,
    pub path: PathBuf,
    pub bytes: u64,
    pub changed: SystemTime,
}

impl Segment {
    /// Returns whether there is no record in it.
    pub fn is_empty(&self) -> bool {
        self.bytes <= HEADER.len() as u64
    }
}

/// A segment that no worker writes to any more. It is locked, so that nothing else handles it.
#[derive(Debug)]
pub struct Sealed {
    pub segment: Segment,
    pub file: File,
}

/// The folder of the spool.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
}

impl Spool {
    /// Opens the spool in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// Returns an error if it cannot be made.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        files::create_folder(&folder)?;
        Ok(Self { folder })
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Makes a segment for a worker to write to. Returns its path, and the locked file to append
    /// to.
    ///
    /// # Errors
    /// Returns an error if it cannot be made.
    pub fn create(&self) -> io::Result<(PathBuf, OwnedFd)> {
        let name = format!("{}{SUFFIX}", Uuid::now_v7());
        // It is hidden until it is locked: nothing is to ship it before.
        let (hidden, path) = (self.folder.join(format!(".new-{name}")), self.folder.join(&name));
        let made = || {
            let mut file =
                OpenOptions::new().append(true).create_new(true).mode(0o600).open(&hidden)?;
            file.lock()?;
            file.write_all(&HEADER)?;
            std::fs::rename(&hidden, &path)?;
            Ok(file.into())
        };
        let made: io::Result<OwnedFd> = made();
        if made.is_err() {
            let _ = std::fs::remove_file(&hidden);
        }
        Ok((path, made?))
    }

    /// Returns all segments, the oldest first.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be read.
    pub fn segments(&self) -> io::Result<Vec<Segment>> {
        let mut segments = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let id =
                name.to_str().and_then(|name| Uuid::try_parse(name.strip_suffix(SUFFIX)?).ok());
            // A segment that is not there any more was shipped meanwhile.
            if let (Some(id), Ok(metadata)) = (id, entry.metadata()) {
                let changed = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                segments.push(Segment { id, path: entry.path(), bytes: metadata.len(), changed });
            }
        }
        segments.sort_by_key(|segment| segment.id);
        Ok(segments)
    }

    /// Locks a segment. Returns `None` if a worker still writes to it, something else handles it,
    /// or it is gone.
    ///
    /// # Errors
    /// Returns an error if it cannot be opened or locked.
    pub fn seal(segment: &Segment) -> io::Result<Option<Sealed>> {
        let file = match File::open(&segment.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // What had the lock before may have removed the file.
        if !segment.path.exists() {
            return Ok(None);
        }
        let bytes = file.metadata()?.len();
        Ok(Some(Sealed { segment: Segment { bytes, ..segment.clone() }, file }))
    }

    /// Removes the oldest segments that no worker writes to, until all take at most `bytes_max`.
    /// Returns those that were removed.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be read, or a segment cannot be removed.
    pub fn bound(&self, bytes_max: u64) -> io::Result<Vec<Segment>> {
        let segments = self.segments()?;
        let mut left: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let mut gone = Vec::new();
        for segment in segments {
            if left <= bytes_max {
                break;
            }
            if let Some(sealed) = Self::seal(&segment)? {
                left = left.saturating_sub(sealed.segment.bytes);
                gone.push(sealed.segment.clone());
                sealed.remove()?;
            }
        }
        Ok(gone)
    }

    /// Removes what a crash has left of unfinished segments. Do not call it while another engine
    /// makes segments.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be read, or a file cannot be removed.
    pub fn clear_unfinished(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let id =
                name.to_str().and_then(|name| name.strip_prefix(".new-")?.strip_suffix(SUFFIX));
            if id.is_some_and(|id| Uuid::try_parse(id).is_ok()) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

impl Sealed {
    /// Renames a segment that cannot be read, so that it is not tried again. Returns its new path.
    ///
    /// # Errors
    /// Returns an error if it cannot be renamed.
    pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
        let aside = path.with_extension("unreadable");
        std::fs::rename(path, &aside).map(|()| aside)
    }

    /// Removes the segment.
    ///
    /// # Errors
    /// Returns an error if it cannot be removed.
    pub fn remove(self) -> io::Result<()> {
        files::remove(&self.segment.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_sealed_when_whoever_wrote_to_it_has_closed_it() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path().join("spool")).unwrap();
        let (path, fd) = spool.create().unwrap();
        let worker = fd.try_clone().unwrap();
        drop(fd);
        let [segment] = &spool.segments().unwrap()[..] else { panic!("there is one") };
        assert!(segment.is_empty() && segment.path == path);
        assert!(Spool::seal(segment).unwrap().is_none(), "the worker has it");
        File::from(worker).write_all(b"x").unwrap();
        let sealed = Spool::seal(segment).unwrap().unwrap();
        assert_eq!(sealed.segment.bytes, HEADER.len() as u64 + 1);
        assert!(Spool::seal(segment).unwrap().is_none(), "it is being shipped");
        sealed.remove().unwrap();
        assert!(spool.segments().unwrap().is_empty() && Spool::seal(segment).unwrap().is_none());
        let [ours, other] = [format!(".new-{}{SUFFIX}", Uuid::nil()), ".new-x".to_owned()]
            .map(|name| spool.path().join(name));
        [&ours, &other].iter().for_each(|path| std::fs::write(path, "").unwrap());
        spool.clear_unfinished().unwrap();
        assert!(!ours.exists() && other.exists(), "what is not a segment is somebody else's");
    }

    #[test]
    fn the_oldest_go_first_and_no_more_than_need_to() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path().to_owned()).unwrap();
        let mut written: Vec<_> = (0..4).map(|_| spool.create().unwrap()).collect();
        for (path, _) in &written {
            OpenOptions::new().append(true).open(path).unwrap().write_all(&[0; 84]).unwrap();
        }
        // The worker of the oldest still writes.
        written.truncate(1);
        assert_eq!(spool.bound(400).unwrap(), []);
        let gone = spool.bound(350).unwrap();
        assert_eq!(gone.iter().map(|segment| segment.bytes).collect::<Vec<_>>(), [100]);
        assert_eq!(spool.bound(0).unwrap().len(), 2);
        assert_eq!(spool.segments().unwrap()[0].path, written[0].0);
    }
}
