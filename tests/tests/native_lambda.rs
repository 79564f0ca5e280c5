//! Programs for AWS Lambda's custom runtime run unchanged, in processes of their own: Rust, Go,
//! Python and shell; requests become events, and results replies.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::bytes::{assert_same, body};
use harness::client::{head, request};
use harness::native::{
    answer, at_once, deploy, node_with, path, post_json, try_deploy, until_logged,
};
use harness::{Node, Reply, native, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);
/// The longest result of a function (AWS Lambda's quotas: 6 MB, and what the envelope takes).
const RESULT_BYTES_MAX: usize = 6 * 1024 * 1024 + 100;

/// Has `lambda-events` do what the fields say, and returns the reply.
fn event(node: &Node, fields: &Value) -> Reply {
    post_json(node, "/lambda-events/", fields)
}

/// Returns which process answers, and how many invocations it has had.
fn process_of(reply: &Reply) -> (String, u64) {
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let seen = reply.json();
    let name = seen["process"].as_str().unwrap_or_else(|| panic!("no process: {seen}"));
    (name.to_owned(), seen["invocations"].as_u64().unwrap())
}

#[test]
fn a_request_is_an_event_and_its_result_a_reply() {
    let node = node_with("lambda-http", "lambda", &[]);
    let mut connection = node.connect();
    let headers = [
        ("host", "shop.test"),
        ("content-type", "text/plain"),
        ("x-twice", "one"),
        ("x-twice", "two"),
        ("cookie", "a=1; b=2"),
        ("user-agent", "a test"),
    ];
    let target = "/lambda-http/deep/a%20b?x=1&x=2&y=%C3%A4";
    connection.send(request("PUT", target, &headers, "grüße".as_bytes()));
    let reply = connection.reply();
    let seen = reply.json();
    assert_eq!((reply.status(), &seen["method"]), (200, &json!("PUT")));
    assert_eq!(reply.head.get("content-type"), Some("application/json"));
    assert_eq!(seen["path"], "/deep/a%20b", "{seen}");
    assert_eq!((&seen["kind"], &seen["body"]), (&json!("text"), &json!("grüße")));
    assert_eq!(seen["query"], json!({ "x": ["1", "2"], "y": ["ä"] }));
    assert_eq!(seen["headers"]["x-twice"], json!(["one,two"]), "{seen}");
    let cookies = seen["headers"]["cookie"][0].as_str().unwrap().replace(' ', "");
    assert_eq!(cookies, "a=1;b=2");
    assert_eq!(seen["headers"]["host"], json!(["shop.test"]));
    assert_eq!(seen["id"], reply.head.invocation_id(), "the ids of both sides are one");
    assert_eq!(seen["function"], "lambda-http");

    let log = until_logged(&node, "lambda-http", "a line on stderr");
    let own = log.lines().filter(|line| line.contains("a line on"));
    assert_eq!(own.count(), 2, "{log}");

    let twice = answer(&node, "GET", "/lambda-http/cookies", &[], b"");
    assert_eq!(twice.all("set-cookie").collect::<Vec<_>>(), ["one=1; Path=/", "two=2"]);
    let reply = node.get("/lambda-http/status/204");
    assert_eq!((reply.status(), reply.body.len()), (204, 0));
    let head = answer(&node, "HEAD", "/lambda-http/", &[], b"");
    assert_eq!((head.status, head.body.len()), (Some(200), 0));
    node.stop();
}

