//! The repository, with a backend that stops or fails after any number of steps.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use abi::choice::ACTIVE;
use abi::function::Kind;
use api::options::Options;

use super::unused::CHANGE_MAX;
use super::*;
use crate::alias::Alias;
use crate::artefacts::upload_key;
use crate::contents::{Contents, Function};
use crate::manifest::Manifest;
use crate::objects::directory::Directory;
use crate::objects::{Answer, Listed};
use crate::removed::{KEPT_FOR, KeptSecrets};
use host::files::{self, Temporary};

/// A folder whose changes all fail after the first few, as when a node is killed there: nothing is
/// tidied up either.
#[derive(Debug)]
struct Dying {
    folder: Directory,
    steps_left: AtomicUsize,
    /// Whole objects that were read.
    reads: AtomicUsize,
}

impl Dying {
    fn step<'a, T>(&'a self, key: &str, done: Answer<'a, T>) -> Answer<'a, T> {
        let alive =
            self.steps_left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        let reason = key.to_owned();
        if alive { done } else { Box::pin(async { Err(StoreError::Ended { reason }) }) }
    }
}

impl Objects for Dying {
    fn name(&self) -> String {
        self.folder.name()
    }
    fn get<'a>(&'a self, key: &'a str, bytes_max: usize) -> Answer<'a, Option<Vec<u8>>> {
        self.reads.fetch_add(1, SeqCst);
        self.folder.get(key, bytes_max)
    }
    fn get_range<'a>(
        &'a self,
        key: &'a str,
        start: u64,
        bytes: usize,
    ) -> Answer<'a, Option<Vec<u8>>> {
        self.folder.get_range(key, start, bytes)
    }
    fn put<'a>(&'a self, key: &'a str, contents: Vec<u8>) -> Answer<'a, ()> {
        self.step(key, self.folder.put(key, contents))
    }
    fn download<'a>(&'a self, key: &'a str, to: &'a Path) -> Answer<'a, bool> {
        self.folder.download(key, to)
    }
    fn upload<'a>(&'a self, key: &'a str, from: &'a Path) -> Answer<'a, ()> {
        self.step(key, self.folder.upload(key, from))
    }
    fn list<'a>(&'a self, prefix: &'a str, after: &'a str) -> Answer<'a, Vec<Listed>> {
        self.folder.list(prefix, after)
    }
    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        self.step(key, self.folder.delete(key))
    }
}

/// A store in a folder of its own.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn repository(&self, objects: Arc<dyn Objects>) -> Repository {
        let artefacts =
            Artefacts::open(Arc::clone(&objects), self.folder.path().join("artefacts")).unwrap();
        Repository::new(objects, Arc::new(artefacts))
    }

    /// As another node, or this one after a restart, opens it.
    fn open(&self) -> Repository {
        self.repository(Arc::new(Directory::open(self.store()).unwrap()))
    }

    /// One that does not survive more than `steps` changes.
    fn dying(&self, steps: usize) -> Repository {
        self.repository(self.counting(steps))
    }

    fn counting(&self, steps: usize) -> Arc<Dying> {
        let folder = Directory::open(self.store()).unwrap();
        Arc::new(Dying { folder, steps_left: AtomicUsize::new(steps), reads: AtomicUsize::new(0) })
    }

    /// Whether anything is there of an artefact, as a version uploaded it or as earlier builds had
    /// it.
    fn has_artefact(&self, digest: &str) -> bool {
        ["uploads", "artefacts"]
            .iter()
            .any(|folder| self.store().join(folder).join(digest).exists())
    }

    /// Every file of the store.
    async fn picture(&self) -> Vec<String> {
        let store = Directory::open(self.store()).unwrap();
        store.list("", "").await.unwrap().into_iter().map(|listed| listed.key).collect()
    }
}

fn received(repository: &Repository, contents: &str) -> (Temporary, String) {
    let received = repository.artefacts().receive().unwrap();
    std::fs::write(received.path(), contents).unwrap();
    let digest = files::hex(&files::digest_of(received.path()).unwrap().0);
    (received, digest)
}

