//! A worker that is killed loses its own connections and nothing else. A new one serves within 500
//! ms.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::client::request;
use harness::running::kill_now;
use harness::status::{Status, WorkerStatus};
use harness::{Connection, Node, wait};

/// How long it may take from the kill until a new worker is ready.
const BACK: Duration = Duration::from_millis(500);

/// Sends a request on a new connection. The error is why it failed.
fn ask(address: SocketAddr, target: &str) -> Result<(), String> {
    let mut connection = Connection::try_open(address).map_err(|e| e.to_string())?;
    connection
        .try_send(request("GET", target, &[("connection", "close")], b""))
        .map_err(|e| e.to_string())?;
    let reply = connection.try_reply().map_err(|cut| format!("{cut:?}"))?;
    if reply.status() == 200 && reply.text() == "Hello, world!" {
        Ok(())
    } else {
        Err(format!("{:?} {}", reply.head, reply.text()))
    }
}

/// Returns whether every worker is ready, and each that was `killed` is a new process that was
/// started exactly once.
fn back(status: &Status, killed: &[u32], restarts: u32) -> bool {
    let new = |w: &&WorkerStatus| w.restarts == restarts && !killed.contains(&w.pid);
    status.workers.iter().all(|w| w.state == "ready" && !killed.contains(&w.pid))
        && status.workers.iter().filter(new).count() >= killed.len()
}

fn rest(node: &Node) -> Status {
    node.until_status("the node is at rest", Duration::from_secs(5), |s| {
        s.open() + s.in_flight() == 0
    })
}

fn engine_fds(node: &Node) -> Vec<(u32, usize)> {
    node.fds().into_iter().filter(|(pid, _)| *pid == node.pid()).collect()
}

#[test]
fn under_load_a_new_worker_serves_within_half_a_second() {
    let node = Node::with(&["hello"]);
    let address = node.addresses()[0];
    (0..50).for_each(|_| ask(address, "/hello/").unwrap());
    let victim = rest(&node).workers[0].pid;
    let fds = engine_fds(&node);

    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = || {
        let mut failures = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let start = Instant::now();
            match ask(address, "/hello/") {
                Ok(()) => _ = served.fetch_add(1, Ordering::Relaxed),
                Err(why) => failures.push((start, why)),
            }
        }
        failures
    };
    let serve_more = |count: usize| {
        let goal = served.load(Ordering::Relaxed) + count;
        wait::until("the load goes on", Duration::from_secs(20), || {
            (served.load(Ordering::Relaxed) >= goal).then_some(())
        });
    };
    let (killed, ready, failures) = thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
        let _end = wait::StopOnDrop(&stop);
        serve_more(300);
        kill_now(victim);
        let killed = Instant::now();
        node.until_status("a new worker is ready", BACK, |s| back(s, &[victim], 1));
        let ready = Instant::now();
        serve_more(1000);
        stop.store(true, Ordering::Relaxed);
        let failures: Vec<_> =
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        (killed, ready, failures)
    });

    let late: Vec<_> = failures.iter().filter(|(start, _)| *start > ready).collect();
    assert!(late.is_empty(), "requests failed after the new worker was ready: {late:#?}");
    // A client of the dead worker has one failure, and perhaps another of a request that was sent
    // already.
    assert!(
        failures.len() <= 16,
        "{} failures after a kill at {killed:?}: {failures:#?}",
        failures.len()
    );
    let after = rest(&node);
    assert_eq!(after.workers.iter().map(|w| w.restarts).sum::<u32>(), 1, "{after:#?}");
    assert_eq!(after.node.pid, node.pid());
    node.expect_fds_back_at(&fds, Duration::from_secs(5));
    node.stop();
}

