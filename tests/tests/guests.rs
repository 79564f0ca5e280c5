//! Every guest can do what it may. What it may not do ends it, and the next request is served.

use std::time::{Duration, Instant};

use harness::client::{head, request};
use harness::{Node, wait};

#[test]
fn a_component_of_someone_elses_framework_runs_unchanged() {
    let node = Node::with(&["hello-wstd"]);
    let reply = node.get("/hello-wstd/");
    reply.expect_hello();
    assert_eq!(reply.head.get("content-type"), Some("text/plain"));
    node.stop();
}

#[test]
fn a_guest_sees_the_request_and_its_own_environment() {
    let node = Node::start();
    node.deploy(
        "inspect",
        "inspect",
        &["--env", "COLOUR=green", "--env", "EMPTY=", "--env", "PAIR=a=b"],
    );
    let mut connection = node.connect();
    let headers = [("x-twice", "one"), ("x-twice", "two"), ("host", "shop.test:81")];
    connection.send(request("DELETE", "/inspect/deep/path%20here/?q=1&r=%26", &headers, b""));
    let seen = connection.reply().json();
    assert_eq!(seen["method"], "DELETE");
    assert_eq!(seen["path"], "/deep/path%20here/");
    assert_eq!(seen["query"], "q=1&r=%26");
    assert_eq!(seen["authority"], "shop.test:81");
    assert_eq!(seen["scheme"], "http");
    assert_eq!(seen["headers"]["x-twice"], serde_json::json!(["one", "two"]));
    assert_eq!(seen["headers"]["x-forwarded-prefix"], serde_json::json!(["/inspect"]));
    let environment = serde_json::json!({"COLOUR": "green", "EMPTY": "", "PAIR": "a=b"});
    assert_eq!(
        seen["environment"], environment,
        "what was deployed, and nothing of the node's own"
    );

    // The same connection, the edge cases of the rest.
    for (target, path, query) in
        [("/inspect", "/", None), ("/inspect/", "/", None), ("/inspect?x", "/", Some("x"))]
    {
        let seen = connection.get(target).json();
        assert_eq!(
            (seen["path"].as_str(), seen["query"].as_str()),
            (Some(path), query),
            "{target}"
        );
    }
    node.stop();
}

#[test]
fn what_a_client_says_of_the_prefix_is_not_believed() {
    let node = Node::with(&["inspect"]);
    let mut connection = node.connect();
    connection.send(request("GET", "/inspect/", &[("x-forwarded-prefix", "/evil")], b""));
    let seen = connection.reply().json();
    assert_eq!(seen["headers"]["x-forwarded-prefix"], serde_json::json!(["/inspect"]));
    node.stop();
}

#[test]
fn a_guests_lines_reach_the_nodes_stderr_with_name_and_id() {
    let node = Node::start();
    node.deploy("inspect", "talker", &[]);
    let reply = node.get("/talker/");
    let id = reply.head.invocation_id();
    for (stream, text) in [("stdout", "inspect stdout line"), ("stderr", "inspect stderr line")] {
        let marks =
            ["function=talker".to_owned(), format!("invocation={id}"), format!("stream={stream}")];
        let found = || {
            let stderr = node.stderr();
            let mut lines =
                stderr.lines().filter(|l| l.contains(text) && marks.iter().all(|m| l.contains(m)));
            lines.next().map(|_| assert_eq!(lines.next(), None, "once a request"))
        };
        wait::until(&format!("a line with {marks:?} and {text:?}"), Duration::from_secs(5), found);
    }
    node.stop();
}

#[test]
fn a_panic_is_a_500_and_the_next_request_is_served() {
    let node = Node::with(&["panic", "hello"]);
    let mut connection = node.connect();
    for _ in 0..3 {
        connection.get("/panic/").expect_problem(500);
        connection.get("/hello/").expect_hello();
    }
    wait::until("the panic's message is in the log", Duration::from_secs(5), || {
        node.stderr().contains("the guest panics before its reply").then_some(())
    });
    assert!(
        node.status().workers.iter().all(|w| w.restarts == 0),
        "a guest's end is not its worker's"
    );
    drop(connection);
    node.stop();
}

#[test]
fn a_reply_that_panics_half_way_is_cut_and_never_completed() {
    let node = Node::with(&["panic", "hello"]);
    for _ in 0..3 {
        let mut connection = node.connect();
        connection.get("/hello/").expect_hello();
        connection.send(request("GET", "/panic/after-head", &[], b""));
        let cut = connection.try_reply().expect_err("a cut reply must not look whole");
        // The head may have been sent before the end. If so, it is the guest's.
        if let Some(head) = &cut.head {
            assert_eq!(head.status, 200, "{cut:?}");
            assert!(b"begin".starts_with(&cut.body), "{cut:?}");
        }
        assert_eq!(connection.rest(), b"", "nothing comes after a cut");
    }
    node.get("/hello/").expect_hello();
    node.stop();
}

#[test]
fn a_guest_without_a_reply_is_a_500() {
    let node = Node::with(&["no-reply", "hello"]);
    let mut connection = node.connect();
    connection.get("/no-reply/").expect_problem(500);
    connection.get("/hello/").expect_hello();
    drop(connection);
    node.stop();
}

