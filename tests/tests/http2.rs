//! Clients that speak HTTP/2, inside of TLS and without: each stream reaches the worker of its
//! function, both ways at once, with trailers and resets, over take-overs too.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use harness::bytes::{assert_same, body as noise};
use harness::http2::{Client, connect, get, post, receive, upload};
use harness::running::kill_now;
use harness::tls::{Site, tls_address};
use harness::websocket::{BINARY, CLOSE, END, PING, PONG, TEXT, frame, read_frame};
use harness::{Node, native, wait};
use http::{HeaderMap, Request};

const SOON: Duration = Duration::from_secs(20);

/// Opens a connection inside of TLS.
fn inside(tls: &Site, node: &Node) -> Client {
    Client::tls(tls_address(node), &tls.authority.client())
}

/// Returns a connection inside of TLS and one without.
fn both(tls: &Site, node: &Node) -> [Client; 2] {
    [inside(tls, node), Client::plain(node.addresses()[0])]
}

#[test]
fn a_function_sees_the_request_as_over_http1() {
    let tls = Site::default();
    let node = tls.node().start();
    node.deploy("inspect", "inspect", &[]);
    for (client, scheme) in both(&tls, &node).into_iter().zip(["https", "http"]) {
        let mut request = Request::get("https://LOCALHOST:7/inspect/a%20b?c=d").body(()).unwrap();
        for (name, value) in [
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("x-forwarded-for", "9.9.9.9"),
            ("x-forwarded-prefix", "/evil"),
            ("te", "trailers"),
            ("host", "localhost:7"),
        ] {
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let reply = client.send(request, b"").unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        let seen: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!((&seen["path"], &seen["query"]), (&"/a%20b".into(), &"c=d".into()), "{seen}");
        assert_eq!(seen["scheme"], scheme);
        assert_eq!(seen["authority"], "localhost:7");
        let fields = &seen["headers"];
        assert_eq!(fields["cookie"][0], "a=1; b=2");
        assert_eq!(fields["x-forwarded-for"][0], "127.0.0.1");
        assert_eq!(fields["x-forwarded-proto"][0], scheme);
        assert_eq!(fields["x-forwarded-prefix"][0], "/inspect");
        let names = ["sockhop-invocation-id", "date"];
        assert!(names.iter().all(|name| reply.headers.contains_key(*name)), "{reply:#?}");
    }
    node.stop();
}

#[test]
fn bodies_and_trailers_go_both_ways_of_many_streams_at_once() {
    let tls = Site::default();
    let node = tls.node().start();
    node.deploy("echo-p3", "echo", &[]);
    node.deploy("echo", "own", &["--isolation", "process"]);
    for client in both(&tls, &node) {
        let bodies: Vec<Bytes> =
            (0..40_u64).map(|seed| Bytes::from(noise(700_000, seed))).collect();
        client.run(async {
            let mut streams = Vec::new();
            for (number, body) in bodies.iter().enumerate() {
                let path = if number % 4 == 0 { "/own/" } else { "/echo/" };
                let mut request = post(path);
                request.headers_mut().insert("trailer", "x-sum".parse().unwrap());
                let mut sender = client.sender().ready().await.unwrap();
                let (response, mut stream) = sender.send_request(request, false).unwrap();
                let body = body.clone();
                streams.push(tokio::spawn(async move {
                    let sending = async {
                        // Not the last, so that trailers can follow.
                        let mut body = body.clone();
                        while !body.is_empty() {
                            let mut piece = body.split_to(body.len().min(50_000));
                            while !piece.is_empty() {
                                stream.reserve_capacity(piece.len());
                                let room = std::future::poll_fn(|cx| stream.poll_capacity(cx));
                                let room = room.await.unwrap().unwrap();
                                let part = piece.split_to(room.min(piece.len()));
                                stream.send_data(part, false).unwrap();
                            }
                        }
                        let trailers = HeaderMap::from_iter([(
                            "x-sum".parse().unwrap(),
                            number.to_string().parse().unwrap(),
                        )]);
                        stream.send_trailers(trailers).unwrap();
                    };
                    let receiving = async { receive(response.await.unwrap()).await.unwrap() };
                    tokio::join!(sending, receiving).1
                }));
            }
            for (number, (stream, body)) in streams.into_iter().zip(&bodies).enumerate() {
                let reply = stream.await.unwrap();
                assert_eq!(reply.status, 200);
                assert_same(&reply.body, body);
                if number % 4 != 0 {
                    assert_eq!(reply.trailers["x-sum"], number.to_string().as_str());
                }
            }
        });
    }
    node.stop();
}

#[test]
fn a_stream_is_full_duplex() {
    let node = Node::start();
    node.deploy("echo-p3", "echo", &[]);
    let client = Client::plain(node.addresses()[0]);
    let mut stream = client.open(post("/echo/")).unwrap();
    client.run(async {
        upload_part(&mut stream.sender, "ping 0").await;
        let (head, mut body) = stream.response.await.unwrap().into_parts();
        assert_eq!(head.status, 200);
        for round in 0..20 {
            let mut got = Vec::new();
            let wanted = format!("ping {round}");
            while got.len() < wanted.len() {
                let data = body.data().await.unwrap().unwrap();
                body.flow_control().release_capacity(data.len()).unwrap();
                got.extend_from_slice(&data);
            }
            assert_eq!(String::from_utf8_lossy(&got), wanted);
            upload_part(&mut stream.sender, &format!("ping {}", round + 1)).await;
        }
        stream.sender.send_data(Bytes::new(), true).unwrap();
    });
    node.stop();
}

async fn upload_part(stream: &mut h2::SendStream<Bytes>, text: &str) {
    let body = Bytes::copy_from_slice(text.as_bytes());
    stream.reserve_capacity(body.len());
    while stream.capacity() < body.len() {
        std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
    }
    stream.send_data(body, false).unwrap();
}

#[test]
fn one_connection_reaches_functions_of_all_workers() {
    let tls = Site::default();
    let node = tls.node().start();
    node.deploy("hello", "hello", &[]);
    node.deploy("echo", "own", &["--isolation", "process"]);
    native::deploy(&node, "server", "server", "server", &[]);
    for client in both(&tls, &node) {
        for round in 0..3 {
            assert_eq!(client.get("/hello/").text(), "Hello, world!");
            // The first goes where another worker runs, with a body.
            let reply = client.send(post("/own/a"), b"body").unwrap();
            assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b"body"[..]), "{round}");
            assert_eq!(client.get("/server/").status, 200);
            let missing = client.get("/missing/");
            assert_eq!(missing.status, 404);
            assert!(missing.text().contains("there is no function"), "{}", missing.text());
        }
    }
    // Refused on its way, because nothing else has been asked for.
    let client = Client::plain(node.addresses()[0]);
    let missing = client.get("/missing/");
    assert_eq!((missing.status.as_u16(), missing.text().contains("there is no")), (404, true));
    assert_eq!(client.get("/hello/").status, 200);
    let head = client.send(Request::head("https://localhost/none/").body(()).unwrap(), b"");
    assert_eq!(head.unwrap().status, 404);
    node.stop();
}

