//! Requests that no client should send: each is refused clearly, costs next to nothing, and does
//! not reach a guest.

use std::thread;
use std::time::{Duration, Instant};

use harness::bad_requests::{BAD_HOSTS, BothWays, LENGTHS, NO_HTTP, with_length};
use harness::bytes::{Noise, body};
use harness::client::request;
use harness::{Connection, Node, process, wait};

const SECOND: Duration = Duration::from_secs(1);

/// Sends `bytes` as the first request of a connection, which a shard reads, and as the second one,
/// which a worker reads, without TLS and inside of it. All must get the node's own error `status`
/// and the end of the connection, and nothing more.
fn refused(ways: &BothWays, what: &str, bytes: &[u8], status: u16) {
    for kept in [false, true] {
        for mut connection in ways.connections() {
            println!("{what}, kept: {kept}");
            if kept {
                connection.get("/hello/").expect_hello();
            }
            let mut writer = connection.writer();
            thread::scope(|scope| {
                // The node may refuse before it has read everything.
                scope.spawn(move || std::io::Write::write_all(&mut writer, bytes).is_ok());
                connection.reply().expect_problem(status);
                let rest = connection.rest();
                assert_eq!(rest, b"", "{what}: nothing behind it is taken for a request");
            });
        }
    }
    ways.node.get("/hello/").expect_hello();
}

#[test]
fn what_is_no_http_is_a_400() {
    let ways = BothWays::with(&["hello"]);
    for (what, bytes) in NO_HTTP {
        refused(&ways, what, bytes, 400);
    }
    ways.node.stop();
}

