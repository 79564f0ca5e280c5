//! Clients that speak TLS: they get the certificate of the name that they ask for, functions see
//! who they are, and their connections go wherever those of others go, over take-overs too.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use harness::bytes::{Noise, assert_same, body};
use harness::client::{head, request};
use harness::running::kill_now;
use harness::tls::{Authority, Site, tls_address};
use harness::tunnel::Tunnel;
use harness::websocket::HANDSHAKE;
use harness::{Connection, Node, native, wait};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

fn tunnel(tls: &Site, node: &Node) -> Tunnel {
    Tunnel::to(tls_address(node), &tls.authority.client(), "localhost")
}

fn open(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &str,
) -> StreamOwned<ClientConnection, TcpStream> {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let name = name.to_owned().try_into().unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), socket)
}

/// Sends a request for `/hello/`, and reads its reply.
fn try_hello(tls: &mut StreamOwned<ClientConnection, TcpStream>) -> std::io::Result<()> {
    tls.write_all(&request("GET", "/hello/", &[], b""))?;
    let (mut reply, mut buffer) = (Vec::new(), [0; 4096]);
    while !reply.windows(13).any(|part| part == b"Hello, world!") {
        match tls.read(&mut buffer)? {
            0 => return Err(std::io::Error::other(String::from_utf8_lossy(&reply).into_owned())),
            read => reply.extend_from_slice(&buffer[..read]),
        }
    }
    // The end of a chunked body.
    while !reply.ends_with(b"\r\n0\r\n\r\n") && !reply.ends_with(b"Hello, world!") {
        let read = tls.read(&mut buffer)?;
        reply.extend_from_slice(&buffer[..read]);
    }
    Ok(())
}

fn edges(node: &Node) -> Vec<u32> {
    let edges = node.status().workers.into_iter().filter(|worker| worker.pool == "edge");
    edges.map(|worker| worker.pid).filter(|pid| *pid > 0).collect()
}

fn deploy(node: &Node, guests: &[&str]) {
    guests.iter().for_each(|guest| node.deploy(guest, guest, &[]));
}

#[test]
fn functions_see_the_client_and_that_it_speaks_tls() {
    let tls = Site::default();
    let node = tls.node().option("--access-log", "text").start();
    deploy(&node, &["inspect", "cmd"]);
    let mut connection = open(tls_address(&node), &tls.authority.client(), "localhost");
    let client = connection.sock.local_addr().unwrap();
    connection.write_all(&request("GET", "/cmd/env", &[("connection", "close")], b"")).unwrap();
    let mut reply = String::new();
    connection.read_to_string(&mut reply).unwrap();
    for line in [
        "HTTPS=on".to_owned(),
        "REMOTE_ADDR=127.0.0.1".to_owned(),
        format!("REMOTE_PORT={}", client.port()),
        "HTTP_X_FORWARDED_PROTO=https".to_owned(),
        "HTTP_X_FORWARDED_FOR=127.0.0.1".to_owned(),
    ] {
        assert!(reply.lines().any(|there| there == line), "{line}: {reply}");
    }
    let claimed = [("x-forwarded-proto", "http"), ("x-forwarded-for", "192.0.2.9")];
    let mut connection = Connection::open(tunnel(&tls, &node).address());
    for _ in 0..3 {
        // Whoever reads the log has all workers write theirs, and edges have none.
        node.cli(&["logs", "inspect"]).expect_code(0);
        connection.send(request("GET", "/inspect/", &claimed, b""));
        let report = connection.reply().json();
        assert_eq!(report["scheme"], "https", "{report:#}");
    }
    wait::until("the access line has the client", SOON, || {
        node.stderr().contains(&format!("client={client}")).then_some(())
    });
    // A client without TLS is told apart.
    assert_eq!(node.get("/inspect/").json()["scheme"], "http");
    node.stop();
}

#[test]
fn one_connection_reaches_every_function_and_bodies_are_whole() {
    let tls = Site::default();
    let node = tls.node().start();
    deploy(&node, &["echo", "hello"]);
    node.deploy("echo", "own", &["--isolation", "process"]);
    native::deploy(&node, "server", "server", "server", &[]);
    let tunnel = tunnel(&tls, &node);
    let mut connection = Connection::open(tunnel.address());
    for round in 0..3_u8 {
        let sent = body(8 * 1024 * 1024, u64::from(round));
        for name in ["echo", "own", "echo"] {
            assert_same(&connection.post(&format!("/{name}/"), &sent).body, &sent);
        }
        connection.get("/hello/").expect_hello();
        assert_eq!(connection.get("/server/websocket").status(), 426);
    }
    connection.send(head("GET", "/server/websocket", &HANDSHAKE));
    assert_eq!(connection.head().status, 101);
    let mut stream = connection.writer();
    // A text of two bytes, masked with zeros (RFC 6455 5.2), and its echo.
    stream.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).unwrap();
    let mut echo = [0; 4];
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(echo, [0x81, 2, b'h', b'i']);
    drop((stream, connection));
    node.stop();
}

