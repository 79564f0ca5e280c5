//! Outgoing requests of functions: where they may go, that their connections are kept, and that no
//! connection stays without need.

use std::time::{Duration, Instant};

use harness::bytes::assert_same;
use harness::client::head;
use harness::unreachable::ClosedPort;
use harness::upstream::{Upstream, large};
use harness::{Node, Reply, guests, wait};

/// How long it may take until the node notices something.
const SOON: Duration = Duration::from_secs(10);
/// Requests in flight that a function may have in one worker by default (`--outbound-requests`).
const IN_FLIGHT_MAX: usize = 64;
/// The connections to one address that are kept (`OUTBOUND_IDLE_PER_HOST_MAX`).
const KEPT_MAX: usize = 8;

/// Starts a node with the guest `fetch`, which may connect to `allowed`.
fn node(allowed: &[&str]) -> Node {
    let node = Node::start();
    deploy(&node, "fetch", allowed);
    node
}

fn deploy(node: &Node, name: &str, allowed: &[&str]) {
    let options: Vec<&str> =
        allowed.iter().flat_map(|pattern| ["--allow-outbound", *pattern]).collect();
    node.deploy("fetch", name, &options);
}

/// Starts a server, and a node whose `fetch` may connect to it.
fn node_and_upstream() -> (Node, Upstream) {
    let upstream = Upstream::start();
    (node(&[&upstream.address().to_string()]), upstream)
}

/// Returns what the guest reports of a request to `url`.
fn fetch(node: &Node, url: &str) -> Reply {
    node.get(&format!("/fetch/?url={url}"))
}

#[track_caller]
fn expect_ok(reply: &Reply) {
    assert_eq!(
        reply.text(),
        "status: 200\nheader: x-up: yes\nheader: content-length: 2\nbody-bytes: 2\nbody: ok\n"
    );
}

/// Checks that the guest was refused, and that the function's log has a line with these words.
#[track_caller]
fn expect_denied(node: &Node, reply: &Reply, words: &[&str]) {
    assert_eq!(reply.text(), "error: ErrorCode::HttpRequestDenied\n");
    let marks = ["function=fetch", &format!("invocation={}", reply.head.invocation_id())];
    wait::until(&format!("the log has a line with {words:?}"), SOON, || {
        node.stderr()
            .lines()
            .any(|line| marks.iter().chain(words).all(|word| line.contains(word)))
            .then_some(())
    });
}

#[test]
fn nothing_can_be_reached_by_default() {
    let upstream = Upstream::start();
    let node = node(&[]);
    for url in [format!("http://{}/ok", upstream.address()), "https://example.com/".to_owned()] {
        let reply = fetch(&node, &url);
        expect_denied(&node, &reply, &["outgoing request", "--allow-outbound"]);
    }
    assert_eq!(upstream.accepted(), 0);
    node.stop();
}

