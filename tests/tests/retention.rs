//! Nodes that share a store delete only those of its logs and old versions that no node keeps. They
//! go by the store's clock, not by the times that nodes have written.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use harness::disk::segments;
use harness::running::records;
use harness::s3::Server;
use harness::{Node, NodeBuilder, wait};
use tempfile::TempDir;

/// How often the nodes of these tests look for what to delete.
const INTERVAL: &str = "1s";
/// Three intervals, after which a node trusts the store's clock.
const LOOKS: Duration = Duration::from_secs(3);
/// How long a few looks may take on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(120);

/// Returns the path of a node's policy in the store whose files are in `objects`.
fn policy(objects: &Path, node: &Node) -> PathBuf {
    let id = fs::read_to_string(node.data().join("node-id")).unwrap();
    let mut policies =
        fs::read_dir(objects.join("retention")).unwrap().map(|entry| entry.unwrap().path());
    let of_node = |path: &PathBuf| path.to_string_lossy().ends_with(&id);
    policies.find(of_node).unwrap()
}

/// Waits until a node has looked several times, and would have deleted what it may.
fn until_looked(objects: &Path, node: &Node) {
    let path = policy(objects, node);
    let written = || path.metadata().and_then(|metadata| metadata.modified()).ok();
    let first = written().unwrap();
    wait::until("the node has looked", SOON, || {
        written().filter(|written| written.duration_since(first).is_ok_and(|time| time >= LOOKS))
    });
}

/// Returns the numbers of the versions that a node has.
fn versions(node: &Node) -> Vec<u64> {
    let printed = node.cli(&["versions", "it", "--json"]).expect_code(0).stdout;
    records(&printed).iter().map(|version| version["number"].as_u64().unwrap()).collect()
}

/// Returns a node with this many versions of a function, and with one segment in the store.
fn node_with_a_past(start: impl Fn() -> Node, versions: u64) -> Node {
    let node = start();
    for version in 1..=versions {
        node.deploy("inspect", "it", &["--env", &format!("VERSION={version}")]);
    }
    assert_eq!(node.get("/it/").status(), 200);
    // A node ships its log when it ends.
    node.stop();
    start()
}

fn the_strictest_of_two_nodes_deletes_nothing_that_the_other_keeps(
    with_store: impl Fn(NodeBuilder) -> NodeBuilder,
    objects: &Path,
) {
    let data = TempDir::new().unwrap();
    let start = || with_store(Node::build().data(&data.path().join("data"))).start();
    let generous = node_with_a_past(start, 3);
    let logs = objects.join("logs");
    let kept: BTreeSet<PathBuf> = segments(&logs).into_iter().collect();
    assert!(!kept.is_empty(), "nothing was shipped");
    let strict = [
        ("--logs-kept-for", "1ms"),
        ("--logs-kept-size", "1B"),
        ("--versions-kept", "1"),
        ("--versions-kept-for", "0s"),
        ("--retention-interval", INTERVAL),
    ];
    let strict = strict.iter().fold(Node::build(), |node, (name, value)| node.option(name, value));
    let strict = with_store(strict).start();
    let keeps_all = |what: &str, wanted: &[u64]| {
        until_looked(objects, &strict);
        let now: BTreeSet<PathBuf> = segments(&logs).into_iter().collect();
        assert!(now.is_superset(&kept), "{what}: of {kept:?} there is {now:?}");
        assert_eq!(versions(&strict), wanted, "{what}");
    };
    strict.deploy("inspect", "it", &["--env", "VERSION=4"]);
    keeps_all("both run", &[4, 3, 2, 1]);
    let of_generous = policy(objects, &generous);
    generous.stop();
    strict.deploy("inspect", "it", &["--env", "VERSION=5"]);
    keeps_all("the generous one is down", &[5, 4, 3, 2, 1]);
    // An operator has declared that the node will not come back.
    fs::remove_file(of_generous).unwrap();
    wait::until("the logs are deleted", SOON, || segments(&logs).is_empty().then_some(()));
    strict.deploy("inspect", "it", &["--env", "VERSION=6"]);
    // Rolls back to the fifth version.
    assert_eq!(versions(&strict), [6, 5]);
    strict.stop();
}

