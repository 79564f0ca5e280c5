//! WebSocket for components: an invocation a message, replies and pushes as messages, and an end
//! that the function is always told.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::thread;
use std::time::Duration;

use harness::client::head;
use harness::running::kill_now;
use harness::websocket::{Client, HANDSHAKE, KEY, frame};
use harness::{Connection, Node, process, wait};
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;

const SOON: Duration = Duration::from_secs(20);
const MIB: usize = 1024 * 1024;

fn node_with(options: &[&str]) -> Node {
    let node = Node::start();
    deploy(&node, options);
    node
}

fn deploy(node: &Node, options: &[&str]) {
    node.deploy("chat", "chat", &[&["--websocket", "messages"], options].concat());
}

fn address(node: &Node) -> SocketAddr {
    node.addresses()[0]
}

/// Waits until the function was told of the end of a connection. Returns the code.
fn told(node: &Node, id: &str) -> u16 {
    let start = format!("closed {id} ");
    wait::until("the function is told of the end", SOON, || {
        let stderr = node.stderr();
        let (_, rest) = stderr.split_once(&start)?;
        let code = rest.split(|next: char| !next.is_ascii_digit()).next()?;
        // The line may not be whole yet.
        rest.contains('\n').then(|| code.parse().unwrap())
    })
}

/// Returns how often the function was told of an end.
fn ends(node: &Node) -> usize {
    node.stderr().matches("closed 0").count()
}

#[test]
fn messages_are_answered_in_order_each_by_its_own_invocation() {
    let node = node_with(&["--request-body", "16MiB"]);
    let mut client = Client::open(address(&node), "/chat/a/b?c=d");
    assert_eq!(client.head.get("set-cookie"), Some("seen=1"));
    assert_eq!(client.ask("hello"), "hello");
    assert_eq!(client.ask("h\u{e9}llo \u{1f600}"), "h\u{e9}llo \u{1f600}");
    assert_eq!(client.ask("method"), "Method::Post /a/b?c=d");
    let headers = client.ask("headers");
    for line in
        ["websocket-event: message", "x-forwarded-prefix: /chat", "x-forwarded-for: 127.0.0.1"]
    {
        assert!(headers.contains(line), "{line} in {headers}");
    }
    for other in ["sec-websocket", "upgrade"] {
        assert!(!headers.contains(other), "{other} in {headers}");
    }
    // Binary, with text in it too, and nothing at all, which is answered with nothing.
    for bytes in [&b"\xff\x00binary"[..], b"text", &vec![7; 300][..]] {
        client.send(Message::binary(bytes.to_vec()));
        assert_eq!(client.receive(), Message::binary(bytes.to_vec()));
    }
    client.send(Message::text(""));
    // Many at once, answered in order.
    (0..50).for_each(|number| client.send(Message::text(format!("number {number}"))));
    (0..50).for_each(|number| assert_eq!(client.text(), format!("number {number}")));
    // Larger than any buffer.
    let large: Vec<u8> = (0..12 * MIB).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let stream = client.id();
    assert!(!stream.is_empty());
    client.send(Message::binary(large.clone()));
    let Message::Binary(got) = client.receive() else { panic!("no binary message") };
    assert!(got == large, "{} of {} bytes", got.len(), large.len());
    client.send(Message::text("nothing"));
    assert_eq!(client.ask("after nothing"), "after nothing");
    node.stop();
}

#[test]
fn fragments_are_joined_and_pings_answered_between_them() {
    let node = node_with(&[]);
    let mut client = Client::open(address(&node), "/chat/");
    let parts: [(u8, &[u8]); 4] =
        [(0x01, b"one "), (0x89, b"ping"), (0x00, b"two "), (0x80, b"three")];
    // A byte at a time.
    for byte in parts.iter().flat_map(|(first, body)| frame(*first, body)) {
        client.send_raw(&[byte]);
    }
    assert_eq!(client.receive(), Message::Pong(b"ping".to_vec().into()));
    assert_eq!(client.text(), "one two three");
    // The client's own pings, and a pong that nobody asked for.
    client.send(Message::Pong(b"unasked".to_vec().into()));
    client.send(Message::Ping(b"again".to_vec().into()));
    assert_eq!(client.receive(), Message::Pong(b"again".to_vec().into()));
    node.stop();
}

