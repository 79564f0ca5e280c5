//! Commands: programs with stdin, stdout and an environment, called as CGI defines it.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use harness::bytes::{assert_same, body, chunked};
use harness::client::{head, request};
use harness::{Node, guests, process, wait};
use tempfile::TempDir;

const MIB: usize = 1024 * 1024;

/// Returns a core module with a memory of 20 pages and a table of one element. It imports
/// `sock_shutdown` (function 0) and `poll_oneoff` (function 1), and `_start` (function 2) is
/// `code`.
fn module(code: &[u8]) -> Vec<u8> {
    let section =
        |id: u8, content: &[u8]| [&[id, u8::try_from(content.len()).unwrap()], content].concat();
    let body = [&[u8::try_from(code.len() + 2).unwrap(), 0], code, &[0x0b]].concat();
    let types = [
        &[3][..],
        &[0x60, 2, 0x7f, 0x7f, 1, 0x7f],
        &[0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f],
        &[0x60, 0, 0],
    ];
    let imports = b"\x02\x16wasi_snapshot_preview1\x0dsock_shutdown\0\0\
        \x16wasi_snapshot_preview1\x0bpoll_oneoff\0\x01";
    let sections = [
        section(1, &types.concat()),
        section(2, imports),
        section(3, &[1, 2]),
        section(4, &[1, 0x70, 0, 1]),
        section(5, &[1, 0, 20]),
        section(7, b"\x02\x06_start\0\x02\x06memory\x02\0"),
        section(10, &[&[1][..], &body].concat()),
    ];
    [guests::EMPTY_MODULE, &sections.concat()].concat()
}

#[test]
fn the_body_is_stdin_and_stdout_is_the_reply() {
    let node = Node::with(&["cmd", "cmd-p1"]);
    let sent = body(MIB, 1);
    for name in ["cmd", "cmd-p1"] {
        let mut connection = node.connect();
        let replies =
            connection.exchange(&request("POST", &format!("/{name}/?echo"), &[], &sent), 1);
        assert_eq!(replies[0].status(), 200);
        assert_eq!(replies[0].head.get("content-type"), Some("text/plain; charset=utf-8"));
        assert_same(&replies[0].body, &sent);

        let mut bytes =
            head("POST", &format!("/{name}/?count"), &[("transfer-encoding", "chunked")]);
        bytes.extend(chunked(&sent, 10_007));
        let reply = connection.exchange(&bytes, 1).remove(0);
        assert_eq!(
            (reply.text().as_str(), reply.head.get("content-length")),
            ("1048576\n", Some("8"))
        );

        connection.get(&format!("/{name}/")).expect_hello();
    }
    node.stop();
}

#[test]
fn a_body_that_is_not_read_does_not_spoil_the_next_request() {
    let node = Node::with(&["cmd"]);
    let mut connection = node.connect();
    let reply =
        connection.exchange_unread(&request("POST", "/cmd/?print=x", &[], &body(300_000, 3)));
    assert_eq!((reply.status(), reply.text().as_str()), (200, "x"));
    if reply.head.get("connection") != Some("close") {
        assert_eq!(connection.get("/cmd/?print=y").text(), "y");
    }
    node.stop();
}

