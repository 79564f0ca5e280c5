//! A node starts, prints its addresses, serves what was deployed, and serves it again after a
//! restart.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use harness::{Connection, Node, disk, process};
use tempfile::TempDir;

#[test]
fn one_ready_line_one_deploy_and_hello() {
    let node = Node::start();
    node.deploy("hello", "hello", &[]);
    node.get("/hello/").expect_hello();
    node.get("/hello").expect_hello();
    node.get("/hello/any/path?and=query").expect_hello();
    // stop() checks that stdout had the ready line and nothing else.
    node.stop();
}

#[test]
fn every_listener_is_named_and_serves() {
    let node = Node::build().listeners(2).start();
    node.deploy("hello", "hello", &[]);
    for address in node.addresses() {
        Connection::open(*address).get("/hello/").expect_hello();
    }
    let named: Vec<String> = node.addresses().iter().map(|a| format!("http://{a}")).collect();
    assert_eq!(node.status().node.listeners, named);
    node.stop();
}

#[test]
fn every_reply_has_an_id_of_its_own() {
    let node = Node::with(&["hello"]);
    let mut connection = node.connect();
    let ids = [
        connection.get("/hello/").head.invocation_id().to_owned(),
        connection.get("/hello/").head.invocation_id().to_owned(),
        node.get("/hello/").head.invocation_id().to_owned(),
        node.get("/nobody/").head.invocation_id().to_owned(),
    ];
    for (i, id) in ids.iter().enumerate() {
        assert!(!ids[..i].contains(id), "{id} twice in {ids:?}");
    }
    // Version 7 begins with the time in milliseconds, so later ids of one worker are not smaller.
    assert!(ids[0][..13] <= ids[1][..13], "{ids:?}");
    drop(connection);
    node.stop();
}

/// mimalloc asks for huge pages, and the kernel fills them again after their free parts were given
/// back: an engine with 6 MB in use had 40 MB of them at its start, and more each day.
#[test]
fn an_engine_takes_no_huge_pages_and_its_workers_may() {
    let node = Node::with(&["hello"]);
    node.get("/hello/").expect_hello();
    assert!(!process::may_have_huge_pages(node.pid()));
    // The allocator has used its first memory before the program begins.
    let huge = process::huge_pages(node.pid());
    assert!(huge <= 4 << 20, "{huge} bytes");
    for worker in node.status().workers {
        assert!(process::may_have_huge_pages(worker.pid));
    }
    node.stop();
}

#[test]
fn the_control_socket_is_for_its_owner_only() {
    let node = Node::start();
    let socket = node.data().join("control.sock");
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{}", socket.display());
    node.stop();
}

#[test]
fn a_restart_needs_no_deploy_and_no_compilation() {
    let data = TempDir::new().unwrap();
    let node = deployed_at(data.path());
    assert_eq!(node.status().node.compilations, 1);
    let list = node.list();
    node.stop();

    let node = Node::build().data(data.path()).start();
    node.get("/hello/").expect_hello();
    node.get("/alone/").expect_hello();
    assert_eq!(node.list(), list);
    assert_eq!(node.status().node.compilations, 0);
    node.stop();
}

#[test]
fn a_spoilt_compiled_module_is_made_anew() {
    restart_with_spoilt_cache(|path| path.extension().is_some_and(|e| e == "cwasm"));
}

/// Compiling one module does not write the files of others again.
#[test]
fn a_compilation_writes_its_own_module_and_nothing_else() {
    let node = Node::with(&["hello"]);
    let files = || -> Vec<(PathBuf, SystemTime)> {
        let entries = fs::read_dir(cache(node.data())).unwrap().map(|entry| entry.unwrap());
        let found = entries.map(|entry| (entry.path(), entry.metadata().unwrap()));
        // What the node knows of the store is written when it is, beside the compiled modules.
        let others = ["known", "secrets"];
        let is_other = |path: &Path| others.iter().any(|name| path.ends_with(name));
        let found = found.filter(|(path, metadata)| metadata.is_file() && !is_other(path));
        let mut files: Vec<_> =
            found.map(|(path, metadata)| (path, metadata.modified().unwrap())).collect();
        files.sort();
        files
    };
    let before = files();
    node.deploy("inspect", "inspect", &[]);
    let after = files();
    assert_eq!(after.len(), before.len() + 1, "{after:?}");
    assert!(before.iter().all(|file| after.contains(file)), "{before:?} {after:?}");
    node.stop();
}

#[test]
fn a_lost_cache_is_made_anew() {
    let data = TempDir::new().unwrap();
    deployed_at(data.path()).stop();
    fs::remove_dir_all(cache(data.path())).unwrap();
    serves_after_one_compilation(data.path());
}

/// Starts a node with one component under two names, which is compiled once.
fn deployed_at(data: &Path) -> Node {
    let node = Node::build().data(data).start();
    node.deploy("hello", "hello", &[]);
    node.deploy("hello", "alone", &["--isolation", "process"]);
    node.get("/hello/").expect_hello();
    node.get("/alone/").expect_hello();
    node
}

/// Restarts a node whose chosen cache files are truncated, filled with noise, or empty, as after a
/// crash or on a bad disk.
fn restart_with_spoilt_cache(chosen: impl Fn(&Path) -> bool) {
    let data = TempDir::new().unwrap();
    deployed_at(data.path()).stop();
    let spoils: [fn(Vec<u8>) -> Vec<u8>; 4] = [
        |content| content[..content.len() / 2].to_vec(),
        |content| vec![0xa5; content.len()],
        |_| Vec::new(),
        |mut content| {
            let middle = content.len() / 2;
            content[middle] ^= 0x10;
            content
        },
    ];
    for spoil in spoils {
        let files: Vec<_> = disk::picture(&cache(data.path()))
            .into_iter()
            .filter(|(path, _)| chosen(path))
            .collect();
        assert!(
            !files.is_empty(),
            "no such file in the cache: {:?}",
            disk::picture(data.path()).keys()
        );
        for (path, content) in files {
            fs::write(path, spoil(content)).unwrap();
        }
        serves_after_one_compilation(data.path());
    }
}

fn serves_after_one_compilation(data: &Path) {
    let node = Node::build().data(data).start();
    node.get("/hello/").expect_hello();
    node.get("/alone/").expect_hello();
    assert_eq!(node.status().node.compilations, 1);
    node.stop();
    // The files that it has written are good for the next start.
    let node = Node::build().data(data).start();
    node.get("/hello/").expect_hello();
    assert_eq!(node.status().node.compilations, 0);
    node.stop();
}

fn cache(data: &Path) -> PathBuf {
    data.join("cache")
}
