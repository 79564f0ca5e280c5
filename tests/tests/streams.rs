//! Bodies are streamed: large ones arrive byte for byte, both ways at once, at the speed of the
//! slower side.

use std::time::Duration;

use harness::bytes::{assert_same, body, chunked};
use harness::client::{head, request};
use harness::{Node, process, wait};

const MIB: usize = 1024 * 1024;

#[test]
fn a_flood_of_64_mib_arrives_byte_for_byte() {
    let node = Node::with(&["flood"]);
    let period: Vec<u8> = (0..=250).collect();
    // A pattern a period longer than any piece, so that every piece is a stretch of it.
    let pattern = period.repeat(MIB / period.len());
    for _ in 0..2 {
        let mut connection = node.connect();
        connection.send(request("GET", "/flood/", &[], b""));
        let head = connection.head();
        assert_eq!(head.status, 200);
        let mut at = 0;
        let whole = connection.try_body(&head, |piece| {
            let phase = at % period.len();
            assert!(piece == &pattern[phase..phase + piece.len()], "wrong bytes from byte {at} on");
            at += piece.len();
        });
        assert_eq!((whole, at), (Ok(()), 64 * MIB));
    }
    node.stop();
}

#[test]
fn eight_mib_with_content_length_come_back_whole() {
    let node = Node::with(&["echo"]);
    let sent = body(8 * MIB, 1);
    let mut connection = node.connect();
    for _ in 0..2 {
        let replies = connection.exchange(&request("POST", "/echo/", &[], &sent), 1);
        assert_eq!(replies[0].status(), 200);
        assert_same(&replies[0].body, &sent);
    }
    node.stop();
}

#[test]
fn eight_mib_in_chunks_come_back_whole() {
    let node = Node::with(&["echo"]);
    let sent = body(8 * MIB, 2);
    let mut connection = node.connect();
    for chunk in [100_003, 777] {
        let mut bytes = head(
            "POST",
            "/echo/",
            &[("transfer-encoding", "chunked"), ("content-type", "text/x-test")],
        );
        bytes.extend(chunked(&sent, chunk));
        let replies = connection.exchange(&bytes, 1);
        assert_eq!(replies[0].status(), 200);
        assert_eq!(replies[0].head.get("content-type"), Some("text/x-test"));
        assert_same(&replies[0].body, &sent);
    }
    node.stop();
}

#[test]
fn every_piece_comes_back_before_the_next_is_sent() {
    let node = Node::with(&["echo"]);
    let mut connection = node.connect();
    let mut writer = connection.writer();
    let mut send = |text: &str| std::io::Write::write_all(&mut writer, text.as_bytes()).unwrap();
    connection.send(head("POST", "/echo/", &[("transfer-encoding", "chunked")]));
    send("7\r\npiece-0\r\n");
    let head = connection.head();
    let mut seen = String::new();
    let whole = connection.try_body(&head, |piece| {
        seen += std::str::from_utf8(piece).unwrap();
        // Piece n + 1 is sent after the echo of piece n was received.
        if seen.len().is_multiple_of(7) {
            match seen.len() / 7 {
                n @ 1..5 => send(&format!("7\r\npiece-{n}\r\n")),
                _ => send("0\r\n\r\n"),
            }
        }
    });
    assert_eq!((whole, seen.as_str()), (Ok(()), "piece-0piece-1piece-2piece-3piece-4"));
    node.stop();
}

#[test]
fn a_client_that_does_not_read_costs_no_memory() {
    let node = Node::with(&["flood", "hello"]);
    // Allocates everything that a worker needs for one flood, so that later growth is the body's.
    node.get("/flood/?bytes=1048576");
    let resident = || -> u64 { node.processes().into_iter().map(process::resident).sum() };
    let before = resident();
    let mut slow: Vec<_> = (0..8).map(|_| node.connect()).collect();
    for connection in &mut slow {
        connection.send(request("GET", "/flood/", &[], b""));
        assert_eq!(connection.head().status, 200);
    }
    // 8 floods of 64 MiB. An instance with its stack and buffers takes some; a body held as a whole
    // would take 512 MiB.
    wait::throughout("the node does not take up the bodies", Duration::from_secs(2), || {
        resident() < before + 96 * MIB as u64
    });
    node.get("/hello/").expect_hello();
    drop(slow);
    node.until_status("the floods end with their clients", Duration::from_secs(10), |s| {
        s.in_flight() == 0
    });
    node.stop();
}

#[test]
fn a_body_the_guest_does_not_read_does_not_spoil_the_next_request() {
    let node = Node::with(&["hello"]);
    let mut connection = node.connect();
    let sent = request("POST", "/hello/", &[], &body(300_000, 3));
    // The node either reads the rest of the body or announces that it closes. It must not read body
    // bytes as a request.
    let reply = connection.exchange_unread(&sent);
    reply.expect_hello();
    if reply.head.get("connection") != Some("close") {
        connection.get("/hello/").expect_hello();
    }
    node.stop();
}