/// Deploys a version of `name` with this artefact, as a node does.
pub(super) async fn deploy(
    repository: &Repository,
    name: &str,
    artefact: &str,
) -> Result<Arc<Manifest>, StoreError> {
    repository.prepare().await?;
    let before = repository.read_all(&Contents::new()).await?;
    let function = before.get(name).cloned().unwrap_or_default();
    let (received, digest) = received(repository, artefact);
    let version = Manifest::new(name, Kind::Http02, Options::default(), digest, 1);
    let version = Arc::new(Manifest { number: function.next_number(), ..version });
    let alias = Alias::of(name, ACTIVE, &version.version);
    let alias = function.active().map_or(alias.clone(), |active| active.pointed_at(alias.targets));
    repository.keep_version(&version, &received, Some(&alias)).await?;
    Ok(version)
}

/// Removes a function, as a node does.
pub(super) async fn remove(repository: &Repository, name: &str) -> Result<(), StoreError> {
    repository.prepare().await?;
    let function = repository.read_function(name, &Contents::new()).await?;
    let mut kept = repository.begin_removal(name, &function, KeptSecrets::default()).await?;
    repository.remove_aliases(name).await?;
    let going = repository.continue_removal(name, kept.as_mut(), KeptSecrets::default()).await?;
    repository.remove_versions(name, &going, kept.as_ref()).await
}

/// What is served by each function; panics where that is half there.
async fn served(repository: &Repository) -> Vec<(String, Arc<Manifest>)> {
    let contents = repository.read_all(&Contents::new()).await.unwrap();
    let mut served = Vec::new();
    for (name, function) in &contents {
        let Some(active) = function.active() else { continue };
        for target in &active.targets {
            let version = function.version(&target.version).expect("an alias's version is there");
            repository.artefacts().local(&version.artefact).await.expect("and its artefact");
            served.push((name.clone(), Arc::clone(version)));
        }
    }
    served
}

#[tokio::test]
async fn what_is_deployed_is_read_back_and_what_is_removed_is_gone() {
    let place = Place::new();
    let first = deploy(&place.open(), "a", "one").await.unwrap();
    let second = deploy(&place.open(), "a", "two").await.unwrap();
    assert_eq!((first.number, second.number), (1, 2));
    let repository = place.open();
    assert_eq!(served(&repository).await, [("a".to_owned(), Arc::clone(&second))]);
    let contents = repository.read_all(&Contents::new()).await.unwrap();
    assert_eq!(contents["a"].active().unwrap().previous[0].version, first.version);
    // Only what has changed is read again; what has not is the same, in memory too.
    deploy(&place.open(), "b", "one").await.unwrap();
    let later = repository.read_all(&contents).await.unwrap();
    assert!(Arc::ptr_eq(later["a"].active().unwrap(), contents["a"].active().unwrap()));
    assert_eq!(later.len(), 2);
    remove(&repository, "a").await.unwrap();
    assert_eq!(served(&repository).await.len(), 1);
    assert!(repository.read_function("a", &later).await.unwrap().is_empty());
    remove(&repository, "never-there").await.unwrap();
}

#[tokio::test]
async fn a_deploy_that_dies_anywhere_leaves_the_old_version_or_the_new() {
    let mut whole = false;
    for steps in 0.. {
        let place = Place::new();
        let old = deploy(&place.open(), "a", "one").await.unwrap();
        let done = deploy(&place.dying(steps), "a", "two").await;
        let repository = place.open();
        repository.prepare().await.unwrap();
        let [(_, active)] = &served(&repository).await[..] else { panic!("after {steps} steps") };
        assert!(active.version == old.version || active.number == 2, "after {steps} steps");
        assert!(done.is_err() || active.number == 2, "after {steps} steps");
        // And whatever was left is in nobody's way.
        let next = deploy(&repository, "a", "two").await.unwrap();
        assert_eq!(served(&repository).await, [("a".to_owned(), next)]);
        if done.is_ok() {
            whole = true;
            break;
        }
    }
    assert!(whole);
}

