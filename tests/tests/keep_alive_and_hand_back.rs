//! A connection passes through the engine once, stays with its worker, and returns only for a
//! function that this worker must not run.

use std::time::Duration;

use harness::Node;
use harness::bytes::{assert_same, body, chunked};
use harness::client::{head, request};

const CHUNKED: (&str, &str) = ("transfer-encoding", "chunked");

/// Starts a node with `hello` and `echo` in shared workers, and another `echo` in a worker of its
/// own.
fn node() -> Node {
    let node = Node::with(&["hello", "echo"]);
    node.deploy("echo", "alone", &["--isolation", "process"]);
    node
}

fn post_chunked(target: &str, body: &[u8], chunk: usize) -> Vec<u8> {
    [head("POST", target, &[CHUNKED]), chunked(body, chunk)].concat()
}

#[test]
fn a_thousand_requests_on_one_connection_are_one_hop() {
    let node = Node::with(&["hello"]);
    let before = node.status();
    let mut connection = node.connect();
    for _ in 0..1000 {
        connection.get("/hello/").expect_hello();
    }
    let after = node.until_status("all are counted", Duration::from_secs(5), |s| {
        s.requests_in("shared") == before.requests_in("shared") + 1000
    });
    assert_eq!(after.hops(), before.hops() + 1);
    assert_eq!(after.returns(), before.returns());
    assert_eq!(after.open(), 1);
    drop(connection);
    node.stop();
}

#[test]
fn pipelined_requests_are_answered_in_order_in_one_hop() {
    let node = Node::with(&["echo"]);
    let before = node.status().hops();
    let bodies: Vec<Vec<u8>> = (0..50).map(|i| body(i * 40, i as u64)).collect();
    let bytes: Vec<u8> =
        bodies.iter().flat_map(|body| request("POST", "/echo/", &[], body)).collect();
    let replies = node.connect().exchange(&bytes, bodies.len());
    for (reply, body) in replies.iter().zip(&bodies) {
        assert_eq!(reply.status(), 200);
        assert_same(&reply.body, body);
    }
    assert_eq!(node.status().hops(), before + 1);
    node.stop();
}

#[test]
fn an_isolated_function_has_a_worker_of_its_own() {
    let node = node();
    node.get("/alone/");
    let status = node
        .until_status("its worker counts", Duration::from_secs(5), |s| s.requests_in("alone") == 1);
    let own: Vec<u32> = status.pool("alone").map(|w| w.pid).collect();
    assert!(!own.is_empty() && status.pool("shared").all(|w| !own.contains(&w.pid)), "{status:#?}");
    assert_eq!(status.returns(), 0, "a first request goes there straight: {status:#?}");
    node.stop();
}

#[test]
fn a_second_request_for_another_worker_comes_back_and_is_answered_there() {
    let node = node();
    let before = node.status();
    let sent = body(10_000, 1);
    let mut connection = node.connect();
    connection.get("/hello/").expect_hello();
    assert_same(&connection.post("/alone/", &sent).body, &sent);
    let after = node
        .until_status("its worker counts", Duration::from_secs(5), |s| s.requests_in("alone") == 1);
    assert_eq!(after.hops(), before.hops() + 2);
    assert_eq!(after.returns(), before.returns() + 1);
    assert_eq!(after.open(), 1);

    connection.send(post_chunked("/alone/", &sent, 999));
    assert_same(&connection.reply().body, &sent);
    assert_eq!(node.status().hops(), before.hops() + 2, "the new worker keeps it");
    drop(connection);
    node.stop();
}

#[test]
fn there_and_back_many_times_on_one_connection() {
    let node = node();
    let before = node.status();
    let mut connection = node.connect();
    for round in 0..10 {
        connection.get("/hello/").expect_hello();
        let sent = body(round * 1000 + 1, 7);
        assert_same(&connection.post("/alone/", &sent).body, &sent);
        connection.send(post_chunked("/echo/", &sent, 100));
        assert_same(&connection.reply().body, &sent);
        connection.send(post_chunked("/alone/", &sent, 4096));
        assert_same(&connection.reply().body, &sent);
    }
    let after = node.status();
    assert_eq!(after.hops(), before.hops() + 40);
    assert_eq!(after.returns(), before.returns() + 39);
    drop(connection);
    node.stop();
}

