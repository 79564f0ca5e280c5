//! What fails: challenges, the CA, the store, this node.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use store::error::StoreError;
use store::objects::{Answer, Listed};

use super::*;
use crate::place::{Place, ca_of};
use crate::record::Attempts;
use crate::shelf::Shelf;

/// Reads the record of [`NAME`].
async fn record(bed: &Bed, directory: &str) -> Attempts {
    let ca = ca_of(directory);
    let key = Place::Attempts { ca: &ca, name: NAME }.key();
    let (objects, keys) = (Arc::clone(&bed.objects), bed.key("one"));
    let shelf = Shelf { objects, keys, ca };
    shelf.record(&key).await.unwrap().unwrap_or_default()
}

#[tokio::test]
async fn a_challenge_that_fails_is_told_with_what_to_do_and_recorded_with_a_pause() {
    let bed = Bed::new().await;
    let pebble = bed.pebble(&bed.plan());
    let mut node = bed.node("one", &pebble.directory, HTTP);
    let told = node.error("does not lead to this node").await;
    assert!(
        told.contains("by http-01") && told.contains("port 80") && told.contains("404"),
        "{told}"
    );
    let written = record(&bed, &pebble.directory).await;
    assert!(written.failures >= 1 && written.challenge_failed, "{written:?}");
    assert!(written.not_before_ms > written.began_ms, "{written:?}");
    bed.behind.answers(Some(&node.acme));
    assert_eq!(node.certificate().await.names, [NAME]);
    node.until_status(|status| status.error.is_none()).await;
    assert_eq!(pebble.new_accounts(), 1);
}

#[tokio::test]
async fn after_one_challenge_has_failed_the_other_is_tried() {
    let bed = Bed::new().await;
    // Port 80 leads elsewhere.
    let pebble = bed.pebble(&Plan { http_port: pebble::free_port(), ..bed.plan() });
    let mut node = bed.node("one", &pebble.directory, BOTH);
    bed.behind.answers(Some(&node.acme));
    assert_eq!(node.certificate().await.names, [NAME]);
    assert_eq!(pebble.new_orders(), 2);
    until("the record", || node.acme.status()[0].error.is_none().then_some(())).await;
    let written = record(&bed, &pebble.directory).await;
    // The next renewal begins with what has worked.
    assert_eq!(written.next_challenge(BOTH), Some(crate::Challenge::TlsAlpn01));
}

#[tokio::test]
async fn a_ca_that_is_away_is_tried_again_and_the_name_does_not_pay_for_it() {
    let bed = Bed::new().await;
    let port = pebble::free_port();
    let directory = format!("https://localhost:{port}/dir");
    let mut node = bed.node("one", &directory, HTTP);
    bed.behind.answers(Some(&node.acme));
    let told = node.error("cannot be reached").await;
    assert!(told.contains(&directory), "{told}");
    // One attempt may go on just now, which counts until it is over.
    assert!(record(&bed, &directory).await.failures <= 1);
    let pebble = bed.pebble(&Plan { port, ..bed.plan() });
    assert_eq!(node.certificate().await.names, [NAME]);
    assert_eq!(pebble.new_orders(), 1);
}

#[tokio::test]
async fn a_ca_that_has_lost_its_accounts_gives_another_for_the_same_key() {
    let bed = Bed::new().await;
    let plan = Plan { validity_seconds: 30, port: pebble::free_port(), ..bed.plan() };
    let before = bed.pebble(&plan);
    let mut node = bed.node("one", &before.directory, HTTP);
    bed.behind.answers(Some(&node.acme));
    let first = node.certificate().await;
    // It keeps everything in its memory.
    drop(before);
    let pebble = bed.pebble(&plan);
    let other = |held: &Held| {
        held.certificates.iter().find(|other| other.validity != first.validity).cloned()
    };
    let second = node.until_held(other).await;
    assert!(second.validity.issued_ms < first.validity.ends_ms);
    assert_eq!((pebble.new_accounts(), bed.count("/accounts/").await), (2, 1));
}

#[tokio::test]
async fn a_node_that_dies_in_the_middle_goes_on_with_its_order_and_its_account() {
    let bed = Bed::new().await;
    let pebble = bed.pebble(&bed.plan());
    let gate = bed.behind.hold();
    let node = bed.node("one", &pebble.directory, HTTP);
    until("the CA's question", || (pebble.requests("POST /chalZ/") > 0).then_some(())).await;
    drop(node);
    assert_eq!(bed.count("acme/challenges/http/").await, 1);
    let mut node = bed.node("one", &pebble.directory, HTTP);
    bed.behind.answers(Some(&node.acme));
    // The CA asks thrice, each time again.
    gate.add_permits(100);
    assert_eq!(node.certificate().await.names, [NAME]);
    assert_eq!((pebble.new_orders(), pebble.new_accounts()), (1, 1));
}