#[test]
fn what_is_denied_over_and_over_is_told_once_with_a_sum() {
    let node = node(&["api.example:443"]);
    let reply = node.get("/fetch/?url=http://other.example/ok&count=500");
    assert_eq!(reply.text().matches("error: ErrorCode::HttpRequestDenied").count(), 500);
    let denied = || -> Vec<String> {
        let stderr = node.stderr();
        stderr
            .lines()
            .filter(|line| line.contains("other.example:80 denied"))
            .map(str::to_owned)
            .collect()
    };
    let lines = wait::until("the sum is told", SOON, || {
        let lines = denied();
        lines.last().is_some_and(|line| line.contains("[499 times more: ")).then_some(lines)
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    node.stop();
}

#[test]
fn what_is_named_can_be_reached_and_nothing_beside_it() {
    let (node, upstream) = node_and_upstream();
    let beside = Upstream::start();
    let address = upstream.address();
    expect_ok(&fetch(&node, &format!("http://{address}/ok")));

    let other = beside.address().to_string();
    expect_denied(
        &node,
        &fetch(&node, &format!("http://{other}/ok")),
        &[&format!("--allow-outbound {other}")],
    );
    // The same port of other addresses, the same address in other spellings, and its port 80.
    let port = address.port();
    for host in ["localhost", "127.0.0.2", "[::1]", "0.0.0.0", "127.1", "2130706433"] {
        expect_denied(
            &node,
            &fetch(&node, &format!("http://{host}:{port}/ok")),
            &["--allow-outbound"],
        );
    }
    expect_denied(&node, &fetch(&node, "http://127.0.0.1/ok"), &["--allow-outbound 127.0.0.1:80"]);
    assert_eq!((upstream.accepted(), beside.accepted()), (1, 0));

    // A refused connection is another error than a denied one.
    let closed = ClosedPort::start();
    let nobody = closed.address();
    deploy(&node, "fetch", &[&nobody.to_string()]);
    assert_eq!(
        fetch(&node, &format!("http://{nobody}/ok")).text(),
        "error: ErrorCode::ConnectionRefused\n"
    );
    // This version may not connect where the one before could, and the connections of that one are
    // closed.
    wait::until("the kept connection ends", SOON, || (upstream.open() == 0).then_some(()));
    expect_denied(&node, &fetch(&node, &format!("http://{address}/ok")), &["--allow-outbound"]);
    node.stop();
}

#[test]
fn a_name_leads_to_the_nodes_own_network_only_when_it_says_so() {
    let upstream = Upstream::start();
    let port = upstream.address().port();
    let node = node(&[&format!("localhost:{port}")]);
    expect_ok(&fetch(&node, &format!("http://localhost:{port}/ok")));
    expect_ok(&fetch(&node, &format!("http://LOCALHOST:{port}/ok")));

    for pattern in ["*:*", &format!("*:{port}")] {
        deploy(&node, "fetch", &[pattern]);
        let before = upstream.accepted();
        // The resolver accepts old forms of numbers as names of their address.
        for name in ["localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1"] {
            let reply = fetch(&node, &format!("http://{name}:{port}/ok"));
            expect_denied(
                &node,
                &reply,
                &["resolves to", "not a public address", "--allow-outbound"],
            );
        }
        for address in [
            "127.0.0.1",
            "0.0.0.0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "169.254.169.254",
            "10.0.0.1",
        ] {
            let reply = fetch(&node, &format!("http://{address}:{port}/ok"));
            expect_denied(&node, &reply, &["--allow-outbound"]);
        }
        assert_eq!(upstream.accepted(), before, "{pattern}");
    }
    node.stop();
}

#[test]
fn connections_are_kept_for_the_next_request_of_the_same_function() {
    let (node, upstream) = node_and_upstream();
    deploy(&node, "other", &[&upstream.address().to_string()]);
    // A connection of the client stays with one worker.
    let mut connection = node.connect();
    for _ in 0..4 {
        let report = connection.get(&format!("/fetch/?count=5&{}", upstream.query("/ok"))).text();
        assert_eq!(report.matches("status: 200").count(), 5, "{report}");
    }
    assert_eq!(upstream.accepted(), 1);

    expect_ok(&connection.get(&format!("/other/?{}", upstream.query("/ok"))));
    assert_eq!(upstream.accepted(), 2, "another function has connections of its own");
    // A connection whose response was cut is not used again.
    for _ in 0..2 {
        let report = connection.get(&format!("/fetch/?{}", upstream.query("/cut"))).text();
        assert!(report.contains("body: begin\nerror: "), "{report}");
    }
    expect_ok(&connection.get(&format!("/fetch/?{}", upstream.query("/ok"))));
    assert_eq!(upstream.accepted(), 4);
    drop(connection);
    node.stop();
}

#[test]
fn so_many_at_a_time_and_no_more() {
    let (node, upstream) = node_and_upstream();
    let mut connection = node.connect();
    let beyond = 6;
    for _ in 0..2 {
        let together = format!("/together/{IN_FLIGHT_MAX}");
        let target =
            format!("/fetch/?parallel={}&{}", IN_FLIGHT_MAX + beyond, upstream.query(&together));
        let report = connection.get(&target).text();
        assert_eq!(report.matches("body: ok\n").count(), IN_FLIGHT_MAX, "{report}");
        assert_eq!(
            report.matches("error: ErrorCode::ConnectionLimitReached\n").count(),
            beyond,
            "{report}"
        );
        wait::until("no more connections are kept than may be", SOON, || {
            (upstream.open() <= KEPT_MAX).then_some(())
        });
    }
    drop(connection);
    // Another function may have more, or fewer.
    let address = upstream.address().to_string();
    for (name, limit) in [("few", 2), ("many", 130)] {
        node.deploy(
            "fetch",
            name,
            &["--allow-outbound", &address, "--outbound-requests", &limit.to_string()],
        );
        let target = format!(
            "/{name}/?parallel={}&{}",
            limit + beyond,
            upstream.query(&format!("/together/{limit}"))
        );
        let report = node.get(&target).text();
        assert_eq!(report.matches("body: ok\n").count(), limit, "{report}");
    }
    let refused =
        node.cli(&["deploy", guests::path("fetch").to_str().unwrap(), "--outbound-requests", "0"]);
    assert!(
        refused.stderr.contains("--outbound-requests is 0; expected 1 to 10000"),
        "{}",
        refused.stderr
    );
    node.stop();
}

#[test]
fn a_function_out_of_time_leaves_no_request_behind() {
    let upstream = Upstream::start();
    let node = Node::start();
    let address = upstream.address().to_string();
    node.deploy("fetch", "fetch", &["--timeout", "1s", "--allow-outbound", &address]);
    let started = Instant::now();
    let detail =
        node.get(&format!("/fetch/?parallel=3&{}", upstream.query("/silent"))).expect_problem(504);
    assert!(
        detail.contains("time limit") && started.elapsed() < Duration::from_secs(5),
        "{detail}"
    );
    assert_eq!(upstream.accepted(), 3);
    wait::until("its connections end", SOON, || (upstream.open() == 0).then_some(()));

    // The guest's own time limit is shorter: it goes on after it.
    let report =
        node.get(&format!("/fetch/?first-byte-ms=50&{}", upstream.query("/silent"))).text();
    assert_eq!(report, "error: ErrorCode::ConnectionReadTimeout\n");
    wait::until("its connection ends", SOON, || (upstream.open() == 0).then_some(()));
    node.stop();
}

#[test]
fn a_client_that_leaves_takes_the_request_with_it() {
    let (node, upstream) = node_and_upstream();
    for path in ["/silent", "/stalled"] {
        let mut connection = node.connect();
        connection.send(head("GET", &format!("/fetch/?stream=1&{}", upstream.query(path)), &[]));
        wait::until("the request is under way", SOON, || (upstream.open() == 1).then_some(()));
        // If the upstream has sent a head, the client has one too; otherwise it has nothing.
        if path == "/stalled" {
            wait::until("the reply begins", SOON, || (!connection.silent()).then_some(()));
        }
        drop(connection);
        wait::until("the request ends with its client", SOON, || {
            (upstream.open() == 0).then_some(())
        });
        node.until_status("so does the function", SOON, |status| status.in_flight() == 0);
    }
    node.stop();
}

#[test]
fn a_reply_streams_through() {
    let (node, upstream) = node_and_upstream();
    let mut connection = node.connect();
    connection.send(head("GET", &format!("/fetch/?stream=1&{}", upstream.query("/pieces")), &[]));
    upstream.send_piece("piece-0");
    let head = connection.head();
    assert_eq!((head.status, head.get("content-type")), (200, Some("text/x-test")));
    let mut seen = String::new();
    let whole = connection.try_body(&head, |piece| {
        seen += &String::from_utf8_lossy(piece);
        // Piece n + 1 is sent after piece n has been received.
        if seen.len().is_multiple_of(7) {
            match seen.len() / 7 {
                n @ 1..5 => upstream.send_piece(format!("piece-{n}")),
                _ => upstream.send_piece(""),
            }
        }
    });
    assert_eq!((whole, seen.as_str()), (Ok(()), "piece-0piece-1piece-2piece-3piece-4"));

    let reply = connection.get(&format!("/fetch/?stream=1&{}", upstream.query("/large")));
    assert_same(&reply.body, &large());
    assert_eq!(upstream.accepted(), 1, "both were read to their ends");
    drop(connection);
    node.stop();
}

#[test]
fn what_is_no_destination_is_refused_at_deploy() {
    let node = Node::with(&["fetch"]);
    let file = guests::path("fetch");
    let file = file.to_str().expect("the tests use plain names");
    let list = node.list();
    for (pattern, words) in [
        ("http://example.com/", ["a URL", "api.example.com:443"]),
        ("example.com", ["HOST:PORT", "example.com"]),
        (":443", ["HOST:PORT", ":443"]),
        ("example.com:", ["port", "1 to 65535"]),
        ("example.com:0", ["port", "1 to 65535"]),
        ("example.com:65536", ["port", "1 to 65535"]),
        ("ex*mple.com:443", ["*", "out of place"]),
        ("a.*.com:443", ["*", "out of place"]),
        ("::1:443", ["IPv6", "brackets"]),
        ("127.0.0.256:80", ["IPv4", "127.0.0.256"]),
        ("10.1.2.3/8:80", ["network", "10.0.0.0/8"]),
        ("ex ample.com:80", ["DNS name", "ex ample.com"]),
    ] {
        let refused = node.cli(&["deploy", file, "--name", "fetch", "--allow-outbound", pattern]);
        assert!(matches!(refused.code, Some(1 | 2)), "{pattern}: {refused:#?}");
        refused.expect_error_text(&words).expect_error_text(&["--allow-outbound"]);
        assert_eq!(node.list(), list, "{pattern}");
    }
    node.stop();
}