#[test]
fn pipelined_with_the_first_in_one_packet_the_body_stays_whole() {
    let node = node();
    // Less than a packet, more than one read, more than may be read ahead when a connection comes
    // back.
    for length in [1, 100, 5_000, 60_000, 300_000] {
        let sent = body(length, length as u64);
        for second in [request("POST", "/alone/", &[], &sent), post_chunked("/alone/", &sent, 1000)]
        {
            let bytes = [request("GET", "/hello/", &[], b""), second].concat();
            let replies = node.connect().exchange(&bytes, 2);
            replies[0].expect_hello();
            assert_eq!(replies[1].status(), 200, "{length} bytes");
            assert_same(&replies[1].body, &sent);
        }
    }
    node.stop();
}

#[test]
fn a_first_request_with_a_body_does_not_lend_bytes_to_the_second() {
    let node = node();
    let (one, two) = (body(3_000, 1), body(4_000, 2));
    for first in [request("POST", "/echo/", &[], &one), post_chunked("/echo/", &one, 700)] {
        for second in [request("POST", "/alone/", &[], &two), post_chunked("/alone/", &two, 333)] {
            let replies = node.connect().exchange(&[&first[..], &second].concat(), 2);
            assert_same(&replies[0].body, &one);
            assert_same(&replies[1].body, &two);
        }
    }
    node.stop();
}

#[test]
fn many_in_one_packet_for_both_workers_in_turn() {
    let node = node();
    let bodies: Vec<Vec<u8>> = (0..12).map(|i| body(50 + i * 100, i as u64)).collect();
    let mut bytes = Vec::new();
    for (i, body) in bodies.iter().enumerate() {
        let target = if i % 2 == 0 { "/echo/" } else { "/alone/" };
        bytes.extend(if i % 3 == 0 {
            post_chunked(target, body, 64)
        } else {
            request("POST", target, &[], body)
        });
    }
    let before = node.status();
    let replies = node.connect().exchange(&bytes, bodies.len());
    for (reply, body) in replies.iter().zip(&bodies) {
        assert_eq!(reply.status(), 200);
        assert_same(&reply.body, body);
    }
    let after = node.status();
    assert_eq!(after.hops(), before.hops() + 12);
    assert_eq!(after.returns(), before.returns() + 11);
    node.stop();
}

#[test]
fn a_second_request_that_comes_in_pieces_is_put_together() {
    let node = node();
    let sent = body(2_000, 5);
    let first = request("GET", "/hello/", &[], b"");
    let second = request("POST", "/alone/", &[], &sent);
    let head_end = second.len() - sent.len();
    // The request is cut in the request line, between the headers, just before the body, and in it.
    for cut in [3, 9, 30, head_end - 2, head_end, head_end + 1000] {
        let mut connection = node.connect();
        connection.send([&first[..], &second[..cut]].concat());
        connection.reply().expect_hello();
        connection.send(&second[cut..]);
        let reply = connection.reply();
        assert_eq!(reply.status(), 200, "cut at {cut}");
        assert_same(&reply.body, &sent);
    }
    node.stop();
}

#[test]
fn a_pipelined_request_to_nobody_is_a_404_in_its_turn() {
    let node = node();
    let bytes = [
        request("GET", "/hello/", &[], b""),
        request("POST", "/nobody/", &[], b"GET /hello/ HTTP/1.1\r\n\r\n"),
    ];
    let mut connection = node.connect();
    connection.send(bytes.concat());
    connection.reply().expect_hello();
    let refused = connection.reply();
    assert!(refused.expect_problem(404).contains("nobody"));
    if refused.head.get("connection") == Some("close") {
        assert_eq!(connection.rest(), b"", "no body byte is taken for a request");
    } else {
        connection.get("/hello/").expect_hello();
    }
    node.stop();
}

