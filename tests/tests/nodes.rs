//! Several nodes on one store: what is deployed on one is served by all, and no node needs the
//! store or another node to serve what it has.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use harness::answer::Answer;
use harness::client::request;
use harness::disk::picture;
use harness::faults::{Fault, Proxy};
use harness::running::records;
use harness::s3::Server;
use harness::{Connection, Node, NodeBuilder, wait};
use serde_json::Value;
use tempfile::TempDir;

/// How often the nodes of these tests look for what others have changed.
const INTERVAL: &str = "100ms";
/// How long a change may take until another node serves it, on a machine that is busy with other
/// tests.
const SOON: Duration = Duration::from_secs(20);
/// How long an operation may take on a store that does not answer.
const PATIENTLY: Duration = Duration::from_secs(60);

fn node() -> NodeBuilder {
    Node::build().option("--sync-interval", INTERVAL)
}

/// Deploys the guest `inspect` with `VERSION` in its environment.
fn deploy(node: &Node, name: &str, version: u64) {
    node.deploy("inspect", name, &["--env", &format!("VERSION={version}")]);
}

/// Returns the version that a node serves. Returns `None` if it has no such function.
fn served(node: &Node, name: &str) -> Option<u64> {
    let reply = node.get(&format!("/{name}/"));
    if reply.status() == 404 {
        return None;
    }
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let seen: Value = serde_json::from_slice(&reply.body).unwrap();
    Some(seen.pointer("/environment/VERSION").and_then(Value::as_str).unwrap().parse().unwrap())
}

fn until_served(node: &Node, name: &str, version: Option<u64>) {
    wait::for_value(
        &format!("{name} {version:?} is served"),
        SOON,
        || served(node, name),
        |now| *now == version,
    );
}

/// Returns the status and the text that a probe gets.
fn readyz(admin: SocketAddr) -> (u16, String) {
    let mut connection = Connection::open(admin);
    connection.send(request("GET", "/readyz", &[("connection", "close")], b""));
    let answer = Answer::read("GET", &connection.rest());
    (answer.status.unwrap(), answer.text())
}

fn admin(node: &Node) -> SocketAddr {
    node.status().node.admin.unwrap().strip_prefix("http://").unwrap().parse().unwrap()
}

/// Checks what two nodes do with one store of any kind.
fn two_nodes_agree(with_store: impl Fn(NodeBuilder) -> NodeBuilder) {
    let (one, other) = (with_store(node()).start(), with_store(node()).start());
    deploy(&one, "it", 1);
    until_served(&other, "it", Some(1));
    deploy(&other, "it", 2);
    until_served(&one, "it", Some(2));
    // Both deploy at once, several times. In the end both serve the same version.
    for round in 1..=3 {
        thread::scope(|scope| {
            scope.spawn(|| deploy(&one, "it", 10 * round + 1));
            scope.spawn(|| deploy(&other, "it", 10 * round + 2));
        });
        let look = || [served(&one, "it"), served(&other, "it")];
        let wanted = |[one, other]: &[Option<u64>; 2]| {
            one == other && one.is_some_and(|version| version / 10 == round)
        };
        wait::for_value("both serve the same of two versions", SOON, look, wanted);
        let look = || {
            [&one, &other].map(|node| node.cli(&["versions", "it", "--json"]).expect_code(0).stdout)
        };
        let both =
            wait::for_value("both know the same versions", SOON, look, |[one, other]| one == other);
        let versions = records(&both[0]);
        assert_eq!(versions.len() as u64, 2 + 2 * round, "{versions:#?}");
    }
    let before = served(&one, "it");
    one.cli(&["rollback", "it"]).expect_code(0);
    let back = served(&one, "it");
    assert_ne!(back, before);
    until_served(&other, "it", back);
    other.cli(&["remove", "it"]).expect_code(0);
    until_served(&one, "it", None);
    one.stop();
    other.stop();
}

