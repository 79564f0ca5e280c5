//! Every limit of a function is enforced, is reported to the client, and does not affect others.

use std::time::{Duration, Instant};

use harness::client::{head, request};
use harness::{Connection, Node, Reply, guests, wait};
use nix::sys::signal::Signal;

/// Sends a GET without waiting for its reply.
fn begin(node: &Node, target: &str) -> Connection {
    let mut connection = node.connect();
    connection.send(head("GET", target, &[]));
    connection
}

fn in_flight(node: &Node) -> u64 {
    node.status().workers.iter().map(|worker| worker.in_flight).sum()
}

/// Returns the detail of a refusal with 429, which must have a Retry-After.
fn too_many(reply: &Reply) -> String {
    assert_eq!(reply.head.get("retry-after"), Some("1"));
    reply.expect_problem(429)
}

#[test]
fn a_function_runs_so_many_requests_at_a_time_on_all_workers_together() {
    let node = Node::start();
    node.deploy("sleep", "sleep", &["--concurrency", "3", "--queue", "0"]);
    let mut running: Vec<Connection> = (0..3).map(|_| begin(&node, "/sleep/?ms=2000")).collect();
    node.until_status("three run", Duration::from_secs(5), |status| {
        status.workers.iter().map(|worker| worker.in_flight).sum::<u64>() == 3
    });
    for _ in 0..8 {
        let detail = too_many(&node.get("/sleep/?ms=1"));
        assert!(detail.contains("sleep") && detail.contains('3'), "{detail}");
    }
    for connection in &mut running {
        assert_eq!(connection.reply().text(), "slept 2000 ms");
    }
    assert_eq!(node.get("/sleep/?ms=1").text(), "slept 1 ms", "its places are free again");
    node.stop();
}

#[test]
fn those_beyond_wait_for_their_turn_and_no_more_than_may() {
    let node = Node::start();
    let options = ["--concurrency", "1", "--queue", "4", "--queue-timeout", "30s"];
    node.deploy("sleep", "sleep", &options);
    let started = Instant::now();
    let mut all: Vec<Connection> = (0..12).map(|_| begin(&node, "/sleep/?ms=1000")).collect();
    let replies: Vec<Reply> = all.iter_mut().map(Connection::reply).collect();
    // One runs and four wait, in whichever workers they are. There is no room for the others.
    assert_eq!(replies.iter().filter(|reply| reply.status() == 200).count(), 5);
    replies.iter().filter(|reply| reply.status() != 200).for_each(|reply| drop(too_many(reply)));
    assert!(started.elapsed() >= Duration::from_secs(5), "one at a time");
    node.stop();
}

#[test]
fn who_waits_too_long_is_refused_and_a_client_that_leaves_gives_its_place_up() {
    let node = Node::start();
    let options = ["--concurrency", "1", "--queue", "10", "--queue-timeout", "200ms"];
    node.deploy("sleep", "sleep", &options);
    let running = begin(&node, "/sleep/?ms=20000");
    node.until_status("it runs", Duration::from_secs(5), |status| {
        status.workers.iter().any(|worker| worker.in_flight == 1)
    });
    let started = Instant::now();
    too_many(&node.get("/sleep/?ms=1"));
    assert!(started.elapsed() >= Duration::from_millis(200));
    drop(running);
    assert_eq!(
        wait::until("its place is free", Duration::from_secs(10), || {
            let reply = node.get("/sleep/?ms=1");
            (reply.status() == 200).then(|| reply.text())
        }),
        "slept 1 ms"
    );
    node.stop();
}

#[test]
fn a_worker_that_is_killed_leaves_no_place_taken() {
    let node = Node::start();
    node.deploy("sleep", "sleep", &["--concurrency", "2", "--queue", "0"]);
    let _lost: Vec<Connection> = (0..2).map(|_| begin(&node, "/sleep/?ms=20000")).collect();
    node.until_status("both run", Duration::from_secs(5), |status| {
        status.workers.iter().map(|worker| worker.in_flight).sum::<u64>() == 2
    });
    for worker in node.status().workers {
        harness::process::signal(worker.pid, Signal::SIGKILL);
    }
    wait::until("the places are free", Duration::from_secs(10), || {
        (node.get("/sleep/?ms=1").status() == 200).then_some(())
    });
    node.stop();
}

