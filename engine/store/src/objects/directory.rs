//! Objects as files in a folder: a key is a path. Each call runs on a thread that may block, and
//! owns its fds.
//!
//! An object is written beside its place and renamed, and both it and its folder are synced, so it
//! appears whole or not at all (rename(2), fsync(2)). Names that begin with a dot are unfinished
//! objects.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::{Answer, Listed, Objects};
use crate::error::StoreError;
use host::files::{self, Temporary, found};

/// The age from which on an unfinished object has no writer any more. Another node may share the
/// folder.
const UNFINISHED_FOR: Duration = Duration::from_secs(60 * 60);
/// The folder that a new file system of the ext family has.
const LOST_AND_FOUND: &str = "lost+found";
/// How many times a folder is created again that is removed during a write into it.
const FOLDER_TRIES: u32 = 5;

/// A folder of objects.
#[derive(Debug, Clone)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Returns the folder `root`, which does not have to exist.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Returns the folder `root`, and creates it if it is missing.
    #[cfg(test)]
    pub fn open(root: PathBuf) -> Result<Self, StoreError> {
        let directory = Self::new(root);
        directory.make().map(|()| directory)
    }

    /// Returns where an object is, or the objects whose keys begin with `key`.
    ///
    /// # Errors
    /// [`StoreError::Outside`] for a key that leads out of the folder.
    fn path(&self, key: &str) -> Result<PathBuf, StoreError> {
        match Path::new(key).components().all(|part| matches!(part, Component::Normal(_))) {
            true => Ok(self.root.join(key)),
            false => Err(StoreError::Outside { key: key.to_owned() }),
        }
    }

    /// Runs `call` on a thread that may block.
    fn blocking<T: Send + 'static>(
        &self,
        key: &str,
        call: impl FnOnce(&Self, &Path) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'static, T> {
        let (store, path) = (self.clone(), self.path(key));
        Box::pin(async move {
            let path = path?;
            let done = tokio::task::spawn_blocking(move || call(&store, &path)).await;
            done.unwrap_or_else(|error| Err(StoreError::Ended { reason: error.to_string() }))
        })
    }

    fn list_now(&self, prefix: &str, after: &str) -> Result<Vec<Listed>, StoreError> {
        let (mut listed, mut folders) = (Vec::new(), vec![prefix.trim_end_matches('/').to_owned()]);
        while let Some(folder) = folders.pop() {
            let path = self.path(&folder)?;
            let entries = match std::fs::read_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.map_err(StoreError::io("read", &path))?,
            };
            for entry in entries {
                let entry = entry.map_err(StoreError::io("read", &path))?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                if name.starts_with('.') || name == LOST_AND_FOUND {
                    continue;
                }
                let key = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                let metadata = match entry.metadata() {
                    // It was removed meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    metadata => metadata.map_err(StoreError::io("read", &entry.path()))?,
                };
                if metadata.is_dir() {
                    folders.push(key);
                } else if key.as_str() > after {
                    let (inode, bytes) = (metadata.ino(), metadata.len());
                    let tag =
                        format!("{inode:x}-{:x}-{:x}", metadata.mtime(), metadata.mtime_nsec());
                    let modified =
                        metadata.modified().map_err(StoreError::io("read", &entry.path()))?;
                    listed.push(Listed { key, bytes, tag, modified });
                }
            }
        }
        listed.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(listed)
    }

    fn clear_unfinished_now(&self) -> Result<(), StoreError> {
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            files::sweep(&folder, UNFINISHED_FOR).map_err(StoreError::io("clear", &folder))?;
            for entry in
                std::fs::read_dir(&folder).map_err(StoreError::io("read", &folder))?.flatten()
            {
                let name = entry.file_name();
                let others = name.as_encoded_bytes().starts_with(b".") || name == LOST_AND_FOUND;
                if !others && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(entry.path());
                }
            }
        }
        Ok(())
    }
}