#[test]
fn the_request_is_in_the_environment() {
    let node = Node::start();
    let own = ["--env", "COLOUR=green", "--env", "HTTP_X_MINE=mine", "--env", "PATH_INFO=/mine"];
    node.deploy("cmd", "shop", &own);
    let mut connection = node.connect();
    let port = node.addresses()[0].port();
    let client = connection.writer().local_addr().unwrap();
    let headers = [
        ("host", "shop.test"),
        ("content-type", "text/x-test"),
        ("x-twice", "one"),
        ("x-twice", "two"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("proxy", "evil:3128"),
        ("proxy-authorization", "Basic c2VjcmV0"),
        ("keep-alive", "timeout=5"),
        ("upgrade", "h2c"),
        ("x-mine", "theirs"),
        ("x_forwarded_prefix", "/evil"),
        ("x-forwarded-prefix", "/evil"),
    ];
    connection.send(request("PUT", "/shop/deep/a%20b?env&print=%26", &headers, b"12345"));
    let text = connection.reply().text();
    let expected = [
        "COLOUR=green",
        "CONTENT_LENGTH=5",
        "CONTENT_TYPE=text/x-test",
        "GATEWAY_INTERFACE=CGI/1.1",
        "HTTP_COOKIE=a=1; b=2",
        "HTTP_HOST=shop.test",
        "HTTP_X_FORWARDED_FOR=127.0.0.1",
        "HTTP_X_FORWARDED_PREFIX=/shop",
        "HTTP_X_FORWARDED_PROTO=http",
        "HTTP_X_MINE=mine",
        "HTTP_X_TWICE=one, two",
        "PATH_INFO=/deep/a b",
        "QUERY_STRING=env&print=%26",
        "REMOTE_ADDR=127.0.0.1",
        &format!("REMOTE_PORT={}", client.port()),
        "REQUEST_METHOD=PUT",
        "REQUEST_URI=/shop/deep/a%20b?env&print=%26",
        "SCRIPT_NAME=/shop",
        "SERVER_NAME=shop.test",
        &format!("SERVER_PORT={port}"),
        "SERVER_PROTOCOL=HTTP/1.1",
        concat!("SERVER_SOFTWARE=sockhop/", env!("CARGO_PKG_VERSION")),
        "&",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected, "this, and nothing of the node's own");

    let seen = connection.get("/shop/env").text();
    let lines: Vec<_> = seen.lines().collect();
    assert!(lines.contains(&"QUERY_STRING=") && lines.contains(&"PATH_INFO=/env"), "{seen}");
    assert!(!seen.contains("CONTENT_LENGTH") && !seen.contains("CONTENT_TYPE"), "{seen}");
    node.stop();
}

#[test]
fn arguments_follow_the_functions_name() {
    let node = Node::start();
    node.deploy("cmd-p1", "shop", &["--arg", "args", "--arg", "print=%C3%A4"]);
    assert_eq!(node.get("/shop/?big=5").text(), "shop\nargs\nprint=%C3%A4\nä");
    node.stop();
}

#[test]
fn an_exit_with_anything_but_0_is_a_500_and_its_stderr_in_the_log() {
    let node = Node::with(&["cmd", "cmd-p1"]);
    for name in ["cmd", "cmd-p1"] {
        let mut connection = node.connect();
        let reply = connection.get(&format!("/{name}/?exit=1"));
        let detail = reply.expect_problem(500);
        assert!(detail.contains("exit code 1") && !detail.contains("stderr before"), "{detail}");
        let id = reply.head.invocation_id().to_owned();
        wait::until("its stderr is in the log", Duration::from_secs(5), || {
            let stderr = node.stderr();
            let mut lines = stderr.lines().filter(|line| line.contains(&id));
            lines
                .any(|line| line.contains("stream=stderr") && line.ends_with("stderr before exit"))
                .then_some(())
        });
        // WASI 0.2 turns every code into 1.
        for code in [3, 125, 126, 255] {
            let detail = connection.get(&format!("/{name}/?exit={code}")).expect_problem(500);
            let reported = if name == "cmd" { 1 } else { code };
            assert!(detail.contains(&format!("exit code {reported};")), "{name}: {detail}");
        }
        let reply = connection.get(&format!("/{name}/?exit=0"));
        assert_eq!((reply.status(), reply.text().as_str()), (200, "stdout before exit\n"));
        connection.get(&format!("/{name}/?abort")).expect_problem(500);
        connection.get(&format!("/{name}/")).expect_hello();
    }
    node.stop();
}

#[test]
fn a_cgi_program_says_its_status_and_headers() {
    let node = Node::start();
    for guest in ["cmd", "cmd-p1"] {
        node.deploy(guest, guest, &["--output", "cgi"]);
        let mut connection = node.connect();
        let reply = connection.get(&format!("/{guest}/?cgi&print=tea"));
        assert_eq!((reply.status(), reply.text().as_str()), (418, "tea"));
        assert_eq!(
            (reply.head.get("content-type"), reply.head.get("x-cgi")),
            (Some("text/x-cgi"), Some("yes"))
        );
        assert_eq!(reply.head.get("content-length"), Some("3"));

        let fields = "Location:%20/there%0ASet-Cookie:%20a%0ASet-Cookie:%20b%0A%0A";
        connection.send(request(
            "GET",
            &format!("/{guest}/?print={fields}"),
            &[("connection", "close")],
            b"",
        ));
        let reply = String::from_utf8(connection.rest()).unwrap().to_lowercase();
        assert!(reply.starts_with("http/1.1 302 found\r\n"), "{reply}");
        for line in ["location: /there", "set-cookie: a", "set-cookie: b", "content-length: 0"] {
            assert!(reply.lines().any(|there| there == line), "{line}: {reply}");
        }
    }
    node.stop();
}

#[test]
fn what_is_no_cgi_reply_is_a_500_with_the_reason_in_the_log() {
    let node = Node::start();
    for guest in ["cmd", "cmd-p1"] {
        node.deploy(guest, guest, &["--output", "cgi", "--reply-head", "1KiB"]);
    }
    let mut connection = node.connect();
    for (print, reason) in [
        ("print=Hello", "ended before its CGI header did"),
        ("print=Hello%0A", "line 1 of its CGI header is not of the form"),
        ("print=Content-Type:%20a/b%0A", "ended before its CGI header did"),
        ("print=X:%20y%0A%0A", "none of Content-Type, Location and Status"),
        ("print=Status:%20100%0A%0A", "no final reply"),
        ("print=Status:%20200%0ATransfer-Encoding:%20chunked%0A%0A", "the node's to say"),
        (
            "print=Content-Type:%20a/b%0AContent-Length:%205%0A%0Aabc",
            "its Content-Length is not its length",
        ),
        (&format!("print={}", "x".repeat(2000)), "does not end within 1024 bytes"),
        ("cgi&exit=1", "exit code 1"),
    ] {
        for guest in ["cmd", "cmd-p1"] {
            let detail = connection.get(&format!("/{guest}/?{print}")).expect_problem(500);
            // What the program has written is in its log; the error has only the exit code.
            assert_eq!(
                detail.contains(reason),
                reason == "exit code 1",
                "{guest}: {print}: {detail}"
            );
        }
        let logged = || {
            node.stderr()
                .lines()
                .any(|line| line.contains("stream=node") && line.contains(reason))
                .then_some(())
        };
        wait::until(reason, Duration::from_secs(5), logged);
    }
    node.stop();
}

#[test]
fn a_cgi_reply_streams_both_ways_and_looks_cut_when_its_program_fails() {
    let node = Node::start();
    for guest in ["cmd", "cmd-p1"] {
        node.deploy(guest, guest, &["--output", "cgi"]);
        let mut connection = node.connect();
        let mut writer = connection.writer();
        let mut send = |text: &str| writer.write_all(text.as_bytes()).unwrap();
        connection.send(head(
            "POST",
            &format!("/{guest}/?cgi&echo"),
            &[("transfer-encoding", "chunked")],
        ));
        send("7\r\npiece-0\r\n");
        let first = connection.head();
        let mut seen = String::new();
        let whole = connection.try_body(&first, |piece| {
            seen += std::str::from_utf8(piece).unwrap();
            // Piece n + 1 is sent after the echo of piece n was received.
            if seen.len().is_multiple_of(7) {
                match seen.len() / 7 {
                    n @ 1..5 => send(&format!("7\r\npiece-{n}\r\n")),
                    _ => send("0\r\n\r\n"),
                }
            }
        });
        assert_eq!((whole, seen.as_str()), (Ok(()), "piece-0piece-1piece-2piece-3piece-4"));

        connection.send(request(
            "GET",
            &format!("/{guest}/?cgi&print=a&sleep=300&exit=1"),
            &[],
            b"",
        ));
        let cut = connection.try_reply().unwrap_err();
        assert_eq!(cut.head.map(|head| head.status), Some(418));
        assert!(cut.body.starts_with(b"a"), "{:?}", cut.body);
    }
    node.stop();
}

#[test]
fn a_raw_reply_streams_both_ways_too() {
    let node = Node::start();
    for guest in ["cmd", "cmd-p1"] {
        node.deploy(guest, guest, &["--timeout", "10s"]);
        let mut connection = node.connect();
        let mut writer = connection.writer();
        let mut send = |text: &str| writer.write_all(text.as_bytes()).unwrap();
        connection.send(head(
            "POST",
            &format!("/{guest}/?echo"),
            &[("transfer-encoding", "chunked")],
        ));
        send("7\r\npiece-0\r\n");
        // The head and the first piece are received while the program waits for the second.
        let first = connection.head();
        assert_eq!(
            (first.status, first.get("content-type")),
            (200, Some("text/plain; charset=utf-8"))
        );
        let mut seen = String::new();
        let whole = connection.try_body(&first, |piece| {
            seen += std::str::from_utf8(piece).unwrap();
            if seen.len().is_multiple_of(7) {
                match seen.len() / 7 {
                    n @ 1..5 => send(&format!("7\r\npiece-{n}\r\n")),
                    _ => send("0\r\n\r\n"),
                }
            }
        });
        assert_eq!((whole, seen.as_str()), (Ok(()), "piece-0piece-1piece-2piece-3piece-4"));
        // A failure after that can only show as a cut reply.
        connection.send(request("GET", &format!("/{guest}/?print=a&sleep=1000&exit=1"), &[], b""));
        let cut = connection.try_reply().unwrap_err();
        assert_eq!((cut.head.map(|head| head.status), &cut.body[..1]), (Some(200), &b"a"[..]));
        // The output of a program that computes is not held back either.
        let mut connection = node.connect();
        connection.send(request("GET", &format!("/{guest}/?print=a&spin"), &[], b""));
        assert_eq!(connection.head().status, 200);
    }
    node.stop();
}

#[test]
fn a_local_redirect_is_answered_by_the_function_itself() {
    let node = Node::build().option("--domain", "example.com").start();
    let location = |path: &str| format!("print=Location:%20{path}%0A%0A");
    let encoded = |steps: &str| steps.replace('%', "%25").replace('&', "%26");
    for guest in ["cmd", "cmd-p1"] {
        node.deploy(guest, guest, &["--output", "cgi"]);
        let mut connection = node.connect();
        let host = format!("{guest}.example.com");
        for (prefix, host) in [(format!("/{guest}"), "node.test"), (String::new(), host.as_str())] {
            let headers = [("host", host), ("content-type", "text/x-form")];
            // The target of the redirect prints its request.
            let target = format!("{prefix}/there?{}", encoded("cgi&env"));
            connection.send(request(
                "POST",
                &format!("{prefix}/?{}", location(&target)),
                &headers,
                b"form",
            ));
            let reply = connection.reply();
            let seen = reply.text();
            assert_eq!((reply.status(), reply.head.get("location")), (418, None), "{seen}");
            for line in ["REQUEST_METHOD=GET", "PATH_INFO=/there", "QUERY_STRING=cgi&env"] {
                assert!(seen.lines().any(|there| there == line), "{line}: {seen}");
            }
            assert!(seen.contains(&format!("REQUEST_URI={prefix}/there?cgi&env\n")), "{seen}");
            assert!(!seen.contains("CONTENT_LENGTH") && !seen.contains("CONTENT_TYPE"), "{seen}");
            connection.send(request(
                "HEAD",
                &format!("{prefix}/?{}", location(&target)),
                &headers[..1],
                b"",
            ));
            assert_eq!(connection.head().status, 418);
        }
        // A client may ask for the path of another function.
        connection.send(request("GET", &format!("/{guest}/?{}", location("/other/x")), &[], b""));
        let reply = connection.reply();
        assert_eq!((reply.status(), reply.head.get("location")), (302, Some("/other/x")));
        // An endless chain of redirects is ended.
        node.deploy(guest, "loop", &["--output", "cgi", "--arg", &location("/loop/")]);
        let detail = connection.get("/loop/").expect_problem(500);
        assert!(detail.contains("local redirects"), "{detail}");
    }
    node.stop();
}

#[test]
fn head_has_no_body_and_its_program_ends() {
    let node = Node::with(&["cmd"]);
    let mut connection = node.connect();
    for query in ["print=x", "big=1000000"] {
        connection.send(request("HEAD", &format!("/cmd/?{query}"), &[], b""));
        assert_eq!(connection.head().status, 200);
    }
    connection.get("/cmd/").expect_hello();
    node.until_status("the programs end", Duration::from_secs(10), |status| {
        status.in_flight() == 0
    });
    assert!(!node.stderr().contains("time limit"), "{}", node.stderr());
    node.stop();
}

#[test]
fn a_flood_arrives_whole_and_a_client_that_does_not_read_holds_it_back() {
    let node = Node::with(&["cmd", "cmd-p1", "hello"]);
    for guest in ["cmd", "cmd-p1"] {
        let (mut connection, mut at, length) = (node.connect(), 0_usize, 16 * MIB);
        connection.send(request("GET", &format!("/{guest}/?big={length}"), &[], b""));
        let first = connection.head();
        let whole = connection.try_body(&first, |piece| {
            let right = piece.iter().zip(at..).all(|(byte, i)| usize::from(*byte) == i % 251);
            assert!(right, "{guest}: wrong bytes from byte {at} on");
            at += piece.len();
        });
        assert_eq!((whole, at), (Ok(()), length));
    }

    let resident = || -> u64 { node.processes().into_iter().map(process::resident).sum() };
    let before = resident();
    let mut slow: Vec<_> = (0..8).map(|_| node.connect()).collect();
    for (connection, guest) in slow.iter_mut().zip(["cmd", "cmd-p1"].into_iter().cycle()) {
        connection.send(request("GET", &format!("/{guest}/?big=67108864"), &[], b""));
        assert_eq!(connection.head().status, 200);
    }
    let (time, since) = (node.cpu_time(), Instant::now());
    wait::throughout("the node does not take up the bodies", Duration::from_secs(2), || {
        resident() < before + 96 * MIB as u64
    });
    let (used, passed) = (node.cpu_time() - time, since.elapsed());
    assert!(used < passed / 2, "programs that wait have used {used:?} in {passed:?}");
    node.get("/hello/").expect_hello();
    drop(slow);
    node.until_status("the floods end with their clients", Duration::from_secs(10), |s| {
        s.in_flight() == 0
    });
    node.stop();
}

#[test]
fn a_program_is_held_to_its_time_limit() {
    let node = Node::start();
    for guest in ["cmd", "cmd-p1"] {
        node.deploy(guest, guest, &["--timeout", "500ms"]);
        let mut connection = node.connect();
        for step in ["sleep=60000", "spin", "echo"] {
            // A body that never ends.
            connection.send(head("POST", &format!("/{guest}/?{step}"), &[("content-length", "1")]));
            connection.reply().expect_problem(504);
            connection = node.connect();
        }
        connection.get(&format!("/{guest}/")).expect_hello();
    }
    node.stop();
}

#[test]
fn a_c_program_runs_as_it_is() {
    let node = Node::with(&["c-hello"]);
    let mut connection = node.connect();
    let text = connection.post("/c-hello/?x=y", b"stdin").text();
    assert_eq!(text, "Hello from C!\nmethod: POST\nquery: x=y\nstdin-bytes: 5\nstdin");
    let sent = body(MIB, 4);
    let reply = connection.exchange(&request("POST", "/c-hello/", &[], &sent), 1).remove(0);
    assert_same(&reply.body[reply.body.len() - sent.len()..], &sent);
    assert!(connection.get("/c-hello/?fail").expect_problem(500).contains("exit code 3;"));
    node.stop();
}

#[test]
fn go_programs_run_as_they_are() {
    let node = Node::with(&["go-stdin"]);
    let mut connection = node.connect();
    let text = connection.post("/go-stdin/?x=y", b"shout").text();
    assert_eq!(text, "Hello from Go!\nquery: x=y\nstdin-bytes: 5\nSHOUT");
    let sent: Vec<u8> = body(MIB, 5).into_iter().map(|byte| b'a' + byte % 26).collect();
    let reply = connection.exchange(&request("POST", "/go-stdin/?big", &[], &sent), 1).remove(0);
    let own = b"Hello from Go!\nquery: big\nstdin-bytes: 1048576\n";
    assert_same(&reply.body, &[&own[..], &sent.to_ascii_uppercase()].concat());
    connection.get("/go-stdin/?fail").expect_problem(500);

    node.deploy("go-cgi", "go-cgi", &["--output", "cgi"]);
    let headers = [("host", "shop.test"), ("x-test", "seen")];
    connection.send(request("POST", "/go-cgi/deep?q=1", &headers, b"the body"));
    let reply = connection.reply();
    let (kind, guest) = (reply.head.get("content-type"), reply.head.get("x-guest"));
    assert_eq!((reply.status(), kind, guest), (201, Some("text/plain"), Some("go-cgi")));
    let url = "http://shop.test/go-cgi/deep?q=1";
    let text = format!(
        "Hello from Go!\nmethod: POST\nurl: {url}\nhost: shop.test\nx-test: seen\nbody: the body\n"
    );
    assert_eq!(reply.text(), text);
    let reply = connection.get("/go-cgi/redirect");
    assert_eq!((reply.status(), reply.head.get("location")), (302, Some("/elsewhere")));
    node.stop();
}

#[test]
fn a_core_module_that_waits_for_stdin_takes_no_time_and_holds_up_nobody() {
    let node = Node::with(&["go-stdin", "c-hello", "cmd-p1", "hello"]);
    // More than there are workers, so that each has some.
    let targets = ["/go-stdin/", "/c-hello/", "/cmd-p1/?echo"].repeat(3);
    let begun = targets.into_iter().enumerate().map(|(n, target)| {
        let mut connection = node.connect();
        connection.send(head("POST", target, &[("transfer-encoding", "chunked")]));
        connection.send(format!("6\r\nhello{n}\r\n"));
        (connection, n)
    });
    let mut slow: Vec<_> = begun.collect();
    node.until_status("all run", Duration::from_secs(20), |status| {
        status.in_flight() == slow.len() as u64
    });
    let time = node.cpu_time();
    let mut connection = node.connect();
    for round in 0..20 {
        let since = Instant::now();
        node.get("/hello/").expect_hello();
        connection.get("/hello/").expect_hello();
        assert!(since.elapsed() < Duration::from_secs(1), "round {round}: {:?}", since.elapsed());
        std::thread::sleep(Duration::from_millis(100));
    }
    let used = node.cpu_time() - time;
    assert!(
        used < Duration::from_millis(500),
        "programs that wait have used {used:?} in two seconds"
    );
    for (connection, n) in &mut slow {
        connection.send("0\r\n\r\n");
        let text = connection.reply().text().to_lowercase();
        assert!(text.ends_with(&format!("hello{n}")), "{text}");
    }
    node.stop();
}

#[test]
fn what_a_core_module_asks_in_vain_is_not_told_in_the_nodes_log() {
    let node = Node::start();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("asks.wasm");
    // The trap is logged after everything else that is logged.
    fs::write(&file, module(&[0x41, 0, 0x41, 0, 0x10, 0, 0x1a, 0x00])).unwrap();
    node.cli(&["deploy", file.to_str().unwrap(), "--no-trial"]).expect_code(0);
    node.get("/asks/").expect_problem(500);
    wait::until("the trap is told", Duration::from_secs(5), || {
        node.stderr().contains("[trap: ").then_some(())
    });
    assert!(!node.stderr().contains("sock_shutdown"), "{}", node.stderr());
    node.stop();
}

#[test]
fn a_core_module_is_held_to_its_limits() {
    // Both grow until growth is refused, and then trap.
    let grows_memory =
        [0x03, 0x40, 0x41, 1, 0x40, 0, 0x41, 0x7f, 0x46, 0x04, 0x40, 0x00, 0x0b, 0x0c, 0, 0x0b];
    let grows_table = [
        0x03, 0x40, 0xd0, 0x70, 0x41, 1, 0xfc, 0x0f, 0, 0x41, 0x7f, 0x46, 0x04, 0x40, 0x00, 0x0b,
        0x0c, 0, 0x0b,
    ];
    let calls_itself = [0x10, 2];
    // 2048 subscriptions to a clock in one call.
    let waits = [0x41, 0, 0x41, 0, 0x41, 0x80, 0x10, 0x41, 0, 0x10, 1, 0x1a];
    let node = Node::with(&["hello"]);
    let folder = TempDir::new().unwrap();
    let options = ["--memory", "2MiB", "--table-elements", "100", "--no-trial"];
    for (name, code, word) in [
        ("memory", &grows_memory[..], "memory limit of 2097152 bytes"),
        ("table", &grows_table, "limit of 100 table elements"),
        ("stack", &calls_itself, "trapped"),
        ("waits", &waits, "trapped"),
    ] {
        let file = folder.path().join(format!("{name}.wasm"));
        fs::write(&file, module(code)).unwrap();
        node.cli(&[&["deploy", file.to_str().unwrap()], &options[..]].concat()).expect_code(0);
        let detail = node.get(&format!("/{name}/")).expect_problem(500);
        assert!(detail.contains(word), "{detail}");
    }
    node.deploy("cmd-p1", "spin", &["--cpu-time", "200ms"]);
    let detail = node.get("/spin/?spin").expect_problem(504);
    assert!(detail.contains("processor time"), "{detail}");
    node.get("/hello/").expect_hello();
    node.stop();
}

#[test]
fn a_functions_config_is_in_wasi_config() {
    let node = Node::start();
    let options =
        ["--config", "colour=green", "--config", "empty=", "--arg", "colour", "--arg", "none"];
    node.deploy("config", "config", &options);
    assert_eq!(node.get("/config/").text(), "colour=green\nnone?\n\ncolour=green\nempty=\n");
    node.stop();
}
