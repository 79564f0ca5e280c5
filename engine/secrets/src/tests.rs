//! Secrets in a folder: set, listed, opened, seen by another node, and what is said of those that
//! do not open. Owns no fds.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::*;
use abi::limits::{SECRET_BYTES_MAX, SECRETS_MAX};
use store::objects::directory::Directory;
use store::objects::{Answer, Listed as StoredObject};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn objects(&self) -> Arc<dyn Objects> {
        let objects = Directory::new(self.0.path().join("store"));
        objects.make().unwrap();
        Arc::new(objects)
    }

    /// The secrets as a node with this data folder has them.
    fn node(&self, data: &str) -> Secrets {
        let data = self.0.path().join(data);
        std::fs::create_dir_all(&data).unwrap();
        Secrets::new(self.objects(), Arc::new(KeyFile::open(None, &data).unwrap()), &data)
    }
}

fn opened(secrets: &Secrets, function: &str) -> Vec<(String, String)> {
    abi::secrets::Secrets::read(secrets.for_worker(function).unwrap()).unwrap().values.clone()
}

fn revision_of(secrets: &Secrets, function: &str) -> u64 {
    secrets.revisions().get(function).copied().unwrap_or(0)
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn what_is_set_is_opened_until_it_is_removed() {
    let folder = Folder::new();
    let secrets = folder.node("a");
    assert_eq!((revision_of(&secrets, "shop"), secrets.list("shop")), (0, vec![]));
    secrets.set("shop", false, "B", b"two").await.unwrap();
    let first = revision_of(&secrets, "shop");
    secrets.set("shop", false, "A", b"one").await.unwrap();
    secrets.set("other", false, "A", b"else").await.unwrap();
    assert_eq!(opened(&secrets, "shop"), pairs(&[("A", "one"), ("B", "two")]));
    let second = revision_of(&secrets, "shop");
    assert!(first != 0 && second != first);
    // The same value again is another object, and so another revision.
    secrets.set("shop", false, "A", b"one").await.unwrap();
    assert_ne!(revision_of(&secrets, "shop"), second);
    secrets.remove("shop", "A").await.unwrap();
    assert_eq!(
        (opened(&secrets, "shop"), revision_of(&secrets, "shop")),
        (pairs(&[("B", "two")]), first)
    );
    assert!(matches!(secrets.remove("shop", "A").await, Err(SecretError::Unknown { .. })));
    secrets.release("shop").await.unwrap();
    assert_eq!(
        (revision_of(&secrets, "shop"), secrets.list("shop").len(), secrets.list("other").len()),
        (0, 0, 1)
    );
    assert_eq!(folder.objects().list("secrets/", "").await.unwrap().len(), 1);
}

#[tokio::test]
async fn another_node_with_the_key_sees_what_has_changed_and_one_without_says_so() {
    let folder = Folder::new();
    let first = folder.node("a");
    first.set("shop", false, "A", b"one").await.unwrap();
    first.set("shop", false, "B", b"two").await.unwrap();
    let (second, third) = (folder.node("a"), folder.node("c"));
    for node in [&second, &third] {
        node.refresh().await.unwrap();
        assert_eq!(revision_of(node, "shop"), revision_of(&first, "shop"));
    }
    assert_eq!(opened(&second, "shop"), pairs(&[("A", "one"), ("B", "two")]));
    first.set("shop", false, "A", b"three").await.unwrap();
    first.remove("shop", "B").await.unwrap();
    for node in [&first, &second] {
        node.refresh().await.unwrap();
        assert_eq!(opened(node, "shop"), pairs(&[("A", "three")]));
    }
    assert_eq!(revision_of(&second, "shop"), revision_of(&first, "shop"));

    let error = third.for_worker("shop").unwrap_err().to_string();
    assert!(error.contains("--secrets-key") && error.contains("has none"), "{error}");
    assert!(
        third.list("shop")[0].error.as_ref().is_some_and(|error| error.contains("--secrets-key"))
    );
    third.set("other", false, "X", b"x").await.unwrap();
    let error = third.for_worker("shop").unwrap_err();
    assert!(
        matches!(&error, SecretError::OtherKey { theirs, ours, .. } if theirs != ours),
        "{error}"
    );
    assert!(first.list("shop")[0].error.is_none());
}

#[tokio::test]
async fn objects_that_were_changed_or_moved_do_not_open_and_can_be_replaced() {
    let folder = Folder::new();
    let (secrets, objects) = (folder.node("a"), folder.objects());
    // By name, as earlier builds had them.
    for name in ["shop", "cafe"] {
        secrets.identify(name, true).await.unwrap();
    }
    secrets.set("shop", false, "A", b"one").await.unwrap();
    let object = objects.get("secrets/shop/A", OBJECT_BYTES_MAX).await.unwrap().unwrap();
    objects.put("secrets/shop/B", object.clone()).await.unwrap();
    objects.put("secrets/cafe/A", object[..object.len() - 1].to_vec()).await.unwrap();
    objects.put("secrets/huge/A", vec![b'x'; OBJECT_BYTES_MAX + 1]).await.unwrap();
    // What is none is passed over.
    for key in ["secrets/shop/no-key", "secrets/Shop/A", "secrets/shop", "secrets/a/b/c"] {
        let _ = objects.put(key, object.clone()).await;
    }
    secrets.refresh().await.unwrap();
    for (function, error) in
        [("shop", "does not open"), ("cafe", "does not open"), ("huge", "does not open")]
    {
        let said = secrets.for_worker(function).unwrap_err().to_string();
        assert!(said.contains(error), "{function}: {said}");
    }
    let said = secrets.list("cafe");
    assert!(
        said[0].set_ms.is_none()
            && said[0].error.as_ref().is_some_and(|error| error.contains("SHA-256"))
    );
    let errors: Vec<bool> =
        secrets.list("shop").iter().map(|listed| listed.error.is_some()).collect();
    assert_eq!(errors, [false, true]);
    assert_eq!(secrets.list("a").len() + secrets.list("Shop").len(), 0);
    secrets.set("cafe", false, "A", b"new").await.unwrap();
    assert_eq!(opened(&secrets, "cafe"), pairs(&[("A", "new")]));
    secrets.remove("shop", "B").await.unwrap();
    assert_eq!(opened(&secrets, "shop"), pairs(&[("A", "one")]));
}

#[tokio::test]
async fn limits_hold_for_one_and_for_all_of_a_function() {
    let folder = Folder::new();
    let secrets = folder.node("a");
    let large = vec![b'x'; SECRET_BYTES_MAX];
    for key in ["A", "B"] {
        secrets.set("shop", false, key, &large).await.unwrap();
    }
    assert!(matches!(
        secrets.set("shop", false, "C", b"x").await,
        Err(SecretError::Rule(RuleError::TooMuch { .. }))
    ));
    // Over itself it counts once.
    secrets.set("shop", false, "B", &large).await.unwrap();
    for number in 0..SECRETS_MAX {
        secrets.set("many", false, &format!("K{number}"), b"x").await.unwrap();
    }
    assert!(matches!(
        secrets.set("many", false, "K", b"x").await,
        Err(SecretError::Rule(RuleError::TooMany))
    ));
    secrets.set("many", false, "K0", b"y").await.unwrap();
    assert!(matches!(
        secrets.set("shop", false, "A-B", b"x").await,
        Err(SecretError::Rule(RuleError::Key { .. }))
    ));
    assert!(!format!("{secrets:?}").contains("xxxx"));
}

#[tokio::test]
async fn the_next_function_of_a_name_does_not_come_by_the_secrets_of_the_one_before() {
    let folder = Folder::new();
    let (one, other) = (folder.node("a"), folder.node("a"));
    one.set("shop", false, "A", b"one").await.unwrap();
    other.refresh().await.unwrap();
    // The one that removes it has not seen these yet.
    other.set("shop", true, "B", b"two").await.unwrap();
    let owners = one.release("shop").await.unwrap();
    assert_eq!(folder.objects().list("secrets/", "").await.unwrap(), []);
    // Those that another node set meanwhile are nobody's, and go when they are looked for again.
    let identity = owners.iter().find(|owner| *owner != "shop").unwrap();
    let late = Place { owner: identity, key: "C" }.object_key();
    folder.objects().put(&late, b"of the other node".to_vec()).await.unwrap();
    for node in [&one, &other, &folder.node("a")] {
        node.refresh().await.unwrap();
        node.identify("shop", false).await.unwrap();
        assert_eq!((opened(node, "shop"), revision_of(node, "shop")), (vec![], 0));
    }
    for owner in &owners {
        one.remove_all(owner).await.unwrap();
    }
    assert_eq!(folder.objects().list("secrets/", "").await.unwrap(), []);
}

#[tokio::test]
async fn secrets_of_an_earlier_build_stay_with_their_function_alone() {
    let folder = Folder::new();
    let (node, objects) = (folder.node("a"), folder.objects());
    node.identify("shop", true).await.unwrap();
    node.set("shop", true, "A", b"one").await.unwrap();
    assert!(objects.get("secrets/shop/A", OBJECT_BYTES_MAX).await.unwrap().is_some());
    // As that build had it: without an identity.
    objects.delete("identities/shop/shop").await.unwrap();
    let node = folder.node("a");
    node.refresh().await.unwrap();
    assert_eq!(opened(&node, "shop"), pairs(&[("A", "one")]));
    // Its next deploy, or its next secret, gives it one that has what it had.
    node.set("shop", false, "B", b"two").await.unwrap();
    assert_eq!(opened(&node, "shop"), pairs(&[("A", "one"), ("B", "two")]));
    let other = folder.node("a");
    other.refresh().await.unwrap();
    node.release("shop").await.unwrap();
    // It has not seen that, and makes the next function of that name.
    other.identify("shop", false).await.unwrap();
    assert_eq!((opened(&other, "shop"), revision_of(&other, "shop")), (vec![], 0));
    node.set("shop", false, "C", b"three").await.unwrap();
    node.refresh().await.unwrap();
    assert_eq!(opened(&node, "shop"), pairs(&[("C", "three")]));
    assert_eq!(objects.list("secrets/shop/", "").await.unwrap(), []);
}

/// A store in which something happens at the wrong moment.
#[derive(Debug)]
struct Disturbed {
    objects: Arc<dyn Objects>,
    /// Somebody removes the function `shop` right behind a secret of it is put.
    removed: bool,
    /// After so many deletions the node dies.
    deletions_left: AtomicUsize,
}

impl Disturbed {
    fn node(folder: &Folder, removed: bool, deletions: usize) -> Secrets {
        let key = Arc::new(KeyFile::open(None, folder.0.path()).unwrap());
        let objects = Self {
            objects: folder.objects(),
            removed,
            deletions_left: AtomicUsize::new(deletions),
        };
        Secrets::new(Arc::new(objects), key, folder.0.path())
    }
}

impl Objects for Disturbed {
    fn name(&self) -> String {
        self.objects.name()
    }
    fn get<'a>(&'a self, key: &'a str, bytes_max: usize) -> Answer<'a, Option<Vec<u8>>> {
        self.objects.get(key, bytes_max)
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
            self.objects.put(key, contents).await?;
            if self.removed && key.starts_with("secrets/") {
                identity::delete_all(&*self.objects, "shop").await?;
            }
            Ok(())
        })
    }
    fn download<'a>(&'a self, key: &'a str, to: &'a Path) -> Answer<'a, bool> {
        self.objects.download(key, to)
    }
    fn upload<'a>(&'a self, key: &'a str, from: &'a Path) -> Answer<'a, ()> {
        self.objects.upload(key, from)
    }
    fn list<'a>(&'a self, prefix: &'a str, after: &'a str) -> Answer<'a, Vec<StoredObject>> {
        self.objects.list(prefix, after)
    }
    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        let alive =
            self.deletions_left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        let reason = key.to_owned();
        if alive {
            self.objects.delete(key)
        } else {
            Box::pin(async { Err(StoreError::Ended { reason }) })
        }
    }
}

