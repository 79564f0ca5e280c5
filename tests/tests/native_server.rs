//! Servers made for Cloud Run run unchanged: hyper, Go's net/http, Python's http.server and nginx.
//! Requests are passed on with their bodies and trailers, upgrades too.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use harness::bytes::{assert_same, body, chunked};
use harness::client::{head, request};
use harness::native::{
    answer, at_once, deploy, node_with, path, post_json, try_deploy, until_logged,
};
use harness::websocket::{BINARY, CLOSE, END, HANDSHAKE, PING, PONG, TEXT, frame, read_frame};
use harness::{Node, native, process, wait};
use serde_json::{Value, json};

const MIB: usize = 1024 * 1024;
const GIB: usize = 1024 * MIB;
const SOON: Duration = Duration::from_secs(20);

/// Returns the name of the process that answers.
fn process_of(node: &Node, target: &str) -> String {
    let reply = node.get(target);
    assert_eq!(reply.status(), 200, "{}", reply.text());
    reply.json()["process"].as_str().unwrap().to_owned()
}

#[test]
fn a_request_is_passed_on_as_it_came() {
    let node = node_with("server", "server", &[]);
    let mut connection = node.connect();
    let headers = [
        ("host", "shop.test"),
        ("x-twice", "one"),
        ("x-twice", "two"),
        ("cookie", "a=1"),
        ("connection", "x-hop"),
        ("x-hop", "gone"),
    ];
    let target = "/server/deep/a%20b?x=1&x=2";
    connection.send(request("PUT", target, &headers, b"a body"));
    let seen = connection.reply().json();
    assert_eq!((&seen["method"], &seen["target"]), (&json!("PUT"), &json!("/deep/a%20b?x=1&x=2")));
    assert_eq!((&seen["version"], &seen["body"]), (&json!("HTTP/1.1"), &json!("a body")));
    let all = |name: &str| -> Vec<&str> {
        let headers = seen["headers"].as_array().unwrap().iter();
        let named = headers.filter(|pair| pair[0] == name);
        named.map(|pair| pair[1].as_str().unwrap()).collect()
    };
    assert_eq!(all("host"), ["shop.test"]);
    assert_eq!(all("x-twice"), ["one", "two"]);
    assert_eq!(all("cookie"), ["a=1"]);
    assert_eq!(all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(all("x-forwarded-proto"), ["http"]);
    assert_eq!(all("x-forwarded-prefix"), ["/server"]);
    assert!(all("x-hop").is_empty() && !all("connection").contains(&"x-hop"), "{seen}");

    let head = answer(&node, "HEAD", "/server/stream?mib=1", &[], b"");
    assert_eq!((head.status, head.body.len()), (Some(200), 0));
    let seen = node.get("/server/env").json();
    assert_eq!(seen["env"]["K_SERVICE"], "server");
    assert!(seen["env"]["K_REVISION"].as_str().unwrap().starts_with("server-"), "{seen}");
    assert!(seen["env"]["PORT"].is_string(), "{seen}");
    let names = seen["env"].as_object().unwrap().keys();
    let foreign: Vec<_> = names.filter(|name| name.starts_with("SOCKHOP")).collect();
    assert!(foreign.is_empty(), "nothing of the node's own: {foreign:?}");
    node.stop();
}

#[test]
fn arguments_and_variables_are_the_users() {
    let node = Node::start();
    let options = ["--arg", "--one", "--arg", "two", "--env", "COLOUR=green"];
    deploy(&node, "server", "server", "shop", &options);
    let seen = node.get("/shop/env").json();
    assert_eq!(seen["env"]["COLOUR"], "green");
    assert_eq!(seen["arguments"].as_array().unwrap()[1..], [json!("--one"), json!("two")]);
    node.stop();
}

#[test]
fn trailers_go_both_ways() {
    let node = node_with("server", "server", &[]);
    deploy(&node, "go-server", "server", "go-server", &[]);
    let headers = [("transfer-encoding", "chunked"), ("te", "trailers"), ("trailer", "x-one")];
    for name in ["server", "go-server"] {
        let target = format!("/{name}/trailers");
        let got = answer(&node, "POST", &target, &headers, b"5\r\nhello\r\n0\r\nx-one: 1\r\n\r\n");
        assert_eq!((got.status, got.text().as_str()), (Some(200), "hello"), "{got:#?}");
        let wanted = ("x-back-one".to_owned(), "1".to_owned());
        assert!(got.trailers.contains(&wanted), "{name}: {got:#?}");
    }
    node.stop();
}

#[test]
fn bodies_are_streamed_both_ways() {
    let node = node_with("server", "server", &["--request-body", "64MiB"]);
    let mut connection = node.connect();
    let sent = body(20 * MIB, 7);
    let reply = connection.exchange(&request("POST", "/server/echo", &[], &sent), 1).remove(0);
    assert_same(&reply.body, &sent);
    let mut bytes = head("POST", "/server/echo", &[("transfer-encoding", "chunked")]);
    bytes.extend(chunked(&sent, 70_001));
    let reply = connection.exchange(&bytes, 1).remove(0);
    assert_same(&reply.body, &sent);

    // A piece comes back before the next one is sent.
    connection.send(head("POST", "/server/echo", &[("transfer-encoding", "chunked")]));
    connection.send("5\r\nfirst\r\n");
    let reply = connection.head();
    let mut writer = connection.writer();
    let mut got = Vec::new();
    let taken = connection.try_body(&reply, |piece| {
        got.extend_from_slice(piece);
        if got == b"first" {
            writer.write_all(b"6\r\nsecond\r\n0\r\n\r\n").unwrap();
        }
    });
    taken.unwrap();
    assert_eq!(String::from_utf8(got).unwrap(), "firstsecond");

    connection.send(head("GET", "/server/drip?n=4&ms=150", &[]));
    let (reply, began, mut times) = (connection.head(), Instant::now(), Vec::new());
    connection.try_body(&reply, |_| times.push(began.elapsed())).unwrap();
    assert!(times[times.len() - 1] - times[0] > Duration::from_millis(300), "{times:?}");

    let mut connection = node.connect();
    connection.send(head("GET", "/server/cut", &[]));
    let cut = connection.try_reply().unwrap_err();
    assert_eq!(String::from_utf8_lossy(&cut.body), "begin\n", "{cut:?}");
    node.stop();
}

#[test]
fn a_gibibyte_goes_down_and_up_and_nobody_holds_it() {
    const MAY_GROW_BYTES: u64 = 64 * 1024 * 1024;
    let options = ["--request-body", "2GiB", "--timeout", "10m"];
    let node = node_with("server", "server", &options);
    assert_eq!(node.get("/server/").status(), 200);
    let worker = native::worker(&node, "server");
    let before = process::resident(worker);
    let not_grown = || {
        let grown = process::resident(worker).saturating_sub(before);
        assert!(grown < MAY_GROW_BYTES, "the worker has grown by {grown} bytes");
    };
    let mut connection = node.connect();
    connection.send(head("GET", "/server/stream?mib=1024", &[]));
    let reply = connection.head();
    let (mut bytes, mut next_look) = (0, 0);
    let taken = connection.try_body(&reply, |piece| {
        let wanted = (bytes..).map(|at| u8::try_from(at % 251).unwrap());
        // The first of each piece, and all of some: to look at each takes longer than the rest.
        let looked_at = if bytes > next_look { piece.len() } else { 1 };
        assert!(piece[..looked_at].iter().copied().eq(wanted.take(looked_at)), "at {bytes}");
        if bytes > next_look {
            next_look += 64 * MIB;
            not_grown();
        }
        bytes += piece.len();
    });
    taken.unwrap();
    assert_eq!(bytes, GIB);

    let mut connection = node.connect();
    let length = GIB.to_string();
    connection.send(head("POST", "/server/count", &[("content-length", &length)]));
    let piece = vec![1; MIB];
    for at in 0..GIB / MIB {
        connection.send(&piece);
        if at % 64 == 0 {
            not_grown();
        }
    }
    assert_eq!(connection.reply().json(), json!({ "bytes": GIB, "sum": GIB }));
    node.stop();
}

#[test]
fn a_websocket_is_passed_through() {
    let node = node_with("server", "server", &["--timeout", "30s"]);
    let mut connection = node.connect();
    let headers = [&HANDSHAKE[..], &[("sec-websocket-protocol", "chat")]].concat();
    connection.send(head("GET", "/server/websocket", &headers));
    let reply = connection.head();
    assert_eq!(reply.status, 101, "{reply:#?}");
    // The key and its answer of RFC 6455, 1.3.
    assert_eq!(reply.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(reply.get("sec-websocket-protocol"), Some("chat"));
    let mut stream = connection.writer();
    stream.write_all(&frame(END | TEXT, b"hello")).unwrap();
    assert_eq!(read_frame(&mut stream).unwrap(), (TEXT, b"hello".to_vec()));
    stream.write_all(&frame(END | PING, b"are you there")).unwrap();
    assert_eq!(read_frame(&mut stream).unwrap(), (PONG, b"are you there".to_vec()));
    let large = body(MIB, 5);
    let mut writer = connection.writer();
    thread::scope(|scope| {
        scope.spawn(|| writer.write_all(&frame(END | BINARY, &large)).unwrap());
        let (opcode, got) = read_frame(&mut stream).unwrap();
        assert_eq!(opcode, BINARY);
        assert_same(&got, &large);
    });
    stream.write_all(&frame(END | CLOSE, &[])).unwrap();
    assert_eq!(read_frame(&mut stream).unwrap().0, CLOSE);
    assert_eq!(node.get("/server/websocket").status(), 426);
    node.stop();
}

#[test]
fn a_server_that_does_not_start_is_told_with_what_it_listens_on_instead() {
    let node = Node::start();
    let server = path("server");
    let wrong = ["--env", "WRONG_PORT=9999", "--init-timeout", "1s"];
    try_deploy(&node, &server, "server", "wrong", &wrong).expect_error(&["9999", "$PORT"]);
    let ends = ["--env", "NO_START=1"];
    try_deploy(&node, &server, "server", "ends", &ends)
        .expect_error(&["exit status 3", "last words of a server"]);
    let late = ["--env", "START_MS=1500"];
    try_deploy(&node, &server, "server", "late", &late).expect_code(0);
    assert_eq!(node.get("/late/").status(), 200);
    node.stop();
}

#[test]
fn the_least_busy_process_gets_the_next_request() {
    let asked = |node: &Node, count, target: &str| -> (BTreeSet<String>, u64) {
        let seen = at_once(count, |_| {
            let reply = node.get(target);
            assert_eq!(reply.status(), 200, "{}", reply.text());
            reply.json()
        });
        let names = seen.iter().map(|seen| seen["process"].as_str().unwrap().to_owned()).collect();
        (names, seen.iter().map(|seen| seen["running"].as_u64().unwrap()).max().unwrap())
    };
    let options = ["--processes", "4", "--process-requests", "2"];
    let node = node_with("server", "server", &options);
    let (names, most) = asked(&node, 8, "/server/pid?ms=2000");
    assert!((2..=4).contains(&names.len()) && most <= 2, "{names:?}, {most} at a time");
    let (spread, most) = asked(&node, names.len(), "/server/pid?ms=1000");
    assert_eq!((spread, most), (names, 1), "each has one before one has two");
    // Their worker is pinned to one core, and they are not.
    let is_server = |pid: &u32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim() == "server"
    };
    let servers: Vec<u32> = node.processes().into_iter().filter(is_server).collect();
    assert!(servers.len() >= 2, "{servers:?}");
    servers.iter().for_each(|pid| assert_eq!(process::cores(*pid).len(), 2));
    node.stop();

    // By default one process has many at a time.
    let node = node_with("server", "server", &[]);
    let (names, most) = asked(&node, 40, "/server/pid?ms=1000");
    assert!(names.len() == 1 && most > 2, "{names:?}, {most} at a time");
    node.stop();
}

#[test]
fn the_hosts_network_is_a_grant_that_must_be_said() {
    let node = Node::start();
    // Of a process that ends, the name stays a little longer than the rest.
    let network = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let own = network(std::process::id());
    let of_program = |name: &str| {
        let is_program = |pid: &u32| {
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            comm.is_ok_and(|comm| comm.trim() == name)
        };
        node.processes().into_iter().filter(is_program).find_map(network)
    };
    for (guest, kind, program) in
        [("server", "server", "server"), ("lambda-http", "lambda", "bootstrap")]
    {
        deploy(&node, guest, kind, guest, &[]);
        assert_eq!(node.get(&format!("/{guest}/bytes")).status(), 200);
        let isolated = of_program(program);
        assert!(isolated.is_some() && isolated != own, "{guest}: {isolated:?}");
        deploy(&node, guest, kind, guest, &["--network", "host"]);
        assert_eq!(node.get(&format!("/{guest}/bytes")).status(), 200);
        let shown = node.cli(&["inspect", guest]).expect_code(0).stdout;
        let is_shown = |line: &str| line.contains("network") && line.contains("host");
        assert!(shown.lines().any(is_shown), "{shown}");
        wait::until("the process before it has gone", Duration::from_secs(20), || {
            (of_program(program) == own).then_some(())
        });
        node.cli(&["remove", guest]).expect_code(0);
        wait::until("its processes have gone", Duration::from_secs(20), || {
            of_program(program).is_none().then_some(())
        });
    }
    let wasm = harness::guests::path("hello");
    let refused = node.cli(&["deploy", wasm.to_str().unwrap(), "--network", "host"]);
    refused.expect_error(&["--network is for native functions"]);
    let both = ["--network", "host", "--allow-outbound", "example.com:443"];
    try_deploy(&node, &path("server"), "server", "both", &both)
        .expect_error(&["--allow-outbound", "--network host"]);
    node.stop();
}

#[test]
fn what_is_shown_of_a_server_is_what_it_has() {
    let node = node_with("server", "server", &[]);
    assert_eq!(node.get("/server/bytes").status(), 200);
    let shown = node.cli(&["inspect", "server"]).expect_code(0).stdout;
    let value = |key: &str| {
        let line = shown.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_whitespace().nth(1).map(str::to_owned))
    };
    assert_eq!(value("process-requests").as_deref(), Some("80"), "{shown}");
    assert_eq!(value("instances"), None, "{shown}");
    let listed = node.cli(&["list"]).expect_code(0).stdout;
    assert!(!listed.contains("fresh"), "{listed}");
    let line = wait::until("the request is logged", SOON, || {
        let logs = node.cli(&["logs", "server"]).expect_code(0).stdout;
        logs.lines().find(|line| line.contains("GET /server/bytes")).map(str::to_owned)
    });
    assert!(!line.contains("memory"), "it is not known: {line}");
    node.stop();
}