/// Writes at `path`, and creates its folder if that is missing. Another node that removes the last
/// object of a folder removes the folder, too, even during a write.
fn in_its_folder(path: &Path, write: impl Fn() -> io::Result<()>) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(path);
    for _ in 1..FOLDER_TRIES {
        files::create_folder(folder).map_err(StoreError::io("make", folder))?;
        match write() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            written => return written.map_err(StoreError::io("write", path)),
        }
    }
    files::create_folder(folder).map_err(StoreError::io("make", folder))?;
    write().map_err(StoreError::io("write", path))
}

impl Objects for Directory {
    fn name(&self) -> String {
        self.root.display().to_string()
    }

    fn get<'a>(&'a self, key: &'a str, bytes_max: usize) -> Answer<'a, Option<Vec<u8>>> {
        let named = key.to_owned();
        self.blocking(key, move |_, path| {
            let Some(file) = found(File::open(path)).map_err(StoreError::io("read", path))? else {
                return Ok(None);
            };
            let mut contents = Vec::new();
            let limit = bytes_max as u64 + 1;
            file.take(limit).read_to_end(&mut contents).map_err(StoreError::io("read", path))?;
            if contents.len() > bytes_max {
                return Err(StoreError::too_large(&named, bytes_max));
            }
            Ok(Some(contents))
        })
    }

