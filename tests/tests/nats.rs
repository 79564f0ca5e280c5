//! State and cron in NATS: many nodes see the same keys and lose no update, a server that goes away
//! harms nothing but what needs it, and one node of many rings.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use harness::keyvalue::count_up;
use harness::nats::{Cluster, FLOOR, NEWEST, Server};
use harness::running::records;
use harness::tls::Authority;
use harness::{Finished, Node, NodeBuilder, node, wait, wat};
use serde_json::{Value, json};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(30);
/// What fails at once takes less, on a machine that is busy with other tests.
const QUICKLY: Duration = Duration::from_secs(5);

fn with(server: &Server) -> NodeBuilder {
    Node::build().option("--nats", server.url())
}

/// Has the guest `keyvalue` do all of this, and returns what came of each.
fn perform(node: &Node, name: &str, operations: &Value) -> Value {
    let reply = node.connect().post(&format!("/{name}/2"), operations.to_string().as_bytes());
    assert_eq!(reply.status(), 200, "{}", reply.text());
    reply.json()
}

/// The same, of one operation that goes well.
fn done(node: &Node, name: &str, operation: Value) -> Value {
    let outcomes = perform(node, name, &json!([operation]));
    outcomes[0].get("ok").unwrap_or_else(|| panic!("{outcomes}")).clone()
}

/// Returns why this operation fails, which it does quickly.
fn refused(node: &Node, name: &str, operation: Value) -> String {
    let began = Instant::now();
    let outcomes = perform(node, name, &json!([operation]));
    assert!(began.elapsed() < QUICKLY, "{:?}", began.elapsed());
    outcomes[0]["err"].as_str().unwrap_or_else(|| panic!("{outcomes}")).to_owned()
}

#[test]
fn nodes_see_one_anothers_keys_and_lose_no_update() {
    for version in [FLOOR, NEWEST] {
        let server = Server::of_version(version);
        let nodes = [with(&server).start(), with(&server).start()];
        for node in &nodes {
            node.deploy("keyvalue", "a", &["--kv", "x=both", "--kv-keys", "3"]);
        }
        let [one, other] = &nodes;
        done(one, "a", json!(["set", "k", "from one"]));
        assert_eq!(done(other, "a", json!(["get", "k"])), "from one");
        done(other, "a", json!(["set-many", [["b", "2"], ["a", "1"]]]));
        let keys = |node: &Node| done(node, "a", json!(["list", null]))["keys"].clone();
        assert_eq!(keys(one), json!(["a", "b", "k"]));
        done(one, "a", json!(["delete-many", ["a", "k"]]));
        assert_eq!(keys(other), json!(["b"]));
        assert_eq!(done(other, "a", json!(["exists", "k"])), false);
        thread::scope(|scope| {
            for client in 0..4 {
                let node = &nodes[client % 2];
                scope.spawn(move || {
                    for at in 0..10 {
                        done(node, "a", json!(["repeat", 5, ["increment", "n", 1]]));
                        done(node, "a", json!(["append", "all", format!("{client}{at} ")]));
                    }
                });
            }
        });
        assert_eq!(done(one, "a", json!(["get", "n"])), "200");
        let all = done(other, "a", json!(["get", "all"]));
        let mut all: Vec<&str> = all.as_str().unwrap().split_whitespace().collect();
        all.sort_unstable();
        let expected: Vec<String> = (0..40).map(|number| format!("{number:02}")).collect();
        assert_eq!(all, expected, "every one of them, once");
        // How full a bucket is, both know.
        done(one, "a", json!(["get", "n"]));
        assert!(refused(one, "a", json!(["set", "more", ""])).contains("more than 3 keys"));
        done(other, "a", json!(["delete", "b"]));
        done(one, "a", json!(["set", "more", ""]));
        let removed = one.cli(&["remove", "a", "--yes"]).expect_code(0).stderr;
        assert!(removed.contains("with 3 keys"), "{removed}");
        one.cli(&["remove", "a", "--yes", "--with-state"]).expect_code(0);
        assert_eq!(done(other, "a", json!(["get", "n"])), Value::Null);
        assert_eq!(keys(other), json!([]));
        assert_eq!(done(other, "a", json!(["increment", "n", 1])), 1);
        nodes.into_iter().for_each(Node::stop);
    }
}

