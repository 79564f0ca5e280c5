//! What changes in a project's folder while `sockhop dev` runs.
//!
//! The kernel only wakes this up (inotify(7)); what has changed is found by comparing the files with
//! those of before. So it does not matter in which of many ways an editor saves a file, and the
//! rules of `.gitignore` are asked in one place. Owns the kernel's watches.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ignore::WalkBuilder;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long nothing must happen before files are looked at: editors and generators write several.
const QUIET: Duration = Duration::from_millis(30);
/// How often that is waited for at most.
const QUIET_TIMES_MAX: usize = 20;

/// Why changes are not seen.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    #[error(
        "{folder:?} cannot be watched: {source}; are there more folders in it than \
         /proc/sys/fs/inotify/max_user_watches allows? What need not be watched belongs in .gitignore"
    )]
    Watch { folder: PathBuf, source: notify::Error },
    #[error(
        "the key watch in [build] is not understood: {0}; expected patterns as in a .gitignore"
    )]
    Pattern(#[from] ignore::Error),
}

/// The files of a project: when each was changed, and how long it is.
type Snapshot = BTreeMap<PathBuf, (SystemTime, u64)>;

/// Sees what changes.
pub(super) struct Watch {
    folder: PathBuf,
    /// What is watched of it. Empty for all.
    wanted: Gitignore,
    /// Files that builds make.
    made: Vec<PathBuf>,
    watcher: RecommendedWatcher,
    woken: Arc<Notify>,
    seen: Snapshot,
}

impl Watch {
    /// Begins to watch `folder`: what matches `patterns`, or without any all that git would not
    /// ignore, and never what is `made`.
    pub(super) fn new(
        folder: &Path,
        patterns: &[String],
        made: Vec<PathBuf>,
    ) -> Result<Self, WatchError> {
        let mut wanted = GitignoreBuilder::new(folder);
        for pattern in patterns {
            wanted.add_line(None, pattern)?;
        }
        let wanted = wanted.build()?;
        let woken = Arc::new(Notify::new());
        let waker = Arc::clone(&woken);
        // Whatever it is, the files tell.
        let wake = move |_| waker.notify_one();
        let watcher = notify::recommended_watcher(wake)
            .map_err(|source| WatchError::Watch { folder: folder.to_owned(), source })?;
        let folder = folder.to_owned();
        let mut watch = Self { folder, wanted, made, watcher, woken, seen: Snapshot::new() };
        watch.changes()?;
        Ok(watch)
    }

    /// Waits until files have changed. Returns which.
    pub(super) async fn next(&mut self) -> Result<Vec<PathBuf>, WatchError> {
        loop {
            self.woken.notified().await;
            for _ in 0..QUIET_TIMES_MAX {
                if timeout(QUIET, self.woken.notified()).await.is_err() {
                    break;
                }
            }
            let changed = self.changes()?;
            if !changed.is_empty() {
                return Ok(changed);
            }
        }
    }

    /// Returns which files have changed since the last look, relative to the folder.
    pub(super) fn changes(&mut self) -> Result<Vec<PathBuf>, WatchError> {
        let now = self.look()?;
        let changed = changed(&self.seen, &now);
        self.seen = now;
        let relative =
            |path: PathBuf| path.strip_prefix(&self.folder).map_or(path.clone(), Path::to_owned);
        Ok(changed.into_iter().map(relative).collect())
    }

    /// Looks at all files, and watches the folders that they are in.
    fn look(&mut self) -> Result<Snapshot, WatchError> {
        let mut found = Snapshot::new();
        // Without hidden files and those that a .gitignore names, whether there is a repository or
        // not.
        for entry in WalkBuilder::new(&self.folder).require_git(false).build() {
            // What has gone meanwhile, or cannot be read, is not there.
            let Ok(entry) = entry else { continue };
            let Ok(metadata) = entry.metadata() else { continue };
            let path = entry.into_path();
            if metadata.is_dir() {
                // One that is watched already stays so.
                self.watcher.watch(&path, RecursiveMode::NonRecursive).or_else(
                    |source| match path.exists() {
                        true => Err(WatchError::Watch { folder: path.clone(), source }),
                        false => Ok(()),
                    },
                )?;
            } else if self.is_wanted(&path) {
                let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                found.insert(path, (modified, metadata.len()));
            }
        }
        Ok(found)
    }

    fn is_wanted(&self, path: &Path) -> bool {
        let matched = || self.wanted.matched_path_or_any_parents(path, false).is_ignore();
        !self.made.iter().any(|made| made == path) && (self.wanted.is_empty() || matched())
    }
}

/// The files that are not the same in both.
fn changed(before: &Snapshot, after: &Snapshot) -> Vec<PathBuf> {
    let differs = |(path, of): &(&PathBuf, &(SystemTime, u64))| before.get(*path) != Some(*of);
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    after.iter().filter(differs).map(|(path, _)| path).chain(gone).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn watch(folder: &Path, patterns: &[&str]) -> Watch {
        let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        Watch::new(folder, &patterns, vec![folder.join("made.wasm")]).unwrap()
    }

    #[tokio::test]
    async fn what_changes_is_told_and_what_is_ignored_or_made_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("src")).unwrap();
        fs::write(at(".gitignore"), "target/\n").unwrap();
        fs::write(at("src/main.c"), "1").unwrap();
        let mut watch = watch(folder.path(), &[]);
        fs::create_dir_all(at("target")).unwrap();
        for name in ["target/x", ".hidden", "made.wasm"] {
            fs::write(at(name), "").unwrap();
        }
        assert_eq!(watch.changes().unwrap(), Vec::<PathBuf>::new());
        fs::write(at("src/main.c"), "1 and more").unwrap();
        assert_eq!(watch.next().await.unwrap(), [Path::new("src/main.c")]);
        // A folder that comes later is watched, too.
        fs::create_dir_all(at("src/new")).unwrap();
        fs::write(at("src/new/a.h"), "").unwrap();
        assert_eq!(watch.next().await.unwrap(), [Path::new("src/new/a.h")]);
        fs::remove_file(at("src/new/a.h")).unwrap();
        assert_eq!(watch.next().await.unwrap(), [Path::new("src/new/a.h")]);
    }

    #[test]
    fn patterns_choose() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = watch(folder.path(), &["/src", "*.toml"]);
        fs::create_dir_all(folder.path().join("src")).unwrap();
        for name in ["src/a.c", "b.toml", "c.c"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(watch.changes().unwrap(), [Path::new("b.toml"), Path::new("src/a.c")]);
    }
}
