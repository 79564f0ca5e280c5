//! What breaks when programs for AWS Lambda run elsewhere, by public reports against emulators:
//! that it does not here. What other files' tests hold already has none here.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::client::head;
use harness::native::{at_once, deploy, path, post_json, programs, try_deploy, until_logged};
use harness::{Node, wait};
use serde_json::json;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

/// What a bootstrap in shell begins with.
const SHELL: &str = r#"#!/bin/bash
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime"
headers=$(mktemp)
# Waits for an event, and sets event and id.
next() {
    event=$(curl -sS -LD "$headers" "$api/invocation/next")
    id=$(grep -Fi Lambda-Runtime-Aws-Request-Id "$headers" | tr -d '[:space:]' | cut -d: -f2)
}
respond() {
    curl -sS -o /dev/null "$api/invocation/$id/response" -d "$1"
}
# Registers an extension of the runtime's own process, as a runtime does that wants SIGTERM.
register() {
    curl -sS -o /dev/null -H "Lambda-Extension-Name: own" -d '{"events":[]}' \
        "http://$AWS_LAMBDA_RUNTIME_API/2020-01-01/extension/register"
}
"#;

/// Writes a bootstrap in shell into a folder.
fn shell(folder: &TempDir, rest: &str) -> PathBuf {
    let file = folder.path().join("bootstrap");
    fs::write(&file, format!("{SHELL}{rest}")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    folder.path().to_owned()
}

/// Deploys a bootstrap in shell.
#[track_caller]
fn deploy_shell(node: &Node, name: &str, rest: &str, options: &[&str]) {
    let folder = TempDir::new().unwrap();
    try_deploy(node, &shell(&folder, rest), "lambda", name, options).expect_code(0);
}

/// Returns how many processes run a bootstrap.
fn bootstraps(node: &Node) -> usize {
    programs(node).iter().filter(|(_, name)| name == "bootstrap").count()
}

/// Returns which process of a `lambda-events` answers, and how many invocations it has had.
#[track_caller]
fn process_of(node: &Node, function: &str) -> (String, u64) {
    let seen = post_json(node, &format!("/{function}/"), &json!({ "pid": true })).json();
    (seen["process"].as_str().unwrap().to_owned(), seen["invocations"].as_u64().unwrap())
}

/// fakecloud 1644: a dead instance was never evicted. Here one that exits is gone at once, which
/// other tests hold; so is one that lives and does not listen any more.
#[test]
fn a_program_that_stops_asking_for_events_is_replaced() {
    let node = Node::start();
    let rest = r#"
next
respond '"answered"'
curl -sS --max-time 0.2 -o /dev/null "$api/invocation/next"
echo "it asks no more" >&2
sleep 600
"#;
    deploy_shell(&node, "deaf", rest, &[]);
    let began = Instant::now();
    for _ in 0..2 {
        assert_eq!(node.get("/deaf/").text(), "\"answered\"");
        until_logged(&node, "deaf", "it asks no more");
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    wait::for_value("those that ask no more are ended", SOON, || bootstraps(&node), |n| *n == 0);
    until_logged(&node, "deaf", "it closed the connection on which it waited");
    node.stop();
}

/// floci 2050: the first calls of six functions waited for each other.
#[test]
fn cold_starts_of_several_functions_run_side_by_side() {
    const INIT: Duration = Duration::from_secs(2);
    let node = Node::start();
    let functions: Vec<String> = (0..6).map(|number| format!("slow-{number}")).collect();
    for function in &functions {
        let options = ["--env", &format!("INIT_SLEEP_MS={}", INIT.as_millis()), "--no-trial"];
        deploy(&node, "lambda-events", "lambda", function, &options);
    }
    let began = Instant::now();
    let answered = at_once(functions.len(), |at| {
        post_json(&node, &format!("/{}/", functions[at]), &json!({})).status()
    });
    assert_eq!(answered, [200; 6]);
    let took = began.elapsed();
    assert!((INIT..4 * INIT).contains(&took), "{took:?}");
    node.stop();
}

/// floci 536: the first event of a second function never reached its `next`.
#[test]
fn an_event_reaches_the_function_and_the_version_that_it_is_for() {
    let node = Node::start();
    for function in ["one", "two"] {
        deploy(&node, "lambda-events", "lambda", function, &["--env", "COLOUR=red"]);
    }
    let context = |function: &str| {
        post_json(&node, &format!("/{function}/"), &json!({ "context": true })).json()
    };
    for _ in 0..2 {
        for (function, version) in [("one", "1"), ("two", "1")] {
            let seen = context(function);
            assert_eq!((&seen["function"], &seen["version"]), (&function.into(), &version.into()));
        }
    }
    deploy(&node, "lambda-events", "lambda", "two", &["--env", "COLOUR=green"]);
    assert_eq!(context("two")["version"], "2", "the processes of version 1 get no more events");
    let env = post_json(&node, "/two/", &json!({ "env": true })).json();
    assert_eq!(env["COLOUR"], "green");
    assert_eq!(context("one")["version"], "1");
    node.stop();
}

/// floci 485: a timeout of one function killed the warm processes of the others.
#[test]
fn a_timeout_leaves_the_warm_processes_of_other_functions_alone() {
    let node = Node::start();
    deploy(&node, "lambda-events", "lambda", "warm", &[]);
    deploy(&node, "lambda-events", "lambda", "late", &["--timeout", "500ms"]);
    let (warm, _) = process_of(&node, "warm");
    let (late, _) = process_of(&node, "late");
    post_json(&node, "/late/", &json!({ "sleep_ms": 60_000 })).expect_problem(504);
    assert_ne!(process_of(&node, "late").0, late, "the one that timed out is gone");
    assert_eq!(process_of(&node, "warm"), (warm, 2), "the same process");
    wait::for_value("one of each runs", SOON, || bootstraps(&node), |count| *count == 2);
    node.stop();
}

/// localstack 9842: JSON came base64.
#[test]
fn json_is_text_in_an_event() {
    let node = Node::start();
    deploy(&node, "lambda-events", "lambda", "echo", &[]);
    let event = post_json(&node, "/echo/", &json!({ "greeting": "grüße" })).json();
    assert_eq!(event["isBase64Encoded"], false, "{event}");
    assert_eq!(event["body"], r#"{"greeting":"grüße"}"#);
    node.stop();
}

/// cargo-lambda 275: a compressed result was sent to clients in base64.
#[test]
fn a_compressed_result_is_decoded_from_base64() {
    let node = Node::start();
    let rest = r#"
while next; do
    body=$(printf 'hello, hello, hello' | gzip -n | base64 -w0)
    respond '{"statusCode":200,"isBase64Encoded":true,"body":"'"$body"'",
        "headers":{"content-type":"text/plain","content-encoding":"gzip"}}'
done
"#;
    deploy_shell(&node, "gzip", rest, &[]);
    let reply = node.get("/gzip/");
    assert_eq!(reply.head.get("content-encoding"), Some("gzip"));
    let zipped = Command::new("/bin/sh")
        .args(["-c", "printf 'hello, hello, hello' | gzip -n"])
        .output()
        .unwrap();
    assert_eq!(reply.body, zipped.stdout);
    node.stop();
}

/// cargo-lambda 850: SIGTERM never came. It is due only if an extension is registered; that it then
/// comes is another test's.
#[test]
fn sigterm_does_not_come_to_a_program_that_did_not_register_for_it() {
    let node = Node::start();
    let rest = r#"
trap 'echo "told to stop"' TERM
while next; do respond '"answered"'; done
"#;
    deploy_shell(&node, "killed", rest, &["--process-idle", "200ms"]);
    assert_eq!(node.get("/killed/").text(), "\"answered\"");
    wait::for_value("it is ended", SOON, || bootstraps(&node), |count| *count == 0);
    // Its output was read to the end before it was known to have ended.
    assert_eq!(node.get("/killed/").text(), "\"answered\"");
    let log = node.cli(&["logs", "killed"]).expect_code(0).stdout;
    assert!(!log.contains("told to stop"), "{log}");
    node.stop();
}

/// aws-lambda-python-runtime-interface-client 105: a runtime that holds signals did not end.
#[test]
fn a_program_that_ignores_sigterm_is_killed_after_its_grace() {
    let node = Node::start();
    let rest = r#"
trap '' TERM
register
while next; do respond '"answered"'; done
"#;
    deploy_shell(&node, "stubborn", rest, &["--process-idle", "200ms"]);
    assert_eq!(node.get("/stubborn/").text(), "\"answered\"");
    wait::for_value("it is killed", SOON, || bootstraps(&node), |count| *count == 0);
    assert_eq!(node.get("/stubborn/").text(), "\"answered\"");
    node.stop();
}

/// localstack 1777: the port of the Runtime API was in use.
#[test]
fn each_process_has_a_runtime_api_of_its_own() {
    let node = Node::start();
    for function in ["one", "two"] {
        deploy(&node, "lambda-events", "lambda", function, &["--processes", "2"]);
    }
    let asked = json!({ "sleep_ms": 500, "pid": true });
    let mut seen = at_once(4, |at| {
        let target = ["/one/", "/two/"][at % 2];
        post_json(&node, target, &asked).json()["process"].as_str().unwrap().to_owned()
    });
    assert_eq!(bootstraps(&node), 4, "they run at the same time");
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 4, "and each has answered one: {seen:?}");
    node.stop();
}

/// localstack 4013: a container was made for each call.
#[test]
fn a_warm_process_gets_the_next_event() {
    let node = Node::start();
    // A process is busy until it asks for its next event, shortly after its answer: with room for
    // another one, a request that comes sooner would start that.
    deploy(&node, "lambda-events", "lambda", "warm", &["--processes", "1"]);
    let (process, _) = process_of(&node, "warm");
    for invocations in 2..20 {
        assert_eq!(process_of(&node, "warm"), (process.clone(), invocations));
    }
    node.stop();
}

/// aws-lambda-rust-runtime 455: "no such file" and "exec format error" at the first call.
#[test]
fn a_program_for_another_machine_is_refused_with_what_to_build() {
    /// Where an ELF header names the machine (elf(5)), and the names of two.
    const MACHINE_AT: usize = 18;
    let (number, other, own) = if cfg!(target_arch = "x86_64") {
        (183_u16, "aarch64", "x86_64")
    } else {
        (62, "x86_64", "aarch64")
    };
    let node = Node::start();
    let mut program = fs::read(path("hello-lambda").join("bootstrap")).unwrap();
    program[MACHINE_AT..MACHINE_AT + 2].copy_from_slice(&number.to_le_bytes());
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("bootstrap");
    fs::write(&file, program).unwrap();
    try_deploy(&node, &file, "lambda", "other", &["--no-trial"]).expect_error(&[other, own]);
    node.stop();
}

/// aws-lambda-web-adapter 623: `next` was answered 200 with nothing in it, and the client of
/// managed instances ended.
#[test]
fn next_is_never_answered_without_an_event() {
    let node = Node::start();
    let rest = r#"
next
respond '"answered"'
curl -sS --max-time 3 "$api/invocation/next" >&2
echo "the request for an event ended with $?" >&2
sleep 600
"#;
    for (name, options) in [("one", &[][..]), ("several", &["--process-requests", "4"])] {
        deploy_shell(&node, name, rest, options);
        assert_eq!(node.get(&format!("/{name}/")).text(), "\"answered\"");
        // curl's number for a time limit of its own (curl(1), EXIT CODES).
        until_logged(&node, name, "the request for an event ended with 28");
    }
    node.stop();
}

/// datadog-lambda-extension 191: after a crash the new init counted against the time limit of the
/// invocation, which was a loop of timeouts.
#[test]
fn an_init_after_a_crash_has_its_own_time_limit() {
    let node = Node::start();
    let options = ["--env", "INIT_SLEEP_MS=1500", "--timeout", "500ms"];
    deploy(&node, "lambda-events", "lambda", "slow", &options);
    for _ in 0..2 {
        post_json(&node, "/slow/", &json!({ "exit": 1 })).expect_problem(502);
        assert_eq!(post_json(&node, "/slow/", &json!({})).status(), 200);
    }
    node.stop();
}

/// floci 2672: new code was unpacked over the old.
#[test]
fn a_version_has_no_file_of_the_one_before() {
    let node = Node::start();
    let folder = TempDir::new().unwrap();
    let rest = r#"
while next; do respond "\"$(cd /var/task && echo *)\""; done
"#;
    let source = shell(&folder, rest);
    fs::write(source.join("of-the-first"), "x").unwrap();
    try_deploy(&node, &source, "lambda", "files", &[]).expect_code(0);
    assert_eq!(node.get("/files/").text(), "\"bootstrap of-the-first\"");
    fs::remove_file(source.join("of-the-first")).unwrap();
    fs::write(source.join("of-the-second"), "x").unwrap();
    try_deploy(&node, &source, "lambda", "files", &[]).expect_code(0);
    assert_eq!(node.get("/files/").text(), "\"bootstrap of-the-second\"");
    node.cli(&["rollback", "files"]).expect_code(0);
    assert_eq!(node.get("/files/").text(), "\"bootstrap of-the-first\"");
    node.stop();
}

/// ministack 1260: agents that stream for minutes could not run.
#[test]
fn a_stream_goes_on_for_as_long_as_bytes_flow() {
    // Longer than any time that the node waits for a byte.
    const PIECES: u64 = 24;
    let node = Node::start();
    let rest = r#"
while next; do
    for number in $(seq 24); do sleep 0.5; echo "piece $number"; done |
        curl -sS -o /dev/null -X POST -T - -H 'Content-Type: text/plain' \
            -H 'Lambda-Runtime-Function-Response-Mode: streaming' \
            "$api/invocation/$id/response"
done
"#;
    deploy_shell(&node, "long", rest, &["--timeout", "60s"]);
    let mut connection = node.connect();
    connection.send(head("GET", "/long/", &[]));
    let reply = connection.head();
    assert_eq!(reply.status, 200);
    let (began, mut times, mut text) = (Instant::now(), Vec::new(), String::new());
    let taken = connection.try_body(&reply, |piece| {
        times.push(began.elapsed());
        text.push_str(&String::from_utf8_lossy(piece));
    });
    taken.unwrap();
    let expected: String = (1..=PIECES).map(|number| format!("piece {number}\n")).collect();
    assert_eq!(text, expected);
    let lasted = times[times.len() - 1] - times[0];
    assert!(lasted > Duration::from_secs(10), "each at its time: {times:?}");
    node.stop();
}
