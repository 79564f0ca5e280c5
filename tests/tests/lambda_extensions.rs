//! Extensions that are programs of their own: `extensions/` of a layer, started beside a lambda.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use harness::native::{deploy, path, post_json, programs, try_deploy, until_logged};
use harness::{Node, wait};
use serde_json::json;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

/// Registers under its file's name, and writes its events to stdout until the end.
const WATCHER: &str = r#"#!/bin/bash
api="http://$AWS_LAMBDA_RUNTIME_API/2020-01-01/extension"
headers=$(mktemp)
curl -sS -o /dev/null -D "$headers" -H "Lambda-Extension-Name: ${0##*/}" \
    -d '{"events":["INVOKE","SHUTDOWN"]}' "$api/register"
id=$(grep -Fi Lambda-Extension-Identifier "$headers" | tr -d '[:space:]' | cut -d: -f2)
event=
until [[ $event == *SHUTDOWN* ]]; do
    event=$(curl -sS -H "Lambda-Extension-Identifier: $id" "$api/event/next")
    echo "${0##*/} is told $event"
done
"#;

/// Makes a layer of extensions, which are scripts.
fn layer(folder: &TempDir, extensions: &[(&str, &str)]) -> PathBuf {
    let inside = folder.path().join("extensions");
    fs::create_dir(&inside).unwrap();
    for (name, text) in extensions {
        fs::write(inside.join(name), text).unwrap();
        fs::set_permissions(inside.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let zipped = Command::new("/usr/bin/python3")
        .args(["-m", "zipfile", "-c", "layer.zip", "extensions/"])
        .current_dir(folder.path())
        .status();
    assert!(zipped.unwrap().success());
    folder.path().join("layer.zip")
}

#[test]
fn it_is_told_of_invocations_and_of_the_end() {
    let node = Node::start();
    let folder = TempDir::new().unwrap();
    let layer = layer(&folder, &[("one", WATCHER), ("two", WATCHER)]);
    let options = ["--layer", layer.to_str().unwrap(), "--process-idle", "300ms"];
    deploy(&node, "lambda-events", "lambda", "watched", &options);
    let reply = post_json(&node, "/watched/", &json!({ "pid": true }));
    assert_eq!(reply.status(), 200);
    let told = |event: &str| {
        let log = node.cli(&["logs", "watched"]).stdout;
        let own = log.lines().filter(|line| line.contains(reply.head.invocation_id()));
        let told = own.filter(|line| line.contains("is told") && line.contains(event));
        let names = ["one", "two"].map(|name| format!("{name} is told"));
        let told: Vec<_> = told.collect();
        names.iter().all(|name| told.iter().any(|line| line.contains(name))).then_some(())
    };
    wait::until("each is told of the invocation", SOON, || told("\"eventType\":\"INVOKE\""));
    wait::until("each is told of the end", SOON, || told("\"shutdownReason\":\"SPINDOWN\""));
    let left = || {
        let mut left = programs(&node);
        left.retain(|(_, name)| ["bootstrap", "one", "two", "curl"].contains(&name.as_str()));
        left
    };
    wait::for_value("nothing is left", SOON, left, Vec::is_empty);
    assert_eq!(post_json(&node, "/watched/", &json!({})).status(), 200);
    node.stop();
}

#[test]
fn it_is_told_of_the_end_of_a_function_that_ran_into_its_time_limit() {
    let node = Node::start();
    let folder = TempDir::new().unwrap();
    let layer = layer(&folder, &[("watcher", WATCHER)]);
    let options = ["--layer", layer.to_str().unwrap(), "--timeout", "500ms"];
    deploy(&node, "lambda-events", "lambda", "late", &options);
    post_json(&node, "/late/", &json!({ "sleep_ms": 60_000 })).expect_problem(504);
    until_logged(&node, "late", "\"shutdownReason\":\"TIMEOUT\"");
    assert_eq!(post_json(&node, "/late/", &json!({})).status(), 200);
    node.stop();
}

#[test]
fn a_process_does_not_start_without_it() {
    let node = Node::start();
    for (name, text, words) in [
        (
            "ends",
            "#!/bin/bash\necho 'cannot begin'\nexit 3\n",
            ["ended with exit status 3", "ends"],
        ),
        ("sleeps", "#!/bin/bash\nsleep 600\n", ["did not register", "sleeps"]),
        ("nothing", "#!/no/such/interpreter\n", ["/opt/extensions/nothing", "executing"]),
    ] {
        let folder = TempDir::new().unwrap();
        let layer = layer(&folder, &[(name, text)]);
        let options = ["--layer", layer.to_str().unwrap(), "--init-timeout", "2s"];
        try_deploy(&node, &path("hello-lambda"), "lambda", "it", &options).expect_error(&words);
    }
    node.stop();
}