#[tokio::test]
async fn a_deploy_that_fails_leaves_nothing() {
    let place = Place::new();
    deploy(&place.open(), "a", "one").await.unwrap();
    let before = place.picture().await;
    std::fs::create_dir_all(place.store().join("aliases/b/active.json/in-the-way")).unwrap();
    deploy(&place.open(), "b", "two").await.unwrap_err();
    std::fs::remove_dir_all(place.store().join("aliases/b")).unwrap();
    assert_eq!(place.picture().await, before);
}

#[tokio::test]
async fn a_removal_that_dies_anywhere_leaves_all_or_nothing_to_be_served() {
    for steps in 0..20 {
        let place = Place::new();
        for artefact in ["one", "two", "three"] {
            deploy(&place.open(), "a", artefact).await.unwrap();
        }
        let done = remove(&place.dying(steps), "a").await;
        let served = served(&place.open()).await;
        assert_eq!(served.is_empty(), steps > 1, "after {steps} steps: it is kept, and then goes");
        remove(&place.open(), "a").await.unwrap();
        assert!(place.open().read_all(&Contents::new()).await.unwrap().is_empty());
        if done.is_ok() {
            return;
        }
    }
    panic!("it never ends");
}

/// Restores the function that was removed last, as a node does, unless something is in the way.
pub(super) async fn restore(repository: &Repository, name: &str) -> Result<(), StoreError> {
    repository.prepare().await?;
    let Some(removed) = repository.removed(Some(name)).await?.into_iter().next() else {
        return Ok(());
    };
    let standing = repository.read_function(name, &Contents::new()).await?;
    if removed.is_blocked_by(&standing) {
        return Ok(());
    }
    repository.restore_versions(&removed).await?;
    repository.restore_aliases(&removed).await
}

/// A function of three versions, with an alias beside the active one.
async fn function_in(place: &Place) -> Arc<Function> {
    let repository = place.open();
    let first = deploy(&repository, "a", "one").await.unwrap();
    for artefact in ["two", "three"] {
        deploy(&repository, "a", artefact).await.unwrap();
    }
    let staging = Alias::of("a", "staging", &first.version);
    let staging = Alias { env: [("A".to_owned(), "1".to_owned())].into(), ..staging };
    repository.put_alias(&staging, &[first]).await.unwrap();
    repository.read_function("a", &Contents::new()).await.unwrap()
}

#[tokio::test]
async fn a_removed_function_is_restored_as_it_was_until_it_is_cleared_away() {
    let place = Place::new();
    let function = function_in(&place).await;
    remove(&place.open(), "a").await.unwrap();
    let (repository, now) = (place.open(), Instant::now());
    assert!(repository.read_all(&Contents::new()).await.unwrap().is_empty());
    let tidy = async |after| {
        repository.clear_removed(KEPT_FOR, now + after).await.unwrap();
        repository.remove_unused_artefacts(&Contents::new(), now + after).await.unwrap();
    };
    // However old it is by any clock, it goes only when it has been seen for so long.
    tidy(Duration::ZERO).await;
    tidy(KEPT_FOR - Duration::from_secs(1)).await;
    restore(&repository, "a").await.unwrap();
    assert_eq!(repository.read_function("a", &Contents::new()).await.unwrap(), function);
    assert_eq!(served(&repository).await.len(), 1, "with its artefacts");
    // What is restored is in the way of restoring it again, and removed again it is kept again.
    assert!(repository.removed(Some("a")).await.unwrap()[0].is_blocked_by(&function));
    remove(&repository, "a").await.unwrap();
    let [last, _] = &repository.removed(None).await.unwrap()[..] else {
        panic!("one for each removal")
    };
    assert_eq!(last.function, *function);
    tidy(KEPT_FOR).await;
    assert_eq!(repository.removed(None).await.unwrap().len(), 1, "the later one");
    tidy(KEPT_FOR * 2).await;
    assert!(repository.removed(None).await.unwrap().is_empty());
    tidy(KEPT_FOR * 2 + CHANGE_MAX).await;
    assert!(!place.has_artefact(&function.foremost().unwrap().artefact));
}