#[test]
fn a_request_body_that_is_too_long_is_a_413() {
    let node = Node::start();
    node.deploy("echo", "echo", &["--request-body", "100KB"]);
    let fits = vec![b'x'; 100_000];
    let mut connection = node.connect();
    assert_eq!(connection.exchange(&request("POST", "/echo/", &[], &fits), 1)[0].body, fits);
    // A body with a length is refused before it is read, and a client that asks first gets the
    // refusal first.
    let detail = node
        .connect()
        .exchange_unread(&request("POST", "/echo/", &[], &vec![b'x'; 100_001]))
        .expect_problem(413);
    assert!(detail.contains("100000"), "{detail}");
    let mut asks = node.connect();
    asks.send(head("POST", "/echo/", &[("expect", "100-continue"), ("content-length", "100001")]));
    asks.reply().expect_problem(413);
    node.stop();
}

#[test]
fn a_chunked_body_that_turns_out_too_long_is_a_413_too() {
    let node = Node::start();
    node.deploy("status", "status", &["--request-body", "100KB"]);
    let chunk = [b"2710\r\n".as_slice(), &vec![b'x'; 10_000], b"\r\n"].concat();
    let body = |chunks: usize| {
        let mut bytes = head("POST", "/status/?code=200", &[("transfer-encoding", "chunked")]);
        (0..chunks).for_each(|_| bytes.extend_from_slice(&chunk));
        bytes.extend_from_slice(b"0\r\n\r\n");
        bytes
    };
    assert_eq!(node.connect().exchange(&body(10), 1)[0].head.get("x-body-bytes"), Some("100000"));
    node.connect().exchange_unread(&body(11)).expect_problem(413);
    node.stop();
}

#[test]
fn a_body_that_stops_coming_is_a_408() {
    let node = Node::start();
    node.deploy("status", "status", &[]);
    let begun: [(&str, &str, &[u8]); 2] =
        [("content-length", "10", b"hello"), ("transfer-encoding", "chunked", b"5\r\nhello\r\n")];
    let mut all: Vec<Connection> = begun
        .iter()
        .map(|(name, value, body)| {
            let mut connection = node.connect();
            connection.send(
                [head("POST", "/status/?code=200", &[(name, value)]).as_slice(), body].concat(),
            );
            connection
        })
        .collect();
    for connection in &mut all {
        let detail = connection.reply().expect_problem(408);
        assert!(detail.contains("nothing of its request's body for 10s"), "{detail}");
        assert_eq!(connection.rest(), b"", "what comes later cannot be told from another request");
    }
    node.stop();
}

/// Starts a node with one worker.
fn node_with_one_worker() -> Node {
    Node::build()
        .option("--cores", harness::node::two_cores().split(['-', ',']).next().unwrap_or("0"))
        .start()
}

#[test]
fn bodies_that_never_come_leave_room_for_other_functions() {
    harness::process::raise_fd_limit();
    let node = node_with_one_worker();
    node.deploy("echo", "echo", &[]);
    node.deploy("hello", "hello", &[]);
    let waiting: Vec<Connection> = (0..1100)
        .map(|_| {
            let mut connection = node.connect();
            connection.send(head("POST", "/echo/", &[("content-length", "5")]));
            connection
        })
        .collect();
    node.until_status("as many run as may", Duration::from_secs(20), |status| {
        status.in_flight() >= 750
    });
    node.get("/hello/").expect_hello();
    // Nor does it last: those bodies have a clock of their own.
    node.until_status("none is waited for any more", Duration::from_secs(50), |status| {
        status.in_flight() == 0
    });
    drop(waiting);
    node.stop();
}