#[test]
fn without_its_server_state_fails_at_once_and_nothing_else() {
    let mut server = Server::start();
    let node = with(&server).start();
    node.deploy("keyvalue", "a", &[]);
    node.deploy("hello", "hello", &[]);
    done(&node, "a", json!(["set", "k", "before"]));
    server.kill();
    wait::until("it is noticed", SOON, || node.stderr().contains("has ended; until").then_some(()));
    for operation in [json!(["get", "k"]), json!(["set", "k", "x"]), json!(["list", null])] {
        let why = refused(&node, "a", operation);
        assert!(why.contains("NATS is away"), "{why}");
    }
    node.cli(&["kv", "ls", "a"]).expect_error(&["NATS is away"]);
    node.get("/hello/").expect_hello();
    server.restart();
    let found = wait::until("it is back", SOON, || {
        perform(&node, "a", &json!([["get", "k"]]))[0].get("ok").cloned()
    });
    assert_eq!(found, "before");
    done(&node, "a", json!(["set", "k", "after"]));
    // One that stands still is asked, and does not answer.
    server.freeze(true);
    let why = refused(&node, "a", json!(["set", "k", "frozen"]));
    assert!(why.contains("NATS"), "{why}");
    node.get("/hello/").expect_hello();
    server.freeze(false);
    wait::until("it goes on", SOON, || {
        perform(&node, "a", &json!([["set", "k", "thawed"]]))[0].get("ok").cloned()
    });
    assert_eq!(done(&node, "a", json!(["get", "k"])), "thawed");
    node.stop();
}

#[test]
fn a_node_starts_without_its_server_and_uses_it_once_it_is_there() {
    let port = harness::pebble::free_port();
    let node = Node::build().option("--nats", format!("nats://127.0.0.1:{port}")).start();
    assert!(node.stderr().contains("NATS cannot be reached"), "{}", node.stderr());
    node.deploy("keyvalue", "a", &[]);
    node.deploy("hello", "hello", &[]);
    node.get("/hello/").expect_hello();
    assert!(refused(&node, "a", json!(["set", "k", ""])).contains("NATS is away"));
    let _server = Server::on_port(port);
    wait::until("it is there", SOON, || {
        perform(&node, "a", &json!([["set", "k", "v"]]))[0].get("ok").cloned()
    });
    assert_eq!(done(&node, "a", json!(["get", "k"])), "v");
    node.stop();
}

/// Has clients count up on all nodes, does something to the servers meanwhile, and checks that
/// nothing is lost that was acknowledged.
fn expect_nothing_lost(nodes: &[Node], harm: impl FnOnce()) {
    let (stop, counts) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; 4]);
    let sum = || counts.iter().map(|count| count.load(Relaxed)).sum::<u64>();
    let progress = || {
        let before = sum();
        wait::until("updates are acknowledged", Duration::from_secs(60), || {
            (sum() >= before + 20).then_some(())
        });
    };
    let unknown: Vec<u64> = thread::scope(|scope| {
        let clients: Vec<_> = counts
            .iter()
            .enumerate()
            .map(|(at, count)| {
                let (address, stop) = (nodes[at % nodes.len()].addresses()[0], &stop);
                // Two clients a counter, on different nodes.
                let key = (at / 2).to_string();
                scope.spawn(move || count_up(address, &key, stop, count))
            })
            .collect();
        progress();
        harm();
        progress();
        stop.store(true, Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    for key in 0..2 {
        let found = wait::until("the state is read", SOON, || {
            let outcomes = perform(&nodes[0], "a", &json!([["get", key.to_string()]]));
            outcomes[0]["ok"].as_str().map(|text| text.parse::<u64>().unwrap())
        });
        let of = |at: usize| counts[at].load(Relaxed);
        let (acknowledged, unknown) =
            (of(key * 2) + of(key * 2 + 1), unknown[key * 2] + unknown[key * 2 + 1]);
        assert!(
            (acknowledged..=acknowledged + unknown).contains(&found),
            "{found} of {acknowledged} and {unknown}"
        );
    }
}

#[test]
fn a_server_that_is_killed_and_comes_back_loses_nothing_that_was_acknowledged() {
    let mut server = Server::start();
    let nodes = [with(&server).start(), with(&server).start()];
    nodes.iter().for_each(|node| node.deploy("keyvalue", "a", &[]));
    expect_nothing_lost(&nodes, || server.restart());
    nodes.into_iter().for_each(Node::stop);
}

#[test]
fn a_cluster_whose_leader_is_killed_goes_on_and_loses_nothing_that_was_acknowledged() {
    let mut cluster = Cluster::start();
    let nodes = [0, 1].map(|_| Node::build().option("--nats", cluster.urls()).start());
    nodes.iter().for_each(|node| node.deploy("keyvalue", "a", &[]));
    done(&nodes[0], "a", json!(["set", "k", "v"]));
    assert!(nodes[0].stderr().contains("copies of it: 3"), "{}", nodes[0].stderr());
    expect_nothing_lost(&nodes, || {
        let leader = cluster.leader("sockhop");
        cluster.0[leader].kill();
    });
    // The servers may still elect who answers this: until then it fails, and says so.
    let read = |node: &Node, operation: Value| {
        wait::until("a leader answers", SOON, || {
            perform(node, "a", &json!([operation]))[0].get("ok").cloned()
        })
    };
    assert_eq!(read(&nodes[1], json!(["get", "k"])), "v");
    assert_eq!(read(&nodes[0], json!(["list", null]))["keys"], json!(["0", "1", "k"]));
    nodes.into_iter().for_each(Node::stop);
}

/// Starts a node that does not come to serve, and returns what it says.
fn not_started(options: &[&str]) -> Finished {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let all = ["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    node::run(all.iter().chain(options))
}

/// A server of another version, which lets everybody in.
fn pretend(version: &str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let info = json!({
        "server_id": "x", "server_name": "x", "version": version, "proto": 1, "go": "",
        "host": "127.0.0.1", "port": port, "max_payload": 1_048_576, "headers": true,
    });
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut writer = stream.try_clone().unwrap();
            let _ = write!(writer, "INFO {info}\r\n");
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if line.starts_with("PING") {
                    let _ = writer.write_all(b"PONG\r\n");
                }
            }
        }
    });
    port
}

