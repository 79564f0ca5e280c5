//! The identity of a store: a node does not take another store in its place for the same one.
//!
//! A store has ids, which are objects with the keys `identity/<uuid>`. It has several if several
//! nodes prepared it at once; none is ever removed. A node remembers the ids that it has seen, in
//! `store-id` in its data folder. A store with none of them (moved, unmounted, emptied, or another
//! one) is away: what is listed there does not count, and nothing is written to it. A store of an
//! earlier build has no id, and gets one when it is first prepared. Owns no fds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Answer, Listed, Objects};
use crate::error::StoreError;
use crate::format::FORMAT_KEY;
use host::files;

const FOLDER: &str = "identity/";
/// The name of the file in the data folder.
const FILE: &str = "store-id";

/// The ids of a store, which are UUIDs.
type Ids = BTreeSet<String>;

/// What the node remembers of its store.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    store: String,
    ids: Ids,
}

/// What the ids in a store say about it.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It is the remembered store, or the node knows none yet.
    Same,
    /// The remembered store is not there.
    Gone,
    /// Another store is there.
    Other,
}

fn judge(remembered: &Ids, found: &Ids) -> Verdict {
    if remembered.is_empty() || !remembered.is_disjoint(found) {
        Verdict::Same
    } else if found.is_empty() {
        Verdict::Gone
    } else {
        Verdict::Other
    }
}

/// A backend that knows which store must be in it.
#[derive(Debug)]
pub struct Guarded {
    objects: Arc<dyn Objects>,
    path: PathBuf,
    /// Whether the node has seen the store, even without an id.
    met: AtomicBool,
    ids: Mutex<Ids>,
    /// Whether the store was not there when the node last looked.
    gone: AtomicBool,
}

impl Guarded {
    /// Returns the store in `objects` for the node with the data folder `data`. `met` says whether
    /// the node has seen functions there, as it may have before stores had ids.
    pub fn new(objects: Arc<dyn Objects>, data: &Path, met: bool) -> Self {
        let path = data.join(FILE);
        let remembered = std::fs::read(&path).ok().and_then(|json| {
            let read = serde_json::from_slice::<Remembered>(&json);
            read.inspect_err(|error| tracing::warn!("{path:?} is not understood: {error}")).ok()
        });
        let of_this = remembered.filter(|remembered| remembered.store == objects.name());
        let ids = of_this.map(|remembered| remembered.ids).unwrap_or_default();
        Self {
            objects,
            path,
            met: AtomicBool::new(met),
            ids: Mutex::new(ids),
            gone: AtomicBool::new(false),
        }
    }

    /// Returns whether the node has seen the store before. Such a store is not created again.
    pub fn is_known(&self) -> bool {
        self.met.load(SeqCst) || !self.ids().is_empty()
    }

    fn ids(&self) -> Ids {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lost(&self, verdict: &Verdict) -> StoreError {
        let reason = match verdict {
            Verdict::Other => "another store is in its place",
            _ => "nothing of it is there: it was moved or emptied, or is not mounted",
        };
        StoreError::Gone { name: self.name(), reason, path: self.path.clone() }
    }

    async fn found(&self) -> Result<Ids, StoreError> {
        let listed = self.objects.list(FOLDER, "").await?;
        let ids = listed.iter().filter_map(|listed| listed.key.strip_prefix(FOLDER));
        Ok(ids.filter(|id| Uuid::try_parse(id).is_ok()).map(str::to_owned).collect())
    }

    /// Checks that it is the same store. Returns the ids in it.
    async fn look(&self) -> Result<Ids, StoreError> {
        let (remembered, found) = (self.ids(), self.found().await?);
        let verdict = judge(&remembered, &found);
        self.gone.store(verdict != Verdict::Same, SeqCst);
        if verdict != Verdict::Same {
            return Err(self.lost(&verdict));
        }
        self.remember(&found)?;
        Ok(found)
    }

    fn remember(&self, found: &Ids) -> Result<(), StoreError> {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if found.is_subset(&ids) {
            return Ok(());
        }
        let all: Ids = ids.union(found).cloned().collect();
        let remembered = Remembered { store: self.objects.name(), ids: all.clone() };
        let json = serde_json::to_vec(&remembered).map_err(std::io::Error::from);
        let written = json.and_then(|json| files::write(&self.path, &json));
        written.map_err(StoreError::io("write", &self.path))?;
        *ids = all;
        Ok(())
    }

    /// Checks that `key` may be written or removed: only in a store, and only in this one.
    async fn allow(&self, key: &str) -> Result<(), StoreError> {
        if self.gone.load(SeqCst) {
            return Err(self.lost(&Verdict::Gone));
        }
        match self.objects.local_path(FORMAT_KEY) {
            Some(format) if key != FORMAT_KEY => match tokio::fs::try_exists(&format).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(self.lost(&Verdict::Gone)),
                Err(error) => Err(StoreError::io("read", &format)(error)),
            },
            _ => Ok(()),
        }
    }
}