#[tokio::test]
async fn a_secret_that_is_set_while_its_function_is_removed_is_refused_and_not_left() {
    let folder = Folder::new();
    let racing = Disturbed::node(&folder, true, usize::MAX);
    let refused = racing.set("shop", true, "A", b"one").await.unwrap_err();
    assert!(matches!(refused, SecretError::Removed { .. }), "{refused}");
    assert_eq!(folder.objects().list("secrets/", "").await.unwrap(), []);
    assert!(racing.list("shop").is_empty());
}

#[tokio::test]
async fn a_removal_that_dies_anywhere_can_be_called_again_and_leaves_nothing() {
    for deletions in 0.. {
        let folder = Folder::new();
        for key in ["A", "B"] {
            folder.node("a").set("shop", false, key, b"one").await.unwrap();
        }
        let done = Disturbed::node(&folder, false, deletions).release("shop").await;
        let next = folder.node("a");
        next.refresh().await.unwrap();
        next.release("shop").await.unwrap();
        for prefix in ["secrets/", "identities/"] {
            assert_eq!(
                folder.objects().list(prefix, "").await.unwrap(),
                [],
                "after {deletions} deletions"
            );
        }
        if done.is_ok() {
            assert_eq!(deletions, 3, "two secrets and an identity");
            return;
        }
    }
}