/// Returns whether a client that trusts `authority` is served under `name`.
fn is_trusted(address: SocketAddr, authority: &Authority, name: &str) -> bool {
    let mut connection = open(address, &authority.client(), name);
    connection.flush().is_ok() && try_hello(&mut connection).is_ok()
}

#[test]
fn each_name_has_its_certificate_and_files_are_read_again() {
    let (tls, folder) = (Site::default(), TempDir::new().unwrap());
    let other = Authority::default();
    other.write(folder.path(), "shop", "shop.example.com");
    other.write(folder.path(), "any", "*.example.org");
    let node = tls.node().option("--tls-dir", folder.path()).start();
    deploy(&node, &["hello"]);
    let address = tls_address(&node);
    assert!(is_trusted(address, &other, "shop.example.com"));
    assert!(is_trusted(address, &other, "a.example.org"));
    assert!(is_trusted(address, &tls.authority, "localhost"));
    assert!(!is_trusted(address, &other, "unknown.example.com"), "it gets that of localhost");
    let mut kept = open(address, &other.client(), "shop.example.com");
    try_hello(&mut kept).unwrap();
    let newer = Authority::default();
    newer.write(folder.path(), "shop", "shop.example.com");
    newer.write(folder.path(), "late", "late.example.com");
    wait::until("the new certificates", SOON, || {
        is_trusted(address, &newer, "late.example.com").then_some(())
    });
    assert!(is_trusted(address, &newer, "shop.example.com"));
    try_hello(&mut kept).unwrap();
    // What cannot be used changes nothing, and is told once.
    fs::write(folder.path().join("shop.crt"), "half").unwrap();
    wait::until("a complaint", SOON, || node.stderr().contains("shop.crt").then_some(()));
    assert!(is_trusted(address, &newer, "shop.example.com"));
    node.stop();
}

#[test]
fn without_a_certificate_there_is_one_that_nobody_trusts_and_it_says_so() {
    let node = Node::build().option("--listen", "https://127.0.0.1:0").start();
    deploy(&node, &["hello"]);
    assert!(node.stderr().contains("has signed itself"), "{}", node.stderr());
    let url = format!("https://127.0.0.1:{}/hello/", tls_address(&node).port());
    assert!(node.status().node.listeners.iter().any(|there| url.starts_with(there)));
    let curl = |options: &[&str]| {
        let output = Command::new("curl").args(["-sS", "-m", "20", &url]).args(options).output();
        output.expect("curl, which the scripts install")
    };
    let refused = curl(&[]);
    assert_eq!(refused.status.code(), Some(60), "{refused:?}");
    let trusted = node.data().join("localhost.crt");
    let served = curl(&["--cacert", trusted.to_str().unwrap()]);
    assert_eq!(String::from_utf8_lossy(&served.stdout), "Hello, world!", "{served:?}");
    // Who speaks no TLS on that port is told so.
    let mut plain = Connection::open(tls_address(&node));
    plain.send(request("GET", "/hello/", &[], b""));
    assert!(plain.reply().expect_problem(400).contains("https://"));
    node.stop();
}

#[test]
fn who_asks_without_tls_is_sent_to_it_if_the_node_says_so() {
    let tls = Site::default();
    let node = tls.node().option("--https-redirect", "8443").start();
    deploy(&node, &["hello"]);
    let mut connection = node.connect();
    for _ in 0..2 {
        let headers = [("host", "shop.example.com:8080")];
        connection.send(request("POST", "/hello/?a=b", &headers, b"body"));
        let reply = connection.reply();
        assert_eq!(reply.status(), 308);
        let location = reply.head.get("location");
        assert_eq!(location, Some("https://shop.example.com:8443/hello/?a=b"));
    }
    try_hello(&mut open(tls_address(&node), &tls.authority.client(), "localhost")).unwrap();
    // The node's own requests are served.
    node.cli(&["invoke", "hello"]).expect_code(0);
    node.stop();
}

