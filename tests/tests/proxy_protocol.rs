//! A proxy says by the PROXY protocol whose connection it passes on: in text or in bytes, in
//! whatever pieces, before a request or a TLS handshake; and who may say it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use harness::client::request;
use harness::tls::Authority;
use harness::{Connection, Node, NodeBuilder, wait};
use rustls::{ClientConnection, StreamOwned};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(10);
const TEXT: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.1 40000 8443\r\n";
/// The same with something of the proxy's own behind it.
const BYTES: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x10\xc0\x00\x02\x01\xc6\x33\x64\x01\x9c\x40\
    \x20\xfb\x04\x00\x01\x00";
/// The proxy's own connection, as its health checks are.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// A node whose second listener is for proxies.
fn build() -> NodeBuilder {
    Node::build()
        .option("--listen", "http://127.0.0.1:0?proxy-protocol")
        .option("--access-log", "text")
}

fn proxied(node: &Node) -> SocketAddr {
    node.addresses()[1]
}

/// Returns what a command sees, asked for behind `header`.
fn environment(mut connection: Connection, header: &[u8]) -> String {
    connection.send([header, &request("GET", "/cmd/env", &[("host", "a.test")], b"")].concat());
    connection.reply().text()
}

#[track_caller]
fn expect_line(text: &str, line: &str) {
    assert!(text.lines().any(|there| there == line), "{line}: {text}");
}

#[track_caller]
fn expect_closed(mut connection: Connection, sent: &[u8]) {
    // The node may have closed it already.
    let _ = connection.try_send(sent);
    assert!(connection.try_reply().is_err_and(|cut| cut.head.is_none()), "{sent:?}");
}

#[test]
fn functions_see_the_client_that_the_proxy_names() {
    let node = build().start();
    node.deploy("cmd", "cmd", &[]);
    node.deploy("inspect", "inspect", &[]);
    for header in [TEXT, BYTES] {
        let environment = environment(Connection::open(proxied(&node)), header);
        for line in [
            "REMOTE_ADDR=192.0.2.1",
            "REMOTE_PORT=40000",
            "HTTP_X_FORWARDED_FOR=192.0.2.1",
            "HTTP_X_FORWARDED_PROTO=http",
        ] {
            expect_line(&environment, line);
        }
    }
    // Whom it names is a client like others: what it says of itself is not believed.
    let mut connection = Connection::open(proxied(&node));
    connection.send(TEXT);
    let said = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https")];
    for _ in 0..2 {
        connection.send(request("GET", "/inspect/", &said, b""));
        let report = connection.reply().json();
        assert_eq!(report["scheme"], "http");
        assert_eq!(report["headers"]["x-forwarded-for"], serde_json::json!(["192.0.2.1"]));
    }
    for own in [LOCAL, b"PROXY UNKNOWN\r\n"] {
        let environment = environment(Connection::open(proxied(&node)), own);
        expect_line(&environment, "REMOTE_ADDR=127.0.0.1");
    }
    // Elsewhere nobody is asked for one.
    node.connect().get("/inspect/");
    expect_problem(&node, TEXT);
    let clients =
        || node.stderr().lines().filter(|line| line.contains(" client=192.0.2.1")).count();
    wait::until("the access lines have the client", SOON, || (clients() == 4).then_some(()));
    node.stop();
}

/// A listener without the protocol takes the header for a request.
fn expect_problem(node: &Node, header: &[u8]) {
    let mut connection = node.connect();
    connection.send([header, b"\r\n"].concat());
    connection.reply().expect_problem(400);
}