#[tokio::test]
async fn with_another_key_of_secrets_the_account_is_unreadable_and_nothing_is_ordered() {
    let bed = Bed::new().await;
    let pebble = bed.pebble(&bed.plan());
    let mut node = bed.node("one", &pebble.directory, HTTP);
    bed.behind.answers(Some(&node.acme));
    node.certificate().await;
    until("the copy", || bed.folder.path().join("one/cache/certificates").exists().then_some(()))
        .await;
    drop(node);
    let other = bed.node("two", &pebble.directory, HTTP);
    let told = other.error("is encrypted with the key").await;
    assert!(told.contains("--secrets-key") && told.contains("account"), "{told}");
    assert!(other.held.borrow().certificates.is_empty());
    assert_eq!((pebble.new_orders(), pebble.new_accounts()), (1, 1));
}

#[tokio::test]
async fn while_the_store_is_away_a_node_starts_with_its_copy() {
    let bed = Bed::new().await;
    let pebble = bed.pebble(&bed.plan());
    let mut node = bed.node("one", &pebble.directory, HTTP);
    bed.behind.answers(Some(&node.acme));
    let certificate = node.certificate().await;
    until("the copy", || bed.folder.path().join("one/cache/certificates").exists().then_some(()))
        .await;
    drop(node);
    std::fs::remove_dir_all(bed.folder.path().join("store")).unwrap();
    std::fs::write(bed.folder.path().join("store"), "no folder").unwrap();
    let node = bed.node("one", &pebble.directory, HTTP);
    // At once: before the store is asked.
    assert_eq!(*node.held.borrow().certificates, [certificate]);
    node.error("the store cannot read").await;
}

/// A store whose disk is full, as long as it is said to be.
#[derive(Debug)]
struct Full {
    objects: Arc<dyn Objects>,
    is_full: AtomicBool,
}

impl Objects for Full {
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
        if self.is_full.load(SeqCst) {
            let full =
                StoreError::io("write", Path::new(key))(std::io::ErrorKind::StorageFull.into());
            return Box::pin(async { Err(full) });
        }
        self.objects.put(key, contents)
    }

    fn download<'a>(&'a self, key: &'a str, to: &'a Path) -> Answer<'a, bool> {
        self.objects.download(key, to)
    }

    fn upload<'a>(&'a self, key: &'a str, from: &'a Path) -> Answer<'a, ()> {
        self.objects.upload(key, from)
    }

    fn list<'a>(&'a self, prefix: &'a str, after: &'a str) -> Answer<'a, Vec<Listed>> {
        self.objects.list(prefix, after)
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        self.objects.delete(key)
    }

    fn local_path(&self, key: &str) -> Option<PathBuf> {
        self.objects.local_path(key)
    }
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_asked_of_the_ca_until_there_is_room() {
    let bed = Bed::new().await;
    let pebble = bed.pebble(&bed.plan());
    let full = Arc::new(Full { objects: Arc::clone(&bed.objects), is_full: AtomicBool::new(true) });
    let objects: Arc<dyn Objects> = full.clone();
    let settings = bed.settings("one", &pebble.directory, HTTP);
    let mut node = Node::start(settings, &objects, bed.key("one"));
    bed.behind.answers(Some(&node.acme));
    let told = node.error("free some space").await;
    assert!(told.contains("cannot write"), "{told}");
    assert_eq!((pebble.new_orders(), pebble.new_accounts()), (0, 0));
    full.is_full.store(false, SeqCst);
    assert_eq!(node.certificate().await.names, [NAME]);
    assert_eq!(pebble.new_orders(), 1);
    node.until_status(|status| status.error.is_none()).await;
}

#[tokio::test]
async fn without_a_listener_for_either_challenge_nothing_is_ordered_and_that_is_told() {
    let bed = Bed::new().await;
    let pebble = bed.pebble(&bed.plan());
    let none = Possible { http01: false, tls_alpn01: false, preferred: None };
    let node = bed.node("one", &pebble.directory, none);
    let told = node.error("no listener").await;
    assert!(told.contains("--listen"), "{told}");
    assert_eq!((pebble.new_orders(), bed.keys().await.len()), (0, 0));
}