#[test]
fn a_version_starts_from_the_options_that_another_node_has_just_deployed() {
    let store = TempDir::new().unwrap();
    // Neither node looks for changes of the other while this runs.
    let node = || {
        Node::build()
            .option("--store", store.path().join("store"))
            .option("--sync-interval", "1day")
            .start()
    };
    let (one, other) = (node(), node());
    one.deploy("inspect", "it", &["--env", "VERSION=1", "--env", "KEPT=yes"]);
    other.deploy("inspect", "it", &["--env", "VERSION=2"]);
    let seen = other.get("/it/").json();
    assert_eq!(seen["environment"], serde_json::json!({"VERSION": "2", "KEPT": "yes"}));
    one.stop();
    other.stop();
}

#[test]
fn two_nodes_on_one_bucket_serve_the_same() {
    let server = Server::garage();
    two_nodes_agree(|node| node.bucket(&server, "shared", server.address()));
}

#[test]
fn so_they_do_on_another_server() {
    let server = Server::s3s_fs();
    two_nodes_agree(|node| node.bucket(&server, "shared", server.address()));
}

#[test]
fn two_nodes_on_one_folder_serve_the_same() {
    let folder = TempDir::new().unwrap();
    let store = folder.path().join("store");
    two_nodes_agree(|node| node.option("--store", &store));
}

#[test]
fn a_node_that_was_killed_and_one_that_is_new_serve_everything() {
    let (server, folder) = (Server::garage(), TempDir::new().unwrap());
    let start = |data: &Path| node().bucket(&server, "", server.address()).data(data).start();
    let [one, two, three] = ["one", "two", "three"].map(|name| folder.path().join(name));
    let (first, mut second) = (start(&one), start(&two));
    deploy(&first, "a", 1);
    until_served(&second, "a", Some(1));
    second.kill_engine();
    drop(second);
    deploy(&first, "a", 2);
    deploy(&first, "b", 3);
    let second = start(&two);
    assert_eq!(
        [served(&second, "a"), served(&second, "b")],
        [Some(2), Some(3)],
        "from its first moment on"
    );
    deploy(&second, "c", 4);
    until_served(&first, "c", Some(4));
    first.stop();
    let third = start(&three);
    let look = || ["a", "b", "c"].map(|name| served(&third, name));
    assert_eq!(look(), [Some(2), Some(3), Some(4)]);
    second.cli(&["remove", "b"]).expect_code(0);
    until_served(&third, "b", None);
    second.stop();
    third.stop();
}

#[test]
fn a_node_whose_store_is_away_starts_serves_and_says_so_and_catches_up() {
    let (server, folder) = (Server::garage(), TempDir::new().unwrap());
    let proxy = Proxy::before(server.address());
    let start = || {
        let node = node().option("--admin", "127.0.0.1:0").data(&folder.path().join("data"));
        node.bucket(&server, "p", proxy.address()).start()
    };
    let node = start();
    deploy(&node, "it", 1);
    node.cli_with_stdin(&["secret", "set", "private", "TOKEN"], b"hush").expect_code(0);
    node.deploy("inspect", "private", &[]);
    // After its next look, what it knows is on its disk.
    wait::until("the node has noted it", SOON, || {
        let known = std::fs::read(folder.path().join("data/cache/known")).ok()?;
        let known = String::from_utf8_lossy(&known);
        ["VERSION", "private"].iter().all(|part| known.contains(part)).then_some(())
    });
    node.stop();

    proxy.always(Fault::Drop);
    let node = start();
    let (admin, begun) = (admin(&node), Instant::now());
    assert_eq!(served(&node, "it"), Some(1));
    assert_eq!(
        node.get("/private/").json()["environment"]["TOKEN"],
        "hush",
        "no function runs without its secrets"
    );
    let (status, said) = readyz(admin);
    assert_eq!(status, 200, "it serves: {said}");
    assert!(
        said.starts_with("ready")
            && said.contains("s3://sockhop-tests/p")
            && said.contains("since 20"),
        "{said}"
    );
    let printed = node.cli(&["status"]).expect_code(0).stdout;
    assert!(printed.contains("s3://sockhop-tests/p") && printed.contains("away"), "{printed}");
    let file = harness::guests::path("hello");
    let refused = node
        .cli(&["deploy", file.to_str().unwrap(), "--name", "new"])
        .expect_error(&["s3://sockhop-tests/p", "away"]);
    assert!(!refused.stderr.contains(harness::s3::SECRET));
    assert!(begun.elapsed() < PATIENTLY);
    assert_eq!(served(&node, "new"), None);

    // Another node, which reaches the store, deploys in the meantime.
    let other = self::node().bucket(&server, "p", server.address()).start();
    deploy(&other, "it", 2);
    assert_eq!(served(&node, "it"), Some(1));
    proxy.always(Fault::None);
    until_served(&node, "it", Some(2));
    wait::for_value(
        "it is ready without a but",
        SOON,
        || readyz(admin).1,
        |said| said == "ready\n",
    );
    other.stop();
    node.stop();
}