#[test]
fn what_a_guest_says_of_its_error_is_its_logs_and_not_the_clients() {
    let node = Node::with(&["no-reply", "echo-p3"]);
    let mut connection = node.connect();
    for (target, own) in
        [("/no-reply/?error=my-own-error", "my-own-error"), ("/echo-p3/error", "asked to")]
    {
        let reply = connection.get(target);
        let detail = reply.expect_problem(500);
        assert!(!detail.contains(own) && !detail.contains("InternalError"), "{target}: {detail}");
        let id = reply.head.invocation_id();
        wait::until("the log has the guest's own text", Duration::from_secs(5), || {
            let stderr = node.stderr();
            let mut lines =
                stderr.lines().filter(|line| line.contains(id) && line.contains("stream=node"));
            lines.any(|line| line.contains(own)).then_some(())
        });
    }
    drop(connection);
    node.stop();
}

#[test]
fn an_endless_loop_is_a_504_at_its_time_limit() {
    let node = Node::with(&["hello"]);
    node.deploy("spin", "spin", &["--timeout", "500ms"]);
    let mut connection = node.connect();
    for _ in 0..2 {
        let start = Instant::now();
        let detail = connection.get("/spin/").expect_problem(504);
        let took = start.elapsed();
        assert!(detail.contains("time limit"), "{detail}");
        assert!(
            (Duration::from_millis(450)..Duration::from_secs(3)).contains(&took),
            "limit 500 ms, took {took:?}"
        );
        connection.get("/hello/").expect_hello();
    }
    assert!(
        node.status().workers.iter().all(|w| w.restarts == 0),
        "a guest's end is not its worker's"
    );
    drop(connection);
    node.stop();
}

#[test]
fn an_endless_loop_does_not_keep_others_from_being_served() {
    let node = Node::with(&["hello"]);
    node.deploy("spin", "spin", &["--timeout", "20s"]);
    let workers = node.status().workers.len();
    let mut loops: Vec<_> = (0..workers * 2).map(|_| node.connect()).collect();
    for connection in &mut loops {
        connection.send(request("GET", "/spin/", &[], b""));
    }
    let busy = u64::try_from(loops.len()).unwrap();
    node.until_status("all loops run", Duration::from_secs(10), |s| s.in_flight() == busy);
    for _ in 0..20 {
        node.get("/hello/").expect_hello();
    }
    assert_eq!(node.status().in_flight(), busy, "and the loops still run");
    // The invocation of a client that leaves is ended.
    drop(loops);
    node.until_status("no loop runs any more", Duration::from_secs(10), |s| s.in_flight() == 0);
    node.stop();
}

#[test]
fn a_sleeping_guest_wakes_in_time_or_is_ended() {
    let node = Node::start();
    node.deploy("sleep", "sleep", &["--timeout", "1s"]);
    let mut connection = node.connect();
    let start = Instant::now();
    let reply = connection.get("/sleep/?ms=200");
    assert_eq!((reply.status(), reply.text().as_str()), (200, "slept 200 ms"));
    assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());

    let start = Instant::now();
    let detail = connection.get("/sleep/?ms=60000").expect_problem(504);
    assert!(detail.contains("time limit"), "{detail}");
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(connection.get("/sleep/?ms=1").status(), 200);
    drop(connection);
    node.stop();
}

#[test]
fn many_sleepers_sleep_at_once() {
    let node = Node::with(&["sleep"]);
    let start = Instant::now();
    let mut sleepers: Vec<_> = (0..50).map(|_| node.connect()).collect();
    for connection in &mut sleepers {
        connection.send(request("GET", "/sleep/?ms=1000", &[], b""));
    }
    for connection in &mut sleepers {
        assert_eq!(connection.reply().text(), "slept 1000 ms");
    }
    assert!(start.elapsed() < Duration::from_secs(10), "50 s of sleep took {:?}", start.elapsed());
    drop(sleepers);
    node.stop();
}

#[test]
fn a_greedy_guest_is_a_500_that_names_the_limit() {
    let node = Node::with(&["hello", "greedy"]);
    node.deploy("greedy", "greedy-16", &["--memory", "16MiB"]);
    let mut connection = node.connect();
    for function in ["/greedy/", "/greedy-16/", "/greedy/", "/greedy-16/"] {
        let detail = connection.get(function).expect_problem(500);
        assert!(detail.contains("memory limit"), "{detail}");
        connection.get("/hello/").expect_hello();
    }
    let detail = connection.get("/greedy-16/").expect_problem(500);
    assert!(detail.contains("16"), "the limit it was given: {detail}");
    assert!(
        node.status().workers.iter().all(|w| w.restarts == 0),
        "a guest's end is not its worker's"
    );
    drop(connection);
    node.stop();
}

#[test]
fn a_guests_own_status_and_headers_reach_the_client() {
    let node = Node::with(&["status"]);
    let mut connection = node.connect();
    for code in [200, 201, 204, 304, 404, 418, 500, 503] {
        let reply = connection.post(&format!("/status/?code={code}"), b"twelve bytes");
        assert_eq!(reply.status(), code);
        assert_eq!(
            reply.head.get("x-guest"),
            Some("status"),
            "the guest's own reply, not the node's: {code}"
        );
        assert_eq!(reply.head.get("x-body-bytes"), Some("12"), "{code}");
        assert_eq!(reply.body, b"", "{code}");
    }
    node.stop();
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let node = Node::with(&["echo"]);
    let mut connection = node.connect();
    connection.send(head("POST", "/echo/", &[("expect", "100-continue"), ("content-length", "5")]));
    assert_eq!(connection.head().status, 100);
    connection.send("hello");
    assert_eq!(connection.reply().text(), "hello");
    node.stop();
}
