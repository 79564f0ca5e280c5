//! Behind nginx and HAProxy, as the guide has them configured: functions see the client, its
//! connections to the node are kept, replies are streamed, and a WebSocket reaches its server.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use harness::bytes::{assert_same, body};
use harness::client::{head, request};
use harness::http2::{Client, post};
use harness::proxies::{Proxy, guide};
use harness::tls::Authority;
use harness::{Connection, Node, NodeBuilder, native};
use rustls::{ClientConnection, StreamOwned};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);
/// Where the client is, told from the proxy by it.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A folder for a proxy's files, and the authority of its certificate.
struct Files {
    folder: TempDir,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        let (folder, authority) = (TempDir::new().unwrap(), Authority::default());
        authority.write(folder.path(), "shop", "localhost");
        // HAProxy has both in one file.
        let certs = folder.path().join("certs");
        fs::create_dir(&certs).unwrap();
        let part = |name| fs::read(folder.path().join(name)).unwrap();
        fs::write(certs.join("shop.pem"), [part("shop.crt"), part("shop.key")].concat()).unwrap();
        Self { folder, authority }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A node that listens for proxies at a Unix socket.
    fn node(&self) -> NodeBuilder {
        Node::build().option("--listen", format!("unix:{}", self.path("web.sock")))
    }
}

fn deploy(node: &Node) {
    node.deploy("cmd", "cmd", &[]);
    node.deploy("hello", "hello", &[]);
    native::deploy(node, "server", "server", "server", &[]);
}

/// Opens a connection from [`CLIENT`].
fn open(address: SocketAddr, authority: &Authority) -> Tls {
    let socket = Connection::open_from(CLIENT, address).writer();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let name = "localhost".try_into().unwrap();
    StreamOwned::new(ClientConnection::new(authority.client(), name).unwrap(), socket)
}

/// Reads until `read` has `wanted` in it.
#[track_caller]
fn until(tls: &mut impl Read, wanted: &str) -> String {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if text.contains(wanted) {
            return text;
        }
        match tls.read(&mut buffer) {
            Ok(length @ 1..) => read.extend_from_slice(&buffer[..length]),
            ended => panic!("{wanted:?} does not come: {ended:?} behind {text}"),
        }
    }
}

fn connections(node: &Node) -> u64 {
    node.status().workers.iter().map(|worker| worker.connections_taken).sum()
}

/// Checks what every proxy in front of a node must do.
fn check(node: &Node, address: SocketAddr, authority: &Authority) {
    sees_the_client(address, authority);
    // Whoever asks, the proxy comes by connections that it has.
    let before = connections(node);
    for _ in 0..10 {
        let mut tls = open(address, authority);
        tls.write_all(&request("GET", "/hello/", &[("connection", "close")], b"")).unwrap();
        until(&mut tls, "Hello, world!");
    }
    let new = connections(node) - before;
    assert!(new < 8, "{new} connections for ten requests");
}

/// Checks what holds of requests through proxies that end TLS, and through those that do not.
fn sees_the_client(address: SocketAddr, authority: &Authority) {
    let mut tls = open(address, authority);
    let claimed =
        [("x-forwarded-for", "9.9.9.9"), ("x-forwarded-proto", "http"), ("host", "shop.test")];
    tls.write_all(&request("GET", "/cmd/env", &claimed, b"")).unwrap();
    let seen = until(&mut tls, "SERVER_SOFTWARE");
    for line in
        ["REMOTE_ADDR=127.0.0.7", "HTTPS=on", "HTTP_HOST=shop.test", "HTTP_X_FORWARDED_PROTO=https"]
    {
        assert!(seen.contains(line), "{line}: {seen}");
    }
    assert!(!seen.contains("9.9.9.9"), "{seen}");
    // The first piece comes, and the next would only after a minute.
    let mut tls = open(address, authority);
    tls.write_all(&head("GET", "/server/drip?n=2&ms=60000", &[])).unwrap();
    until(&mut tls, "0\n");
    let mut tls = open(address, authority);
    tls.write_all(&head("GET", "/server/websocket", &WEBSOCKET)).unwrap();
    assert!(until(&mut tls, "\r\n\r\n").starts_with("HTTP/1.1 101"));
    echo(&mut tls);
    // By HTTP/2, as far as it goes.
    let client = Client::tls(address, &authority.client());
    assert_eq!(client.get("/hello/").text(), "Hello, world!");
    let sent = body(1024 * 1024, 5);
    assert_same(&client.send(post("/server/echo"), &sent).unwrap().body, &sent);
}

