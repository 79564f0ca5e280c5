//! A hostile guest is ended by one of its limits, and does not affect other functions.
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::thread;
use std::time::{Duration, Instant};

use harness::client::head;
use harness::{Node, process, wait};

/// How long something may take that takes a second on an idle machine.
const SOON: Duration = Duration::from_secs(20);
/// The interval at which a worker reports to the engine that it lives, and does its housekeeping.
const BEAT: Duration = Duration::from_millis(100);

/// Starts a node with one worker, and deploys `hello`.
fn one_worker() -> Node {
    let cores = harness::node::two_cores();
    let node =
        Node::build().option("--cores", cores.split(['-', ',']).next().unwrap_or("0")).start();
    node.deploy("hello", "hello", &[]);
    node.get("/hello/").expect_hello();
    node
}

fn worker(node: &Node) -> u32 {
    node.status().workers[0].pid
}

/// Returns the reply to `target`, which does not end by itself. Checks that others are served until
/// the function's time limit ends it.
fn others_are_served_while(node: &Node, target: &str) {
    let mut connection = node.connect();
    connection.send(head("GET", target, &[]));
    let began = connection.head();
    assert!([200, 418].contains(&began.status), "{target}");
    let ended = thread::spawn(move || connection.try_body(&began, |_| ()));
    let mut hello = node.connect();
    let mut served = 0;
    while !ended.is_finished() {
        hello.get("/hello/").expect_hello();
        served += 1;
    }
    assert!(
        ended.join().expect("the client does not panic").is_err(),
        "{target}: the reply is cut"
    );
    assert!(served >= 20, "{target}: {served} others were served meanwhile");
}

#[test]
fn a_guest_that_computes_and_writes_lets_others_run_until_its_time_limit_ends_it() {
    let node = one_worker();
    let pid = worker(&node);
    let limits = ["--timeout", "4s", "--cpu-time", "60s"];
    node.deploy("hostile", "hostile", &limits);
    node.deploy("echo-p3", "echo-p3", &limits);
    for command in ["cmd", "cmd-p1"] {
        node.deploy(command, command, &[&limits[..], &["--output", "cgi"]].concat());
    }
    for target in ["/hostile/write", "/echo-p3/write", "/cmd/?cgi&work", "/cmd-p1/?cgi&work"] {
        others_are_served_while(&node, target);
    }
    assert_eq!(worker(&node), pid, "the worker was not killed");
    node.stop();
}

#[test]
fn start_code_that_spins_is_ended_by_a_limit_and_others_are_served_meanwhile() {
    let node = one_worker();
    let pid = worker(&node);
    // Not every instance spins: otherwise the guest could not be deployed, nor called to have the
    // next instance made ready.
    let file = harness::guests::path("hostile");
    let file = file.to_str().expect("the tests use plain names");
    let deploy =
        ["deploy", file, "--name", "hostile", "--cpu-time", "300ms", "--env", "SPIN_AT_START=2"];
    wait::until("its trial does not spin", SOON, || {
        (node.cli(&deploy).code == Some(0)).then_some(())
    });
    let mut hello = node.connect();
    let log = wait::until("one could not be made ready", 3 * SOON, || {
        let reply = node.get("/hostile/");
        assert!([200, 504].contains(&reply.status()), "{}", reply.text());
        hello.get("/hello/").expect_hello();
        let log = node.cli(&["logs", "hostile"]).stdout;
        log.contains("made ready").then_some(log)
    });
    assert!(log.contains("processor time"), "{log}");
    assert_eq!(worker(&node), pid, "the worker was not killed");
    node.stop();
}

#[test]
fn a_body_that_is_left_unfinished_ends_with_its_guest() {
    let node = Node::start();
    node.deploy("hostile", "fresh", &[]);
    node.deploy("hostile", "reused", &["--instances", "reuse=1000"]);
    for function in ["fresh", "reused"] {
        const REQUESTS: u32 = 40;
        let mut connection = node.connect();
        let began = Instant::now();
        for _ in 0..REQUESTS {
            assert_eq!(connection.get(&format!("/{function}/unfinished")).text(), "begin end");
        }
        // A request that waits for the worker's housekeeping would wait for the next interval.
        assert!(began.elapsed() < REQUESTS * BEAT / 2, "{function}: {:?}", began.elapsed());
    }
    node.stop();
}

#[test]
fn what_the_node_holds_for_a_guest_is_bounded_by_its_memory() {
    const MAY_GROW_BYTES: u64 = 64 * 1024 * 1024;
    let node = one_worker();
    let pid = worker(&node);
    for guest in ["hostile", "echo-p3"] {
        node.deploy(guest, guest, &["--memory", "4MiB", "--cpu-time", "10s"]);
    }
    let before = process::resident(pid);
    for (target, says) in [
        ("/hostile/fields", "bytes held for it"),
        ("/hostile/bodies", "bytes held for it"),
        ("/hostile/paths", "bytes held for it"),
        ("/hostile/handles", "trapped"),
        ("/echo-p3/fields", "bytes held for it"),
        ("/echo-p3/waits", "trapped"),
        ("/echo-p3/streams", "trapped"),
    ] {
        let detail = node.get(target).expect_problem(500);
        assert!(detail.contains(says), "{target}: {detail}");
        let grown = process::resident(pid).saturating_sub(before);
        assert!(grown < MAY_GROW_BYTES, "{target}: the worker has grown by {grown} bytes");
        node.get("/hello/").expect_hello();
    }
    assert_eq!(worker(&node), pid, "the worker was not killed");
    node.stop();
}