    fn get_range<'a>(
        &'a self,
        key: &'a str,
        start: u64,
        bytes: usize,
    ) -> Answer<'a, Option<Vec<u8>>> {
        self.blocking(key, move |_, path| {
            let Some(file) = found(File::open(path)).map_err(StoreError::io("read", path))? else {
                return Ok(None);
            };
            let (mut contents, mut filled) = (vec![0; bytes], 0);
            while filled < bytes {
                let at = start + filled as u64;
                match file
                    .read_at(&mut contents[filled..], at)
                    .map_err(StoreError::io("read", path))?
                {
                    0 => break,
                    read => filled += read,
                }
            }
            contents.truncate(filled);
            Ok(Some(contents))
        })
    }

    fn put<'a>(&'a self, key: &'a str, contents: Vec<u8>) -> Answer<'a, ()> {
        self.blocking(key, move |_, path| in_its_folder(path, || files::write(path, &contents)))
    }

    fn download<'a>(&'a self, key: &'a str, to: &'a Path) -> Answer<'a, bool> {
        let to = to.to_owned();
        self.blocking(key, move |_, path| {
            let Some(mut from) = found(File::open(path)).map_err(StoreError::io("read", path))?
            else {
                return Ok(false);
            };
            let copied =
                File::options().write(true).truncate(true).open(&to).and_then(|mut file| {
                    io::copy(&mut from, &mut file)?;
                    file.sync_all()
                });
            copied.map_err(StoreError::io("write", &to)).map(|()| true)
        })
    }

    fn upload<'a>(&'a self, key: &'a str, from: &'a Path) -> Answer<'a, ()> {
        let from = from.to_owned();
        self.blocking(key, move |_, path| {
            in_its_folder(path, || {
                let temporary = Temporary::new(path.parent().unwrap_or(path))?;
                let mut file = File::options().write(true).open(temporary.path())?;
                io::copy(&mut File::open(&from)?, &mut file)?;
                file.sync_all()?;
                temporary.become_file(path)
            })
        })
    }

    fn list<'a>(&'a self, prefix: &'a str, after: &'a str) -> Answer<'a, Vec<Listed>> {
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        self.blocking("", move |store, _| store.list_now(&prefix, &after))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        self.blocking(key, |store, path| {
            match found(files::remove(path)) {
                // Its folder is missing, too.
                Ok(None) => return Ok(()),
                removed => removed.map_err(StoreError::io("remove", path))?,
            };
            // Empty folders are removed, too, as a bucket has no folders.
            let above = path.ancestors().skip(1).take_while(|folder| **folder != store.root);
            for folder in above {
                if std::fs::remove_dir(folder).is_err() {
                    break;
                }
            }
            Ok(())
        })
    }

    fn local_path(&self, key: &str) -> Option<PathBuf> {
        self.path(key).ok()
    }

    fn clear_unfinished(&self) -> Answer<'_, ()> {
        self.blocking("", |store, _| store.clear_unfinished_now())
    }

    fn make(&self) -> Result<(), StoreError> {
        files::create_folder(&self.root).map_err(StoreError::io("make", &self.root))
    }

    fn occupant(&self) -> Answer<'_, Option<String>> {
        self.blocking("", |_, root| {
            let Some(entries) =
                found(std::fs::read_dir(root)).map_err(StoreError::io("read", root))?
            else {
                return Ok(None);
            };
            let names =
                entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
            Ok(names.filter(|name| !name.starts_with('.') && name != LOST_AND_FOUND).min())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn objects_are_written_listed_read_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Directory::open(folder.path().join("store")).unwrap();
        for (key, contents) in [("b/2", "two"), ("b/1", "one"), ("a", "zero"), ("b/1", "One")] {
            store.put(key, contents.into()).await.unwrap();
        }
        let keys =
            |listed: Vec<Listed>| listed.into_iter().map(|listed| listed.key).collect::<Vec<_>>();
        assert_eq!(keys(store.list("", "").await.unwrap()), ["a", "b/1", "b/2"]);
        assert_eq!(keys(store.list("b/", "b/1").await.unwrap()), ["b/2"]);
        assert_eq!(keys(store.list("c/", "").await.unwrap()), Vec::<String>::new());
        assert_eq!(store.get("b/1", 3).await.unwrap().unwrap(), b"One");
        assert_eq!(store.get("b", 3).await.ok(), None);
        assert!(matches!(store.get("b/1", 2).await, Err(StoreError::Damaged { .. })));
        assert_eq!(store.get("c", 3).await.unwrap(), None);
        assert_eq!(store.get_range("b/1", 1, 9).await.unwrap().unwrap(), b"ne");
        assert_eq!(store.get_range("b/1", 9, 9).await.unwrap().unwrap(), b"");
        for key in ["b/1", "b/2", "b/2", "never/there"] {
            store.delete(key).await.unwrap();
        }
        assert_eq!(keys(store.list("", "").await.unwrap()), ["a"]);
        assert!(!folder.path().join("store/b").exists());
    }

    #[tokio::test]
    async fn a_tag_changes_with_its_object_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = Directory::open(folder.path().to_owned()).unwrap();
        store.put("a", b"1".to_vec()).await.unwrap();
        let first = store.list("", "").await.unwrap();
        assert_eq!(store.list("", "").await.unwrap(), first);
        store.put("a", b"2".to_vec()).await.unwrap();
        assert_ne!(store.list("", "").await.unwrap(), first);
    }

    #[tokio::test]
    async fn files_go_in_and_out() {
        let folder = tempfile::tempdir().unwrap();
        let store = Directory::open(folder.path().join("store")).unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::write(&from, "contents").unwrap();
        std::fs::write(&to, "something longer than that").unwrap();
        store.upload("x/y", &from).await.unwrap();
        assert!(store.download("x/y", &to).await.unwrap());
        assert_eq!(std::fs::read(&to).unwrap(), b"contents");
        assert!(!store.download("x/z", &to).await.unwrap());
        let [left, fresh] = [1, 2]
            .map(uuid::Uuid::from_u128)
            .map(|id| folder.path().join(format!("store/x/.tmp-{id}")));
        std::fs::write(&fresh, "").unwrap();
        let long_ago = std::time::SystemTime::now() - 2 * UNFINISHED_FOR;
        File::create(&left).unwrap().set_modified(long_ago).unwrap();
        assert_eq!(store.list("", "").await.unwrap().len(), 1);
        store.clear_unfinished().await.unwrap();
        assert!(!left.exists() && fresh.exists());
    }
}