#[test]
fn servers_that_will_not_do_are_told_at_the_start() {
    let url = format!("nats://127.0.0.1:{}", pretend("2.13.9"));
    not_started(&["--nats", &url]).expect_error(&["\"2.13.9\"", "2.14 or newer", "--nats"]);
    let server = Server::without_jetstream();
    not_started(&["--nats", &server.url()]).expect_error(&["JetStream", "--jetstream"]);
    let server = Server::start();
    let made = json!({ "name": "KV_mine", "subjects": ["$KV.mine.>"], "storage": "file",
        "retention": "limits", "discard": "new", "num_replicas": 1, "max_msgs_per_subject": 1 });
    assert!(server.api("STREAM.CREATE.KV_mine", &made.to_string()).is_some());
    not_started(&["--nats", &server.url(), "--nats-bucket", "mine"]).expect_error(&[
        "\"mine\"",
        "not sockhop's",
        "--nats-bucket",
    ]);
}

#[test]
fn credentials_open_the_door_and_are_shown_nowhere() {
    let users = "authorization { user: \"me\", password: \"hunter2hunter2\" }";
    let server = Server::with(NEWEST, users);
    let write = |name: &str, text: &str| {
        let path = server.folder().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (right, wrong) = (write("right", "me:hunter2hunter2\n"), write("wrong", "me:hunter3"));
    let open = write("open", "me:hunter2hunter2");
    fs::set_permissions(&open, PermissionsExt::from_mode(0o644)).unwrap();
    let url = server.url();
    let with_password = format!("nats://me:hunter2hunter2@127.0.0.1:{}", server.port());
    for (options, words) in [
        (&["--nats", &*url][..], &["NATS refuses this node", "--nats-credentials"][..]),
        (&["--nats", &url, "--nats-credentials", &wrong], &["NATS refuses this node"]),
        (&["--nats", &url, "--nats-credentials", &open], &["chmod 600"]),
        (&["--nats", &with_password], &["nats_credentials"]),
    ] {
        let said = not_started(options);
        assert!(!said.stderr.contains("hunter"), "{said:#?}");
        assert_ne!(said.code, Some(0));
        for word in words {
            assert!(said.stderr.contains(word), "{word}: {said:#?}");
        }
    }
    let node = with(&server).option("--nats-credentials", &right).option("--log", "debug").start();
    node.deploy("keyvalue", "a", &[]);
    done(&node, "a", json!(["set", "k", "v"]));
    assert!(!node.stderr().contains("hunter"), "{}", node.stderr());
    node.stop();
}

#[test]
fn tls_is_spoken_with_whom_the_root_is_trusted() {
    let (authority, folder) = (Authority::default(), TempDir::new().unwrap());
    authority.write(folder.path(), "server", "localhost");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let config = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\" }}",
        file("server.crt"),
        file("server.key")
    );
    let server = Server::with(NEWEST, &config);
    let url = format!("tls://localhost:{}", server.port());
    let root = authority.file();
    let node = Node::build().option("--nats", &url).option("--nats-root", &root).start();
    node.deploy("keyvalue", "a", &[]);
    done(&node, "a", json!(["set", "k", "v"]));
    node.stop();
    let other = Authority::default().file();
    not_started(&["--nats", &url, "--nats-root", other.to_str().unwrap()])
        .expect_error(&["TLS with NATS fails", "--nats-root"]);
}