const WEBSOCKET: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// Has a text of two bytes, masked with zeros (RFC 6455 5.2), come back.
fn echo(stream: &mut (impl Read + Write)) {
    stream.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).unwrap();
    let mut echo = [0; 4];
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(echo, [0x81, 2, b'h', b'i']);
}

fn nginx(files: &Files, node: &str) -> Proxy {
    let words = [
        ("unix:/run/sockhop/web.sock", node),
        ("443", "PORT"),
        ("/etc/ssl/shop.crt", &files.path("shop.crt")),
        ("/etc/ssl/shop.key", &files.path("shop.key")),
    ];
    Proxy::nginx("http", &guide("nginx", 0, &words))
}

#[test]
fn nginx_ends_tls_and_comes_by_a_unix_socket() {
    let files = Files::new();
    let node = files.node().start();
    deploy(&node);
    let proxy = nginx(&files, &format!("unix:{}", files.path("web.sock")));
    check(&node, proxy.address(), &files.authority);
    // It reads the reply that its client has left.
    drop(proxy);
    node.stop();
}

#[test]
fn nginx_ends_tls_and_comes_by_tcp() {
    let files = Files::new();
    let node = files.node().option("--trusted-proxies", "127.0.0.1").start();
    deploy(&node);
    let proxy = nginx(&files, &node.addresses()[0].to_string());
    check(&node, proxy.address(), &files.authority);
    // It reads the reply that its client has left.
    drop(proxy);
    node.stop();
}

fn haproxy(files: &Files, node: &str) -> Proxy {
    let words = [
        ("unix@/run/sockhop/web.sock", node),
        (":443", "127.0.0.1:PORT"),
        ("/etc/haproxy/certs/", &format!("{}/", files.path("certs"))),
    ];
    Proxy::haproxy(&guide("HAProxy", 0, &words))
}

#[test]
fn haproxy_ends_tls_and_comes_by_a_unix_socket() {
    let files = Files::new();
    let node = files.node().start();
    deploy(&node);
    let proxy = haproxy(&files, &format!("unix@{}", files.path("web.sock")));
    check(&node, proxy.address(), &files.authority);
    // It reads the reply that its client has left.
    drop(proxy);
    node.stop();
}

#[test]
fn haproxy_ends_tls_and_comes_by_tcp() {
    let files = Files::new();
    let node = files.node().option("--trusted-proxies", "127.0.0.1").start();
    deploy(&node);
    let proxy = haproxy(&files, &node.addresses()[0].to_string());
    check(&node, proxy.address(), &files.authority);
    // It reads the reply that its client has left.
    drop(proxy);
    node.stop();
}

/// A node that ends TLS itself, behind proxies that say whose connection they pass on.
fn node_behind_bytes(files: &Files) -> Node {
    let node = Node::build()
        .option("--listen", "https://127.0.0.1:0?proxy-protocol")
        .option("--tls-cert", files.path("shop.crt"))
        .option("--tls-key", files.path("shop.key"))
        .option("--trusted-proxies", "127.0.0.1")
        .start();
    deploy(&node);
    node
}

#[test]
fn nginx_passes_on_tls_and_says_whose_it_is() {
    let files = Files::new();
    let node = node_behind_bytes(&files);
    let address = node.addresses()[1].to_string();
    // The first has the second one's number in it.
    let words = [("10.0.0.2:443", &*address), ("listen 443", "listen 127.0.0.1:PORT")];
    let proxy = Proxy::nginx("stream", &guide("nginx", 1, &words));
    sees_the_client(proxy.address(), &files.authority);
    node.stop();
}

#[test]
fn haproxy_passes_on_tls_and_says_whose_it_is_in_either_version() {
    let files = Files::new();
    let node = node_behind_bytes(&files);
    let address = node.addresses()[1].to_string();
    let words = [("10.0.0.2:443", &*address), ("bind :443", "bind 127.0.0.1:PORT")];
    let second = guide("HAProxy", 1, &words);
    let first = second.replace("send-proxy-v2", "send-proxy");
    assert_ne!(first, second);
    for configuration in [first, second] {
        let proxy = Proxy::haproxy(&configuration);
        sees_the_client(proxy.address(), &files.authority);
    }
    node.stop();
}