#[test]
fn only_the_connections_of_the_killed_worker_end() {
    let node = Node::with(&["hello"]);
    // The counters show whose connection it is, so they are opened one by one.
    let mut connections = Vec::new();
    let mut before = rest(&node);
    for _ in 0..12 {
        let mut connection = node.connect();
        connection.get("/hello/").expect_hello();
        let now = node.status();
        let taken = |w: &&WorkerStatus| {
            before.workers[w.index as usize].connections_taken < w.connections_taken
        };
        let owner = now.workers.iter().find(taken).expect("one of them took it").pid;
        connections.push((owner, connection));
        before = now;
    }
    let victim = connections[0].0;
    kill_now(victim);
    for (owner, mut connection) in connections {
        if owner == victim {
            assert_eq!(connection.rest(), b"", "the client of a dead worker sees the end");
        } else {
            connection.get("/hello/").expect_hello();
        }
    }
    node.until_status("a new worker is ready", Duration::from_secs(5), |s| back(s, &[victim], 1));
    let after = rest(&node);
    assert_eq!(after.in_flight(), 0, "a dead worker's row is given back: {after:#?}");
    node.stop();
}

#[test]
fn requests_in_flight_in_a_killed_worker_are_not_counted_for_ever() {
    let node = Node::with(&["sleep", "hello"]);
    let workers: Vec<u32> = node.status().workers.iter().map(|w| w.pid).collect();
    let mut sleepers: Vec<_> = (0..20).map(|_| node.connect()).collect();
    for connection in &mut sleepers {
        connection.send(request("GET", "/sleep/?ms=25000", &[], b""));
    }
    node.until_status("all sleep", Duration::from_secs(5), |s| s.in_flight() == 20);
    workers.iter().for_each(|pid| kill_now(*pid));
    for connection in &mut sleepers {
        connection.try_reply().expect_err("nobody is left to answer");
    }
    node.until_status("all workers are new", Duration::from_secs(5), |s| back(s, &workers, 1));
    let after = node.status();
    assert_eq!((after.in_flight(), after.open()), (0, 0), "{after:#?}");
    (0..20).for_each(|_| node.get("/hello/").expect_hello());
    node.stop();
}

#[test]
fn all_workers_at_once_are_back_within_half_a_second() {
    let node = Node::with(&["hello"]);
    let address = node.addresses()[0];
    (0..50).for_each(|_| ask(address, "/hello/").unwrap());
    let workers: Vec<u32> = rest(&node).workers.iter().map(|w| w.pid).collect();
    let fds = engine_fds(&node);
    workers.iter().for_each(|pid| kill_now(*pid));
    node.until_status("all workers are new", BACK, |s| back(s, &workers, 1));
    for _ in 0..200 {
        ask(address, "/hello/").unwrap();
    }
    rest(&node);
    node.expect_fds_back_at(&fds, Duration::from_secs(5));
    node.stop();
}

#[test]
fn the_worker_of_an_isolated_function_is_replaced_too() {
    let node = Node::with(&["hello"]);
    node.deploy("hello", "alone", &["--isolation", "process"]);
    node.get("/alone/").expect_hello();
    let victims: Vec<u32> = node.status().pool("alone").map(|w| w.pid).collect();
    let mut kept = node.connect();
    kept.get("/hello/").expect_hello();
    victims.iter().for_each(|pid| kill_now(*pid));
    kept.get("/hello/").expect_hello();
    node.until_status("its worker is new", Duration::from_secs(5), |s| back(s, &victims, 1));
    (0..20).for_each(|_| node.get("/alone/").expect_hello());
    // The connection that was kept is still served.
    kept.get("/alone/").expect_hello();
    drop(kept);
    node.stop();
}

#[test]
fn killed_again_and_again_it_comes_back_and_leaks_nothing() {
    let node = Node::with(&["hello"]);
    node.get("/hello/").expect_hello();
    let mut status = rest(&node);
    let fds = engine_fds(&node);
    for restarts in 1..=4 {
        let victim = status.workers[0].pid;
        kill_now(victim);
        // The pause before each try may be longer.
        status = node.until_status("a new worker is ready", Duration::from_secs(20), |s| {
            back(s, &[victim], restarts)
        });
        (0..10).for_each(|_| node.get("/hello/").expect_hello());
    }
    assert_eq!(status.workers[0].restarts, 4, "{status:#?}");
    rest(&node);
    node.expect_fds_back_at(&fds, Duration::from_secs(5));
    node.stop();
}