#[test]
fn the_strict_node_deletes_nothing_that_the_generous_one_keeps_in_a_folder() {
    let folder = TempDir::new().unwrap();
    let store = folder.path().join("store");
    let with_store = |node: NodeBuilder| node.option("--store", &store);
    the_strictest_of_two_nodes_deletes_nothing_that_the_other_keeps(with_store, &store);
}

#[test]
fn nor_in_a_bucket() {
    let server = Server::s3s_fs();
    let with_store = |node: NodeBuilder| node.bucket(&server, "shared", server.address());
    let objects = server.objects().join("shared");
    the_strictest_of_two_nodes_deletes_nothing_that_the_other_keeps(with_store, &objects);
}

#[test]
fn how_old_something_is_the_store_says_and_no_nodes_clock() {
    let folder = TempDir::new().unwrap();
    let store = folder.path().join("store");
    let options = [
        ("--logs-kept-for", "1h"),
        ("--versions-kept", "1"),
        ("--versions-kept-for", "1h"),
        ("--retention-interval", INTERVAL),
    ];
    let start = || {
        let node = Node::build().data(&folder.path().join("data")).option("--store", &store);
        options.iter().fold(node, |node, (name, value)| node.option(name, value)).start()
    };
    let node = node_with_a_past(start, 4);
    // A segment of a node whose clock is in 1970.
    let shipped = segments(&store.join("logs")).remove(0);
    let name = shipped.file_name().unwrap().to_str().unwrap();
    let wrong =
        store.join("logs/1970-01-01/00").join(format!("{:013}-{:013}-{}", 1, 2, &name[28..]));
    fs::create_dir_all(wrong.parent().unwrap()).unwrap();
    fs::copy(&shipped, &wrong).unwrap();
    until_looked(&store, &node);
    assert!(wrong.exists() && shipped.exists());
    // Two hours pass for one segment, and for one version.
    let version = fs::read_dir(store.join("versions/it"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .min()
        .unwrap();
    for old in [&shipped, &version] {
        File::open(old)
            .unwrap()
            .set_modified(SystemTime::now() - Duration::from_secs(7200))
            .unwrap();
    }
    wait::until("the old segment goes", SOON, || (!shipped.exists()).then_some(()));
    assert!(wrong.exists());
    node.deploy("inspect", "it", &["--env", "VERSION=5"]);
    assert_eq!(versions(&node), [5, 4, 3, 2]);
    node.stop();
}

#[test]
fn nothing_is_deleted_while_a_policy_cannot_be_read_which_is_told_once() {
    let folder = TempDir::new().unwrap();
    let store = folder.path().join("store");
    let start = || {
        let node = Node::build().data(&folder.path().join("data")).option("--store", &store);
        node.option("--logs-kept-for", "1ms").option("--retention-interval", "1day").start()
    };
    let node = node_with_a_past(start, 1);
    node.stop();
    let kept = segments(&store.join("logs"));
    let unreadable = store.join("retention/other-00000000-0000-7000-8000-000000000000");
    fs::write(&unreadable, "sockhop 1 sha256=").unwrap();
    let node = Node::build().data(&folder.path().join("data")).option("--store", &store);
    let node = node.option("--logs-kept-for", "1ms").option("--logs-kept-size", "0B");
    let node = node.option("--retention-interval", INTERVAL).start();
    until_looked(&store, &node);
    assert_eq!(segments(&store.join("logs")), kept);
    let mentions = node.stderr().matches("retention/other-").count();
    assert_eq!(mentions, 1, "{}", node.stderr());
    fs::remove_file(unreadable).unwrap();
    wait::until("the logs are deleted", SOON, || {
        segments(&store.join("logs")).is_empty().then_some(())
    });
    node.stop();
}