#[test]
fn requests_that_two_readers_could_take_differently_are_refused() {
    let node = Node::start();
    node.deploy("hello", "hello", &[]);
    node.deploy("echo", "echo", &[]);
    let client = Client::plain(node.addresses()[0]);
    let with = |name: &'static str, value: &'static str| {
        let mut request = get("/hello/");
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    let refused = client.send(with("host", "other"), b"").unwrap();
    assert_eq!(refused.status, 400, "{}", refused.text());
    for uri in ["https://user@localhost/hello/", "https://a:99999/hello/"] {
        let refused = client.send(Request::get(uri).body(()).unwrap(), b"").unwrap();
        assert_eq!(refused.status, 400, "{uri}: {}", refused.text());
    }
    let connect = Request::connect("localhost:80").body(()).unwrap();
    assert_eq!(client.send(connect, b"").unwrap().status, 400);
    let mut many = get("/hello/");
    for _ in 0..200 {
        many.headers_mut().append("x-many", "a".parse().unwrap());
    }
    assert_eq!(client.send(many, b"").unwrap().status, 431);
    // A length that lies is the client's error, and no other stream's.
    let mut short = post("/echo/");
    short.headers_mut().insert("content-length", "9".parse().unwrap());
    let error = client.send(short, b"four").unwrap_err();
    assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR), "{error}");
    assert_eq!(client.get("/hello/").text(), "Hello, world!");
    node.stop();
}

