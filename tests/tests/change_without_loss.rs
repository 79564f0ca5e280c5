//! Deploys and removals under load: no request fails, none is served by an old version after the
//! command has returned, and requests that have begun are finished.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use harness::client::request;
use harness::{Connection, Node, process, wait};
use serde_json::Value;

const CONNECTIONS: usize = 500;
const DEPLOYS: u64 = 6;
/// The stack of a client's thread.
const STACK_BYTES: usize = 256 * 1024;

/// Returns the version that answers, as its guest reports it.
fn version(connection: &mut Connection, target: &str) -> Result<u64, String> {
    connection.try_send(request("GET", target, &[], b"")).map_err(|error| error.to_string())?;
    let reply = connection.try_reply().map_err(|cut| format!("{cut:?}"))?;
    if reply.status() != 200 {
        return Err(format!("{:?} {}", reply.head, reply.text()));
    }
    let seen: Value = serde_json::from_slice(&reply.body).map_err(|error| error.to_string())?;
    let version = seen
        .pointer("/environment/VERSION")
        .and_then(Value::as_str)
        .and_then(|text| text.parse().ok());
    version.ok_or_else(|| format!("no version in {seen}"))
}

fn deploy(node: &Node, version: u64, isolation: &str) {
    node.deploy(
        "inspect",
        "it",
        &["--env", &format!("VERSION={version}"), "--isolation", isolation],
    );
}

/// Deploys under load, with each of `isolations` in turn.
fn deploys_lose_nothing(isolations: &[&str]) {
    process::raise_fd_limit();
    let node = Node::start();
    deploy(&node, 1, isolations[0]);
    let (promised, stop, served) = (AtomicU64::new(1), AtomicBool::new(false), AtomicU64::new(0));
    let address = node.addresses()[0];
    let client = || {
        let mut connection = Connection::try_open(address).map_err(|error| error.to_string())?;
        while !stop.load(SeqCst) {
            let promised_before = promised.load(SeqCst);
            let seen = version(&mut connection, "/it/")?;
            if seen < promised_before {
                return Err(format!(
                    "version {seen} answered after {promised_before} was deployed"
                ));
            }
            served.fetch_add(1, SeqCst);
        }
        Ok::<(), String>(())
    };
    let failures: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, client).unwrap()
            })
            .collect();
        let _end = wait::StopOnDrop(&stop);
        for number in 2..2 + DEPLOYS {
            let goal = served.load(SeqCst) + CONNECTIONS as u64;
            wait::until("the load goes on", Duration::from_secs(60), || {
                let over = clients.iter().any(thread::ScopedJoinHandle::is_finished);
                (over || served.load(SeqCst) >= goal).then_some(())
            });
            let isolation = isolations[usize::try_from(number).unwrap() % isolations.len()];
            deploy(&node, number, isolation);
            promised.store(number, SeqCst);
        }
        stop.store(true, SeqCst);
        clients.into_iter().filter_map(|client| client.join().unwrap().err()).collect()
    });
    assert!(
        failures.is_empty(),
        "{} of {} failed: {:#?}",
        failures.len(),
        CONNECTIONS,
        &failures[..failures.len().min(5)]
    );
    node.stop();
}

#[test]
fn deploys_under_load_lose_no_request_and_serve_none_late() {
    deploys_lose_nothing(&["shared"]);
}

#[test]
fn nor_does_a_function_that_moves_to_a_worker_of_its_own_and_back() {
    deploys_lose_nothing(&["shared", "process"]);
}

#[test]
fn a_removed_function_finishes_what_it_has_and_the_others_notice_nothing() {
    for isolation in ["shared", "process"] {
        let node = Node::with(&["hello"]);
        node.deploy("sleep", "sleep", &["--isolation", isolation]);
        let mut kept = node.connect();
        kept.get("/hello/").expect_hello();
        let mut inside = node.connect();
        inside.send(request("GET", "/sleep/1500", &[], b""));
        node.until_status("it runs", Duration::from_secs(10), |status| status.in_flight() == 1);
        node.cli(&["remove", "sleep"]).expect_code(0);
        assert_eq!(inside.reply().status(), 200, "{isolation}");
        node.get("/sleep/1").expect_problem(404);
        kept.get("/hello/").expect_hello();
        node.stop();
    }
}
