//! A new engine takes over from a running one, and no client notices. A new engine that fails
//! changes nothing.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use harness::bytes::Noise;
use harness::client::request;
use harness::node::{binaries, binaries_with_worker, ready_line, sockhop, two_cores};
use harness::process::Identity;
use harness::take_over::{HELLO, Taker};
use harness::{Connection, Node, Running, guests, needs, process, wait};
use nix::sys::signal::Signal;
use tempfile::TempDir;

const SECOND: Duration = Duration::from_secs(1);

/// A client that counts its answers, and panics at a wrong one.
type Client = fn(SocketAddr, &AtomicBool, &AtomicU64);

/// Sends all requests on one connection.
fn keeps_alive(address: SocketAddr, stop: &AtomicBool, count: &AtomicU64) {
    let mut connection = Connection::open(address);
    while !stop.load(Relaxed) {
        connection.get("/hello/").expect_hello();
        count.fetch_add(1, Relaxed);
    }
}

/// Opens a connection for each request.
fn connects(address: SocketAddr, stop: &AtomicBool, count: &AtomicU64) {
    while !stop.load(Relaxed) {
        let mut connection = Connection::open(address);
        connection.send(request("GET", "/hello/", &[("connection", "close")], b""));
        connection.reply().expect_hello();
        assert_eq!(connection.rest(), b"");
        count.fetch_add(1, Relaxed);
    }
}

/// Sends bodies both ways, several requests at a time, to two functions that have workers of their
/// own.
fn pipelines(address: SocketAddr, stop: &AtomicBool, count: &AtomicU64) {
    let mut connection = Connection::open(address);
    let body = vec![b'x'; 20_000];
    let three = [
        request("POST", "/echo/", &[], &body),
        request("GET", "/alone/", &[], b""),
        request("POST", "/echo/", &[], &body),
    ];
    while !stop.load(Relaxed) {
        let replies = connection.exchange(&three.concat(), 3);
        assert_eq!((replies[0].status(), &replies[0].body), (200, &body));
        replies[1].expect_hello();
        assert_eq!((replies[2].status(), &replies[2].body), (200, &body));
        count.fetch_add(1, Relaxed);
    }
}

/// Runs clients of every kind while `during` does what they must not notice. The argument of
/// `during` is a function that returns when each client has had some more answers.
fn under_load<T>(address: SocketAddr, during: impl FnOnce(&dyn Fn()) -> T) -> T {
    const CLIENTS: [Client; 9] = [
        keeps_alive,
        keeps_alive,
        keeps_alive,
        keeps_alive,
        connects,
        connects,
        connects,
        pipelines,
        pipelines,
    ];
    let stop = AtomicBool::new(false);
    let counts = [const { AtomicU64::new(0) }; CLIENTS.len()];
    thread::scope(|scope| {
        let clients: Vec<_> = CLIENTS
            .iter()
            .zip(&counts)
            .map(|(client, count)| scope.spawn(|| client(address, &stop, count)))
            .collect();
        let served = || {
            let before: Vec<u64> = counts.iter().map(|count| count.load(Relaxed)).collect();
            wait::until("every client is served", 20 * SECOND, || {
                assert!(
                    !clients.iter().any(thread::ScopedJoinHandle::is_finished),
                    "a client has met an error"
                );
                counts
                    .iter()
                    .zip(&before)
                    .all(|(count, before)| count.load(Relaxed) > before + 10)
                    .then_some(())
            });
        };
        let _stop = StopAtEnd(&stop);
        let result = during(&served);
        served();
        result
    })
}

/// Ends the clients, also if the test fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn node() -> Node {
    let node = Node::with(&["hello", "echo", "sleep"]);
    node.deploy("hello", "alone", &["--isolation", "process"]);
    node
}

/// Returns the number of fds of each process of a node at rest: first the engine, then the workers,
/// sorted.
fn fds(node: &Node) -> Vec<usize> {
    node.until_status("the node is at rest", 5 * SECOND, |status| status.open() == 0);
    let mut fds: Vec<usize> = node.fds().into_iter().map(|(_, count)| count).collect();
    fds[1..].sort_unstable();
    fds
}