/// Deploys a function that writes its environment, with the request's headers, to its log.
fn deploy_environment(node: &Node, name: &str) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("environment.wasm");
    fs::write(&file, wat::whole("environment")).unwrap();
    node.cli(&["deploy", file.to_str().unwrap(), "--name", name, "--no-trial"]).expect_code(0);
}

/// Returns the ticks for which a function was rung, in the order of the log.
fn ticks(node: &Node, name: &str) -> Vec<String> {
    let printed = node.cli(&["logs", name, "--json", "--limit", "1000"]).stdout;
    let tick = |line: &Value| {
        let text = line["text"].as_str()?.to_owned();
        let value = text.split('\0').find_map(|of| of.strip_prefix("HTTP_SOCKHOP_CRON_TIME="))?;
        Some(value.to_owned())
    };
    records(&printed).iter().filter_map(tick).collect()
}

/// Returns how many ticks a node says that it has left out.
fn left_out(node: &Node) -> u64 {
    let of = |line: &str| {
        if line.contains("leaves out a tick") {
            return Some(1);
        }
        let count = line.split_once("was not rung in time: ")?.1.split(' ').next()?;
        count.parse::<u64>().ok()
    };
    node.stderr().lines().filter_map(of).sum()
}

fn rings(node: &Node) -> bool {
    node.cli(&["status"]).expect_code(0).stdout.contains("this node rings")
}

/// Starts two nodes that share a store and NATS.
fn two_nodes(server: &Server, store: &Path) -> [Node; 2] {
    [0, 1].map(|_| with(server).option("--store", store).start())
}

/// Checks that of the ticks of each second none was rung twice, and as many are missing as were said
/// to be left out.
fn expect_all(ticks: &[String], left_out: u64) {
    let different: BTreeSet<&String> = ticks.iter().collect();
    assert_eq!(different.len(), ticks.len(), "{ticks:?}");
    let second = |tick: &&String| {
        let time = tick.split_once('T').unwrap().1.trim_end_matches('Z');
        time.split(':').fold(0, |sum, part| sum * 60 + part.parse::<u64>().unwrap())
    };
    let (first, last) = (different.first().map(second), different.last().map(second));
    // Perhaps over midnight.
    let day = 24 * 60 * 60;
    let span = (day + last.unwrap() - first.unwrap()) % day + 1;
    assert_eq!(span - ticks.len() as u64, left_out, "{ticks:?}");
}

#[test]
fn one_of_two_nodes_rings_and_the_other_goes_on_where_it_was_killed() {
    let (server, folder) = (Server::start(), TempDir::new().unwrap());
    let [mut one, mut other] = two_nodes(&server, &folder.path().join("store"));
    deploy_environment(&one, "shop");
    one.cli(&["cron", "add", "shop", "* * * * * *"]).expect_code(0);
    wait::until("it is rung", SOON, || (ticks(&one, "shop").len() >= 5).then_some(()));
    assert_ne!(rings(&one), rings(&other), "exactly one rings");
    if rings(&other) {
        std::mem::swap(&mut one, &mut other);
    }
    let status = other.cli(&["status"]).expect_code(0).stdout;
    assert!(status.contains("rung by "), "{status}");
    one.kill_engine();
    wait::until("the other one rings", SOON, || rings(&other).then_some(()));
    let before = ticks(&other, "shop").len();
    wait::until("it has rung some more", SOON, || {
        (ticks(&other, "shop").len() >= before + 5).then_some(())
    });
    // What was begun a moment before the end may have left no log.
    let seen = ticks(&other, "shop");
    let different: BTreeSet<&String> = seen.iter().collect();
    assert_eq!(different.len(), seen.len(), "{seen:?}");
    assert!(left_out(&other) > 0 && left_out(&other) < 20, "{}", other.stderr());
    other.stop();
}

#[test]
fn a_node_that_stops_and_a_server_that_goes_lose_no_tick_that_is_not_told() {
    let (mut server, folder) = (Server::start(), TempDir::new().unwrap());
    let [mut one, mut other] = two_nodes(&server, &folder.path().join("store"));
    deploy_environment(&one, "shop");
    one.cli(&["cron", "add", "shop", "* * * * * *"]).expect_code(0);
    let more = |node: &Node| {
        let before = ticks(node, "shop").len();
        wait::until("it is rung some more", SOON, || {
            (ticks(node, "shop").len() >= before + 4).then_some(())
        });
    };
    more(&one);
    server.restart();
    more(&one);
    if rings(&other) {
        std::mem::swap(&mut one, &mut other);
    }
    let of_one = left_out(&one);
    one.stop();
    wait::until("the other one rings", SOON, || rings(&other).then_some(()));
    more(&other);
    let seen = ticks(&other, "shop");
    expect_all(&seen, of_one + left_out(&other));
    other.stop();
}
