//! The process that ends TLS, as its engine sees it: how it starts, what it hands over, and how it
//! ends.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use abi::message::{Ending, ToEngine, ToWorker};
use harness::edge::{Edge, exchange, expect};
use harness::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LONG: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_plaintext_end_comes_with_its_origin_and_is_counted() {
    let mut edge = Edge::start();
    let mut client = edge.connect();
    client.write_all(b"GET /").unwrap();
    let mut end = edge.plaintext_end(&client);
    expect(&mut end, b"GET /");
    exchange(&mut client, &mut end);
    let row = edge.row();
    assert_eq!(row.connections_taken.load(Relaxed), 1);
    assert_eq!(row.connections_done.load(Relaxed), 0);
    let beat = row.heartbeat_ms.load(Relaxed);
    wait::until("another heartbeat", SOON, || {
        (row.heartbeat_ms.load(Relaxed) > beat + 200).then_some(())
    });
    drop(end);
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "close_notify");
    drop(client);
    wait::until("the connection's end is counted", SOON, || {
        (row.connections_done.load(Relaxed) == 1).then_some(())
    });
}

#[test]
fn it_has_no_way_to_files_and_programs() {
    let edge = Edge::start();
    let status = fs::read_to_string(format!("/proc/{}/status", edge.pid())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or_default().to_owned()
    };
    assert_eq!(field("Name:"), "sockhop-edge");
    assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1".into(), "2".into()));
    // A filter for one thread alone would be none.
    for task in fs::read_dir(format!("/proc/{}/task", edge.pid())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        assert!(status.contains("Seccomp:\t2"), "{status}");
    }
}

#[test]
fn new_certificates_and_settings_count_for_new_connections() {
    let mut edge = Edge::start();
    let mut client = edge.connect();
    client.write_all(b"GET /").unwrap();
    let mut end = edge.plaintext_end(&client);
    expect(&mut end, b"GET /");
    edge.certify();
    let mut next = edge.connect();
    next.write_all(b"GET /").unwrap();
    let mut next_end = edge.plaintext_end(&next);
    expect(&mut next_end, b"GET /");
    exchange(&mut next, &mut next_end);
    exchange(&mut client, &mut end);

    edge.configure(|settings| settings.head_timeout_ms = 200);
    let mut silent = edge.connect();
    assert_eq!(silent.sock.read(&mut [0]).unwrap(), 0, "closed before a handshake");
}

#[test]
fn each_side_can_end_its_stream_and_read_on() {
    let mut edge = Edge::start();
    let mut client = edge.connect();
    client.write_all(b"GET /").unwrap();
    let mut end = edge.plaintext_end(&client);
    expect(&mut end, b"GET /");
    end.write_all(b"reply").unwrap();
    end.shutdown(Shutdown::Write).unwrap();
    expect(&mut client, b"reply");
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "close_notify");
    client.write_all(b"the rest").unwrap();
    client.conn.send_close_notify();
    client.flush().unwrap();
    expect(&mut end, b"the rest");
    assert_eq!(end.read(&mut [0]).unwrap(), 0);
    drop(end);
    client.sock.shutdown(Shutdown::Write).unwrap();
    let row = edge.row();
    wait::until("the connection's end is counted", SOON, || {
        (row.connections_done.load(Relaxed) == 1).then_some(())
    });
}

#[test]
fn what_is_not_for_an_edge_ends_it() {
    let mut edge = Edge::start();
    let (_, fd) = abi::board::Board::create().unwrap();
    edge.send(&ToWorker::Catalogue, Some(fd));
    assert_eq!(edge.exit().code(), Some(1));
}

#[test]
fn a_drain_waits_for_relays_and_handshakes() {
    let mut edge = Edge::start();
    let (mut client, mut late) = (edge.connect(), edge.connect());
    client.write_all(b"GET /").unwrap();
    let mut end = edge.plaintext_end(&client);
    expect(&mut end, b"GET /");
    edge.drain(Ending::Close, LONG);
    exchange(&mut client, &mut end);
    late.write_all(b"GET /late").unwrap();
    let mut late_end = edge.plaintext_end(&late);
    expect(&mut late_end, b"GET /late");
    drop((client, end));
    exchange(&mut late, &mut late_end);
    drop((late, late_end));
    edge.expect_exit();
}

#[test]
fn a_drain_ends_at_its_deadline() {
    let mut edge = Edge::start();
    let mut client = edge.connect();
    client.write_all(b"GET /").unwrap();
    let end = edge.plaintext_end(&client);
    edge.drain(Ending::Close, Duration::from_millis(300));
    edge.expect_exit();
    drop(end);
}

#[test]
fn a_detached_edge_lives_until_its_last_relay_has_ended_and_nothing_ends_it() {
    let mut edge = Edge::start();
    let (mut client, mut late) = (edge.connect(), edge.connect());
    client.write_all(b"GET /").unwrap();
    let mut end = edge.plaintext_end(&client);
    expect(&mut end, b"GET /");

    edge.drain(Ending::GiveBack, LONG);
    wait::throughout("a handshake is in progress", Duration::from_millis(300), || {
        edge.receive_now().is_none()
    });
    late.write_all(b"GET /late").unwrap();
    let mut late_end = edge.plaintext_end(&late);
    expect(&mut late_end, b"GET /late");
    assert_eq!(edge.receive().message, ToEngine::Detached);
    edge.expect_channel_closed();

    edge.close_channel();
    edge.end_starter();
    let pid = Pid::from_raw(edge.pid().try_into().unwrap());
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        kill(pid, signal).unwrap();
    }
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    assert!(!maps.contains("memfd:"), "the board is not its any more: {maps}");
    exchange(&mut client, &mut end);
    exchange(&mut late, &mut late_end);
    drop((client, end));
    exchange(&mut late, &mut late_end);
    let row = edge.row();
    assert_eq!(row.connections_done.load(Relaxed), 0, "the row is somebody else's by now");
    drop(late_end);
    assert_eq!(late.read(&mut [0]).unwrap(), 0, "close_notify");
    drop(late);
    edge.expect_exit();
}

#[test]
fn an_edge_without_relays_detaches_and_ends() {
    let mut edge = Edge::start();
    edge.drain(Ending::GiveBack, LONG);
    assert_eq!(edge.receive().message, ToEngine::Detached);
    edge.expect_exit();
}

#[test]
fn an_edge_that_is_not_detached_ends_with_its_engine() {
    for by_channel in [true, false] {
        let mut edge = Edge::start();
        let mut client = edge.connect();
        client.write_all(b"GET /").unwrap();
        let end = edge.plaintext_end(&client);
        if by_channel {
            edge.close_channel();
            edge.expect_exit();
        } else {
            edge.end_starter();
            assert_eq!(edge.exit().signal(), Some(Signal::SIGKILL as i32));
        }
        drop(end);
    }
}