#[test]
fn under_load_nobody_notices_take_overs_in_a_row() {
    let node = node();
    let address = node.addresses()[0];
    under_load(address, |served| served());
    let before = fds(&node);
    let mut idle: Vec<_> = (0..20).map(|_| node.connect()).collect();
    idle.iter_mut().for_each(|connection| connection.get("/hello/").expect_hello());
    let mut pids = vec![node.pid()];
    let node = under_load(address, |served| {
        (0..3).fold(node, |node, _| {
            served();
            let node = node.taken_over();
            pids.push(node.status().node.pid);
            node
        })
    });
    assert_eq!(node.pid(), *pids.last().unwrap(), "the newest answers");
    pids.dedup();
    assert_eq!(pids.len(), 4, "each time another process: {pids:?}");
    assert!(idle.iter_mut().all(Connection::silent), "idle connections stay as they are");
    idle.iter_mut().for_each(|connection| connection.get("/hello/").expect_hello());
    drop(idle);
    let after = fds(&node);
    assert!(
        before.iter().zip(&after).all(|(before, after)| after <= before),
        "{before:?} fds, then {after:?}"
    );
    node.stop();
}

#[test]
fn a_request_in_flight_ends_where_it_began() {
    let mut old = node();
    let mut connection = old.connect();
    connection.send(request("GET", "/sleep/?ms=3000", &[], b""));
    old.until_status("it sleeps", 5 * SECOND, |status| status.in_flight() == 1);
    let processes = old.processes();
    let new = old.successor(None);
    assert!(connection.silent() && process::alive(old.pid()), "the old engine waits for it");
    assert_eq!(new.status().in_flight(), 0, "and the new one has not got it");
    let reply = connection.reply();
    assert_eq!((reply.status(), reply.text().as_str()), (200, "slept 3000 ms"));
    assert_eq!(reply.head.get("connection"), None, "the connection stays");
    old.expect_ended(&processes, 5 * SECOND);
    connection.get("/hello/").expect_hello();
    assert_eq!(new.status().hops(), 1);
    new.stop();
}

#[test]
fn what_was_read_of_a_request_goes_along() {
    let node = node();
    let mut half = node.connect();
    half.get("/hello/").expect_hello();
    half.send("GET /hel");
    let mut first = node.connect();
    first.send("GET /alo");
    node.until_status("both are with a worker", 5 * SECOND, |status| status.open() == 2);
    let node = node.taken_over();
    half.send("lo/ HTTP/1.1\r\nhost: node.test\r\n\r\n");
    half.reply().expect_hello();
    first.send("ne/ HTTP/1.1\r\nhost: node.test\r\n\r\n");
    first.reply().expect_hello();
    node.stop();
}

#[test]
fn an_idle_connection_is_still_an_idle_one() {
    let node = Node::build().option("--head-timeout", "500ms").start();
    node.deploy("hello", "hello", &[]);
    let mut connection = node.connect();
    connection.get("/hello/").expect_hello();
    let node = node.taken_over();
    // The head of a new connection would be overdue by now.
    wait::throughout("it stays open", Duration::from_millis(1500), || connection.silent());
    connection.get("/hello/").expect_hello();
    node.stop();
}

#[test]
fn the_number_of_shards_may_change() {
    let cores = needs::cores(2);
    let mut node = node();
    let address = node.addresses()[0];
    under_load(address, |served| {
        for cores in [cores[0].to_string(), two_cores()] {
            served();
            let processes = node.processes();
            let successor = node.successor(Some(&cores));
            node.expect_ended(&processes, 10 * SECOND);
            node = successor;
        }
    });
    assert_eq!(node.status().pool("shared").count(), 2);
    node.stop();
}

#[test]
fn with_nobody_to_take_over_from_it_starts_by_itself() {
    let data = TempDir::new().unwrap();
    let mut node = Node::build().data(data.path()).start();
    let second = Running::spawn(
        sockhop().args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data.path()),
    );
    second.finish(10 * SECOND).expect_error(&[
        "in use by another node",
        "--take-over",
        &node.pid().to_string(),
    ]);
    node.kill_engine();
    let mut alone = Running::spawn(
        sockhop()
            .args(["serve", "--take-over", "--listen", "127.0.0.1:0", "--data"])
            .arg(data.path()),
    );
    ready_line(&mut alone);
    assert!(alone.stderr().contains("to take over from"), "{}", alone.stderr());
    alone.signal(Signal::SIGTERM);
    assert_eq!(alone.wait_exit(10 * SECOND).code(), Some(0));
}

#[test]
fn a_new_engine_that_fails_changes_nothing() {
    let node = node();
    let before = node.fds();
    // The engine's binary without the worker's beside it: it fails after it has received
    // everything.
    let lonely = TempDir::new().unwrap();
    fs::copy(binaries().join("sockhop"), lonely.path().join("sockhop")).unwrap();
    let mut command = std::process::Command::new(lonely.path().join("sockhop"));
    let new = Running::spawn(command.args(["serve", "--take-over", "--data"]).arg(node.data()));
    new.finish(20 * SECOND).expect_error(&["sockhop-worker"]);
    // A new engine that dies at this point without a message.
    let taker = Taker::connect(node.data());
    assert!(taker.receive_offer().len() >= 2, "listeners and the lock");
    drop(taker);
    expect_it_goes_on(&node, &before);
    node.stop();
}

