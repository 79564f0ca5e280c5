//! A node that listens on a Unix socket: who may connect, whom requests are from, and what becomes
//! of the socket's file.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::client::request;
use harness::node::{run, two_cores};
use harness::{Connection, Node, NodeBuilder, needs, wait};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(10);

fn build(socket: &Path) -> NodeBuilder {
    Node::build().option("--listen", format!("unix:{}", socket.display()))
}

fn place() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("web.sock");
    (folder, socket)
}

fn environment(connection: &mut Connection, headers: &[(&str, &str)]) -> String {
    connection.send(request("GET", "/cmd/env", headers, b""));
    connection.reply().text()
}

#[track_caller]
fn expect_line(text: &str, line: &str) {
    assert!(text.lines().any(|there| there == line), "{line}: {text}");
}

#[test]
fn who_connects_is_believed_whom_requests_are_from() {
    let (_folder, socket) = place();
    // What is trusted by address changes nothing.
    let node = build(&socket)
        .option("--trusted-proxies", "10.0.0.0/8")
        .option("--connections-per-address-max", "2")
        .start();
    node.deploy("cmd", "cmd", &[]);
    node.deploy("hello", "hello", &["--isolation", "process"]);
    let status = node.cli(&["status", "--json"]).expect_code(0).stdout;
    assert!(status.contains(&format!("\"unix:{}\"", socket.display())), "{status}");
    let mut connection = Connection::open_unix(&socket);
    for _ in 0..2 {
        let said = [
            ("host", "shop.test"),
            ("x-forwarded-for", "198.51.100.66, 192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "public.test"),
        ];
        let seen = environment(&mut connection, &said);
        for line in ["REMOTE_ADDR=192.0.2.1", "HTTPS=on", "HTTP_X_FORWARDED_HOST=public.test"] {
            expect_line(&seen, line);
        }
        let seen = environment(&mut connection, &[("host", "a.test")]);
        for line in ["REMOTE_ADDR=127.0.0.1", "HTTP_X_FORWARDED_FOR=127.0.0.1"] {
            expect_line(&seen, line);
        }
        // It goes to another worker, and is what it was.
        connection.get("/hello/").expect_hello();
    }
    // A peer of a Unix socket is no address that could have too many connections.
    let mut connections: Vec<_> = (0..6).map(|_| Connection::open_unix(&socket)).collect();
    connections.iter_mut().for_each(|connection| connection.get("/hello/").expect_hello());
    node.get("/hello/").expect_hello();
    drop((connections, connection));
    node.stop();
}

#[test]
fn curl_finds_it() {
    let (_folder, socket) = place();
    let node = build(&socket).start();
    node.deploy("hello", "hello", &[]);
    let mut curl = Command::new(needs::program("curl", "curl"));
    let curl = curl.args(["--silent", "--show-error", "--fail", "--max-time", "20"]);
    let done =
        curl.arg("--unix-socket").arg(&socket).arg("http://localhost/hello/").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stdout), "Hello, world!", "{done:?}");
    node.stop();
}

#[test]
fn a_proxy_names_its_client_there_too() {
    let (_folder, socket) = place();
    let address = format!("unix:{}?proxy-protocol", socket.display());
    // No address is trusted that a Unix socket's peer could have.
    let node =
        Node::build().option("--listen", address).option("--trusted-proxies", "10.0.0.0/8").start();
    node.deploy("cmd", "cmd", &[]);
    let mut connection = Connection::open_unix(&socket);
    assert!(connection.silent());
    connection.send(b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n");
    let said = [("host", "a.test"), ("x-forwarded-for", "198.51.100.66")];
    for _ in 0..2 {
        expect_line(&environment(&mut connection, &said), "REMOTE_ADDR=2001:db8::7");
    }
    // The proxy's own connection is as trusted as without the protocol.
    let mut connection = Connection::open_unix(&socket);
    connection.send(b"PROXY UNKNOWN\r\n");
    expect_line(&environment(&mut connection, &said), "REMOTE_ADDR=198.51.100.66");
    drop(connection);
    node.stop();
}

#[test]
fn its_file_is_for_user_and_group_and_goes_with_the_node() {
    let (folder, socket) = place();
    // What a process has left that is no more.
    drop(UnixListener::bind(&socket).unwrap());
    assert!(UnixStream::connect(&socket).is_err());
    let node = build(&socket).start();
    let metadata = fs::metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    // A second node leaves the first one alone.
    let mut command = vec!["serve".to_owned(), "--cores".to_owned(), two_cores()];
    let data = folder.path().join("other").display().to_string();
    let listen = format!("unix:{}", socket.display());
    command.extend(["--data".to_owned(), data, "--listen".to_owned(), listen]);
    let refused = run(&command).expect_code(1);
    assert!(refused.stderr.contains("another program listens there"), "{}", refused.stderr);
    node.deploy("hello", "hello", &[]);
    Connection::open_unix(&socket).get("/hello/").expect_hello();
    node.stop();
    assert!(!socket.exists());
    // What is no socket is not touched.
    fs::write(&socket, "mine").unwrap();
    let refused = run(&command).expect_code(1);
    assert!(refused.stderr.contains("is no socket"), "{}", refused.stderr);
    assert_eq!(fs::read(&socket).unwrap(), b"mine");
}

#[test]
fn a_take_over_keeps_it() {
    let (_folder, socket) = place();
    let node = build(&socket).start();
    node.deploy("cmd", "cmd", &[]);
    let said = [("host", "a.test"), ("x-forwarded-for", "192.0.2.1")];
    let mut kept = Connection::open_unix(&socket);
    expect_line(&environment(&mut kept, &said), "REMOTE_ADDR=192.0.2.1");
    let mut node = node;
    for _ in 0..2 {
        node = node.taken_over();
        for connection in [&mut kept, &mut Connection::open_unix(&socket)] {
            expect_line(&environment(connection, &said), "REMOTE_ADDR=192.0.2.1");
        }
    }
    drop(kept);
    node.stop();
    wait::until("its file is removed", SOON, || (!socket.exists()).then_some(()));
}