#[tokio::test]
async fn a_removal_that_dies_anywhere_can_be_undone_and_can_be_ended_and_undone() {
    for steps in 0..20 {
        let mut done = false;
        for end_it in [false, true] {
            let place = Place::new();
            let function = function_in(&place).await;
            done = remove(&place.dying(steps), "a").await.is_ok();
            if end_it {
                remove(&place.open(), "a").await.unwrap();
                let left = place.open().read_function("a", &Contents::new()).await.unwrap();
                assert!(left.is_empty(), "after {steps} steps");
            }
            restore(&place.open(), "a").await.unwrap();
            let restored = place.open().read_function("a", &Contents::new()).await.unwrap();
            assert_eq!(restored, function, "after {steps} steps");
        }
        if done {
            return;
        }
    }
    panic!("it never ends");
}

#[tokio::test]
async fn a_restoring_that_dies_anywhere_can_be_done_again() {
    for steps in 0..20 {
        let place = Place::new();
        let function = function_in(&place).await;
        remove(&place.open(), "a").await.unwrap();
        let done = restore(&place.dying(steps), "a").await.is_ok();
        let is_there = !served(&place.open()).await.is_empty();
        assert!(is_there || !done, "after {steps} steps");
        restore(&place.open(), "a").await.unwrap();
        let restored = place.open().read_function("a", &Contents::new()).await.unwrap();
        assert_eq!(restored, function, "after {steps} steps");
        if done {
            return;
        }
    }
    panic!("it never ends");
}

#[tokio::test]
async fn a_new_function_is_in_the_way_of_a_removed_one_and_nothing_is_lost() {
    let place = Place::new();
    let (repository, function) = (place.open(), function_in(&place).await);
    remove(&repository, "a").await.unwrap();
    let new = deploy(&repository, "a", "one").await.unwrap();
    assert_eq!(new.number, 1, "it has nothing of the removed one");
    restore(&repository, "a").await.unwrap();
    assert_eq!(served(&repository).await, [("a".to_owned(), Arc::clone(&new))]);
    remove(&repository, "a").await.unwrap();
    let removed = repository.removed(Some("a")).await.unwrap();
    let counts: Vec<usize> =
        removed.iter().map(|removed| removed.function.versions().count()).collect();
    assert_eq!(counts, [1, 3]);
    assert_eq!(removed[1].function, *function);
    assert!(
        repository.forget_removed("a").await.unwrap()
            && !repository.forget_removed("a").await.unwrap()
    );
}

#[tokio::test]
async fn a_removal_that_cannot_be_read_is_an_error_and_its_artefacts_stay() {
    let place = Place::new();
    let (repository, function) = (place.open(), function_in(&place).await);
    remove(&repository, "a").await.unwrap();
    let kept = place.picture().await.into_iter().find(|key| key.starts_with("removed/")).unwrap();
    std::fs::write(place.store().join(kept), "damaged").unwrap();
    assert!(matches!(repository.removed(None).await, Err(StoreError::Damaged { .. })));
    let now = Instant::now();
    for round in 0..3 {
        assert!(
            repository
                .remove_unused_artefacts(&Contents::new(), now + round * CHANGE_MAX)
                .await
                .is_err()
        );
    }
    assert!(place.has_artefact(&function.foremost().unwrap().artefact));
    // An artefact that is gone is told before anything is written.
    deploy(&repository, "b", "else").await.unwrap();
    remove(&repository, "b").await.unwrap();
    std::fs::remove_dir_all(place.store().join("uploads")).unwrap();
    let before = place.picture().await;
    assert!(matches!(restore(&repository, "b").await, Err(StoreError::Missing { .. })));
    assert_eq!(place.picture().await, before);
}