/// Checks that the node serves, deploys, has its lock, can be taken over from, and has no fd left
/// of the attempts.
fn expect_it_goes_on(node: &Node, before: &[(u32, usize)]) {
    wait::until("it says so", 5 * SECOND, || {
        node.stderr().contains("this engine goes on").then_some(())
    });
    node.get("/hello/").expect_hello();
    wait::until("functions can be deployed again", 5 * SECOND, || {
        let file = guests::path("hello");
        let said = node.cli(&["deploy", file.to_str().unwrap(), "--name", "hello"]);
        (said.code == Some(0)).then_some(())
    });
    let second = Running::spawn(
        sockhop().args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(node.data()),
    );
    second.finish(10 * SECOND).expect_error(&["in use by another node"]);
    node.expect_fds_back_at(before, 5 * SECOND);
}

#[test]
fn garbage_changes_nothing() {
    let node = node();
    let before = node.fds();
    let null = fs::File::open("/dev/null").unwrap();
    let mut noise = Noise::new(7);
    let long = vec![b' '; 150_000];
    let odd: [(&[u8], usize); 7] = [
        (b"", 1),
        (b"nonsense", 0),
        (HELLO.as_bytes(), 1),
        (br#"{"say":"ready"}"#, 0),
        (br#"{"say":"hello","protocol":99,"build":"x"}"#, 0),
        (br#"{"say":"lock"}"#, 3),
        (&long, 0),
    ];
    for (packet, fds) in odd {
        let taker = Taker::connect(node.data());
        taker.try_send(packet, &[null.as_fd(); 3][..fds]).unwrap();
        let (said, _) = taker.receive();
        assert!(said.is_empty() || said.contains("refused"), "{said}");
    }
    for _ in 0..50 {
        let taker = Taker::connect(node.data());
        let length = noise.below(2000) + 1;
        let packet: Vec<u8> =
            (0..length).map(|_| u8::try_from(noise.below(256)).unwrap()).collect();
        taker.try_send(&packet, &[]).unwrap();
        assert!(taker.receive().0.contains("refused"));
    }
    // Nonsense after everything has been offered.
    let taker = Taker::connect(node.data());
    taker.receive_offer();
    taker.send(r#"{"say":"working"}"#);
    taker.send(r#"{"say":"yours"}"#);
    assert!(taker.receive().0.contains("broke the protocol"));
    drop(taker);
    expect_it_goes_on(&node, &before);
    node.stop();
}

/// Sends a request to the control API, and returns the answer.
fn control(data: &Path, method: &str, path: &str) -> String {
    let mut socket = UnixStream::connect(data.join("control.sock")).unwrap();
    write!(socket, "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut reply = String::new();
    socket.read_to_string(&mut reply).unwrap();
    reply
}

#[test]
fn nothing_is_deployed_meanwhile_and_everything_after() {
    let node = node();
    let taker = Taker::connect(node.data());
    taker.receive_offer();
    let refused = control(node.data(), "DELETE", "/v1/functions/hello");
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(
        refused.contains("retry-after: 1\r\n") && refused.contains("being taken over"),
        "{refused}"
    );
    let second = Taker::connect(node.data());
    assert!(second.receive().0.contains("already"), "one at a time");
    assert!(
        control(node.data(), "GET", "/v1/functions/hello").starts_with("HTTP/1.1 200 "),
        "looking is allowed"
    );
    node.get("/hello/").expect_hello();
    thread::scope(|scope| {
        // The command waits, and deploys after the take-over has failed.
        let deploy = scope.spawn(|| node.deploy("hello", "later", &[]));
        taker.send(r#"{"say":"working"}"#);
        node.status();
        assert!(!deploy.is_finished());
        drop(taker);
        deploy.join().unwrap();
    });
    node.get("/later/").expect_hello();
    let node = node.taken_over();
    node.get("/later/").expect_hello();
    node.deploy("hello", "latest", &[]);
    node.get("/latest/").expect_hello();
    node.stop();
}

/// Kills an engine that is no child of the test, if the test does not reach its end.
struct Guard(Identity);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.kill();
    }
}

#[test]
fn a_signal_starts_the_binary_that_is_there_by_then() {
    let (bin, data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for name in ["sockhop", "sockhop-worker"] {
        fs::copy(binaries().join(name), bin.path().join(name)).unwrap();
    }
    let own = bin.path().join("sockhop");
    let mut command = std::process::Command::new(&own);
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--cores", &two_cores(), "--data"])
        .arg(data.path());
    let mut old = Running::spawn(&mut command);
    let (_, addresses) = ready_line(&mut old);
    let cli = |arguments: &[&str]| {
        let (command, rest) = arguments.split_first().unwrap();
        Running::spawn(
            sockhop().args([command, "--data", data.path().to_str().unwrap()]).args(rest),
        )
        .finish(20 * SECOND)
    };
    let deploy = |name: &str| {
        let file = guests::path("hello");
        cli(&["deploy", file.to_str().unwrap(), "--name", name]).expect_code(0);
    };
    deploy("hello");
    // A new binary that does not start.
    let replace = |contents: &[u8]| {
        let next = bin.path().join("next");
        fs::write(&next, contents).unwrap();
        fs::set_permissions(&next, fs::metadata(binaries().join("sockhop")).unwrap().permissions())
            .unwrap();
        fs::rename(&next, &own).unwrap();
    };
    replace(b"#!/bin/sh\nexit 3\n");
    old.signal(Signal::SIGUSR2);
    wait::until("it says so", 10 * SECOND, || {
        old.stderr().contains("has ended before it did").then_some(())
    });
    Connection::open(addresses[0]).get("/hello/").expect_hello();
    deploy("echo");
    // A new binary that starts.
    replace(&fs::read(binaries().join("sockhop")).unwrap());
    let pid = || -> u32 {
        let status = cli(&["status", "--json"]).expect_code(0).stdout;
        serde_json::from_str::<harness::status::Status>(&status).unwrap().node.pid
    };
    let mut guard = None;
    under_load_of_two(addresses[0], || {
        old.signal(Signal::SIGUSR2);
        let new = wait::until("another process answers", 20 * SECOND, || {
            Some(pid()).filter(|pid| *pid != old.pid())
        });
        guard = Identity::of(new).map(Guard);
        assert_eq!(old.wait_exit(10 * SECOND).code(), Some(0));
    });
    deploy("latest");
    Connection::open(addresses[0]).get("/latest/").expect_hello();
    assert_eq!(old.stdout().lines().count(), 2, "each says that it is ready: {:?}", old.stdout());
    let new = pid();
    process::signal(new, Signal::SIGTERM);
    wait::until("it ends", 10 * SECOND, || (!process::alive(new)).then_some(()));
    drop(guard);
}

/// A busy machine may keep workers waiting for longer than a start may take. The engine waits for
/// them, and the take-over with it.
#[test]
fn a_busy_machine_delays_a_take_over_and_does_not_end_it() {
    let (bin, data) =
        (binaries_with_worker(env!("CARGO_BIN_EXE_hostile-worker")), TempDir::new().unwrap());
    let start = |more: &[&str]| {
        let mut command = std::process::Command::new(bin.path().join("sockhop"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--cores", &two_cores(), "--data"])
            .arg(data.path());
        Running::spawn(command.args(more))
    };
    let mut old = start(&[]);
    let (_, addresses) = ready_line(&mut old);
    let hello = guests::path("hello");
    let deploy = [
        "deploy",
        hello.to_str().unwrap(),
        "--name",
        "hello",
        "--data",
        data.path().to_str().unwrap(),
    ];
    Running::spawn(sockhop().args(deploy)).finish(20 * SECOND).expect_code(0);
    fs::write(bin.path().join("mischief"), "is kept waiting by the machine").unwrap();
    let mut new = start(&["--take-over"]);
    assert_eq!(ready_line(&mut new).1, addresses);
    assert_eq!(old.wait_exit(10 * SECOND).code(), Some(0));
    Connection::open(addresses[0]).get("/hello/").expect_hello();
    new.signal(Signal::SIGTERM);
    assert_eq!(new.wait_exit(10 * SECOND).code(), Some(0));
}

fn under_load_of_two(address: SocketAddr, during: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    let count = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| keeps_alive(address, &stop, &count));
        scope.spawn(|| connects(address, &stop, &count));
        let served = || {
            let before = count.load(Relaxed);
            wait::until("clients are served", 20 * SECOND, || {
                (count.load(Relaxed) > before + 20).then_some(())
            });
        };
        let _stop = StopAtEnd(&stop);
        served();
        during();
        served();
    });
}
