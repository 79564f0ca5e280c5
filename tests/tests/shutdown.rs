//! A node that is asked to stop finishes what it has begun and leaves nothing behind; one that is
//! killed leaves no orphans.

use std::time::{Duration, Instant};

use harness::client::request;
use harness::{Connection, Node, process, wait};
use tempfile::TempDir;

const SECOND: Duration = Duration::from_secs(1);

/// Returns a connection with a request for `sleep` that the node has begun.
fn sleeping(node: &Node, ms: u32) -> Connection {
    let mut connection = node.connect();
    connection.send(request("GET", &format!("/sleep/?ms={ms}"), &[], b""));
    node.until_status("it sleeps", 5 * SECOND, |s| s.in_flight() == 1);
    connection
}

/// Waits until a node that is draining accepts no connections. Connections that it still accepts
/// must not be served.
fn expect_closed(node: &Node) {
    node.until_status("it drains", 2 * SECOND, |s| s.node.draining);
    wait::until("the port is closed", 2 * SECOND, || {
        let Ok(mut connection) = Connection::try_open(node.addresses()[0]) else {
            return Some(());
        };
        // The connection may end without a reply, now or later. A reply can only be a refusal.
        _ = connection.try_send(request("GET", "/sleep/?ms=0", &[], b""));
        if let Ok(reply) = connection.try_reply() {
            reply.expect_problem(503);
            assert!(reply.head.get("retry-after").is_some(), "{reply:?}");
        }
        None
    });
}

#[test]
fn at_rest_it_stops_at_once_on_either_signal() {
    for signal in [Node::terminate, Node::interrupt] {
        let mut node = Node::with(&["hello"]);
        node.deploy("hello", "alone", &["--isolation", "process"]);
        node.get("/hello/").expect_hello();
        node.get("/alone/").expect_hello();
        let processes = node.processes();
        assert!(processes.len() > 2, "an engine and its workers: {processes:?}");
        signal(&mut node);
        node.expect_ended(&processes, 3 * SECOND);
    }
}

#[test]
fn what_is_in_flight_is_finished_and_nothing_new_is_taken() {
    let mut node = Node::with(&["sleep"]);
    let mut connection = sleeping(&node, 4000);
    let processes = node.processes();
    node.terminate();
    expect_closed(&node);
    assert!(connection.silent(), "the port closed before the reply");
    let reply = connection.reply();
    assert_eq!((reply.status(), reply.text().as_str()), (200, "slept 4000 ms"));
    assert_eq!(connection.rest(), b"", "and then its connection ends");
    node.expect_ended(&processes, 3 * SECOND);
}

#[test]
fn the_drain_limit_ends_what_takes_longer() {
    let mut node = Node::build().option("--drain-timeout", "1s").start();
    node.deploy("sleep", "sleep", &[]);
    let mut connection = sleeping(&node, 25_000);
    let processes = node.processes();
    let start = Instant::now();
    node.terminate();
    node.expect_ended(&processes, 5 * SECOND);
    assert!(start.elapsed() >= SECOND * 9 / 10, "it had a second: {:?}", start.elapsed());
    if let Ok(reply) = connection.try_reply() {
        // A connection that ends without a reply is as good.
        assert!([503, 504].contains(&reply.status()), "{reply:?}");
    }
}

#[test]
fn idle_connections_do_not_hold_it_up() {
    let mut node = Node::with(&["hello"]);
    let mut kept: Vec<_> = (0..10).map(|_| node.connect()).collect();
    kept.iter_mut().for_each(|connection| connection.get("/hello/").expect_hello());
    let mut half = node.connect();
    half.send("GET /hello/ HTT");
    let processes = node.processes();
    node.terminate();
    node.expect_ended(&processes, 3 * SECOND);
    for connection in kept.iter_mut().chain([&mut half]) {
        let last = connection.rest();
        assert!(!last.starts_with(b"HTTP/1.1 200"), "nothing was asked");
    }
}

#[test]
fn a_killed_engine_leaves_no_orphans_and_the_next_start_works() {
    let data = TempDir::new().unwrap();
    let mut node = Node::build().data(data.path()).start();
    node.deploy("hello", "hello", &[]);
    node.deploy("sleep", "sleep", &["--isolation", "process"]);
    let connection = sleeping(&node, 25_000);
    let processes = node.processes();
    assert!(processes.len() > 2, "an engine and its workers: {processes:?}");
    node.kill_engine();
    let left = || processes.iter().copied().filter(|pid| process::alive(*pid)).collect::<Vec<_>>();
    wait::for_value("no process is left", 2 * SECOND, left, Vec::is_empty);
    drop(connection);

    let node = Node::build().data(data.path()).start();
    node.get("/hello/").expect_hello();
    assert_eq!(node.status().node.compilations, 0);
    node.stop();
}
