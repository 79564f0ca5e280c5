//! Secrets in a folder: set, listed, opened, seen by another node, and what is said of those that do not open. Owns no fds.

use super::*;
use crate::store::objects::directory::Directory;
use abi::limits::{SECRET_BYTES_MAX, SECRETS_MAX};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn objects(&self) -> Arc<dyn Objects> {
        Arc::new(Directory::open(self.0.path().join("store")).unwrap())
    }

    /// The secrets as a node with this data folder has them.
    fn node(&self, data: &str) -> Secrets {
        let data = self.0.path().join(data);
        std::fs::create_dir_all(&data).unwrap();
        Secrets::new(self.objects(), KeyFile::open(None, &data).unwrap(), &data)
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
    secrets.set("shop", "B", b"two").await.unwrap();
    let first = revision_of(&secrets, "shop");
    secrets.set("shop", "A", b"one").await.unwrap();
    secrets.set("other", "A", b"else").await.unwrap();
    assert_eq!(opened(&secrets, "shop"), pairs(&[("A", "one"), ("B", "two")]));
    let second = revision_of(&secrets, "shop");
    assert!(first != 0 && second != first);
    // The same value again is another object, and so another revision.
    secrets.set("shop", "A", b"one").await.unwrap();
    assert_ne!(revision_of(&secrets, "shop"), second);
    secrets.remove("shop", "A").await.unwrap();
    assert_eq!((opened(&secrets, "shop"), revision_of(&secrets, "shop")), (pairs(&[("B", "two")]), first));
    assert!(matches!(secrets.remove("shop", "A").await, Err(SecretError::Unknown { .. })));
    secrets.remove_all("shop").await.unwrap();
    assert_eq!((revision_of(&secrets, "shop"), secrets.list("shop").len(), secrets.list("other").len()), (0, 0, 1));
    assert_eq!(folder.objects().list("secrets/", "").await.unwrap().len(), 1);
}

#[tokio::test]
async fn another_node_with_the_key_sees_what_has_changed_and_one_without_says_so() {
    let folder = Folder::new();
    let first = folder.node("a");
    first.set("shop", "A", b"one").await.unwrap();
    first.set("shop", "B", b"two").await.unwrap();
    let (second, third) = (folder.node("a"), folder.node("c"));
    for node in [&second, &third] {
        node.refresh().await.unwrap();
        assert_eq!(revision_of(node, "shop"), revision_of(&first, "shop"));
    }
    assert_eq!(opened(&second, "shop"), pairs(&[("A", "one"), ("B", "two")]));
    first.set("shop", "A", b"three").await.unwrap();
    first.remove("shop", "B").await.unwrap();
    for node in [&first, &second] {
        node.refresh().await.unwrap();
        assert_eq!(opened(node, "shop"), pairs(&[("A", "three")]));
    }
    assert_eq!(revision_of(&second, "shop"), revision_of(&first, "shop"));

    let error = third.for_worker("shop").unwrap_err().to_string();
    assert!(error.contains("--secrets-key") && error.contains("has none"), "{error}");
    assert!(third.list("shop")[0].error.as_ref().is_some_and(|error| error.contains("--secrets-key")));
    third.set("other", "X", b"x").await.unwrap();
    let error = third.for_worker("shop").unwrap_err();
    assert!(matches!(&error, SecretError::OtherKey { theirs, ours, .. } if theirs != ours), "{error}");
    assert!(first.list("shop")[0].error.is_none());
}

#[tokio::test]
async fn objects_that_were_changed_or_moved_do_not_open_and_can_be_replaced() {
    let folder = Folder::new();
    let secrets = folder.node("a");
    secrets.set("shop", "A", b"one").await.unwrap();
    let objects = folder.objects();
    let object = objects.get("secrets/shop/A", OBJECT_BYTES_MAX).await.unwrap().unwrap();
    objects.put("secrets/shop/B", object.clone()).await.unwrap();
    objects.put("secrets/cafe/A", object[..object.len() - 1].to_vec()).await.unwrap();
    objects.put("secrets/huge/A", vec![b'x'; OBJECT_BYTES_MAX + 1]).await.unwrap();
    // What is none is passed over.
    for key in ["secrets/shop/no-key", "secrets/Shop/A", "secrets/shop", "secrets/a/b/c"] {
        let _ = objects.put(key, object.clone()).await;
    }
    secrets.refresh().await.unwrap();
    for (function, error) in [("shop", "does not open"), ("cafe", "does not open"), ("huge", "does not open")] {
        let told = secrets.for_worker(function).unwrap_err().to_string();
        assert!(told.contains(error), "{function}: {told}");
    }
    let told = secrets.list("cafe");
    assert!(told[0].set_ms.is_none() && told[0].error.as_ref().is_some_and(|error| error.contains("SHA-256")));
    let errors: Vec<bool> = secrets.list("shop").iter().map(|listed| listed.error.is_some()).collect();
    assert_eq!(errors, [false, true]);
    assert_eq!(secrets.list("a").len() + secrets.list("Shop").len(), 0);
    secrets.set("cafe", "A", b"new").await.unwrap();
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
        secrets.set("shop", key, &large).await.unwrap();
    }
    assert!(matches!(secrets.set("shop", "C", b"x").await, Err(SecretError::Rule(RuleError::TooMuch { .. }))));
    // Over itself it counts once.
    secrets.set("shop", "B", &large).await.unwrap();
    for number in 0..SECRETS_MAX {
        secrets.set("many", &format!("K{number}"), b"x").await.unwrap();
    }
    assert!(matches!(secrets.set("many", "K", b"x").await, Err(SecretError::Rule(RuleError::TooMany))));
    secrets.set("many", "K0", b"y").await.unwrap();
    assert!(matches!(secrets.set("shop", "A-B", b"x").await, Err(SecretError::Rule(RuleError::Key { .. }))));
    assert!(!format!("{secrets:?}").contains("xxxx"));
}
