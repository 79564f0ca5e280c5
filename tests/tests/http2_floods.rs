//! Clients of HTTP/2 that cost more than they ask for: each is sent away, or kept at its own cost,
//! and what it makes the node hold is bounded.

use std::time::Duration;

use h2::Reason;
use harness::frames::{Frames, Outcome, field, flag, frame, get, headers, kind, request};
use harness::{Node, process};
use nix::sys::signal::Signal;

const SOON: Duration = Duration::from_secs(20);
/// What an edge's memory may grow by, whatever comes.
const MAY_GROW_BYTES: u64 = 24 * 1024 * 1024;
const SLEEP: &str = "/sleep/?ms=60000";
const CALM: Outcome = Outcome::GoAway(11);

fn node() -> Node {
    assert_eq!(CALM, Outcome::GoAway(Reason::ENHANCE_YOUR_CALM.into()));
    Node::with(&["hello", "sleep", "echo"])
}

fn edges(node: &Node) -> Vec<u32> {
    let edges = node.status().workers.into_iter().filter(|worker| worker.pool == "edge");
    edges.map(|worker| worker.pid).filter(|pid| *pid > 0).collect()
}

fn resident(node: &Node) -> u64 {
    edges(node).into_iter().map(process::resident).sum()
}

/// Has `flood` done to a connection, and looks at what it costs the node and others.
fn flood(node: &Node, what: &str, flood: impl FnOnce(&mut Frames)) {
    let address = node.addresses()[0];
    let mut other = Frames::open(address, None);
    other.send(&get(1, "/hello/"));
    assert_eq!(other.outcome(1), Outcome::Status(200));
    let (before, pids) = (resident(node), node.processes());
    let mut frames = Frames::open(address, None);
    flood(&mut frames);
    other.send(&get(3, "/hello/"));
    assert_eq!(other.outcome(3), Outcome::Status(200), "{what}");
    let grown = resident(node).saturating_sub(before);
    println!("{what}: the edges have grown by {} KiB", grown / 1024);
    assert!(grown < MAY_GROW_BYTES, "{what}: the edges have grown by {grown} bytes");
    drop(frames);
    node.until_status("nothing is in flight", SOON, |status| status.in_flight() == 0);
    assert_eq!(node.processes(), pids, "{what}: every process is still there");
}

/// Sends `bytes` until the connection takes none, and returns what has come of stream 1.
fn until_refused(frames: &mut Frames, bytes: &[u8], times: usize) -> Outcome {
    for _ in 0..times {
        if frames.try_send(bytes).is_err() {
            break;
        }
    }
    frames.outcome(1)
}

/// Checks that the client was sent away. What it still sends may have its end overtake the reason.
#[track_caller]
fn expect_away(outcome: Outcome) {
    assert!(matches!(outcome, CALM | Outcome::Closed), "{outcome:?}");
}

#[test]
fn header_blocks_without_end_are_cut() {
    let node = node();
    let begun = || frame(kind::HEADERS, flag::END_STREAM, 1, &request("GET", "/hello/"));
    for (what, more) in [
        ("empty CONTINUATION frames", Vec::new()),
        ("small ones", field("x", "y")),
        ("large ones", field("x", "y".repeat(16_000))),
    ] {
        flood(&node, what, |frames| {
            frames.send(&begun());
            let more = frame(kind::CONTINUATION, 0, 1, &more);
            expect_away(until_refused(frames, &more, 100_000));
        });
    }
    // CVE-2024-24549 and its kin: fields that are told once and referred to by a byte each.
    flood(&node, "a header bomb", |frames| {
        let name = [&[0x40, 1, b'x'][..], &[0x7f, 0xa1, 0x1d], &[b'y'; 3872]].concat();
        let bomb = [request("GET", "/hello/"), name, vec![0xbe; 10_000]].concat();
        frames.send(&headers(1, flag::END_STREAM, &bomb));
        assert_eq!(frames.outcome(1), CALM);
    });
    flood(&node, "a smaller one", |frames| {
        let name = [&[0x40, 1, b'x'][..], &[0x7f, 0xa1, 0x1d], &[b'y'; 3872]].concat();
        let bomb = [request("GET", "/hello/"), name, vec![0xbe; 30]].concat();
        frames.send(&headers(1, flag::END_STREAM, &bomb));
        assert_eq!(frames.outcome(1), Outcome::Status(431));
    });
    flood(&node, "a Cookie in ten thousand crumbs", |frames| {
        let crumbs = [request("GET", "/hello/"), vec![0xa0; 10_000]].concat();
        frames.send(&headers(1, flag::END_STREAM, &crumbs));
        assert!(matches!(frames.outcome(1), CALM | Outcome::Status(431)));
    });
    node.stop();
}