#[tokio::test]
async fn only_artefacts_that_nothing_has_named_for_long_are_removed() {
    let place = Place::new();
    let repository = place.open();
    let used = deploy(&repository, "a", "one").await.unwrap();
    let (file, left) = received(&repository, "left");
    repository.artefacts().upload(&left, &uuid::Uuid::now_v7().to_string(), &file).await.unwrap();
    // As an earlier build had them: one that a version has, and one that none has any more.
    let shared = place.store().join("artefacts");
    std::fs::create_dir_all(&shared).unwrap();
    let (_, unused) = received(&repository, "unused");
    for digest in [&used.artefact, &unused] {
        std::fs::write(shared.join(digest), "whatever").unwrap();
    }
    let now = Instant::now();
    let tidy = async |round: u32| {
        // What this node last read tells nothing of the version: another one has made it.
        repository
            .remove_unused_artefacts(&Contents::new(), now + round * CHANGE_MAX)
            .await
            .unwrap();
    };
    tidy(0).await;
    assert!(
        place.has_artefact(&left) && shared.join(&unused).exists(),
        "they may be about to be named"
    );
    tidy(1).await;
    assert!(!place.has_artefact(&left) && !shared.join(&unused).exists());
    assert!(shared.join(&used.artefact).exists());
    assert_eq!(served(&repository).await.len(), 1);
    // A version that cannot be read may be of any of them.
    let (file, left) = received(&repository, "left");
    repository.artefacts().upload(&left, &uuid::Uuid::now_v7().to_string(), &file).await.unwrap();
    tidy(2).await;
    let version = place.store().join(format!("versions/a/{}.json", used.version));
    std::fs::write(version, "damaged").unwrap();
    tidy(3).await;
    assert!(place.has_artefact(&used.artefact) && place.has_artefact(&left));
}

#[tokio::test]
async fn what_another_node_tidies_away_meanwhile_is_put_back() {
    let place = Place::new();
    let repository = place.open();
    let (first, _) = (
        deploy(&repository, "a", "one").await.unwrap(),
        deploy(&repository, "a", "two").await.unwrap(),
    );
    place.open().remove_version(&first).await.unwrap();
    let alias = Alias::of("a", "staging", &first.version);
    repository.put_alias(&alias, std::slice::from_ref(&first)).await.unwrap();
    let contents = place.open().read_all(&Contents::new()).await.unwrap();
    assert_eq!(contents["a"].version(&first.version), Some(&first));
}

#[tokio::test]
async fn a_damaged_object_is_left_out_or_as_it_was() {
    let place = Place::new();
    let repository = place.open();
    deploy(&repository, "a", "one").await.unwrap();
    let kept = deploy(&repository, "b", "two").await.unwrap();
    let before = repository.read_all(&Contents::new()).await.unwrap();
    std::fs::write(place.store().join("aliases/a/active.json"), "damaged").unwrap();
    let afresh = place.open().read_all(&Contents::new()).await.unwrap();
    assert!(afresh["a"].active().is_none());
    assert!(afresh["b"].version(&kept.version).is_some());
    // A node that has read it goes on with what it was.
    let after = repository.read_all(&before).await.unwrap();
    assert_eq!(after["a"].active(), before["a"].active());
    // Objects where they do not belong are left out too.
    let [a, b] = ["a", "b"].map(|name| place.store().join(format!("aliases/{name}/active.json")));
    std::fs::copy(b, a).unwrap();
    assert!(place.open().read_all(&Contents::new()).await.unwrap()["a"].active().is_none());
}