#[test]
fn a_stream_that_is_reset_stops_its_function() {
    let node = Node::start();
    node.deploy("sleep", "sleep", &[]);
    node.deploy("echo", "echo", &[]);
    let client = Client::plain(node.addresses()[0]);
    let in_flight = || node.status().workers.iter().map(|worker| worker.in_flight).sum::<u64>();
    for path in ["/sleep/?ms=60000", "/echo/"] {
        let mut stream = client.open(post(path)).unwrap();
        wait::until("it runs", SOON, || (in_flight() == 1).then_some(()));
        stream.sender.send_reset(Reason::CANCEL);
        wait::until("it runs no more", SOON, || (in_flight() == 0).then_some(()));
    }
    // Who does so all the time is sent away.
    let mut client = Client::plain(node.addresses()[0]);
    let ended = loop {
        match client.open(post("/echo/")) {
            Ok(mut stream) => stream.sender.send_reset(Reason::CANCEL),
            Err(error) => break error,
        }
    };
    assert!(ended.is_go_away() || ended.is_io() || ended.reason().is_some(), "{ended}");
    let _ = client.ended();
    assert_eq!(Client::plain(node.addresses()[0]).send(post("/echo/"), b"a").unwrap().status, 200);
    node.stop();
}

#[test]
fn a_killed_worker_fails_its_own_streams_and_the_connection_goes_on() {
    let tls = Site::default();
    let node = tls.node().start();
    node.deploy("sleep", "sleep", &[]);
    node.deploy("hello", "hello", &[]);
    let client = inside(&tls, &node);
    let mut stream = client.open(post("/sleep/?ms=60000")).unwrap();
    stream.sender.send_data(Bytes::new(), true).unwrap();
    let worker = wait::until("it runs", SOON, || {
        node.status().workers.into_iter().find(|worker| worker.in_flight == 1)
    });
    kill_now(worker.pid);
    let failed = client.run(async { receive(stream.response.await.unwrap()).await }).unwrap();
    assert_eq!(failed.status, 502, "{}", failed.text());
    assert_eq!(client.get("/hello/").text(), "Hello, world!");
    node.stop();
}

#[test]
fn the_limits_of_a_function_hold() {
    let node = Node::start();
    node.deploy("echo-p3", "echo", &["--request-body", "1KiB"]);
    node.deploy("sleep", "sleep", &["--timeout", "100ms"]);
    let client = Client::plain(node.addresses()[0]);
    assert_eq!(client.send(post("/echo/"), &[7; 1024]).unwrap().body, [7; 1024]);
    let mut declared = post("/echo/");
    declared.headers_mut().insert("content-length", "2000".parse().unwrap());
    assert_eq!(client.send(declared, &[7; 2000]).unwrap().status, 413);
    assert_eq!(client.get("/sleep/?ms=60000").status, 504);
    let cut = client.send(get("/echo/trap"), b"").unwrap_err();
    assert_eq!(cut.reason(), Some(Reason::INTERNAL_ERROR), "{cut}");
    let big = client.send(post("/echo/"), &[7; 2000]);
    assert!(big.map_or(true, |reply| reply.status == 413));
    assert_eq!(client.get("/echo/").status, 200);
    node.stop();
}

#[test]
fn a_preface_may_come_in_pieces() {
    let node = Node::start();
    node.deploy("hello", "hello", &[]);
    let mut socket = TcpStream::connect(node.addresses()[0]).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        socket.write_all(&[*byte]).unwrap();
        wait::pause();
    }
    // An empty SETTINGS frame.
    socket.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
    let mut frame = [0; 9];
    socket.read_exact(&mut frame).unwrap();
    assert_eq!(frame[3], 4, "the server's own: {frame:?}");
    drop(socket);
    node.stop();
}