#[test]
fn a_process_that_ends_is_replaced_and_its_requests_are_502() {
    let node = node_with("server", "server", &[]);
    let first = process_of(&node, "/server/pid");
    for (target, logged) in [("exit?code=4", "exit status 4"), ("abort", "signal: aborted")] {
        node.get(&format!("/server/{target}")).expect_problem(502);
        until_logged(&node, "server", logged);
        assert_ne!(process_of(&node, "/server/pid"), first);
    }
    node.get("/server/hang-up").expect_problem(502);
    assert_eq!(node.get("/server/").status(), 200);
    deploy(&node, "server", "server", "limited", &["--timeout", "500ms"]);
    let began = Instant::now();
    node.get("/limited/slow?ms=60000").expect_problem(504);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(node.get("/limited/").status(), 200);
    node.stop();
}

#[test]
fn sigterm_comes_first_and_sigkill_after_the_grace() {
    let node = Node::start();
    deploy(&node, "server", "server", "polite", &["--process-idle", "200ms"]);
    until_logged(&node, "polite", "told to stop");
    until_logged(&node, "polite", "stopped");
    deploy(&node, "go-server", "server", "go-server", &["--process-idle", "200ms"]);
    until_logged(&node, "go-server", "told to stop");

    let stays =
        ["--env", "IGNORE_SIGTERM=1", "--process-idle", "200ms", "--process-grace", "300ms"];
    deploy(&node, "server", "server", "stays", &stays);
    until_logged(&node, "stays", "told to stop");
    wait::for_value(
        "it is killed",
        SOON,
        || native::programs(&node),
        |running| !running.iter().any(|(_, name)| name == "server"),
    );
    node.stop();
}