/// Writes a store as the first format had it: two versions of `a`, the second served.
fn first_format_in(place: &Place) -> Vec<Manifest> {
    let store = place.store();
    let (versions, artefacts) = (store.join("functions/a/versions"), store.join("artefacts"));
    std::fs::create_dir_all(&versions).unwrap();
    std::fs::create_dir_all(&artefacts).unwrap();
    std::fs::create_dir_all(store.join("functions/half/versions")).unwrap();
    std::fs::write(store.join("format"), FIRST_FORMAT).unwrap();
    let made: Vec<Manifest> = ["one", "two"]
        .into_iter()
        .map(|artefact| {
            let path = store.join(artefact);
            std::fs::write(&path, artefact).unwrap();
            let digest = files::hex(&files::digest_of(&path).unwrap().0);
            std::fs::rename(&path, artefacts.join(&digest)).unwrap();
            let version = Manifest::new("a", Kind::Http02, Options::default(), digest, 3);
            let mut json = serde_json::to_value(&version).unwrap();
            json.as_object_mut().unwrap().remove("number");
            std::fs::write(versions.join(format!("{}.json", version.version)), json.to_string())
                .unwrap();
            version
        })
        .collect();
    std::fs::write(store.join("functions/a/active"), &made[1].version).unwrap();
    // A deploy that did not get so far.
    let half = Manifest::new("half", Kind::Http02, Options::default(), files::hex(&[7; 32]), 3);
    let path = store.join(format!("functions/half/versions/{}.json", half.version));
    std::fs::write(path, serde_json::to_vec(&half).unwrap()).unwrap();
    made
}

#[tokio::test]
async fn a_store_of_the_first_format_is_read_and_becomes_todays_wherever_that_is_cut_short() {
    for steps in 0.. {
        let place = Place::new();
        let made = first_format_in(&place);
        let expected = [("a".to_owned(), Arc::new(Manifest { number: 2, ..made[1].clone() }))];
        // Reading changes nothing: an engine of the build before may still serve from it.
        let before = std::fs::read(place.store().join("format")).unwrap();
        assert_eq!(served(&place.open()).await, expected);
        assert_eq!(std::fs::read(place.store().join("format")).unwrap(), before);
        let done = place.dying(steps).prepare().await;
        assert_eq!(served(&place.open()).await, expected, "after {steps} steps");
        let repository = place.open();
        repository.prepare().await.unwrap();
        assert_eq!(served(&repository).await, expected, "after {steps} steps");
        let contents = repository.read_all(&Contents::new()).await.unwrap();
        assert_eq!(
            contents["a"].versions().map(|version| version.number).collect::<Vec<_>>(),
            [1, 2]
        );
        assert!(!contents.contains_key("half"));
        assert!(!place.store().join("functions").exists(), "after {steps} steps");
        assert_eq!(std::fs::read_to_string(place.store().join("format")).unwrap(), FORMAT);
        assert_eq!(deploy(&repository, "a", "three").await.unwrap().number, 3);
        if done.is_ok() {
            return;
        }
    }
}

#[tokio::test]
async fn a_store_of_a_newer_format_is_refused_and_left_alone() {
    let place = Place::new();
    std::fs::create_dir_all(place.store()).unwrap();
    for found in ["sockhop-store 9\n", "something else"] {
        std::fs::write(place.store().join("format"), found).unwrap();
        for refused in [
            place.open().prepare().await.unwrap_err(),
            place.open().read_all(&Contents::new()).await.unwrap_err(),
        ] {
            let refused = refused.to_string();
            assert!(refused.contains(found.trim()) && refused.contains("newer"), "{refused}");
        }
        assert_eq!(std::fs::read_to_string(place.store().join("format")).unwrap(), found);
    }
}

/// A backend whose objects are no files, as a bucket's are not.
#[derive(Debug)]
struct Elsewhere(Directory);