#[test]
fn bodies_come_through_byte_by_byte() {
    let node = node_with("lambda-http", "lambda", &[]);
    let reply = node.get("/lambda-http/bytes");
    assert_eq!(reply.body, [0x00, 0xff, 0x80, 0x0a]);
    assert_eq!(reply.head.get("content-type"), Some("application/octet-stream"));
    let mut connection = node.connect();
    let noise = body(1_000_000, 15);
    let all: Vec<u8> = (0..=255).collect();
    let texts = ["", "{}", "ä", "line\r\nline\0", r#""quoted" \ text"#].map(str::as_bytes);
    for sent in texts.into_iter().chain([&noise[..], &all]) {
        for kind in ["application/octet-stream", "image/png", "text/plain", "application/json"] {
            // lambda_http itself makes text of what has the type of a text.
            if std::str::from_utf8(sent).is_err()
                && (kind.contains("text") || kind.contains("json"))
            {
                continue;
            }
            let headers = [("content-type", kind)];
            let bytes = request("POST", "/lambda-http/echo", &headers, sent);
            let reply = connection.exchange(&bytes, 1).remove(0);
            assert_eq!(reply.status(), 200, "{kind}: {}", reply.text());
            assert_same(&reply.body, sent);
        }
    }
    node.stop();
}

#[test]
fn an_error_a_panic_and_an_exit_are_502_and_the_next_request_is_answered() {
    let node = node_with("lambda-http", "lambda", &[]);
    for (target, logged) in [
        ("/error", "an error of the handler"),
        ("/panic", "a panic of the handler"),
        ("/exit?3", "last words"),
        ("/exit?0", "last words"),
    ] {
        let detail = node.get(&format!("/lambda-http{target}")).expect_problem(502);
        assert!(!detail.contains(logged), "clients are not told what it wrote: {detail}");
        until_logged(&node, "lambda-http", logged);
        assert_eq!(node.get("/lambda-http/sleep?ms=1").text(), "slept 1 ms", "after {target}");
    }
    until_logged(&node, "lambda-http", "exit status 3");
    node.stop();
}

#[test]
fn a_timeout_ends_the_process_that_timed_out_and_no_other() {
    let options = ["--processes", "2", "--timeout", "2s"];
    let node = node_with("lambda-events", "lambda", &options);
    let two = || -> BTreeMap<String, u64> {
        let asked = json!({ "sleep_ms": 500, "pid": true });
        at_once(2, |_| process_of(&event(&node, &asked))).into_iter().collect()
    };
    let before = wait::for_value("two processes answer", SOON, two, |seen| seen.len() == 2);
    let began = Instant::now();
    event(&node, &json!({ "sleep_ms": 60_000 })).expect_problem(504);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let after = wait::for_value("two processes answer", SOON, two, |seen| seen.len() == 2);
    let same = after.iter().filter(|(name, _)| before.contains_key(*name));
    assert_eq!(same.count(), 1, "before {before:?}, after {after:?}");
    until_logged(&node, "lambda-events", "time limit");
    node.stop();
}

#[test]
fn a_hundred_at_once_share_four_processes_one_at_a_time_each() {
    let node = node_with("lambda-events", "lambda", &["--processes", "4"]);
    let asked = json!({ "sleep_ms": 20, "pid": true });
    let seen = at_once(100, |_| process_of(&event(&node, &asked)));
    let processes: BTreeSet<_> = seen.iter().map(|(name, _)| name).collect();
    assert!((2..=4).contains(&processes.len()), "{processes:?}");
    let invocations: BTreeSet<_> = seen.iter().collect();
    assert_eq!(invocations.len(), 100, "each was counted by itself");
    let running = native::programs(&node);
    let running = running.iter().filter(|(_, name)| name == "bootstrap").count();
    assert!(running <= 4, "{running} processes");
    node.stop();
}

#[test]
fn a_process_takes_several_at_a_time_where_it_asks_for_them() {
    let options = ["--processes", "1", "--process-requests", "10"];
    let node = node_with("lambda-events", "lambda", &options);
    let asked = json!({ "sleep_ms": 1000, "pid": true });
    let began = Instant::now();
    let seen = at_once(10, |_| process_of(&event(&node, &asked)));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let processes: BTreeSet<_> = seen.iter().map(|(name, _)| name).collect();
    assert_eq!(processes.len(), 1);
    node.stop();
}

#[test]
fn six_mib_are_answered_and_one_byte_more_is_not() {
    let options = ["--request-body", "20MiB"];
    let node = node_with("lambda-events", "lambda", &options);
    let reply = event(&node, &json!({ "bytes": RESULT_BYTES_MAX }));
    assert_eq!((reply.status(), reply.body.len()), (200, RESULT_BYTES_MAX));
    event(&node, &json!({ "bytes": RESULT_BYTES_MAX + 1 })).expect_problem(502);
    until_logged(&node, "lambda-events", "Function.ResponseSizeTooLarge");
    let reply = event(&node, &json!({ "pid": true }));
    assert_eq!(reply.status(), 200, "the process answers on");

    let mut connection = node.connect();
    let sent = vec![b'x'; 6 * 1024 * 1024];
    let headers = [("content-type", "text/plain")];
    let bytes = request("POST", "/lambda-events/", &headers, &sent);
    connection.exchange_unread(&bytes).expect_problem(413);
    let reply = post_json(&node, "/lambda-events/", &json!("y".repeat(5 * 1024 * 1024)));
    assert_eq!(reply.status(), 200, "{}", reply.text());
    node.stop();
}

/// Returns the pieces of a reply's body, each with the time since the request.
fn pieces(node: &Node, target: &str) -> Vec<(Duration, String)> {
    let mut connection = node.connect();
    connection.send(head("GET", target, &[]));
    let began = Instant::now();
    let reply = connection.head();
    assert_eq!(reply.status, 200);
    let mut pieces = Vec::new();
    let taken = connection.try_body(&reply, |piece| {
        pieces.push((began.elapsed(), String::from_utf8_lossy(piece).into_owned()));
    });
    taken.unwrap();
    pieces
}

#[test]
fn a_stream_of_rusts_runtime_comes_piece_by_piece() {
    let options = ["--timeout", "60s"];
    let node = node_with("lambda-stream", "lambda", &options);
    let pieces = pieces(&node, "/lambda-stream/");
    let text: String = pieces.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(text, "Hello\nworld\nfrom\nLambda!\n");
    let between = pieces[pieces.len() - 1].0 - pieces[0].0;
    assert!(between > Duration::from_millis(200), "each at its time: {pieces:?}");

    let whole = answer(&node, "GET", "/lambda-stream/prelude", &[], b"");
    assert_eq!((whole.status, whole.whole), (Some(201), true), "{whole:?}");
    assert_eq!(whole.all("x-stream").collect::<Vec<_>>(), ["yes"]);
    assert_eq!(whole.all("content-type").collect::<Vec<_>>(), ["text/plain"]);
    assert_eq!(whole.all("set-cookie").collect::<Vec<_>>(), ["one=1; Path=/", "two=2"]);
    assert_eq!(whole.text(), "Hello\nworld\nfrom\nLambda!\n");

    let error = node.get("/lambda-stream/error").text();
    assert!(error.starts_with("one\ntwo\nLambda-Runtime-Function-Error-Type: "), "{error}");
    let buffered = node.get("/lambda-stream/buffered");
    assert_eq!((buffered.status(), buffered.text().as_str()), (200, "buffered"));
    let large = node.get("/lambda-stream/large?mib=64");
    assert_eq!((large.status(), large.body.len()), (200, 64 * 1024 * 1024));
    assert!(large.body.iter().all(|byte| *byte == 0));
    node.stop();
}

#[test]
fn a_client_that_leaves_a_stream_does_not_keep_its_process() {
    let options = ["--processes", "1", "--timeout", "3s"];
    let node = node_with("lambda-stream", "lambda", &options);
    let mut connection = node.connect();
    connection.send(head("GET", "/lambda-stream/silent", &[]));
    assert_eq!(connection.head().status, 200);
    drop(connection);
    let reply = node.get("/lambda-stream/buffered");
    assert_eq!((reply.status(), reply.text().as_str()), (200, "buffered"));
    node.stop();
}

#[test]
fn a_program_that_answers_as_gos_library_does() {
    let node = node_with("go-lambda", "lambda", &[]);
    let seen = node.get("/go-lambda/some?x=1").json();
    assert_eq!((&seen["rawPath"], &seen["rawQueryString"]), (&json!("/some"), &json!("x=1")));
    node.get("/go-lambda/error").expect_problem(502);
    until_logged(&node, "go-lambda", "an error of the handler");
    node.get("/go-lambda/panic").expect_problem(502);

    let whole = answer(&node, "GET", "/go-lambda/stream", &[], b"");
    assert_eq!((whole.status, whole.text().as_str()), (Some(201), "0\n1\n2\n3\n"), "{whole:?}");
    assert_eq!(whole.all("set-cookie").collect::<Vec<_>>(), ["one=1", "two=2"]);
    let raw = node.get("/go-lambda/stream-raw");
    assert_eq!(raw.head.get("content-type"), Some("text/plain"));
    assert_eq!(raw.text(), "raw \0\0\0\0\0\0\0\0 bytes\n");
    let bare = node.get("/go-lambda/no-separator");
    assert_eq!(bare.head.get("content-type"), Some("application/octet-stream"));
    assert_eq!((bare.status(), bare.text().as_str()), (200, "no prelude \0\0 at all\n"));

    let mut connection = node.connect();
    connection.send(head("GET", "/go-lambda/stream-error", &[]));
    let cut = connection.try_reply().unwrap_err();
    assert_eq!(String::from_utf8_lossy(&cut.body), "0\n1\n2\n3\n", "an error ends it: {cut:?}");
    assert_eq!(node.get("/go-lambda/").status(), 200);
    node.stop();
}

#[test]
fn awss_runtime_of_python_runs_as_it_is() {
    let node = node_with("python-lambda", "lambda", &["--init-timeout", "60s"]);
    let whole = answer(&node, "GET", "/python-lambda/some?x=1", &[("cookie", "c=3")], b"");
    assert_eq!(whole.status, Some(200), "{}", whole.text());
    assert_eq!(whole.all("set-cookie").count(), 2);
    let seen: Value = serde_json::from_slice(&whole.body).unwrap();
    assert_eq!(seen["event"]["rawPath"], "/some");
    assert_eq!(seen["event"]["cookies"], json!(["c=3"]));
    assert_eq!(seen["function"], "python-lambda");
    let remaining = seen["remaining_ms"].as_u64().unwrap();
    assert!((1..=30_000).contains(&remaining), "{remaining}");
    assert_eq!(node.get("/python-lambda/bytes").body, [0x00, 0xff, 0x80, 0x0a]);
    node.get("/python-lambda/error").expect_problem(502);
    until_logged(&node, "python-lambda", "ValueError");
    assert_eq!(node.get("/python-lambda/log").status(), 200);
    until_logged(&node, "python-lambda", "a line of logging");
    until_logged(&node, "python-lambda", "a line of print");
    node.get("/python-lambda/exit").expect_problem(502);
    assert_eq!(node.get("/python-lambda/").status(), 200);

    let none = ["--env", "HANDLER=nothing.there"];
    try_deploy(&node, &path("python-lambda"), "lambda", "none", &none)
        .expect_error(&["Unable to import module"]);
    node.stop();
}

#[test]
fn a_shell_script_with_curl_is_a_function() {
    let node = node_with("shell-lambda", "lambda", &[]);
    let seen = node.get("/shell-lambda/some").json();
    assert_eq!(seen["requestContext"]["http"]["path"], "/some", "its event: {seen}");
    until_logged(&node, "shell-lambda", "an event of");
    node.get("/shell-lambda/fail-please").expect_problem(502);
    until_logged(&node, "shell-lambda", "as it was told to");
    assert_eq!(node.get("/shell-lambda/").status(), 200);
    node.stop();
}

#[test]
fn a_file_a_folder_and_a_zip_are_deployed_alike() {
    let node = Node::start();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("bootstrap");
    fs::copy(path("hello-lambda").join("bootstrap"), &file).unwrap();
    let zip = folder.path().join("hello.zip");
    let zipped = Command::new("/usr/bin/python3")
        .args(["-m", "zipfile", "-c", "hello.zip", "bootstrap"])
        .current_dir(folder.path())
        .status();
    assert!(zipped.unwrap().success());
    for (name, source) in [("file", &file), ("folder", &path("hello-lambda")), ("zip", &zip)] {
        try_deploy(&node, source, "lambda", name, &[]).expect_code(0);
        node.get(&format!("/{name}/")).expect_hello();
    }

    fs::remove_file(&zip).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let done = try_deploy(&node, folder.path(), "lambda", "bit", &[]).expect_code(0);
    assert!(format!("{}{}", done.stdout, done.stderr).contains("x bit"), "{done:#?}");
    node.get("/bit/").expect_hello();
    node.stop();
}

#[test]
fn an_init_that_fails_is_told_with_its_last_words() {
    let node = Node::start();
    let events = path("lambda-events");
    let exits = ["--env", "INIT_EXIT=7"];
    try_deploy(&node, &events, "lambda", "exits", &exits)
        .expect_error(&["exit status 7", "last words of the init"]);
    let slow = ["--env", "INIT_SLEEP_MS=60000", "--init-timeout", "500ms"];
    try_deploy(&node, &events, "lambda", "slow", &slow).expect_error(&["--init-timeout", "500ms"]);
    let reports = ["--env", "INIT_ERROR=cannot begin"];
    try_deploy(&node, &path("go-lambda"), "lambda", "reports", &reports)
        .expect_error(&["cannot begin"]);

    try_deploy(&node, &events, "lambda", "exits", &[&exits[..], &["--no-trial"]].concat())
        .expect_code(0);
    let detail = node.get("/exits/").expect_problem(502);
    assert!(detail.contains("does not start"), "{detail}");
    until_logged(&node, "exits", "last words of the init");

    // The init has a limit of its own: it may take longer than an invocation.
    let longer = ["--env", "INIT_SLEEP_MS=1500", "--timeout", "500ms"];
    deploy(&node, "lambda-events", "lambda", "longer", &longer);
    assert_eq!(post_json(&node, "/longer/", &json!({})).status(), 200);
    node.stop();
}

#[test]
fn the_environment_is_the_contracts_and_the_users() {
    let node = Node::start();
    let own = [
        "--env",
        "COLOUR=green",
        "--env",
        "AWS_LAMBDA_FUNCTION_NAME=mine",
        "--env",
        "TZ=UTC",
        "--memory",
        "256MiB",
        "--no-trial",
    ];
    deploy(&node, "lambda-events", "lambda", "lambda-events", &own);
    let seen = event(&node, &json!({ "env": true })).json();
    for (name, value) in [
        ("COLOUR", "green"),
        ("TZ", "UTC"),
        ("AWS_LAMBDA_FUNCTION_NAME", "lambda-events"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("LAMBDA_TASK_ROOT", "/var/task"),
    ] {
        assert_eq!(seen[name], value, "{name} of {seen}");
    }
    assert!(seen.get("AWS_EXECUTION_ENV").is_none(), "{seen}");
    let names = seen.as_object().unwrap().keys();
    let foreign: Vec<_> = names.filter(|name| name.starts_with("SOCKHOP")).collect();
    assert!(foreign.is_empty(), "nothing of the node's own: {foreign:?}");
    let context = event(&node, &json!({ "context": true })).json();
    let arn = context["arn"].as_str().unwrap();
    assert!(arn.contains(":function:lambda-events"), "{context}");
    assert_eq!(context["memory_mb"], 256);
    node.stop();
}

#[test]
fn who_registers_for_it_is_told_to_stop_and_has_time() {
    let node = Node::start();
    for guest in ["lambda-events", "go-lambda"] {
        let options = ["--env", "GRACEFUL=1", "--process-idle", "200ms"];
        deploy(&node, guest, "lambda", guest, &options);
        assert_eq!(node.get(&format!("/{guest}/")).status(), 200);
        until_logged(&node, guest, "told to stop");
        // The next one starts afresh.
        assert_eq!(node.get(&format!("/{guest}/")).status(), 200);
    }
    node.stop();
}

#[test]
fn a_pool_goes_down_to_what_is_kept_and_comes_up_again() {
    let options = ["--processes", "4", "--processes-min", "1", "--process-idle", "300ms"];
    let node = node_with("lambda-events", "lambda", &options);
    let running = || {
        let programs = native::programs(&node);
        programs.iter().filter(|(_, name)| name == "bootstrap").count()
    };
    let asked = json!({ "sleep_ms": 500, "pid": true });
    let seen = at_once(4, |_| process_of(&event(&node, &asked)));
    let processes: BTreeSet<_> = seen.iter().map(|(name, _)| name).collect();
    assert!(processes.len() > 1, "{seen:?}");
    wait::for_value("one is kept", SOON, running, |count| *count == 1);
    wait::throughout("it stays", Duration::from_secs(1), || running() == 1);
    event(&node, &json!({ "exit": 1 })).expect_problem(502);
    wait::for_value("another one is kept", SOON, running, |count| *count == 1);
    node.stop();
}

#[test]
fn deploys_rollbacks_and_a_take_over_lose_no_request() {
    let node = node_with("hello-lambda", "lambda", &[]);
    let (served, failed) = native::under_load(&node, "/hello-lambda/", 8, || {
        for colour in ["red", "green", "blue"] {
            let options = ["--env", &format!("COLOUR={colour}")];
            deploy(&node, "hello-lambda", "lambda", "hello-lambda", &options);
        }
        node.cli(&["rollback", "hello-lambda"]).expect_code(0);
    });
    assert_eq!(failed, Vec::<String>::new(), "{served} were served");
    let node = node.taken_over();
    node.get("/hello-lambda/").expect_hello();
    node.stop();
}

#[test]
fn a_killed_worker_takes_no_more_with_it_than_its_requests() {
    const CLIENTS: usize = 8;
    let node = node_with("hello-lambda", "lambda", &["--processes", "2"]);
    node.get("/hello-lambda/").expect_hello();
    let worker = native::worker(&node, "hello-lambda");
    let (served, failed) = native::under_load(&node, "/hello-lambda/", CLIENTS, || {
        harness::running::kill_now(worker);
        node.until_status("there is another worker", SOON, |status| {
            let mut pool = status.pool("hello-lambda");
            pool.any(|other| other.state == "ready" && ![0, worker].contains(&other.pid))
        });
    });
    assert!(failed.len() <= CLIENTS, "{served} were served, and failed: {failed:#?}");
    node.get("/hello-lambda/").expect_hello();
    node.stop();
}