#[test]
fn take_overs_fail_no_request() {
    let tls = Site::default();
    let mut node = tls.node().start();
    node.deploy("hello", "hello", &[]);
    let addresses = [node.addresses()[0], node.addresses()[1]];
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let config = tls.authority.client();
    let open = |address: SocketAddr| {
        if address == addresses[1] {
            Client::try_tls(address, &config)
        } else {
            Client::try_plain(address)
        }
    };
    let mut before_it = Vec::new();
    thread::scope(|scope| {
        let _stop = wait::StopOnDrop(&stop);
        for address in addresses {
            let (stop, count, open) = (&stop, &count, &open);
            scope.spawn(move || {
                let mut client = open(address).unwrap();
                while !stop.load(Relaxed) {
                    match client.send(get("/hello/"), b"") {
                        Ok(reply) => {
                            assert_eq!(reply.text(), "Hello, world!");
                            count.fetch_add(1, Relaxed);
                        }
                        // The request was not begun: it belongs on another connection.
                        Err(error)
                            if error.is_go_away() && error.reason() == Some(Reason::NO_ERROR)
                                || error.reason() == Some(Reason::REFUSED_STREAM) =>
                        {
                            client = open(address).unwrap();
                        }
                        Err(error) => panic!("a request has failed: {error:?}"),
                    }
                }
            });
        }
        for _ in 0..10 {
            let before = count.load(Relaxed);
            wait::until("requests are answered", SOON, || {
                (count.load(Relaxed) > before + 50).then_some(())
            });
            let engine = node.pid();
            let successor = node.successor(None);
            wait::until("the old engine has ended", SOON, || {
                (!harness::process::alive(engine)).then_some(())
            });
            before_it.push(std::mem::replace(&mut node, successor));
        }
    });
    node.stop();
}

#[test]
fn an_idle_connection_is_ended_in_order() {
    let node = Node::build().option("--idle-timeout", "300ms").start();
    node.deploy("hello", "hello", &[]);
    let mut client = Client::plain(node.addresses()[0]);
    assert_eq!(client.get("/hello/").status, 200);
    client.ended().unwrap();
    let silent = TcpStream::connect(node.addresses()[0]).unwrap();
    drop(silent);
    node.stop();
}

#[test]
fn an_idle_connection_costs_its_workers_nothing() {
    let tls = Site::default();
    let node = tls.node().start();
    node.deploy("hello", "hello", &[]);
    let clients = both(&tls, &node);
    for _ in 0..2 {
        for client in &clients {
            assert_eq!(client.get("/hello/").text(), "Hello, world!");
        }
        node.until_status("its workers have no connections", SOON, |status| {
            status.pool("shared").all(|worker| worker.connections_open == 0)
        });
    }
    node.stop();
}

#[test]
fn a_client_that_takes_nothing_holds_up_no_other_stream() {
    let node = Node::start();
    node.deploy("echo-p3", "echo", &[]);
    let client = Client::plain(node.addresses()[0]);
    // Its reply fills its window, and nobody reads it.
    let mut stuck = client.open(post("/echo/")).unwrap();
    let body = Bytes::from(vec![7; 64 * 1024]);
    client.run(upload(&mut stuck.sender, body)).unwrap();
    let (_, unread) = client.run(stuck.response).unwrap().into_parts();
    for _ in 0..20 {
        let body = noise(100_000, 1);
        assert_same(&client.send(post("/echo/"), &body).unwrap().body, &body);
    }
    drop((unread, stuck.sender));
    node.stop();
}