#[test]
fn a_header_may_come_in_pieces_and_what_follows_it_at_any_time() {
    let node = build().start();
    node.deploy("cmd", "cmd", &[]);
    let rest = request("GET", "/cmd/env", &[("host", "a.test")], b"");
    for header in [TEXT, BYTES] {
        let mut connection = Connection::open(proxied(&node));
        for byte in header.iter().chain(&rest) {
            connection.send([*byte]);
        }
        expect_line(&connection.reply().text(), "REMOTE_ADDR=192.0.2.1");
        let mut connection = Connection::open(proxied(&node));
        connection.send(header);
        assert!(connection.silent());
        connection.send(&rest);
        expect_line(&connection.reply().text(), "REMOTE_ADDR=192.0.2.1");
    }
    node.stop();
}

#[test]
fn what_begins_with_no_header_is_closed() {
    let node = build().option("--head-timeout", "1s").start();
    node.deploy("cmd", "cmd", &[]);
    let open = || Connection::open(proxied(&node));
    for sent in [
        &b"GET /cmd/env HTTP/1.1\r\nHost: a.test\r\n\r\n"[..],
        b"PROXY TCP4 192.0.2.1 198.51.100.1 40000\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 40000 8443\n",
        b"\x16\x03\x01\x00\xff",
        // It says that it is longer than any.
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff\xc0\x00",
        // And this much is not in it.
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x04\xc0\x00\x02\x01",
    ] {
        expect_closed(open(), sent);
    }
    let told =
        || node.stderr().lines().filter(|line| line.contains("?proxy-protocol is closed")).count();
    wait::until("it is told", SOON, || (told() > 0).then_some(()));
    // One that stops in the middle has as long as any head.
    for sent in [&TEXT[..20], &BYTES[..14], &BYTES[..20]] {
        expect_closed(open(), sent);
    }
    assert!(told() <= 2, "once a shard: {}", node.stderr());
    // And nobody has waited for them.
    expect_line(&environment(open(), TEXT), "REMOTE_ADDR=192.0.2.1");
    node.stop();
}

#[test]
fn clients_whose_headers_are_on_their_way_are_served_over_take_overs() {
    let mut node = build().start();
    node.deploy("hello", "hello", &[]);
    let (address, stop) = (proxied(&node), AtomicBool::new(false));
    let served = AtomicU64::new(0);
    let client = |header: &[u8]| {
        while !stop.load(Relaxed) {
            let mut connection = Connection::open(address);
            let (first, second) = header.split_at(header.len() / 2);
            connection.send(first);
            connection.send(second);
            connection.get("/hello/").expect_hello();
            served.fetch_add(1, Relaxed);
        }
    };
    let node = thread::scope(|scope| {
        scope.spawn(|| client(TEXT));
        scope.spawn(|| client(BYTES));
        for _ in 0..2 {
            let before = served.load(Relaxed);
            wait::until("they are served", SOON, || {
                (served.load(Relaxed) > before + 20).then_some(())
            });
            node = node.taken_over();
        }
        stop.store(true, Relaxed);
        node
    });
    // One that stops in the middle does not hold up the end.
    let mut slow = Connection::open(address);
    slow.send(&TEXT[..10]);
    assert!(slow.silent());
    node.stop();
}

#[test]
fn where_proxies_are_named_only_they_are_believed() {
    let node = build().option("--trusted-proxies", "127.0.0.9,192.0.2.0/24").start();
    node.deploy("inspect", "inspect", &[]);
    let from = |last| Connection::open_from(Ipv4Addr::new(127, 0, 0, last), proxied(&node));
    expect_closed(from(8), TEXT);
    wait::until("the log says why", SOON, || {
        node.stderr().contains("127.0.0.8 is no trusted proxy").then_some(())
    });
    // One proxy behind another: the first names the second, which names the client.
    let mut connection = from(9);
    connection.send(TEXT);
    connection.send(request("GET", "/inspect/", &[("x-forwarded-for", "203.0.113.9")], b""));
    let report = connection.reply().json();
    assert_eq!(report["headers"]["x-forwarded-for"], serde_json::json!(["203.0.113.9"]));
    node.stop();
}