impl Objects for Guarded {
    fn name(&self) -> String {
        self.objects.name()
    }

    fn get<'a>(&'a self, key: &'a str, bytes_max: usize) -> Answer<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            let got = self.objects.get(key, bytes_max).await?;
            match got {
                None if key == FORMAT_KEY && self.is_known() => Err(self.lost(&Verdict::Gone)),
                got => {
                    self.met.fetch_or(key == FORMAT_KEY && got.is_some(), SeqCst);
                    Ok(got)
                }
            }
        })
    }

    fn get_range<'a>(
        &'a self,
        key: &'a str,
        start: u64,
        bytes: usize,
    ) -> Answer<'a, Option<Vec<u8>>> {
        self.objects.get_range(key, start, bytes)
    }

    fn put<'a>(&'a self, key: &'a str, contents: Vec<u8>) -> Answer<'a, ()> {
        Box::pin(async move {
            self.allow(key).await?;
            self.objects.put(key, contents).await
        })
    }

    fn download<'a>(&'a self, key: &'a str, to: &'a Path) -> Answer<'a, bool> {
        self.objects.download(key, to)
    }

    fn upload<'a>(&'a self, key: &'a str, from: &'a Path) -> Answer<'a, ()> {
        Box::pin(async move {
            self.allow(key).await?;
            self.objects.upload(key, from).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str, after: &'a str) -> Answer<'a, Vec<Listed>> {
        self.objects.list(prefix, after)
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.allow(key).await?;
            self.objects.delete(key).await
        })
    }

    fn local_path(&self, key: &str) -> Option<PathBuf> {
        self.objects.local_path(key)
    }

    fn clear_unfinished(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            // A folder that is not there has no unfinished objects.
            match self.allow("").await {
                Err(error) if error.is_away() => Ok(()),
                allowed => {
                    allowed?;
                    self.objects.clear_unfinished().await
                }
            }
        })
    }

    fn make(&self) -> Result<(), StoreError> {
        if self.is_known() { Ok(()) } else { self.objects.make() }
    }

    fn occupant(&self) -> Answer<'_, Option<String>> {
        self.objects.occupant()
    }

    fn verify(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            let found = self.look().await?;
            // A store without an id is only known by its format.
            if found.is_empty() {
                self.get(FORMAT_KEY, 1024).await?;
            }
            Ok(())
        })
    }

    fn identify(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            if !self.look().await?.is_empty() {
                return Ok(());
            }
            match self.objects.put(&format!("{FOLDER}{}", Uuid::now_v7()), Vec::new()).await {
                Ok(()) => self.look().await.map(drop),
                Err(error) if error.is_away() => Err(error),
                Err(error) => {
                    tracing::warn!("the store {} gets no id: {error}", self.name());
                    Ok(())
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::directory::Directory;

    struct Place {
        folder: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap() }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// As the node with the data folder `data` sees the store.
        fn store(&self, data: &str) -> Guarded {
            std::fs::create_dir_all(self.path(data)).unwrap();
            Guarded::new(Arc::new(Directory::new(self.path("store"))), &self.path(data), false)
        }
    }

    /// A store that has been made, and whose node knows it.
    async fn made(place: &Place, data: &str) -> Guarded {
        let store = place.store(data);
        store.make().unwrap();
        store.put(FORMAT_KEY, b"format".to_vec()).await.unwrap();
        store.identify().await.unwrap();
        store.put("a", b"1".to_vec()).await.unwrap();
        store
    }

    #[tokio::test]
    async fn a_store_that_is_gone_is_away_and_is_not_made_anew() {
        let place = Place::new();
        let running = made(&place, "node").await;
        running.verify().await.unwrap();
        std::fs::rename(place.path("store"), place.path("aside")).unwrap();
        for emptied in [false, true] {
            if emptied {
                std::fs::create_dir(place.path("store")).unwrap();
            }
            // A node that starts now, and one that runs.
            for store in [&place.store("node"), &running] {
                assert!(store.get(FORMAT_KEY, 9).await.unwrap_err().is_away());
                assert!(store.verify().await.unwrap_err().is_away());
                assert!(store.identify().await.unwrap_err().is_away());
                assert!(store.put("b", Vec::new()).await.unwrap_err().is_away());
                assert!(store.put(FORMAT_KEY, Vec::new()).await.unwrap_err().is_away());
                assert!(store.delete("a").await.unwrap_err().is_away());
                store.make().unwrap();
                store.clear_unfinished().await.unwrap();
            }
            assert_eq!(std::fs::read_dir(place.path("store")).map_or(0, Iterator::count), 0);
            assert_eq!(place.path("store").exists(), emptied);
        }
        std::fs::remove_dir(place.path("store")).unwrap();
        std::fs::rename(place.path("aside"), place.path("store")).unwrap();
        running.verify().await.unwrap();
        running.put("b", Vec::new()).await.unwrap();
        place.store("node").verify().await.unwrap();
    }

    #[tokio::test]
    async fn another_store_in_its_place_is_told_as_such() {
        let place = Place::new();
        let store = made(&place, "node").await;
        std::fs::rename(place.path("store"), place.path("aside")).unwrap();
        made(&place, "another").await;
        let told = store.verify().await.unwrap_err();
        assert!(told.is_away() && told.to_string().contains("another store"), "{told}");
        assert!(store.delete("a").await.is_err());
    }

    #[tokio::test]
    async fn before_a_store_is_verified_nothing_is_written_into_an_empty_folder() {
        let place = Place::new();
        let store = made(&place, "node").await;
        std::fs::remove_dir_all(place.path("store")).unwrap();
        std::fs::create_dir(place.path("store")).unwrap();
        assert!(store.put("logs/1", Vec::new()).await.unwrap_err().is_away());
        assert_eq!(std::fs::read_dir(place.path("store")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn nodes_that_meet_a_store_at_once_agree_that_it_is_the_same() {
        let place = Place::new();
        let one = made(&place, "one").await;
        // The other looked when there was no id yet, and puts one of its own.
        let other = place.store("other");
        let id = format!("{FOLDER}{}", Uuid::now_v7());
        other.objects.put(&id, Vec::new()).await.unwrap();
        other.remember(&Ids::from([id[FOLDER.len()..].to_owned()])).unwrap();
        for store in [&one, &other, &place.store("one"), &place.store("other")] {
            store.verify().await.unwrap();
            assert_eq!(store.ids().len(), 2);
        }
    }

    #[tokio::test]
    async fn a_store_of_an_earlier_build_gets_an_id_and_is_known_from_then_on() {
        let place = Place::new();
        let store = place.store("node");
        store.make().unwrap();
        store.put(FORMAT_KEY, b"format".to_vec()).await.unwrap();
        assert!(!place.store("node").is_known());
        store.verify().await.unwrap();
        store.identify().await.unwrap();
        assert!(place.store("node").is_known());
        store.identify().await.unwrap();
        assert_eq!(store.ids().len(), 1);
    }
}