#[test]
fn a_session_is_resumed_on_every_core_and_after_a_restart() {
    let tls = Site::default();
    let data = TempDir::new().unwrap();
    let config = tls.authority.client();
    let resumed = |node: &Node| {
        let mut connection = open(tls_address(node), &config, "localhost");
        try_hello(&mut connection).unwrap();
        connection.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    };
    let node = tls.node().data(&data.path().join("data")).start();
    deploy(&node, &["hello"]);
    assert!(!resumed(&node));
    for _ in 0..10 {
        assert!(resumed(&node), "whichever edge it comes to");
    }
    node.stop();
    let node = tls.node().data(&data.path().join("data")).start();
    assert!(resumed(&node), "the key of tickets follows from the node's key");
    node.stop();
}

#[test]
fn take_overs_fail_no_request_and_an_idle_connection_goes_on() {
    let tls = Site::default();
    let mut node = tls.node().start();
    deploy(&node, &["hello"]);
    let address = tls_address(&node);
    let mut idle = open(address, &tls.authority.client(), "localhost");
    try_hello(&mut idle).unwrap();
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let config = tls.authority.client();
    let (mut first_edges, mut before_it) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        let _stop = wait::StopOnDrop(&stop);
        for keeps in [true, false, false] {
            let (stop, count, config) = (&stop, &count, &config);
            scope.spawn(move || {
                let mut connection = open(address, config, "localhost");
                while !stop.load(Relaxed) {
                    try_hello(&mut connection).unwrap();
                    count.fetch_add(1, Relaxed);
                    if !keeps {
                        connection = open(address, config, "localhost");
                    }
                }
            });
        }
        for round in 0..10 {
            let before = count.load(Relaxed);
            wait::until("requests are answered", SOON, || {
                (count.load(Relaxed) > before + 20).then_some(())
            });
            let old = edges(&node);
            let workers = node.status().workers;
            let shared = workers.iter().filter(|worker| worker.pool == "shared");
            assert_eq!(old.len(), shared.count(), "one a core");
            let engine = node.pid();
            let successor = node.successor(None);
            wait::until("the old engine has ended", SOON, || {
                (!harness::process::alive(engine)).then_some(())
            });
            // Not dropped yet: that would kill the edges, which outlive their engine.
            before_it.push(std::mem::replace(&mut node, successor));
            if round == 0 {
                first_edges = old;
            }
        }
    });
    try_hello(&mut idle).unwrap();
    assert!(first_edges.iter().any(|pid| harness::process::alive(*pid)), "it has the idle one");
    drop(idle);
    wait::until("the first edges end with their last connection", SOON, || {
        (!first_edges.iter().any(|pid| harness::process::alive(*pid))).then_some(())
    });
    node.stop();
}

#[test]
fn a_killed_edge_takes_its_own_connections_with_it_and_is_replaced() {
    let tls = Site::default();
    let node = tls.node().start();
    deploy(&node, &["hello"]);
    let mut plain = node.connect();
    plain.get("/hello/").expect_hello();
    for pid in edges(&node) {
        let mut connection = open(tls_address(&node), &tls.authority.client(), "localhost");
        try_hello(&mut connection).unwrap();
        kill_now(pid);
    }
    // A connection that has been accepted meanwhile waits for the next edge.
    wait::until("another edge", SOON, || {
        let mut connection = open(tls_address(&node), &tls.authority.client(), "localhost");
        try_hello(&mut connection).is_ok().then_some(())
    });
    plain.get("/hello/").expect_hello();
    node.stop();
}

/// Returns whether the memory of a process has these bytes anywhere. Only pages that are there are
/// looked at (pagemap, proc_pid_pagemap(5)): far more is reserved for instances.
fn has_in_memory(pid: u32, wanted: &[u8]) -> bool {
    const PAGE_BYTES: u64 = 4096;
    let file = |name: &str| fs::File::open(format!("/proc/{pid}/{name}")).unwrap();
    let (memory, pages) = (file("mem"), file("pagemap"));
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut found = false;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let page = |text| u64::from_str_radix(text, 16).unwrap() / PAGE_BYTES;
        let (from, to) = (page(from), page(to));
        let mut entries = vec![0; usize::try_from((to - from) * 8).unwrap()];
        if pages.read_exact_at(&mut entries, from * 8).is_err() {
            continue;
        }
        // What begins at the end of one page may end in the next.
        let mut text = Vec::new();
        for (entry, number) in entries.chunks_exact(8).zip(from..) {
            let entry = u64::from_le_bytes(entry.try_into().unwrap());
            let mut bytes = [0; 4096];
            if entry >> 62 == 0 || memory.read_exact_at(&mut bytes, number * PAGE_BYTES).is_err() {
                continue;
            }
            text.extend_from_slice(&bytes);
        }
        found |= text.windows(wanted.len()).any(|part| part == wanted);
    }
    found
}