#[test]
fn a_kept_connection_sees_what_is_deployed_and_removed_later() {
    let node = Node::with(&["hello"]);
    let mut connection = node.connect();
    connection.get("/hello/").expect_hello();
    node.deploy("echo", "later", &[]);
    assert_eq!(
        connection.post("/later/", b"newer than the connection").text(),
        "newer than the connection"
    );
    node.deploy("echo", "hello", &[]);
    assert_eq!(connection.post("/hello/", b"a new version").text(), "a new version");
    node.cli(&["remove", "later"]).expect_code(0);
    assert!(connection.get("/later/").expect_problem(404).contains("later"));
    node.stop();
}

#[test]
fn a_request_behind_a_large_body_goes_back_with_what_was_read() {
    let node = node();
    let mut connection = node.connect();
    let second = body(400_000, 2);
    for length in (0..40).map(|step| 900_000 + step * 10_007) {
        let first = body(length, 1);
        let both =
            [request("POST", "/hello/", &[], &first), request("POST", "/alone/", &[], &second)]
                .concat();
        let replies = connection.exchange(&both, 2);
        replies[0].expect_hello();
        assert_same(&replies[1].body, &second);
    }
    assert!(
        node.status().workers.iter().all(|worker| worker.restarts == 0),
        "no worker was taken for a liar"
    );
    node.stop();
}

#[test]
fn an_empty_line_behind_a_body_is_no_head_that_has_begun() {
    let node =
        Node::build().option("--head-timeout", "300ms").option("--idle-timeout", "2s").start();
    node.deploy("echo", "echo", &[]);
    for stray in ["\r\n", "\r\n\r\n", "\r"] {
        let mut connection = node.connect();
        assert_eq!(connection.post("/echo/", b"abc").text(), "abc");
        let idle = std::time::Instant::now();
        connection.send(stray);
        assert_eq!(connection.rest(), b"", "it ends as an idle connection does, without a word");
        assert!(idle.elapsed() > Duration::from_secs(1), "{stray:?}: after {:?}", idle.elapsed());
    }
    let mut connection = node.connect();
    for _ in 0..3 {
        assert_eq!(connection.post("/echo/", b"abc").text(), "abc");
        connection.send("\r\n");
    }
    node.stop();
}

#[test]
fn a_reply_that_its_connection_ends_behind_says_so() {
    let node = Node::with(&["hello", "hello-p3", "cmd", "cmd-p1", "echo"]);
    node.deploy("echo", "small", &["--request-body", "1KiB"]);
    let long = vec![b'x'; 9 * 1024 * 1024];
    for target in
        ["/hello/", "/hello-p3/", "/cmd/?print=x", "/cmd-p1/?print=x", "/small/", "/nobody/"]
    {
        for chunked in [false, true] {
            let mut connection = node.connect();
            assert_eq!(connection.post("/echo/", b"abc").text(), "abc");
            let bytes = if chunked {
                post_chunked(target, &long, 65_536)
            } else {
                request("POST", target, &[], &long)
            };
            let reply = connection.exchange_unread(&bytes);
            assert_eq!(
                reply.head.get("connection"),
                Some("close"),
                "{target} {chunked}: {reply:?}"
            );
            assert_eq!(connection.rest(), b"");
        }
        // A short rest is read and dropped, and the connection is kept.
        let mut connection = node.connect();
        for _ in 0..2 {
            let reply = connection.exchange_unread(&request("POST", target, &[], &long[..500_000]));
            let kept = target != "/nobody/" || reply.head.get("connection").is_none();
            if !kept {
                break;
            }
            assert_eq!(reply.head.get("connection"), None, "{target}: {reply:?}");
            assert_eq!(connection.post("/echo/", b"abc").text(), "abc");
        }
    }
    node.stop();
}

#[test]
fn a_client_that_sends_all_of_a_body_first_gets_its_error() {
    let node = Node::with(&["hello"]);
    node.deploy("echo", "small", &["--request-body", "1KiB"]);
    let long = vec![b'x'; 64 * 1024 * 1024];
    for (target, status) in [("/small/", 413), ("/nobody/", 404)] {
        for kept in [false, true] {
            let mut connection = node.connect();
            if kept {
                connection.get("/hello/").expect_hello();
            }
            // No byte of the reply is read before the last one of the request is sent.
            connection.send(request("POST", target, &[], &long));
            connection.reply().expect_problem(status);
        }
    }
    node.stop();
}