#[test]
fn control_frames_cost_their_sender_as_much() {
    let node = node();
    // It does not read the answers, so it can send no more at some time: whatever is taken of it
    // is bounded by what fits into sockets.
    for (what, bytes) in [
        ("PING", frame(kind::PING, 0, 0, b"12345678")),
        ("SETTINGS", frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
    ] {
        flood(&node, what, |frames| {
            frames.limit_writes(Duration::from_millis(300));
            let many = bytes.repeat(1000);
            let sent = (0..2000).take_while(|_| frames.try_send(&many).is_ok()).count();
            assert!(sent < 2000, "two million {what} frames were taken, and no answer to any");
        });
    }
    // These are answered by nothing.
    for (what, bytes) in [
        ("PRIORITY", frame(kind::PRIORITY, 0, 3, &[0, 0, 0, 1, 0])),
        ("frames of an unknown type", frame(0x42, 0, 0, b"")),
        ("WINDOW_UPDATE", frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("empty DATA", frame(kind::DATA, 0, 1, b"")),
        ("DATA of nothing but padding", frame(kind::DATA, flag::PADDED, 1, &[1, 0])),
        ("DATA of one byte", frame(kind::DATA, 0, 1, b"x")),
    ] {
        flood(&node, what, |frames| {
            frames.send(&headers(1, 0, &request("POST", SLEEP)));
            let many = bytes.repeat(1000);
            let sent = (0..100).take_while(|_| frames.try_send(&many).is_ok()).count();
            println!("{what}: {sent} thousand were taken");
        });
    }
    node.stop();
}

/// What gets a stream reset right behind its request.
struct Way {
    what: &'static str,
    /// Of the request.
    fields: Vec<u8>,
    /// The frame of this stream that follows.
    then: fn(u32) -> Vec<u8>,
}

#[test]
fn streams_that_are_reset_before_their_replies_are_counted() {
    let node = node();
    let way = |what, fields, then| Way { what, fields, then };
    // By the client (CVE-2023-44487), or by the node because of what it sends (CVE-2025-8671).
    let ways = [
        way("RST_STREAM", vec![], |stream| frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8])),
        way("a window beyond its limit", vec![], |stream| {
            frame(kind::WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])
        }),
        way("more than its length", field("content-length", "1"), |stream| {
            frame(kind::DATA, 0, stream, b"more than its length")
        }),
        way("less than its length", field("content-length", "9"), |stream| {
            frame(kind::DATA, flag::END_STREAM, stream, b"less")
        }),
        way("trailers that end nothing", vec![], |stream| headers(stream, 0, &field("x", "y"))),
        way("a stream that depends on itself", vec![], |stream| {
            frame(kind::PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[0]].concat())
        }),
    ];
    for Way { what, fields, then } in ways {
        for waits in [false, true] {
            flood(&node, what, |frames| {
                let ended = (1..20_000).step_by(2).find(|stream| {
                    let head = [&request("POST", SLEEP)[..], &fields].concat();
                    let sent = [headers(*stream, 0, &head), then(*stream)].concat();
                    frames.try_send(&sent).is_err() || waits && !frames.is_settled()
                });
                let streams = ended.expect("it is sent away") / 2;
                println!("{what}, waits: {waits}: sent away after {streams} streams");
                assert!(!waits || streams < 1100, "{streams}");
            });
        }
    }
    node.stop();
}

#[test]
fn requests_that_are_given_up_while_their_worker_is_busy_end_no_other() {
    let node = Node::start();
    node.deploy("echo-p3", "echo", &[]);
    let mut frames = Frames::open(node.addresses()[0], None);
    frames.send(&headers(1, 0, &request("POST", "/echo/")));
    frames.send(&frame(kind::DATA, 0, 1, b"first"));
    assert_eq!(frames.outcome(1), Outcome::Status(200));
    assert_eq!(frames.data(1), b"first");
    // A page with many pictures is left before any of them has come.
    let workers: Vec<u32> = node.status().pool("shared").map(|worker| worker.pid).collect();
    let signal_all = |signal| workers.iter().for_each(|pid| process::signal(*pid, signal));
    signal_all(Signal::SIGSTOP);
    let streams = || (3..200).step_by(2);
    streams().for_each(|stream| frames.send(&get(stream, "/echo/")));
    frames.settle();
    streams().for_each(|stream| {
        frames.send(&frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    });
    frames.settle();
    signal_all(Signal::SIGCONT);
    frames.send(&frame(kind::DATA, flag::END_STREAM, 1, b"last"));
    assert_eq!(frames.body(1), b"last");
    frames.send(&get(201, "/echo/"));
    assert_eq!(frames.outcome(201), Outcome::Status(200));
    drop(frames);
    node.stop();
}