#[test]
fn clients_behind_a_proxy_are_counted_one_by_one() {
    let node = build().option("--connections-per-address-max", "2").start();
    node.deploy("hello", "hello", &[]);
    let open = |client: u8| {
        let mut connection = Connection::open(proxied(&node));
        connection.send(format!("PROXY TCP4 192.0.2.{client} 198.51.100.1 1 80\r\n"));
        connection
    };
    let mut connections: Vec<_> = (0..6).map(|at| open(at / 2)).collect();
    for connection in &mut connections {
        connection.get("/hello/").expect_hello();
    }
    open(0).get("/hello/").expect_problem(429);
    node.stop();
}

/// A connection by TLS behind a header.
fn tls(
    authority: &Authority,
    address: SocketAddr,
    header: &[u8],
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    for byte in header {
        socket.write_all(&[*byte]).unwrap();
    }
    let name = "localhost".try_into().unwrap();
    let client = ClientConnection::new(Arc::clone(&authority.client()), name).unwrap();
    StreamOwned::new(client, socket)
}

fn text(stream: &mut StreamOwned<ClientConnection, TcpStream>, close: bool) -> String {
    let headers = [("host", "a.test"), ("connection", if close { "close" } else { "keep-alive" })];
    stream.write_all(&request("GET", "/cmd/env", &headers, b"")).unwrap();
    let (mut reply, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            read => reply.extend_from_slice(&buffer[..read]),
        }
        let is_whole = reply.ends_with(b"\r\n0\r\n\r\n") || {
            let text = String::from_utf8_lossy(&reply);
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            let body = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
            length.and_then(|length| length.parse().ok()) == body && body.is_some()
        };
        if is_whole && !close {
            break;
        }
    }
    String::from_utf8(reply).unwrap()
}

#[test]
fn a_header_before_tls_goes_with_the_connection_over_a_take_over() {
    let (authority, folder) = (Authority::default(), TempDir::new().unwrap());
    authority.write(folder.path(), "localhost", "localhost");
    let node = Node::build()
        .option("--listen", "https://127.0.0.1:0?proxy-protocol")
        .option("--listen", "http://127.0.0.1:0?proxy-protocol")
        .option("--tls-cert", folder.path().join("localhost.crt"))
        .option("--tls-key", folder.path().join("localhost.key"))
        .start();
    node.deploy("cmd", "cmd", &[]);
    let addresses = node.addresses().to_vec();
    for (header, client) in [(TEXT, "192.0.2.1"), (BYTES, "192.0.2.1"), (LOCAL, "127.0.0.1")] {
        let seen = text(&mut tls(&authority, addresses[1], header), true);
        for line in [&format!("REMOTE_ADDR={client}"), "HTTPS=on"] {
            expect_line(&seen, line);
        }
    }
    let mut kept = Connection::open(addresses[2]);
    kept.send(TEXT);
    let mut kept_tls = tls(&authority, addresses[1], BYTES);
    let mut both = |when: &str| {
        kept.send(request("GET", "/cmd/env", &[("host", "a.test")], b""));
        for seen in [kept.reply().text(), text(&mut kept_tls, false)] {
            assert!(seen.contains("REMOTE_ADDR=192.0.2.1\n"), "{when}: {seen}");
        }
    };
    both("before");
    let mut node = node;
    let engine = node.pid();
    let successor = node.successor(None);
    wait::until("the old engine has ended", SOON, || {
        (!harness::process::alive(engine)).then_some(())
    });
    both("after");
    // The new one knows what is spoken there.
    let seen = environment(Connection::open(addresses[2]), TEXT);
    expect_line(&seen, "REMOTE_ADDR=192.0.2.1");
    expect_closed(Connection::open(addresses[2]), b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let seen = text(&mut tls(&authority, addresses[1], TEXT), true);
    expect_line(&seen, "REMOTE_ADDR=192.0.2.1");
    drop((kept, kept_tls));
    successor.stop();
}