#[tokio::test]
async fn what_was_kept_of_a_function_is_restored_and_the_next_one_has_nothing_of_it() {
    let folder = Folder::new();
    // As it is today, and as an earlier build had it: by name.
    for (name, is_there) in [("shop", false), ("cafe", true)] {
        let (secrets, other) = (folder.node("a"), folder.node("without-key"));
        secrets.identify(name, is_there).await.unwrap();
        secrets.set(name, is_there, "A", b"one").await.unwrap();
        other.refresh().await.unwrap();
        secrets.set(name, is_there, "B", b"two").await.unwrap();
        let before = revision_of(&secrets, name);
        // A node needs no key for this, nor to have seen them.
        let kept = other.kept(name).await.unwrap();
        assert!(!serde_json::to_string(&kept).unwrap().contains("one"));
        other.release(name).await.unwrap();
        let prefix = format!("{PREFIX}{}/", kept.owner.as_ref().unwrap());
        assert!(folder.objects().list(&prefix, "").await.unwrap().is_empty());
        secrets.refresh().await.unwrap();
        assert_eq!(secrets.list(name), vec![]);
        secrets.set(name, false, "NEXT", b"else").await.unwrap();
        assert_eq!(opened(&secrets, name), pairs(&[("NEXT", "else")]));
        let why = other.restore(name, &kept).await.unwrap_err().to_string();
        assert!(why.contains("NEXT") && why.contains("sockhop secret remove"), "{why}");
        secrets.remove(name, "NEXT").await.unwrap();
        // Ended anywhere, it is done again.
        for _ in 0..2 {
            other.restore(name, &kept).await.unwrap();
        }
        secrets.refresh().await.unwrap();
        assert_eq!(opened(&secrets, name), pairs(&[("A", "one"), ("B", "two")]));
        assert_eq!(revision_of(&secrets, name), before);
        assert_eq!(secrets.kept(name).await.unwrap(), kept);
    }
}