#[test]
fn a_component_with_many_memories_leaves_the_pool_to_others() {
    let node = node_with_one_worker();
    node.deploy("hello", "hello", &[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("many.wasm");
    std::fs::write(&file, with_memories(std::fs::read(guests::path("sleep")).unwrap(), 23))
        .unwrap();
    node.cli(&["deploy", file.to_str().unwrap(), "--name", "many", "--core-instances", "60"])
        .expect_code(0);
    let mut sleeping: Vec<Connection> = (0..120).map(|_| begin(&node, "/many/?ms=3000")).collect();
    node.until_status("as many run as may", Duration::from_secs(10), |status| {
        status.in_flight() >= 50
    });
    for _ in 0..10 {
        node.get("/hello/").expect_hello();
    }
    for connection in &mut sleeping {
        assert_eq!(connection.reply().text(), "slept 3000 ms", "it had its turn");
    }
    node.stop();
}

/// Adds `count` instances of a core module to a component, each with a memory of one page.
fn with_memories(mut component: Vec<u8>, count: u8) -> Vec<u8> {
    const MODULE: &[u8] = b"\0asm\x01\0\0\0\x05\x03\x01\0\x01";
    let modules = core_modules(&component);
    component.extend_from_slice(&[1, 13]);
    component.extend_from_slice(MODULE);
    // A section of core instances of that module without arguments.
    let instance = [0, modules, 0];
    component.extend_from_slice(&[2, 1 + count * 3, count]);
    (0..count).for_each(|_| component.extend_from_slice(&instance));
    component
}

/// Returns the number of core modules that a component defines. Each is a section of its own.
fn core_modules(component: &[u8]) -> u8 {
    let (mut at, mut modules) = (8, 0);
    while at < component.len() {
        modules += u8::from(component[at] == 1);
        let (mut size, mut shift) = (0, 0);
        loop {
            at += 1;
            size |= usize::from(component[at] & 0x7f) << shift;
            shift += 7;
            if component[at] & 0x80 == 0 {
                break;
            }
        }
        at += 1 + size;
    }
    modules
}

#[test]
fn waiting_for_a_turn_costs_next_to_nothing_however_many_wait() {
    harness::process::raise_fd_limit();
    let node = node_with_one_worker();
    node.deploy(
        "sleep",
        "sleep",
        &["--concurrency", "1", "--queue", "1000", "--queue-timeout", "60s"],
    );
    let all: Vec<Connection> = (0..901).map(|_| begin(&node, "/sleep/?ms=25000")).collect();
    let worker = node
        .until_status("all have come", Duration::from_secs(20), |status| status.open() == 901)
        .workers[0]
        .pid;
    // The time that passes is what is measured by, not waited for.
    std::thread::sleep(Duration::from_secs(1));
    let before = harness::process::cpu_time(worker);
    std::thread::sleep(Duration::from_secs(4));
    let used = harness::process::cpu_time(worker).saturating_sub(before);
    // A look at each of them at each beat would take many times as much.
    assert!(used < Duration::from_millis(200), "5 % of a core: {used:?} in 4 s");
    drop(all);
    node.stop();
}

#[test]
fn processor_time_ends_a_guest_that_computes_and_not_one_that_waits() {
    let node = Node::start();
    let options = ["--cpu-time", "200ms", "--timeout", "20s"];
    node.deploy("spin", "spin", &options);
    node.deploy("sleep", "sleep", &options);
    let started = Instant::now();
    let detail = node.get("/spin/").expect_problem(504);
    assert!(detail.contains("processor time") && detail.contains("200ms"), "{detail}");
    assert!(started.elapsed() < Duration::from_secs(10), "long before its wall time");
    assert_eq!(node.get("/sleep/?ms=600").text(), "slept 600 ms");
    node.stop();
}

#[test]
fn wall_time_ends_a_guest_that_waits_in_the_host() {
    let node = Node::start();
    node.deploy("sleep", "sleep", &["--timeout", "200ms", "--cpu-time", "20s"]);
    let detail = node.get("/sleep/?ms=20000").expect_problem(504);
    assert!(detail.contains("time limit of 200ms"), "{detail}");
    assert_eq!(in_flight(&node), 0);
    node.stop();
}

#[test]
fn a_worker_that_is_stuck_in_a_guest_is_killed_and_replaced() {
    let node = Node::start();
    node.deploy("spin", "spin", &["--timeout", "500ms"]);
    node.deploy("hello", "hello", &[]);
    let mut stuck = begin(&node, "/spin/");
    let worker = wait::until("a worker runs it", Duration::from_secs(5), || {
        node.status()
            .workers
            .into_iter()
            .find(|worker| worker.in_flight > 0)
            .map(|worker| worker.pid)
    });
    // Neither of the worker's own two defences can act now.
    harness::process::signal(worker, Signal::SIGSTOP);
    node.until_status("it is replaced", Duration::from_secs(10), |status| {
        status.workers.iter().all(|other| other.state == "ready" && other.pid != worker)
    });
    assert!(stuck.try_reply().is_err(), "the request was lost with the worker");
    assert!(node.stderr().contains("stuck"), "{}", node.stderr());
    node.get("/hello/").expect_hello();
    node.stop();
}

#[test]
fn a_reply_with_too_large_a_head_is_a_500_with_the_reason() {
    let node = Node::start();
    node.deploy("headers", "headers", &["--reply-head", "4KiB"]);
    let mut connection = node.connect();
    assert_eq!(connection.get("/headers/?size=1000&many=3").status(), 200);
    let detail = connection.get("/headers/?size=1000&many=5").expect_problem(500);
    assert!(detail.contains("its log has the reason"), "{detail}");
    wait::until("it names the limit", Duration::from_secs(5), || {
        node.stderr().contains("4096").then_some(())
    });
    node.stop();
}

#[test]
fn what_a_guest_writes_is_cut_at_its_limit() {
    let node = Node::start();
    node.deploy("cmd", "cmd", &["--log-size", "10KB"]);
    let text = "e".repeat(1000);
    let query = vec![format!("eprint={text}"); 20].join("&");
    assert_eq!(node.get(&format!("/cmd/?{query}")).status(), 200);
    wait::until("the cut is told", Duration::from_secs(5), || {
        node.stderr().contains("[cut: more than 10000 bytes]").then_some(())
    });
    let written: usize =
        node.stderr().lines().filter(|line| line.contains("stream=stderr")).map(str::len).sum();
    assert!(written < 20_000, "{written}");
    node.stop();
}

#[test]
fn tables_and_core_instances_have_limits() {
    let node = Node::start();
    let hello = guests::path("hello");
    // The version is tried before it is served, and says which limit it does not fit in.
    for (option, limit) in
        [("--table-elements", "1 table elements"), ("--core-instances", "instance count")]
    {
        let deploy = ["deploy", hello.to_str().unwrap(), "--name", "small", option, "1"];
        node.cli(&deploy).expect_error(&["instantiated", limit]);
    }
    node.deploy("hello", "small", &[]);
    node.get("/small/").expect_hello();
    node.stop();
}

#[test]
fn a_guest_that_computes_does_not_hold_the_others_up() {
    let node = Node::build()
        .option("--cores", harness::node::two_cores().split(['-', ',']).next().unwrap_or("0"))
        .start();
    node.deploy("hello", "hello", &[]);
    node.deploy("spin", "spin", &["--timeout", "3s"]);
    let mut spinner = begin(&node, "/spin/");
    let mut others: Vec<Connection> = (0..8).map(|_| node.connect()).collect();
    let started = Instant::now();
    let mut served = 0;
    while started.elapsed() < Duration::from_secs(1) {
        for connection in &mut others {
            connection.get("/hello/").expect_hello();
            served += 1;
        }
    }
    // A turn of the spinning guest is a few milliseconds. With turns of seconds, no other request
    // would be served here.
    assert!(served > 20, "{served}");
    spinner.reply().expect_problem(504);
    node.stop();
}