#[test]
fn a_request_that_runs_is_finished_by_the_version_that_has_it() {
    let node = node_with("server", "server", &[]);
    let before = process_of(&node, "/server/pid");
    let mut connection = node.connect();
    connection.send(head("GET", "/server/slow?ms=2000", &[]));
    until_logged(&node, "server", "about to sleep");
    deploy(&node, "server", "server", "server", &["--env", "COLOUR=green"]);
    assert_ne!(process_of(&node, "/server/pid"), before);
    let reply = connection.reply();
    assert_eq!((reply.status(), reply.text().as_str()), (200, "slept 2000 ms"));
    until_logged(&node, "server", "stopped");
    node.stop();
}

#[test]
fn pythons_http_server_runs_as_it_is() {
    let node = node_with("python-server", "server", &["--init-timeout", "60s"]);
    let reply = node.get("/python-server/");
    assert!(reply.text().contains("Hello from Python!"), "{}", reply.text());
    assert_eq!(reply.head.get("content-type"), Some("text/html"));
    let listing = node.get("/python-server/folder/");
    assert!(listing.text().contains("file.txt"), "{}", listing.text());
    let mut connection = node.connect();
    for _ in 0..3 {
        let file = connection.get("/python-server/folder/file.txt");
        assert_eq!(file.text(), "a file of a folder\n", "one connection of ours, many of its own");
    }
    assert_eq!(node.get("/python-server/none").status(), 404);
    assert_eq!(post_json(&node, "/python-server/", &Value::Null).status(), 501);
    until_logged(&node, "python-server", "GET /folder/file.txt HTTP/1.1");
    node.stop();
}