#[test]
fn no_host_or_two_are_a_400() {
    let ways = BothWays::with(&["hello"]);
    refused(&ways, "no Host", b"GET /hello/ HTTP/1.1\r\n\r\n", 400);
    refused(&ways, "two Hosts", b"GET /hello/ HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400);
    for host in BAD_HOSTS {
        let bytes = format!("GET /hello/ HTTP/1.1\r\nhost: {host}\r\n\r\n");
        refused(&ways, host, bytes.as_bytes(), 400);
        let bytes = format!("GET http://{host}/hello/ HTTP/1.1\r\nhost: a\r\n\r\n");
        refused(&ways, &format!("a target at {host}"), bytes.as_bytes(), 400);
    }
    for host in ["[::1]", "[::1]:80", "a:", "127.0.0.1:8080", "xn--bcher-kva.example.", ""] {
        for mut connection in ways.connections() {
            for _ in 0..2 {
                connection.send(request("GET", "/hello/", &[("host", host)], b""));
                connection.reply().expect_hello();
            }
        }
    }
    // HTTP/1.0 knows no Host.
    for mut connection in ways.connections() {
        connection.send("GET /hello/ HTTP/1.0\r\n\r\n");
        connection.reply().expect_hello();
    }
    ways.node.stop();
}

#[test]
fn lengths_that_can_be_read_two_ways_are_a_400_and_smuggle_nothing() {
    let ways = BothWays::with(&["hello", "echo"]);
    for (what, headers, body) in LENGTHS {
        refused(&ways, what, with_length(headers, body).as_bytes(), 400);
    }
    ways.node.stop();
}

#[test]
fn a_spoilt_chunk_never_makes_a_whole_reply() {
    let ways = BothWays::with(&["hello", "echo"]);
    let cases = [
        "3 zz\r\nabc\r\n0\r\n\r\n",
        "3 3\r\nabc\r\n0\r\n\r\n",
        "3, 4\r\nabc\r\n0\r\n\r\n",
        "zz\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcdef\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nabc\r\n",
        "-1\r\nabc\r\n",
    ];
    for spoilt in cases {
        for mut connection in ways.connections() {
            connection.send(format!(
                "POST /echo/ HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{spoilt}"
            ));
            if let Ok(reply) = connection.try_reply() {
                assert!(reply.status() >= 400, "{spoilt:?}: {reply:?}");
            }
            connection.rest();
        }
    }
    ways.node.get("/hello/").expect_hello();
    ways.node.stop();
}

#[test]
fn a_head_of_a_mebibyte_is_a_431() {
    let ways = BothWays::with(&["hello"]);
    let filler = "x".repeat(1024 * 1024);
    for (what, bytes) in [
        ("one long header", format!("GET /hello/ HTTP/1.1\r\nhost: a\r\nx-long: {filler}\r\n\r\n")),
        ("a long target", format!("GET /hello/{filler} HTTP/1.1\r\nhost: a\r\n\r\n")),
        (
            "many headers",
            format!(
                "GET /hello/ HTTP/1.1\r\nhost: a\r\n{}\r\n",
                "x-a: 0123456789\r\n".repeat(65_536)
            ),
        ),
    ] {
        refused(&ways, what, bytes.as_bytes(), 431);
    }
    ways.node.stop();
}

#[test]
fn a_head_below_the_limit_is_served() {
    let ways = BothWays::with(&["hello"]);
    let value = "x".repeat(60_000);
    let bytes = request("GET", "/hello/", &[("x-long", &value)], b"");
    for mut connection in ways.connections() {
        for _ in 0..2 {
            connection.send(&bytes);
            connection.reply().expect_hello();
        }
    }
    ways.node.stop();
}

#[test]
fn an_unknown_function_is_a_404_from_the_shard() {
    let node = Node::with(&["hello"]);
    let before = node.status().hops();
    for target in ["/nobody/path", "/nobody", "/hell", "/hello2/", "/Hello/", "/%68ello-not/"] {
        let detail = node.get(target).expect_problem(404);
        let name = target.split('/').nth(1).unwrap();
        assert!(detail.contains(name), "{target}: {detail}");
    }
    for target in ["/", "//", "/?hello"] {
        node.get(target).expect_problem(404);
    }
    assert_eq!(node.status().hops(), before, "no worker was asked");
    node.stop();
}

#[test]
fn an_absolute_target_is_served_as_its_path() {
    let node = Node::with(&["hello"]);
    node.get("http://node.test/hello/").expect_hello();
    node.stop();
}

#[test]
fn the_host_of_an_absolute_target_is_the_one_that_functions_are_told() {
    let node = Node::with(&["inspect", "cmd"]);
    let mut connection = node.connect();
    for _ in 0..2 {
        let headers = [("host", "node.test")];
        connection.send(request("GET", "http://other.example:81/cmd/env", &headers, b""));
        let environment = connection.reply().text();
        for line in ["HTTP_HOST=other.example:81", "SERVER_NAME=other.example", "SERVER_PORT=81"] {
            assert!(environment.lines().any(|there| there == line), "{line}: {environment}");
        }
        connection.send(request("GET", "http://other.example:81/inspect/", &headers, b""));
        assert_eq!(connection.reply().json()["authority"], "other.example:81");
    }
    node.stop();
}

#[test]
fn a_later_minor_version_is_served_as_http_1_1() {
    let ways = BothWays::with(&["hello", "echo"]);
    for (version, mut connection) in
        ["1.2", "1.9"].into_iter().flat_map(|version| ways.connections().map(|way| (version, way)))
    {
        for _ in 0..2 {
            connection.send(format!("GET /hello/ HTTP/{version}\r\nhost: a\r\n\r\n"));
            connection.reply().expect_hello();
            connection.send(format!(
                "POST /echo/ HTTP/{version}\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"
            ));
            assert_eq!(connection.reply().text(), "abc");
        }
    }
    ways.node.stop();
}

#[test]
fn an_error_in_answer_to_head_has_no_body() {
    let ways = BothWays::built(&["hello"], |node| node.option("--head-timeout", "1s"));
    for (bytes, status) in [
        ("HEAD /nobody/ HTTP/1.1\r\nhost: a\r\n\r\n", 404),
        ("\r\nHEAD /nobody/ HTTP/1.1\r\nhost: a\r\n\r\n", 404),
        ("HEAD /hello/ HTTP/1.1\r\n\r\n", 400),
        ("HEAD /hello/ HTTP/1.1\r\nhost: a\r\nx y\r\n\r\n", 400),
        ("HEAD /hello/<> HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("HEAD /hello/ HTTP/1.1\r\nhost: a\r\n", 408),
    ] {
        let [plain, tls] = ways.addresses();
        for (kept, address) in [(false, plain), (true, plain), (false, tls), (true, tls)] {
            let mut connection = Connection::open(address);
            if kept {
                connection.get("/hello/").expect_hello();
            }
            connection.send(bytes);
            if status != 408 {
                // Ends a connection that the node keeps after its reply.
                connection.end_sending_if_open();
            }
            let head = connection.head();
            assert_eq!(head.status, status, "{bytes:?}");
            assert!(head.get("content-length").is_some_and(|length| length != "0"), "{head:?}");
            assert_eq!(connection.rest(), b"", "{bytes:?}, kept: {kept}");
        }
    }
    ways.node.stop();
}

#[test]
fn half_a_head_and_silence_ends_at_the_head_limit_and_costs_no_cpu() {
    let node = Node::build().option("--head-timeout", "1s").start();
    node.deploy("hello", "hello", &[]);
    for kept in [false, true] {
        let mut silent: Vec<_> = (0..50).map(|_| node.connect()).collect();
        for (i, connection) in silent.iter_mut().enumerate() {
            if kept {
                connection.get("/hello/").expect_hello();
            }
            let halves = [
                "GET /hel",
                "GET /hello/ HTTP/1.1\r\nhost: a\r\n",
                "G",
                "GET /hello/ HTTP/1.1\r\nx: ",
            ];
            connection.send(halves[i % halves.len()]);
        }
        let (start, cpu) = (Instant::now(), node.cpu_time());
        for connection in &mut silent {
            expect_timed_out(connection);
        }
        let (took, cpu) = (start.elapsed(), node.cpu_time() - cpu);
        assert!((SECOND * 7 / 10..SECOND * 4).contains(&took), "limit 1 s, took {took:?}");
        // What the deploy has left to do is in it too, and whatever the machine adds.
        assert!(cpu < took / 4, "waiting {took:?} for 50 silent clients cost {cpu:?} of CPU");
        drop(silent);
    }
    node.get("/hello/").expect_hello();
    node.stop();
}

/// Checks for a 408, or the end of the connection without a reply.
fn expect_timed_out(connection: &mut Connection) {
    match connection.try_reply() {
        Ok(reply) => _ = reply.expect_problem(408),
        Err(cut) => assert!(cut.head.is_none(), "{cut:?}"),
    }
    assert_eq!(connection.rest(), b"");
}

#[test]
fn a_head_that_drips_in_does_not_move_the_limit() {
    let node = Node::build().option("--head-timeout", "1s").start();
    node.deploy("hello", "hello", &[]);
    for kept in [false, true] {
        let mut connection = node.connect();
        if kept {
            connection.get("/hello/").expect_hello();
        }
        connection.send("GET /hello/ HTTP/1.1\r\nx-endless: ");
        let start = Instant::now();
        wait::until("the node has enough of it", SECOND * 4, || {
            (connection.try_send("x").is_err() || !connection.silent()).then_some(())
        });
        assert!(start.elapsed() > SECOND * 7 / 10, "limit 1 s, took {:?}", start.elapsed());
    }
    node.stop();
}

#[test]
fn a_body_that_never_comes_ends_at_the_functions_time_limit() {
    let node = Node::with(&["hello"]);
    node.deploy("echo", "echo", &["--timeout", "1s"]);
    node.deploy("status", "status", &["--timeout", "1s"]);
    for function in ["echo", "status"] {
        let mut connection = node.connect();
        connection.send(format!(
            "POST /{function}/ HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nshort"
        ));
        let start = Instant::now();
        match connection.try_reply() {
            Ok(reply) => _ = reply.expect_problem(504),
            Err(cut) => {
                assert!(cut.head.is_none_or(|head| head.status == 200), "{function} was cut late")
            }
        }
        assert_eq!(
            connection.rest(),
            b"",
            "the body bytes that are missing cannot be told from a new request"
        );
        assert!(start.elapsed() < SECOND * 4, "{function}: {:?}", start.elapsed());
    }
    node.until_status("nothing is in flight", SECOND * 5, |s| s.in_flight() == 0);
    node.stop();
}

#[test]
fn rubbish_on_two_thousand_connections_changes_nothing() {
    process::raise_fd_limit();
    let node = Node::with(&["hello", "echo"]);
    node.get("/hello/").expect_hello();
    node.until_status("the node is at rest", SECOND * 5, |s| s.open() == 0);
    let before = node.fds();
    let pids = node.processes();
    let address = node.addresses()[0];
    thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                let mut noise = Noise::new(thread);
                (0..500).for_each(|_| send_rubbish(&mut Connection::open(address), &mut noise));
            });
        }
    });
    for _ in 0..20 {
        node.get("/hello/").expect_hello();
    }
    assert_eq!(node.processes(), pids, "every process is still there");
    assert_eq!(node.status().workers.iter().map(|w| w.restarts).sum::<u32>(), 0);
    node.until_status("the node is at rest", SECOND * 15, |s| s.open() + s.in_flight() == 0);
    node.expect_fds_back_at(&before, SECOND * 5);
    node.stop();
}

/// Sends random bytes, or a good request with some bytes changed or its end missing.
fn send_rubbish(connection: &mut Connection, noise: &mut Noise) {
    let good = request("POST", "/echo/a?b", &[("x-a", "b"), ("x-c", "d")], b"a body");
    let length = noise.below(2000);
    let mut bytes = match noise.below(4) {
        0 => body(length, noise.next()),
        1 => good[..noise.below(good.len())].to_vec(),
        2 => [&good[..], &body(length, noise.next())].concat(),
        _ => good,
    };
    for _ in 0..noise.below(4) {
        if !bytes.is_empty() {
            let at = noise.below(bytes.len());
            bytes[at] = noise.next().to_le_bytes()[0];
        }
    }
    // The node may answer, refuse or close.
    _ = connection.try_send(bytes);
    if noise.below(2) == 0 {
        connection.end_sending_if_open();
        connection.rest();
    }
}