#[test]
fn the_function_decides_who_is_let_in_and_greets() {
    let node = node_with(&[]);
    let mut connection = Connection::open(address(&node));
    connection.send(head("GET", "/chat/?refuse=403", &HANDSHAKE));
    let reply = connection.reply();
    assert_eq!((reply.status(), reply.text().as_str()), (403, "no"));
    // The connection of HTTP goes on, and may still become one of WebSocket.
    assert_eq!(connection.get("/chat/").text(), "- - -");
    let mut client = Client::on(connection, "/chat/?say=welcome", &[]).unwrap();
    assert_eq!(client.text(), "welcome");
    assert_eq!(client.ask("a"), "a");

    let offer = [("sec-websocket-protocol", "a, chat.v2")];
    let chosen = |target: &str| {
        let client = Client::try_open(address(&node), target, &offer).unwrap();
        client.head.get("sec-websocket-protocol").map(str::to_owned)
    };
    assert_eq!(chosen("/chat/?protocol=chat.v2").as_deref(), Some("chat.v2"));
    assert_eq!(chosen("/chat/?protocol=chat.v3"), None);
    wait::until("the function's log says why", SOON, || {
        node.stderr().contains("Sec-WebSocket-Protocol").then_some(())
    });
    let trapped = Client::try_open(address(&node), "/chat/?trap=1", &[]).unwrap_err();
    assert_eq!(trapped.status(), 500);
    let refused = Client::try_open(address(&node), "/chat/?refuse=204", &[]).unwrap();
    assert_eq!(refused.head.status, 101, "204 is no refusal");
    node.stop();
}

#[test]
fn bad_handshakes_are_refused_and_other_requests_are_ordinary() {
    let node = node_with(&[]);
    let reply = |method: &str, headers: &[(&str, &str)]| {
        let mut connection = Connection::open(address(&node));
        connection.send(head(method, "/chat/", headers));
        connection.reply()
    };
    let with = |version: &'static str, key: &'static str| {
        let reply = reply(
            "GET",
            &[
                ("connection", "upgrade"),
                ("upgrade", "WebSocket"),
                ("sec-websocket-version", version),
                ("sec-websocket-key", key),
            ],
        );
        (reply.status(), reply.head.get("sec-websocket-version").map(str::to_owned))
    };
    assert_eq!(with("8", KEY), (426, Some("13".to_owned())));
    assert_eq!(with("13", "c2hvcnQ="), (400, None));
    // Whoever says that there is a connection, none is believed but the node.
    let forged = [
        ("websocket-event", "message"),
        ("websocket-id", "000000"),
        ("websocket-close-code", "1000"),
    ];
    let ordinary = reply("GET", &forged);
    assert_eq!((ordinary.status(), ordinary.text().as_str()), (200, "- - -"));
    let mut client = Client::try_open(address(&node), "/chat/", &forged).unwrap();
    assert_eq!(client.id().len(), 36);
    // Neither of both headers alone, nor another method.
    assert_eq!(reply("GET", &HANDSHAKE[1..]).status(), 200);
    let post = [&HANDSHAKE[..], &[("content-length", "0")]].concat();
    assert_eq!(reply("POST", &post).status(), 200);
    // A function that has no such connections sees the handshake as it is.
    node.deploy("inspect", "plain", &[]);
    let mut connection = Connection::open(address(&node));
    connection.send(head("GET", "/plain/", &[&HANDSHAKE[..], &forged].concat()));
    let seen = connection.reply().json();
    assert_eq!(seen["headers"]["websocket-event"][0], "message");
    node.stop();
}