#[test]
fn a_store_that_falls_silent_costs_no_request() {
    let server = Server::garage();
    let proxy = Proxy::before(server.address());
    let node = node().bucket(&server, "p", proxy.address()).start();
    deploy(&node, "it", 1);
    proxy.always(Fault::Silence);
    let asked = proxy.requests();
    wait::until("the node waits for its store", SOON, || (proxy.requests() > asked).then_some(()));
    let begun = Instant::now();
    for _ in 0..200 {
        assert_eq!(served(&node, "it"), Some(1));
    }
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "nobody waits with it: {:?}",
        begun.elapsed()
    );
    wait::until("the node gives up waiting", PATIENTLY, || {
        node.stderr().contains("has not answered within 10s").then_some(())
    });
    assert_eq!(served(&node, "it"), Some(1));
    proxy.always(Fault::None);
    deploy(&node, "it", 2);
    assert_eq!(served(&node, "it"), Some(2));
    node.stop();
}

#[test]
fn a_store_that_stalls_in_an_answer_is_away() {
    let server = Server::garage();
    let proxy = Proxy::before(server.address());
    let node = node().bucket(&server, "p", proxy.address()).start();
    deploy(&node, "it", 1);
    proxy.always(Fault::Stall);
    wait::until("the node gives up waiting", PATIENTLY, || {
        node.stderr().contains("sent nothing for 10s").then_some(())
    });
    assert_eq!(served(&node, "it"), Some(1));
    proxy.always(Fault::None);
    deploy(&node, "it", 2);
    assert_eq!(served(&node, "it"), Some(2));
    node.stop();
}

#[test]
fn a_node_that_has_never_seen_its_store_does_not_start_without_it() {
    let nobody = harness::unreachable::ClosedPort::start();
    let (server, folder) = (Server::s3s_fs(), TempDir::new().unwrap());
    let data = folder.path().join("data");
    let mut arguments = ["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]
        .map(str::to_owned)
        .to_vec();
    arguments.extend(server.options("p", nobody.address()));
    harness::node::run(&arguments).expect_error(&["s3://sockhop-tests/p", "away", "--s3-endpoint"]);
}

/// Checks that `serve` refuses a folder that is no store.
fn refused(data: &Path, store: &Path, words: &[&str]) {
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data"].map(AsRef::<OsStr>::as_ref);
    let more = [data.as_os_str(), "--store".as_ref(), store.as_os_str()];
    harness::node::run(arguments.into_iter().chain(more)).expect_error(words);
}

#[test]
fn a_folder_that_is_no_store_is_refused_and_left_as_it_is() {
    let folder = TempDir::new().unwrap();
    let store = folder.path().join("project");
    // The second and the third are files of a store of the first layout.
    for name in [
        "README",
        "functions/mine/notes.txt",
        "functions/mine/active",
        "artefacts/x",
        ".hidden/.tmp-mine",
    ] {
        let path = store.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "of somebody else").unwrap();
    }
    let before = picture(&store);
    refused(&folder.path().join("data"), &store, &["no store of sockhop", "README", "project"]);
    assert_eq!(picture(&store), before);
}

#[test]
fn a_new_file_system_is_empty_enough_for_a_store() {
    let folder = TempDir::new().unwrap();
    let store = folder.path().join("store");
    std::fs::create_dir_all(store.join("lost+found")).unwrap();
    let node = node().option("--store", &store).start();
    deploy(&node, "it", 1);
    node.stop();
    assert!(store.join("lost+found").is_dir());
}

