//! The kernel hashes clients over shards; the hop balances them over workers.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::thread;

use harness::client::request;
use harness::{Connection, Node, needs};

const REQUESTS: usize = 100;

/// Returns the number of connections that each shard has accepted, by `/metrics` (read over
/// `--admin`).
fn accepted(node: &Node) -> Vec<u64> {
    let admin = node.status().node.admin.unwrap();
    let mut connection = Connection::open(admin.strip_prefix("http://").unwrap().parse().unwrap());
    connection.send(request("GET", "/metrics", &[("connection", "close")], b""));
    let text = String::from_utf8(connection.rest()).unwrap();
    let series =
        text.lines().filter(|line| line.starts_with("sockhop_connections_accepted_total{"));
    series.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect()
}

/// Opens connections until each shard has as many as `wanted` says. The kernel chooses the shard by
/// the client's port; connections to a shard that has enough are closed again.
fn hashed(node: &Node, wanted: &[usize]) -> Vec<Connection> {
    let (mut left, mut kept) = (wanted.to_vec(), Vec::new());
    let mut before = accepted(node);
    while left.iter().any(|count| *count > 0) {
        let mut connection = node.connect();
        connection.get("/hello/").expect_hello();
        let now = accepted(node);
        let shard = (0..now.len()).find(|shard| now[*shard] > before[*shard]).unwrap();
        before = now;
        if left[shard] > 0 {
            left[shard] -= 1;
            kept.push(connection);
        }
    }
    kept
}

fn within_a_tenth(counts: &[u64]) -> bool {
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    (most - least) * 10 <= *most
}

#[test]
fn clients_hashed_48_to_16_end_evenly_on_the_workers() {
    needs::cores(2);
    let node = Node::build().option("--admin", "127.0.0.1:0").start();
    node.deploy("hello", "hello", &[]);
    node.get("/hello/").expect_hello();
    assert_eq!(accepted(&node).len(), 2, "one shard a core");
    let mut connections = hashed(&node, &[48, 16]);
    let before = node.status();
    let open: Vec<u64> = before.workers.iter().map(|worker| worker.connections_open).collect();
    assert!(within_a_tenth(&open), "connections: {open:?}");
    thread::scope(|scope| {
        for connection in &mut connections {
            scope.spawn(move || {
                (0..REQUESTS).for_each(|_| connection.get("/hello/").expect_hello())
            });
        }
    });
    let after = node.status();
    let requests = after
        .workers
        .iter()
        .zip(&before.workers)
        .map(|(after, before)| after.requests - before.requests);
    let requests: Vec<u64> = requests.collect();
    assert!(within_a_tenth(&requests), "requests: {requests:?}");
    drop(connections);
    node.stop();
}