#[test]
fn what_the_protocol_forbids_ends_the_connection_with_its_code() {
    let node = node_with(&["--request-body", "1000"]);
    let announced = [&[0x82, 0xff][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat();
    for (bytes, code) in [
        (vec![0x81, 1, b'a'], 1002),
        (frame(0xc1, b"compressed"), 1002),
        (frame(0x83, b"unknown"), 1002),
        (frame(0x80, b"nothing to continue"), 1002),
        (frame(0x09, b"half a ping"), 1002),
        (frame(0x88, &1006u16.to_be_bytes()), 1002),
        (frame(0x81, b"\xff"), 1007),
        (frame(0x82, &[0; 1001]), 1009),
        ([frame(0x02, &[0; 600]), frame(0x80, &[0; 600])].concat(), 1009),
        (announced, 1009),
    ] {
        let mut client = Client::open(address(&node), "/chat/");
        let id = client.id();
        client.send_raw(&bytes);
        assert_eq!(client.end().0, code, "{bytes:?}");
        assert_eq!(told(&node, &id), code);
    }
    let mut client = Client::open(address(&node), "/chat/");
    client.send(Message::binary(vec![1; 1000]));
    assert_eq!(client.receive(), Message::binary(vec![1; 1000]));
    node.stop();
}

#[test]
fn a_function_that_fails_or_refuses_ends_the_connection() {
    let node = node_with(&["--timeout", "3s"]);
    for (message, code, reason) in [
        ("status 403", 1008, false),
        ("status 302", 1011, true),
        ("status 500", 1011, true),
        ("trap", 1011, true),
        ("spin", 1011, true),
    ] {
        let mut client = Client::open(address(&node), "/chat/");
        let id = client.id();
        client.send(Message::text(message));
        let end = client.end();
        assert_eq!(
            (end.0, end.1.starts_with("invocation 0")),
            (code, reason),
            "{message}: {end:?}"
        );
        assert_eq!(told(&node, &id), code);
        if let Some(invocation) = end.1.strip_prefix("invocation ") {
            // It is in the log under that id.
            let logs = node.cli(&["logs", invocation]).expect_code(0);
            assert!(logs.stdout.contains("POST /chat/"), "{logs:?}");
        }
    }
    node.stop();
}

#[test]
fn an_end_is_told_once_however_it_comes() {
    let node = node_with(&[]);
    let close = |code: u16| Some(CloseFrame { code: code.into(), reason: "bye".into() });
    for (frame, code) in [(close(1000), 1000), (close(4321), 4321), (None, 1005)] {
        let mut client = Client::open(address(&node), "/chat/");
        let id = client.id();
        assert_eq!(client.close(frame), code, "the node says it again");
        assert_eq!(told(&node, &id), code);
    }
    // Cut, in the middle of a message too.
    for begun in [&b""[..], b"\x81", &frame(0x01, b"half")] {
        let mut client = Client::open(address(&node), "/chat/");
        let id = client.id();
        client.send_raw(begun);
        drop(client);
        assert_eq!(told(&node, &id), 1006);
    }
    // What was sent before the end is answered before it.
    let mut client = Client::open(address(&node), "/chat/");
    let id = client.id();
    client.send_raw(&[frame(0x81, b"last words"), frame(0x88, &1000u16.to_be_bytes())].concat());
    assert_eq!(client.text(), "last words");
    assert_eq!(client.end().0, 1000);
    assert_eq!(told(&node, &id), 1000);
    node.until_idle();
    assert_eq!(ends(&node), 7, "{}", node.stderr());
    node.stop();
}

#[test]
fn a_function_pushes_to_its_own_connections_on_whichever_worker() {
    let node = node_with(&["--concurrency", "100"]);
    // So many that both workers have some.
    let mut clients: Vec<Client> =
        (0..16).map(|_| Client::open(address(&node), "/chat/")).collect();
    let ids: Vec<String> = clients.iter_mut().map(Client::id).collect();
    let rows: BTreeSet<&str> = ids.iter().map(|id| &id[..4]).collect();
    assert_eq!(rows.len(), node.status().pool("shared").count(), "{ids:?}");
    let [first, rest @ ..] = &mut clients[..] else { unreachable!("there are 16") };
    for (client, id) in rest.iter_mut().zip(&ids[1..]) {
        assert_eq!(first.ask(&format!("push {id} hello there")), "200");
        assert_eq!(client.text(), "hello there");
        assert_eq!(first.ask(&format!("look {id}")), "200");
    }
    // To itself: before its own reply or behind it.
    first.send(Message::text(format!("push {} to myself", ids[0])));
    let got = BTreeSet::from([first.text(), first.text()]);
    assert_eq!(got, BTreeSet::from(["200".to_owned(), "to myself".to_owned()]));
    // Closing, one's own and another's.
    for (client, id) in rest.iter_mut().zip(&ids[1..]).take(8) {
        assert_eq!(first.ask(&format!("close {id} 4002")), "200");
        assert_eq!(client.end().0, 4002);
        assert_eq!(told(&node, id), 4002);
        for order in ["look", "push", "close"] {
            assert_eq!(first.ask(&format!("{order} {id}")), "410", "{order}");
        }
    }
    assert_eq!(first.ask(&format!("close {} 1002", ids[15])), "400");
    // It is closed behind the message that orders it.
    assert_eq!(first.ask(&format!("close {}", ids[0])), "200");
    assert_eq!(first.end().0, 1000);
    node.stop();
}

#[test]
fn no_function_reaches_the_connections_of_another() {
    let node = node_with(&[]);
    node.deploy("chat", "other", &["--websocket", "messages"]);
    let mut clients: Vec<Client> = (0..8).map(|_| Client::open(address(&node), "/chat/")).collect();
    let mut other = Client::open(address(&node), "/other/");
    for client in &mut clients {
        let id = client.id();
        for order in [format!("look {id}"), format!("push {id} x"), format!("close {id}")] {
            assert_eq!(other.ask(&order), "410", "{order}");
        }
        assert_eq!(client.ask("untouched"), "untouched");
    }
    for unknown in
        ["", "x", "0000", &"0".repeat(36), &format!("0001{}", "0".repeat(32)), &"f".repeat(36)]
    {
        assert_eq!(other.ask(&format!("look {unknown}")), "410", "{unknown:?}");
    }
    // A function that has none itself is not let out either.
    node.deploy("fetch", "fetch", &[]);
    let reply = node.get("/fetch/?url=http://websocket.internal/0");
    assert!(reply.text().contains("HttpRequestDenied"), "{}", reply.text());
    node.stop();
}

#[test]
fn what_waits_for_a_slow_client_is_bounded() {
    let node = node_with(&["--timeout", "60s"]);
    let mut slow = Client::open(address(&node), "/chat/");
    let id = slow.id();
    let mut other = Client::open(address(&node), "/chat/");
    assert_eq!(other.ask(&format!("fill {} {id}", MIB + 1)), "413");
    // It takes nothing: some is in the kernel's buffers, and the rest is refused.
    let found = wait::until("the connection is full", SOON, || {
        let found = other.ask(&format!("fill 900000 {id}"));
        (found != "200").then_some(found)
    });
    assert_eq!(found, "429");
    assert_eq!(slow.receive().len(), 900_000);
    // It would hold up the end for as long as a client may take nothing.
    drop(slow);
    node.stop();
}

#[test]
fn the_newest_version_answers_and_the_connection_stays() {
    let node = node_with(&["--env", "VERSION=1"]);
    let mut client = Client::open(address(&node), "/chat/");
    assert_eq!(client.ask("version"), "1");
    let id = client.id();
    deploy(&node, &["--env", "VERSION=2"]);
    assert_eq!(client.ask("version"), "2");
    assert_eq!(client.id(), id);
    node.cli(&["rollback", "chat"]).expect_code(0);
    assert_eq!(client.ask("version"), "1");
    // Of its own worker from now on: another one than has the connection.
    deploy(&node, &["--isolation", "process"]);
    client.send(Message::text("version"));
    assert_eq!(client.end().0, 1012);
    let mut client = Client::open(address(&node), "/chat/");
    assert_eq!(client.ask("version"), "1");
    let id = client.id();
    assert_eq!(client.ask(&format!("look {id}")), "200");
    // Without such connections, and without the function.
    node.deploy("chat", "chat", &["--unset", "websocket"]);
    client.send(Message::text("version"));
    assert_eq!(client.end().0, 1001);
    deploy(&node, &["--isolation", "shared"]);
    let mut client = Client::open(address(&node), "/chat/");
    assert_eq!(client.ask("a"), "a");
    node.cli(&["remove", "chat"]).expect_code(0);
    client.send(Message::text("a"));
    assert_eq!(client.end().0, 1001);
    node.stop();
}

#[test]
fn the_mode_is_shown_and_is_for_webassembly() {
    let node = node_with(&[]);
    let shown = node.cli(&["inspect", "chat"]).expect_code(0).stdout;
    assert!(
        shown.lines().any(|line| line.contains("websocket") && line.contains("messages")),
        "{shown}"
    );
    // It is carried over.
    node.deploy("chat", "chat", &["--env", "A=1"]);
    assert_eq!(Client::open(address(&node), "/chat/").ask("a"), "a");
    let server = harness::native::path("hello-server");
    harness::native::try_deploy(&node, &server, "server", "server", &["--websocket", "messages"])
        .expect_error(&["--websocket", "server"]);
    // A command sees its messages on stdin, and its replies are what it prints.
    node.deploy("cmd", "cmd", &["--websocket", "messages", "--arg", "cat"]);
    node.stop();
}

#[test]
fn a_node_that_stops_or_hands_over_says_so() {
    let node = node_with(&[]);
    let mut client = Client::open(address(&node), "/chat/");
    let id = client.id();
    let node = {
        let mut node = node;
        let processes = node.processes();
        let successor = node.successor(None);
        assert_eq!(client.end().0, 1012);
        assert_eq!(told(&node, &id), 1012);
        node.expect_ended(&processes, SOON);
        successor
    };
    let mut client = Client::open(address(&node), "/chat/");
    assert_eq!(client.ask("a"), "a");
    let mut node = node;
    let processes = node.processes();
    node.terminate();
    assert_eq!(client.end().0, 1001);
    node.expect_ended(&processes, SOON);
}

#[test]
fn a_worker_that_is_killed_takes_its_connections_along() {
    let node = node_with(&[]);
    let mut clients: Vec<Client> = (0..8).map(|_| Client::open(address(&node), "/chat/")).collect();
    let ids: Vec<String> = clients.iter_mut().map(Client::id).collect();
    let victim = node.status().pool("shared").next().unwrap().pid;
    kill_now(victim);
    let rows: BTreeSet<&str> = ids.iter().map(|id| &id[..4]).collect();
    let mut left = 0;
    for client in &mut clients {
        let is_open = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| client.ask("a")));
        left += usize::from(is_open.is_ok());
    }
    assert!(left < clients.len() && (rows.len() == 1 || left > 0), "{left} of {rows:?}");
    wait::until("there is a worker again", SOON, || {
        Connection::try_open(address(&node)).ok()?.get("/chat/").text().contains("-").then_some(())
    });
    let mut again = Client::open(address(&node), "/chat/");
    for id in &ids {
        let found = again.ask(&format!("look {id}"));
        assert!(["200", "410"].contains(&found.as_str()), "{found}");
    }
    node.stop();
}