#[test]
fn a_store_folder_that_goes_away_unpublishes_nothing_and_is_not_made_anew() {
    let folder = TempDir::new().unwrap();
    let [store, aside, other] = ["store", "aside", "other"].map(|name| folder.path().join(name));
    let start = || {
        let node = node().option("--admin", "127.0.0.1:0").data(&folder.path().join("data"));
        node.option("--store", &store).start()
    };
    let node = start();
    deploy(&node, "it", 1);
    wait::until("the node has noted it", SOON, || {
        let known = std::fs::read(folder.path().join("data/cache/known")).ok()?;
        String::from_utf8_lossy(&known).contains("VERSION").then_some(())
    });
    let modules = || {
        picture(&folder.path().join("data/cache"))
            .keys()
            .filter(|path| path.extension().is_some_and(|extension| extension == "cwasm"))
            .count()
    };
    let compiled = modules();
    assert!(compiled > 0);
    let expect_away = |node: &Node, reason: &str| {
        let look = || readyz(admin(node));
        let (status, said) =
            wait::for_value("the store is away", SOON, look, |(_, said)| said.contains(reason));
        assert_eq!(status, 200, "it serves what it has: {said}");
        assert_eq!((served(node, "it"), modules()), (Some(1), compiled));
        let file = harness::guests::path("hello");
        node.cli(&["deploy", file.to_str().unwrap(), "--name", "new"])
            .expect_error(&["is away", reason]);
    };
    // The store was moved, or its mount is missing.
    std::fs::rename(&store, &aside).unwrap();
    expect_away(&node, "nothing of it is there");
    assert!(!store.exists());
    std::fs::create_dir(&store).unwrap();
    expect_away(&node, "nothing of it is there");
    assert!(node.stderr().contains("nothing of it is there"));
    node.stop();
    // The same holds for a node that starts in the meantime.
    let node = start();
    expect_away(&node, "nothing of it is there");
    assert_eq!(picture(&store).len(), 0);
    // Another store.
    let another = self::node().option("--store", &other).start();
    deploy(&another, "else", 2);
    another.stop();
    std::fs::remove_dir(&store).unwrap();
    std::fs::rename(&other, &store).unwrap();
    let before = picture(&store);
    expect_away(&node, "another store is in its place");
    assert_eq!(served(&node, "else"), None);
    assert_eq!(picture(&store), before);
    // The store is back.
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::rename(&aside, &store).unwrap();
    wait::for_value(
        "it is ready without a but",
        SOON,
        || readyz(admin(&node)).1,
        |said| said == "ready\n",
    );
    deploy(&node, "it", 2);
    assert_eq!(served(&node, "it"), Some(2));
    node.stop();
}

#[test]
fn a_bucket_with_something_else_in_it_is_refused_and_one_that_is_emptied_is_away() {
    let (server, folder) = (Server::s3s_fs(), TempDir::new().unwrap());
    let start = |prefix: &str, data: &str| {
        let node = node().option("--admin", "127.0.0.1:0").data(&folder.path().join(data));
        node.bucket(&server, prefix, server.address()).start()
    };
    let node = start("p", "data");
    deploy(&node, "it", 1);
    // Without the prefix, the bucket is not empty and is no store.
    let data = folder.path().join("other");
    let mut arguments = ["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]
        .map(str::to_owned)
        .to_vec();
    arguments.extend(server.options("", server.address()));
    harness::node::run(&arguments).expect_error(&["no store of sockhop", "p/"]);
    assert_eq!(served(&node, "it"), Some(1));
    let bucket = server.objects();
    std::fs::rename(bucket.join("p"), folder.path().join("aside")).unwrap();
    let look = || readyz(admin(&node)).1;
    wait::for_value("the store is away", SOON, look, |said| {
        said.contains("nothing of it is there")
    });
    assert_eq!(served(&node, "it"), Some(1));
    std::fs::rename(folder.path().join("aside"), bucket.join("p")).unwrap();
    wait::for_value("it is ready without a but", SOON, look, |said| said == "ready\n");
    node.stop();
}