#[test]
fn nginx_runs_as_it_is() {
    let options = ["--request-body", "64MiB", "--timeout", "60s"];
    let node = node_with("nginx", "server", &options);
    node.get("/nginx/").expect_hello();
    let echoed = node.get("/nginx/echo?x=1").text();
    assert!(echoed.starts_with("GET /echo?x=1 HTTP/1.1\nhost: node.test"), "{echoed}");
    assert_eq!(node.get("/nginx/large").body.len(), 16 * MIB);
    let mut connection = node.connect();
    let sent = body(20 * MIB, 9);
    let reply = connection.exchange(&request("POST", "/nginx/upload", &[], &sent), 1).remove(0);
    assert_eq!(reply.text(), sent.len().to_string());
    node.get("/nginx/forward/").expect_hello();
    until_logged(&node, "nginx", "GET /large HTTP/1.1");
    node.stop();
}

#[test]
fn a_server_in_go_runs_as_it_is() {
    let options = ["--request-body", "64MiB"];
    let node = node_with("go-server", "server", &options);
    let mut connection = node.connect();
    assert_eq!(connection.get("/go-server/").text(), "Hello from Go!");
    let sent = body(3 * MIB, 11);
    let reply = connection.exchange(&request("POST", "/go-server/echo", &[], &sent), 1).remove(0);
    assert_same(&reply.body, &sent);
    let reply = connection.exchange(&request("POST", "/go-server/count", &[], &sent), 1).remove(0);
    assert_eq!(reply.text(), sent.len().to_string());
    assert_eq!(node.get("/go-server/stream?mib=32").body.len(), 32 * MIB);
    assert_eq!(node.get("/go-server/drip").text(), "0\n1\n2\n3\n4\n");
    node.get("/go-server/panic").expect_problem(502);
    until_logged(&node, "go-server", "a panic of the handler");
    node.stop();
}

#[test]
fn deploys_rollbacks_and_a_take_over_lose_no_request() {
    let node = node_with("hello-server", "server", &[]);
    let (served, failed) = native::under_load(&node, "/hello-server/", 8, || {
        for colour in ["red", "green", "blue"] {
            let options = ["--env", &format!("COLOUR={colour}")];
            deploy(&node, "hello-server", "server", "hello-server", &options);
        }
        node.cli(&["rollback", "hello-server"]).expect_code(0);
    });
    assert_eq!(failed, Vec::<String>::new(), "{served} were served");
    let node = node.taken_over();
    node.get("/hello-server/").expect_hello();
    node.stop();
}