#[test]
fn a_thousand_connections_have_their_messages_and_ends_and_leave_nothing() {
    process::raise_fd_limit();
    let node = node_with(&[]);
    drop(Client::open(address(&node), "/chat/"));
    node.until_idle();
    let before = node.fds();
    let mut clients: Vec<Client> =
        (0..1000).map(|_| Client::open(address(&node), "/chat/")).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(Message::text(format!("client {number}")));
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.text(), format!("client {number}"));
    }
    // All at once.
    drop(clients);
    wait::for_value(
        "every end is told",
        Duration::from_secs(60),
        || ends(&node),
        |ends| *ends == 1001,
    );
    node.expect_fds_back_at(&before, SOON);
    node.stop();
}

#[test]
fn hostile_clients_cost_little_and_others_are_served() {
    let node = node_with(&[]);
    let mut other = Client::open(address(&node), "/chat/");
    // Floods of pings whose answers nobody takes, messages whose replies nobody takes.
    let floods: Vec<_> = [frame(0x89, &[b'p'; 125]), frame(0x81, b"large 1000000")]
        .into_iter()
        .map(|frame| {
            let stream = Client::open(address(&node), "/chat/").into_stream();
            stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
            let flood = frame.repeat(2000);
            thread::spawn(move || {
                let mut stream = stream;
                let mut sent = 0;
                while sent < 100 * MIB && stream.write_all(&flood).is_ok() {
                    sent += flood.len();
                }
                (sent, stream)
            })
        })
        .collect();
    // Frames of nothing, in a message that never ends.
    let mut endless = Client::open(address(&node), "/chat/").into_stream();
    endless.write_all(&frame(0x01, b"")).unwrap();
    endless.write_all(&frame(0x00, b"").repeat(100_000)).unwrap();
    for flood in floods {
        let (sent, stream) = flood.join().unwrap();
        assert!(sent < 100 * MIB, "it is held up");
        assert_eq!(other.ask("still here"), "still here");
        stream.shutdown(Shutdown::Both).unwrap();
    }
    // Half a handshake, and bytes before it is answered.
    let mut early = Connection::open(address(&node));
    early.send([head("GET", "/chat/", &HANDSHAKE), frame(0x81, b"early")].concat());
    assert_eq!(early.head().status, 101);
    let (mut stream, mut ahead) = early.into_parts();
    while ahead.len() < 7 {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        ahead.push(byte[0]);
    }
    assert_eq!(ahead, b"\x81\x05early");
    let memory: u64 = node.processes().into_iter().map(process::resident).sum();
    assert!(memory < 2 << 30, "{memory}");
    assert_eq!(other.ask("still here"), "still here");
    node.stop();
}
