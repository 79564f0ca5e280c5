//! The parent's half: the folder of packs, within its bounds.
//!
//! `SETTINGS-UUID.pack`: a digest of the compiler, its settings and the processor, and a UUID that
//! grows with time. A pack's time of modification is when it was last of use. There is no index that
//! two engines, of which one takes over from the other, could contradict each other in. Owns no fds
//! beyond a call.

use std::fs::{self, File, FileTimes};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use abi::message::Digest;
use host::files::{self, Temporary, hex};
use sha2::{Digest as _, Sha256};

use super::pack::PACK_BYTES_MAX;
use super::reuse::Reused;

const EXTENSION: &str = "pack";
/// The most packs, as a compiler reads the index of each.
const PACKS_MAX: usize = 64;
/// How old a file is that a crash has left. No compiler runs for so long.
const LEFT_BEHIND: Duration = Duration::from_secs(60 * 60);

/// The packs of a node.
#[derive(Debug)]
pub(crate) struct Shelf {
    folder: PathBuf,
    bytes_max: u64,
}

/// What one compilation may reuse, and where it leaves what it has compiled.
#[derive(Debug)]
pub(crate) struct Lent {
    settings: String,
    /// The packs, the oldest first.
    pub(crate) packs: Vec<PathBuf>,
    /// The file for another pack. It is missing where none can be made, as on a full disk.
    new: Option<Temporary>,
}

impl Lent {
    /// Returns the file for another pack.
    pub(crate) fn new_pack(&self) -> Option<&Path> {
        self.new.as_ref().map(Temporary::path)
    }
}

impl Shelf {
    /// Opens the packs in `folder`, which has at most `bytes_max` bytes of them. With 0 nothing is
    /// reused, and nothing kept.
    pub(crate) fn new(folder: PathBuf, bytes_max: u64) -> Self {
        let _ = files::sweep(&folder, LEFT_BEHIND);
        let shelf = Self { folder, bytes_max };
        shelf.trim();
        shelf
    }

    /// Returns what a compiler with these settings may reuse. Returns `None` where nothing is.
    pub(crate) fn lend(&self, compatibility: &[u8]) -> Option<Lent> {
        if self.bytes_max == 0 {
            return None;
        }
        let settings = hex(&Digest::from(Sha256::digest(compatibility)));
        let mut packs: Vec<PathBuf> =
            self.packs().into_iter().filter(|path| is_of(path, &settings)).collect();
        packs.sort_unstable();
        let new = files::create_folder(&self.folder).and_then(|()| Temporary::new(&self.folder));
        let new = new.inspect_err(|error| not_kept(&self.folder, error)).ok();
        Some(Lent { settings, packs, new })
    }

    /// Takes back what was lent to a compiler that has ended well.
    pub(crate) fn take_back(&self, lent: Lent, reused: &Reused) {
        let touch = |path: &PathBuf| {
            let now = FileTimes::new().set_modified(SystemTime::now());
            File::open(path).and_then(|file| file.set_times(now))
        };
        let used = reused.packs.iter().filter_map(|at| lent.packs.get(*at));
        // One that has gone meanwhile is compiled again.
        used.for_each(|path| drop(touch(path)));
        let Some(new) = lent.new.filter(|_| reused.kept) else { return };
        let fits = fs::metadata(new.path()).is_ok_and(|metadata| metadata.len() <= PACK_BYTES_MAX);
        if fits {
            let name = format!("{}-{}.{EXTENSION}", lent.settings, uuid::Uuid::now_v7());
            let kept = new.become_file(&self.folder.join(name));
            let _ = kept.inspect_err(|error| not_kept(&self.folder, error));
        }
        self.trim();
    }

    /// Removes the packs that were of no use for longest, until the rest is within the bounds.
    fn trim(&self) {
        let mut packs: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for path in self.packs() {
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            packs.push((used, metadata.len(), path));
        }
        packs.sort_unstable_by(|one, other| other.cmp(one));
        let mut bytes = 0;
        for (at, (_, pack_bytes, path)) in packs.iter().enumerate() {
            bytes += pack_bytes;
            if at >= PACKS_MAX || bytes > self.bytes_max {
                let _ = fs::remove_file(path);
            }
        }
    }

    fn packs(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        paths.filter(|path| path.extension().is_some_and(|is| is == EXTENSION)).collect()
    }
}

fn is_of(path: &Path, settings: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(settings))
}

fn not_kept(folder: &Path, error: &io::Error) {
    tracing::warn!(
        "what the compiler has done is not kept for the next time, in {folder:?}: {error}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const USED: Reused = Reused { found: 0, compiled: 1, packs: Vec::new(), kept: true };

    /// Keeps a pack of so many bytes, last used at this second. Returns where it is.
    fn keep(shelf: &Shelf, compatibility: &[u8], bytes: u64, used_s: u64) -> PathBuf {
        let lent = shelf.lend(compatibility).unwrap();
        File::options().write(true).open(lent.new_pack().unwrap()).unwrap().set_len(bytes).unwrap();
        let before = lent.packs.clone();
        shelf.take_back(lent, &USED);
        let mut packs = shelf.lend(compatibility).unwrap().packs;
        packs.retain(|pack| !before.contains(pack));
        let used = SystemTime::UNIX_EPOCH + Duration::from_secs(used_s);
        let file = File::open(&packs[0]).unwrap();
        file.set_times(FileTimes::new().set_modified(used)).unwrap();
        packs.remove(0)
    }

    #[test]
    fn what_was_of_no_use_for_longest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path().join("packs"), 100);
        let (first, second) = (keep(&shelf, b"x", 40, 1), keep(&shelf, b"x", 40, 2));
        let lent = shelf.lend(b"x").unwrap();
        assert_eq!(lent.packs, [first.clone(), second.clone()], "the oldest counts");
        // The first one is of use again, so the second one goes.
        shelf.take_back(lent, &Reused { packs: vec![0, 7], kept: false, ..USED });
        let third = keep(&shelf, b"y", 40, 3);
        assert!(first.exists() && !second.exists() && third.exists());
        assert_eq!(shelf.lend(b"x").unwrap().packs, [first], "others' settings are not of use");
        let files = fs::read_dir(folder.path().join("packs")).unwrap().count();
        assert_eq!(files, 2, "no temporary file is left");
        assert!(Shelf::new(folder.path().join("packs"), 0).lend(b"y").is_none());
        assert!(!third.exists());
    }

    #[test]
    fn there_are_never_more_than_a_compiler_reads() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path().to_owned(), u64::MAX);
        for second in 1..=PACKS_MAX as u64 + 3 {
            keep(&shelf, b"x", 1, second);
        }
        assert_eq!(shelf.lend(b"x").unwrap().packs.len(), PACKS_MAX);
    }

    #[test]
    fn where_no_pack_can_be_made_none_is_and_the_rest_is_reused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("packs");
        fs::write(&path, "no folder").unwrap();
        let lent = Shelf::new(path, 100).lend(b"x").unwrap();
        assert!(lent.new_pack().is_none() && lent.packs.is_empty());
    }
}