/// Opens a WebSocket to a path. Returns the reply's head, what sends to the server, and what it
/// sends.
fn websocket(
    client: &Client,
    path: &str,
    fields: &[(&'static str, &str)],
) -> (http::response::Parts, h2::SendStream<Bytes>, h2::RecvStream) {
    let mut request = connect(path, "websocket");
    for (name, value) in fields {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let stream = client.open(request).unwrap();
    let (head, body) = client.run(stream.response).unwrap().into_parts();
    (head, stream.sender, body)
}

/// Reads a frame, of which whatever is behind it is none.
fn frame_of(client: &Client, body: &mut h2::RecvStream) -> (u8, Vec<u8>) {
    let mut read = Vec::new();
    loop {
        if let Ok(frame) = read_frame(&read[..]) {
            return frame;
        }
        let data = client.run(body.data()).unwrap().unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        read.extend_from_slice(&data);
    }
}

#[test]
fn a_stream_can_be_a_websocket() {
    let tls = Site::default();
    let node = tls.node().start();
    native::deploy(&node, "server", "server", "server", &["--request-body", "1KiB"]);
    node.deploy("hello", "hello", &[]);
    for client in both(&tls, &node) {
        let asked = [("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat")];
        let (head, mut to, mut from) = websocket(&client, "/server/websocket", &asked);
        assert_eq!(
            (head.status.as_u16(), &head.headers["sec-websocket-protocol"]),
            (200, &"chat".parse().unwrap())
        );
        for name in ["content-length", "sec-websocket-accept", "connection", "upgrade"] {
            assert!(!head.headers.contains_key(name), "{name}");
        }
        to.send_data(frame(END | TEXT, b"hello").into(), false).unwrap();
        assert_eq!(frame_of(&client, &mut from), (TEXT, b"hello".to_vec()));
        to.send_data(frame(END | PING, b"there?").into(), false).unwrap();
        assert_eq!(frame_of(&client, &mut from), (PONG, b"there?".to_vec()));
        // Other requests go on beside it, and what it brings is no body that has a limit.
        assert_eq!(client.get("/hello/").text(), "Hello, world!");
        let large = noise(1 << 20, 7);
        let mut sent: Bytes = frame(END | BINARY, &large).into();
        let (opcode, got) = thread::scope(|scope| {
            let client = &client;
            let to = &mut to;
            scope.spawn(move || {
                while !sent.is_empty() {
                    to.reserve_capacity(sent.len());
                    let room = std::future::poll_fn(|cx| to.poll_capacity(cx));
                    let room = client.run(room).unwrap().unwrap();
                    to.send_data(sent.split_to(room.min(sent.len())), false).unwrap();
                }
            });
            frame_of(client, &mut from)
        });
        assert_eq!(opcode, BINARY);
        assert_same(&got, &large);
        to.send_data(frame(END | CLOSE, b"").into(), true).unwrap();
        assert_eq!(frame_of(&client, &mut from).0, CLOSE);
        while let Some(data) = client.run(from.data()) {
            assert!(data.unwrap().is_empty(), "it is over in order");
        }
    }
    node.until_status("all are over", SOON, |status| status.in_flight() == 0);
    node.stop();
}

#[test]
fn a_stream_has_a_component_called_for_each_message() {
    let tls = Site::default();
    let node = tls.node().start();
    node.deploy("chat", "chat", &["--websocket", "messages"]);
    for client in both(&tls, &node) {
        let version = ("sec-websocket-version", "13");
        let (head, mut to, mut from) = websocket(&client, "/chat/a?say=hello", &[version]);
        assert_eq!(
            (head.status.as_u16(), &head.headers["set-cookie"]),
            (200, &"seen=1".parse().unwrap())
        );
        for name in ["content-length", "sec-websocket-accept", "connection", "upgrade"] {
            assert!(!head.headers.contains_key(name), "{name}");
        }
        assert_eq!(frame_of(&client, &mut from), (TEXT, b"hello".to_vec()));
        let mut ask = |text: &str| {
            to.send_data(frame(END | TEXT, text.as_bytes()).into(), false).unwrap();
            String::from_utf8(frame_of(&client, &mut from).1).unwrap()
        };
        assert_eq!(ask("method"), "Method::Post /a?say=hello");
        let id = ask("id");
        // What was pushed by then comes first.
        let pushed = [ask(&format!("push {id} pushed")), ask("again")];
        assert!(pushed.contains(&"pushed".to_owned()), "{pushed:?}");
        node.until_status("nothing runs", SOON, |status| status.in_flight() == 0);
        drop((to, from));
        let told = format!("closed {id} 1006");
        wait::until("the function is told", SOON, || node.stderr().contains(&told).then_some(()));
        let (head, ..) = websocket(&client, "/chat/", &[("sec-websocket-version", "12")]);
        assert_eq!(head.status, 426);
        let (head, ..) = websocket(&client, "/chat/?refuse=403", &[version]);
        assert_eq!(head.status, 403);
    }
    node.stop();
}

#[test]
fn a_websocket_of_who_speaks_none_is_refused_and_one_that_is_cut_ends() {
    let tls = Site::default();
    let node = tls.node().start();
    native::deploy(&node, "server", "server", "server", &[]);
    node.deploy("hello", "hello", &[]);
    for client in both(&tls, &node) {
        // It says 200, which would be an agreement.
        let (head, ..) = websocket(&client, "/hello/", &[]);
        assert_eq!(head.status, 501);
        let (head, ..) = websocket(&client, "/none/", &[]);
        assert_eq!(head.status, 404);
        let other = client.send(connect("/server/websocket", "webtransport"), b"").unwrap();
        assert_eq!(other.status, 501, "{}", other.text());
        let (head, to, from) =
            websocket(&client, "/server/websocket", &[("sec-websocket-version", "13")]);
        assert_eq!(head.status, 200);
        node.until_status("it is open", SOON, |status| status.in_flight() == 1);
        drop((to, from));
        node.until_status("it is over", SOON, |status| status.in_flight() == 0);
        assert_eq!(client.get("/hello/").status, 200);
    }
    node.stop();
}
