//! Components of WASI 0.3: bodies are streamed both ways at once, trailers are passed on, and
//! limits apply to a guest while it waits.

use std::io::Write;
use std::time::{Duration, Instant};

use harness::bytes::{assert_same, body};
use harness::client::{head, request};
use harness::{Connection, Node, wait};

const SECOND: Duration = Duration::from_secs(1);
const PIECE: usize = 64 * 1024;

/// The two ways of `echo-p3`: it passes the stream on, or copies every piece through its memory.
const ECHOES: [&str; 2] = ["/echo-p3/", "/echo-p3/copy"];

/// Asks an instance how many requests it has served, and waits until it is free.
fn count(node: &Node, connection: &mut Connection, function: &str) -> String {
    let count = connection.get(&format!("/{function}/count")).text();
    node.until_idle();
    count
}

/// Sends a request after which the connection ends, and returns everything that is received, as
/// text.
fn raw(node: &Node, request: impl AsRef<[u8]>) -> String {
    let mut connection = node.connect();
    connection.send(request);
    String::from_utf8_lossy(&connection.rest()).into_owned()
}

#[test]
fn hello_to_any_method() {
    let node = Node::with(&["hello-p3"]);
    let mut connection = node.connect();
    for _ in 0..3 {
        connection.get("/hello-p3/").expect_hello();
        let reply = connection.post("/hello-p3/", b"unread");
        reply.expect_hello();
        assert_eq!(reply.head.get("content-length"), Some("13"));
        assert_eq!(reply.head.get("content-type"), Some("text/plain"));
    }
    let reply = raw(&node, head("HEAD", "/hello-p3/", &[("connection", "close")]));
    assert!(reply.contains("content-length: 13\r\n") && reply.ends_with("\r\n\r\n"), "{reply}");
    node.stop();
}

#[test]
fn every_piece_comes_back_before_the_next_is_sent() {
    let node = Node::with(&["echo-p3"]);
    let sent = body(16 * PIECE, 1);
    for target in ECHOES {
        let mut connection = node.connect();
        let mut writer = connection.writer();
        let mut pieces = sent.chunks(PIECE);
        let mut send_next = || {
            let piece = pieces.next().unwrap_or_default();
            // Without a next piece, the last chunk.
            let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            writer.write_all(&chunk).unwrap();
        };
        connection.send(head(
            "POST",
            target,
            &[("transfer-encoding", "chunked"), ("content-type", "text/x-test")],
        ));
        send_next();
        let head = connection.head();
        assert_eq!((head.status, head.get("content-type")), (200, Some("text/x-test")));
        let mut got = Vec::new();
        let whole = connection.try_body(&head, |bytes| {
            let before = got.len() / PIECE;
            got.extend_from_slice(bytes);
            // The next piece is sent after the echo of the whole piece.
            (before..got.len() / PIECE).for_each(|_| send_next());
        });
        assert_eq!(whole, Ok(()), "{target}");
        assert_same(&got, &sent);
    }
    node.stop();
}

#[test]
fn large_bodies_with_a_length_come_back_whole() {
    let node = Node::with(&["echo-p3"]);
    let sent = body(4 * 1024 * 1024, 2);
    let mut connection = node.connect();
    for target in ECHOES {
        let replies = connection.exchange(&request("POST", target, &[], &sent), 1);
        assert_eq!(replies[0].status(), 200);
        assert_same(&replies[0].body, &sent);
    }
    node.stop();
}

#[test]
fn trailers_go_to_the_guest_and_come_back_to_those_who_take_them() {
    let node = Node::with(&["echo-p3"]);
    for target in ECHOES {
        let echo = |te: &[(&str, &str)]| {
            let common =
                [("trailer", "x-sum"), ("transfer-encoding", "chunked"), ("connection", "close")];
            let mut request = head("POST", target, &[te, &common].concat());
            request.extend_from_slice(b"3\r\nabc\r\n0\r\nx-sum: 42\r\n\r\n");
            raw(&node, request)
        };
        let reply = echo(&[("te", "trailers")]);
        assert!(reply.ends_with("3\r\nabc\r\n0\r\nx-sum: 42\r\n\r\n"), "{target}: {reply}");
        let reply = echo(&[]);
        assert!(
            reply.ends_with("abc") || reply.ends_with("0\r\n\r\n"),
            "{target}, without TE: {reply}"
        );
        assert!(!reply.contains("x-sum: 42"), "{target}, without TE: {reply}");
    }
    node.stop();
}