impl Objects for Elsewhere {
    fn name(&self) -> String {
        self.0.name()
    }
    fn get<'a>(&'a self, key: &'a str, bytes_max: usize) -> Answer<'a, Option<Vec<u8>>> {
        self.0.get(key, bytes_max)
    }
    fn get_range<'a>(
        &'a self,
        key: &'a str,
        start: u64,
        bytes: usize,
    ) -> Answer<'a, Option<Vec<u8>>> {
        self.0.get_range(key, start, bytes)
    }
    fn put<'a>(&'a self, key: &'a str, contents: Vec<u8>) -> Answer<'a, ()> {
        self.0.put(key, contents)
    }
    fn download<'a>(&'a self, key: &'a str, to: &'a Path) -> Answer<'a, bool> {
        self.0.download(key, to)
    }
    fn upload<'a>(&'a self, key: &'a str, from: &'a Path) -> Answer<'a, ()> {
        self.0.upload(key, from)
    }
    fn list<'a>(&'a self, prefix: &'a str, after: &'a str) -> Answer<'a, Vec<Listed>> {
        self.0.list(prefix, after)
    }
    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        self.0.delete(key)
    }
}

#[tokio::test]
async fn an_artefact_from_elsewhere_is_copied_here_and_checked() {
    let place = Place::new();
    let repository = place.repository(Arc::new(Elsewhere(Directory::open(place.store()).unwrap())));
    let version = deploy(&repository, "a", "one").await.unwrap();
    let (artefacts, digest) = (repository.artefacts(), version.artefact.as_str());
    let copy = artefacts.local(digest).await.unwrap();
    assert!(copy.starts_with(place.folder.path().join("artefacts")));
    // A copy that is spoilt is fetched again; without the store it serves while it is whole.
    std::fs::write(&copy, "spoilt").unwrap();
    assert_eq!(std::fs::read(artefacts.local(digest).await.unwrap()).unwrap(), b"one");
    let stored = place.store().join(upload_key(digest, &version.version));
    std::fs::write(&stored, "spoilt").unwrap();
    assert!(artefacts.local(digest).await.is_ok());
    artefacts.keep_copies_only(|_| false);
    assert!(matches!(artefacts.local(digest).await, Err(StoreError::Damaged { .. })));
    std::fs::remove_file(stored).unwrap();
    assert!(matches!(artefacts.local(digest).await, Err(StoreError::Missing { .. })));
}

#[tokio::test]
async fn a_new_node_reads_the_summary_and_what_has_changed_since() {
    const FUNCTIONS: usize = 600;
    let (place, nothing) = (Place::new(), Contents::new());
    let version = deploy(&place.open(), "f-0", "one").await.unwrap();
    for number in 1..FUNCTIONS {
        let name = format!("f-{number}");
        let (version, alias) = (
            Manifest { name: name.clone(), ..version.as_ref().clone() },
            Alias::of(&name, ACTIVE, &version.version),
        );
        for (key, object) in [
            (key::<Manifest>(&name, &version.version), sealed(&version)),
            (key::<Alias>(&name, ACTIVE), sealed(&alias)),
        ] {
            let path = place.store().join(key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, object.unwrap()).unwrap();
        }
    }
    // What a new node reads, and how many objects it takes it.
    let read_anew = async |steps| {
        let objects = place.counting(steps);
        let contents =
            place.repository(Arc::clone(&objects) as _).read_all(&nothing).await.unwrap();
        (contents, objects.reads.load(SeqCst))
    };
    // One that may not write is as well off, and the next one as badly.
    let (contents, reads) = read_anew(0).await;
    assert_eq!(contents.len(), FUNCTIONS);
    assert!(reads > 2 * FUNCTIONS, "{reads}");
    assert!(read_anew(1).await.1 > 2 * FUNCTIONS);
    assert_eq!(read_anew(0).await, (contents.clone(), 2), "the format and the summary");
    // What has changed is read, what is gone is not there.
    let second = deploy(&place.open(), "f-7", "two").await.unwrap();
    remove(&place.open(), "f-8").await.unwrap();
    let (now, reads) = read_anew(0).await;
    assert_eq!((now.len(), reads), (FUNCTIONS - 1, 4), "an alias and a version more");
    assert_eq!(now["f-7"].active().unwrap().targets[0].version, second.version);
    // A damaged one is as none, and another one is written.
    std::fs::write(place.store().join(summary::SUMMARY), "nonsense").unwrap();
    assert_eq!(read_anew(1).await.0, now);
    assert_eq!(read_anew(0).await, (now, 2));
}
