//! AWS's lines around each invocation of a lambda (`--report-lines`), and what of a function AWS's
//! tools chose for it.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::collections::BTreeMap;

use harness::native::{deploy, node_with, path, post_json, try_deploy, until_logged};
use harness::{Node, Reply};
use serde_json::json;

/// Returns the texts of the log's lines about the invocation of a reply, once there is `last`.
#[track_caller]
fn lines(node: &Node, function: &str, reply: &Reply, last: &str) -> Vec<String> {
    until_logged(node, function, &format!("{last} RequestId: {}", reply.head.invocation_id()));
    let id = reply.head.invocation_id();
    let printed = node.cli(&["logs", function, "--json"]).expect_code(0).stdout;
    let entries = harness::running::records(&printed);
    let own = entries.iter().filter(|entry| entry["kind"] == "line" && entry["invocation"] == id);
    own.map(|entry| entry["text"].as_str().unwrap().to_owned()).collect()
}

/// Returns the fields of a REPORT line, by name.
fn fields(line: &str) -> BTreeMap<String, String> {
    let fields = line.trim_end_matches('\t').split('\t').skip(1);
    fields
        .map(|field| field.split_once(": ").unwrap_or_else(|| panic!("{field:?} of {line:?}")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn milliseconds(text: &str) -> f64 {
    text.strip_suffix(" ms").unwrap().parse().unwrap()
}

#[test]
fn each_invocation_is_between_its_lines() {
    let node = Node::start();
    let options = ["--report-lines", "--env", "INIT_SLEEP_MS=1200", "--memory", "256MiB"];
    deploy(&node, "lambda-events", "lambda", "told", &options);
    let asked = json!({ "log": 3, "sleep_ms": 100 });
    for is_first in [true, false] {
        let reply = post_json(&node, "/told/", &asked);
        assert_eq!(reply.status(), 200);
        let id = reply.head.invocation_id();
        let lines = lines(&node, "told", &reply, "REPORT");
        let begin = lines.iter().position(|line| line.starts_with("START")).unwrap();
        assert_eq!(lines[begin], format!("START RequestId: {id} Version: 1"));
        let own = &lines[begin + 1..begin + 7];
        assert!(own.iter().all(|line| line.starts_with("line ")), "{lines:?}");
        assert_eq!(lines[begin + 7], format!("END RequestId: {id}"));
        assert_eq!(lines.len(), begin + 9, "{lines:?}");
        let report = fields(&lines[begin + 8]);
        let duration = milliseconds(&report["Duration"]);
        assert!((100.0..1200.0).contains(&duration), "{report:?}");
        assert_eq!(milliseconds(&report["Billed Duration"]), duration.ceil(), "{report:?}");
        assert_eq!(report["Memory Size"], "256 MB");
        let used: u64 = report["Max Memory Used"].strip_suffix(" MB").unwrap().parse().unwrap();
        assert!((1..=256).contains(&used), "{report:?}");
        // It lasts until the runtime has begun, not only until it was started.
        let init = report.get("Init Duration").map(|text| milliseconds(text));
        assert_eq!(init.is_some(), is_first, "{report:?}");
        assert!(init.is_none_or(|init| init >= 1200.0), "{report:?}");
    }
    node.stop();
}

#[test]
fn an_invocation_that_fails_has_its_lines_too() {
    let node = Node::start();
    deploy(&node, "lambda-events", "lambda", "told", &["--report-lines", "--timeout", "500ms"]);
    let late = post_json(&node, "/told/", &json!({ "sleep_ms": 60_000 }));
    assert_eq!(late.status(), 504);
    let text = lines(&node, "told", &late, "REPORT").join("\n");
    let id = late.head.invocation_id();
    assert!(text.contains(&format!(" {id} Task timed out after 0.50 seconds\nEND")), "{text}");
    assert!(!text.contains("Max Memory Used: 0 MB"), "it was counted before its end: {text}");

    let ended = post_json(&node, "/told/", &json!({ "exit": 3 }));
    assert_eq!(ended.status(), 502);
    let text = lines(&node, "told", &ended, "REPORT").join("\n");
    assert!(!text.contains("Max Memory Used: 0 MB"), "its sandbox has told: {text}");
    node.stop();
}

#[test]
fn there_are_none_unless_they_are_asked_for() {
    let node = node_with("lambda-events", "lambda", &[]);
    assert_eq!(post_json(&node, "/lambda-events/", &json!({ "log": 1 })).status(), 200);
    let log = until_logged(&node, "lambda-events", "line 0");
    assert!(!log.contains("RequestId"), "{log}");
    try_deploy(&node, &path("hello-server"), "server", "other", &["--report-lines"])
        .expect_error(&["--report-lines", "lambda", "server"]);
    node.stop();
}

#[test]
fn a_lambda_finds_its_handler_and_keeps_it() {
    let node = Node::start();
    let env = || post_json(&node, "/it/", &json!({ "env": true })).json();
    deploy(&node, "lambda-events", "lambda", "it", &[]);
    assert_eq!(env()["_HANDLER"], "bootstrap");
    let options = ["--handler", "app.handle", "--description", "what it is"];
    deploy(&node, "lambda-events", "lambda", "it", &options);
    assert_eq!(env()["_HANDLER"], "app.handle");
    // More than the 4 KB of AWS, and less than the node's own limit.
    let long = "x".repeat(10_000);
    deploy(&node, "lambda-events", "lambda", "it", &["--env", &format!("LONG={long}")]);
    let seen = env();
    assert_eq!((&seen["_HANDLER"], &seen["LONG"]), (&json!("app.handle"), &json!(long)));
    let inspected = node.cli(&["inspect", "it"]).expect_code(0).stdout;
    assert!(inspected.contains("what it is") && inspected.contains("app.handle"), "{inspected}");
    deploy(&node, "lambda-events", "lambda", "it", &["--unset", "handler"]);
    assert_eq!(env()["_HANDLER"], "bootstrap");
    node.stop();
}