#[test]
fn no_process_that_runs_functions_has_a_private_key_in_its_memory() {
    let tls = Site::default();
    let node = tls.node().start();
    deploy(&node, &["hello"]);
    node.deploy("hello", "own", &["--isolation", "process"]);
    let mut connection = Connection::open(tunnel(&tls, &node).address());
    connection.get("/hello/").expect_hello();
    connection.get("/own/").expect_hello();
    let pem = fs::read(tls.folder.path().join("localhost.key")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&pem).unwrap();
    // The number itself, as PKCS#8 has it for P-256 (RFC 5958, RFC 5915), and by its last byte
    // first, as processors have it.
    let number = key.secret_der()[36..68].to_vec();
    let reversed: Vec<u8> = number.iter().rev().copied().collect();
    assert!(has_in_memory(node.pid(), &number), "the engine reads the file, so it has it");
    for worker in node.status().workers.iter().filter(|worker| worker.pool != "edge") {
        for wanted in [&number, &reversed] {
            assert!(!has_in_memory(worker.pid, wanted), "worker {}", worker.pid);
        }
    }
    node.stop();
}

#[test]
fn hundreds_that_stop_in_their_handshake_hold_up_nobody_and_are_let_go() {
    let tls = Site::default();
    let node = tls.node().option("--head-timeout", "3s").start();
    deploy(&node, &["hello"]);
    let address = tls_address(&node);
    let mut healthy = open(address, &tls.authority.client(), "localhost");
    try_hello(&mut healthy).unwrap();
    let before = node.fds();
    let stopped: Vec<TcpStream> = (0..500)
        .map(|number| {
            let mut socket = TcpStream::connect(address).unwrap();
            // A record's head, and of some a bit of the hello in it.
            let hello = [0x16, 3, 1, 2, 0, 1, 0, 1];
            socket.write_all(&hello[..1 + number % hello.len()]).unwrap();
            socket
        })
        .collect();
    let begun = Instant::now();
    for _ in 0..20 {
        try_hello(&mut healthy).unwrap();
        let mut new = open(address, &tls.authority.client(), "localhost");
        try_hello(&mut new).unwrap();
    }
    assert!(begun.elapsed() < SOON);
    for mut socket in stopped {
        socket.set_read_timeout(Some(SOON)).unwrap();
        // Closed, or an alert and then closed.
        let _ = socket.read_to_end(&mut Vec::new());
    }
    drop(healthy);
    node.expect_fds_back_at(&before, SOON);
    node.stop();
}

#[test]
fn what_is_no_tls_and_what_is_old_tls_is_refused_and_nothing_else_suffers() {
    let tls = Site::default();
    let node = tls.node().start();
    deploy(&node, &["hello"]);
    let address = tls_address(&node);
    let mut noise = Noise::new(3);
    for round in 0..50_usize {
        let mut socket = TcpStream::connect(address).unwrap();
        let mut bytes = vec![0x16, 3, 1];
        bytes.extend((0..round * 40).map(|_| noise.next().to_le_bytes()[0]));
        let _ = socket.write_all(&bytes);
        if round % 2 == 0 {
            let _ = socket.shutdown(std::net::Shutdown::Write);
            let _ = socket.read_to_end(&mut Vec::new());
        }
    }
    let connect = format!("127.0.0.1:{}", address.port());
    let client = |options: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &connect, "-servername", "localhost"]);
        let output = command.args(options).stdin(std::process::Stdio::null()).output();
        String::from_utf8_lossy(&output.expect("openssl, which the scripts install").stdout)
            .into_owned()
    };
    let new = client(&["-tls1_3"]);
    assert!(new.contains("New, TLSv1.3") || new.contains("TLSv1.3, Cipher"), "{new}");
    assert!(client(&["-tls1_2"]).contains("TLSv1.2"), "it is served, too");
    let old = client(&["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]);
    assert!(old.contains("Cipher is (NONE)"), "{old}");
    try_hello(&mut open(address, &tls.authority.client(), "localhost")).unwrap();
    node.stop();
}