#[test]
fn events_arrive_one_by_one() {
    let node = Node::with(&["echo-p3"]);
    let mut connection = node.connect();
    connection.send(request("GET", "/echo-p3/sse?n=4&ms=200", &[], b""));
    let head = connection.head();
    assert_eq!(head.get("content-type"), Some("text/event-stream"));
    let mut events: Vec<(String, Instant)> = Vec::new();
    let whole = connection.try_body(&head, |piece| {
        events.push((String::from_utf8_lossy(piece).into_owned(), Instant::now()));
    });
    assert_eq!(whole, Ok(()));
    let texts: Vec<&str> = events.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(texts, ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n", "data: 4\n\n"]);
    let span = events[3].1 - events[0].1;
    assert!(span > Duration::from_millis(400), "three events 200 ms apart came within {span:?}");
    node.stop();
}

#[test]
fn a_failure_before_the_head_is_a_500_with_a_reason() {
    let node = Node::with(&["echo-p3"]);
    let mut connection = node.connect();
    for (target, words) in
        [("/echo-p3/error", "its log has it"), ("/echo-p3/trap-at-once", "trapped")]
    {
        let detail = connection.get(target).expect_problem(500);
        assert!(detail.contains(words), "{target}: {detail}");
    }
    assert_eq!(connection.get("/echo-p3/wait?ms=1").text(), "waited 1 ms");
    node.stop();
}

#[test]
fn a_failure_after_the_head_cuts_the_reply() {
    let node = Node::with(&["echo-p3"]);
    for (target, logged) in [("/echo-p3/trap", "[trap: "), ("/echo-p3/break", "asked to break off")]
    {
        let mut connection = node.connect();
        connection.send(request("GET", target, &[], b""));
        let cut = connection.try_reply().unwrap_err();
        assert_eq!(cut.head.map(|head| head.status), Some(200), "{target}");
        assert_eq!(cut.body, b"begin", "{target}");
        wait::until("the log says why", SECOND * 5, || {
            node.stderr().contains(logged).then_some(())
        });
    }
    node.until_status("both are over", SECOND * 5, |s| s.in_flight() == 0);
    node.stop();
}

#[test]
fn time_limits_hold_for_guests_that_wait_compute_or_reply() {
    let node = Node::start();
    node.deploy("echo-p3", "short", &["--timeout", "500ms"]);
    node.deploy("echo-p3", "cpu", &["--cpu-time", "300ms"]);
    let mut connection = node.connect();
    for (target, words) in [
        ("/short/wait?ms=20000", "time limit"),
        ("/short/spin", "time"),
        ("/cpu/spin", "processor"),
    ] {
        let begun = Instant::now();
        let detail = connection.get(target).expect_problem(504);
        assert!(detail.contains(words), "{target}: {detail}");
        assert!(begun.elapsed() < SECOND * 5, "{target} took {:?}", begun.elapsed());
    }
    assert_eq!(
        connection.get("/cpu/wait?ms=600").text(),
        "waited 600 ms",
        "waiting takes no processor time"
    );
    connection.send(request("GET", "/short/sse?n=100&ms=100", &[], b""));
    let cut = connection.try_reply().unwrap_err();
    assert!(cut.body.starts_with(b"data: 1\n\n"), "{cut:?}");
    node.until_status("all are over", SECOND * 5, |s| s.in_flight() == 0);
    node.stop();
}

#[test]
fn others_get_their_turn_while_a_guest_computes() {
    let node = Node::with(&["echo-p3"]);
    // More than there are workers, so that each has one.
    let mut busy: Vec<Connection> = (0..4).map(|_| node.connect()).collect();
    for connection in &mut busy {
        connection.send(request("GET", "/echo-p3/spin", &[], b""));
    }
    node.until_status("all loops run", SECOND * 10, |s| s.in_flight() == 4);
    for _ in 0..5 {
        assert_eq!(node.get("/echo-p3/wait?ms=1").text(), "waited 1 ms");
    }
    assert_eq!(node.status().in_flight(), 4, "and the loops still run");
    drop(busy);
    node.until_status("no loop runs any more", SECOND * 10, |s| s.in_flight() == 0);
    node.stop();
}

#[test]
fn a_client_that_goes_away_ends_its_guest() {
    let node = Node::with(&["echo-p3"]);
    let mut waiting = node.connect();
    waiting.send(request("GET", "/echo-p3/wait?ms=25000", &[], b""));
    let mut listening = node.connect();
    listening.send(request("GET", "/echo-p3/sse?n=1000&ms=25", &[], b""));
    assert_eq!(listening.head().status, 200);
    let mut sending: Vec<Connection> = ECHOES.map(|_| node.connect()).into();
    for (connection, target) in sending.iter_mut().zip(ECHOES) {
        connection.send(head("POST", target, &[("content-length", "1000000")]));
        connection.send(b"the beginning of a body");
        assert_eq!(connection.head().status, 200);
    }
    node.until_status("four guests are at it", SECOND * 5, |s| s.in_flight() == 4);
    drop((waiting, listening, sending));
    node.until_status("they end with their clients", SECOND * 10, |s| s.in_flight() == 0);
    node.stop();
}

#[test]
fn a_guest_finishes_what_it_does_after_its_reply() {
    let node = Node::start();
    node.deploy("echo-p3", "kept", &["--instances", "reuse=1000"]);
    let mut connection = node.connect();
    for n in 1..=3 {
        let begun = Instant::now();
        assert_eq!(connection.get("/kept/after?ms=1000").text(), "replied");
        assert!(
            begun.elapsed() < Duration::from_millis(800),
            "the reply waits for nothing: {:?}",
            begun.elapsed()
        );
        // Requests in the meantime get instances of their own.
        assert_eq!(connection.get("/kept/wait?ms=1").text(), "waited 1 ms");
        let lines = || node.stderr().matches("echo-p3 after").count();
        wait::for_value("the line that comes after the reply", SECOND * 5, lines, |lines| {
            *lines == n
        });
    }
    node.until_idle();
    node.stop();
}

#[test]
fn with_reuse_an_instance_serves_so_many_one_after_another() {
    let node = Node::start();
    node.deploy("echo-p3", "kept", &["--instances", "reuse=3"]);
    node.deploy("echo-p3", "fresh", &[]);
    let mut connection = node.connect();
    let counts: Vec<String> = (0..8).map(|_| count(&node, &mut connection, "kept")).collect();
    assert_eq!(counts, ["1", "2", "3", "1", "2", "3", "1", "2"]);
    let counts: Vec<String> = (0..3).map(|_| count(&node, &mut connection, "fresh")).collect();
    assert_eq!(counts, ["1", "1", "1"]);
    node.stop();
}

#[test]
fn an_instance_is_kept_after_streams_unread_bodies_and_errors_but_not_after_traps() {
    let node = Node::start();
    node.deploy("echo-p3", "kept", &["--instances", "reuse=1000", "--timeout", "2s"]);
    let mut connection = node.connect();
    let sent = body(300_000, 3);
    for (target, n) in [("/kept/", 1), ("/kept/copy", 3), ("/kept/count", 5)] {
        let reply = connection.exchange(&request("POST", target, &[], &sent), 1).remove(0);
        assert_eq!(reply.status(), 200);
        node.until_idle();
        assert_eq!(count(&node, &mut connection, "kept"), (n + 1).to_string(), "after {target}");
    }
    assert_eq!(connection.get("/kept/sse?n=3&ms=5").status(), 200);
    node.until_idle();
    assert_eq!(count(&node, &mut connection, "kept"), "8", "after events");
    for (target, n) in [("/kept/error", "10"), ("/kept/trap-at-once", "1"), ("/kept/spin", "1")] {
        assert_ne!(connection.get(target).status(), 200);
        node.until_idle();
        assert_eq!(count(&node, &mut connection, "kept"), n, "after {target}");
    }
    for target in ["/kept/trap", "/kept/break"] {
        let mut connection = node.connect();
        connection.send(request("GET", target, &[], b""));
        connection.try_reply().unwrap_err();
    }
    // On any worker: no failed instance still counts.
    assert!(["1", "2"].contains(&count(&node, &mut connection, "kept").as_str()));
    node.stop();
}
