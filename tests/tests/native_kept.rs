//! `--processes-min`: so many processes of a native function run whether or not anybody calls it,
//! from its deploy on, over whatever happens to them, to its worker and to the node.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::native::{at_once, deploy, path, post_json, programs, try_deploy, worker};
use harness::{Node, process, running, wait};
use serde_json::json;
use tempfile::TempDir;

/// How long something may take that takes a second on an idle machine.
const SOON: Duration = Duration::from_secs(20);

fn bootstraps(node: &Node) -> BTreeSet<u32> {
    let running = programs(node).into_iter().filter(|(_, name)| name == "bootstrap");
    running.map(|(pid, _)| pid).collect()
}

#[track_caller]
fn until_running(node: &Node, count: usize) -> BTreeSet<u32> {
    let what = format!("{count} processes run");
    wait::for_value(&what, SOON, || bootstraps(node), |running| running.len() == count)
}

/// Deploys `lambda-events`, of which so many processes are kept.
fn deploy_kept(node: &Node, kept: &str, options: &[&str]) {
    let own = ["--processes", "4", "--processes-min", kept, "--process-idle", "300ms"];
    deploy(node, "lambda-events", "lambda", "kept", &[&own[..], options].concat());
}

#[test]
fn they_run_without_a_request_and_stay_when_it_has_nothing_to_do() {
    let node = Node::build().option("--own-worker-idle-timeout", "500ms").start();
    deploy_kept(&node, "2", &[]);
    let kept = until_running(&node, 2);
    let same = || bootstraps(&node) == kept;
    wait::throughout("they stay", Duration::from_secs(3), same);
    // A first request waits for no start.
    assert_eq!(post_json(&node, "/kept/", &json!({ "a": 1 })).status(), 200);
    let asked = json!({ "sleep_ms": 2000, "pid": true });
    at_once(4, |_| assert_eq!(post_json(&node, "/kept/", &asked).status(), 200));
    until_running(&node, 2);
    node.stop();
}

#[test]
fn another_one_comes_for_one_that_is_killed_and_for_all_of_a_killed_worker() {
    let node = Node::start();
    deploy_kept(&node, "2", &[]);
    let before = until_running(&node, 2);
    let killed = *before.first().unwrap();
    running::kill_now(killed);
    wait::until("it is gone", SOON, || (!process::alive(killed)).then_some(()));
    until_running(&node, 2);
    let own = worker(&node, "kept");
    let before = until_running(&node, 2);
    running::kill_now(own);
    let others = |running: &BTreeSet<u32>| running.len() == 2 && running.is_disjoint(&before);
    wait::for_value("others run", SOON, || bootstraps(&node), others);
    node.stop();
}

#[test]
fn they_run_again_when_the_node_does() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let node = Node::build().data(&data).start();
    deploy_kept(&node, "2", &[]);
    until_running(&node, 2);
    node.stop();
    let node = Node::build().data(&data).start();
    until_running(&node, 2);
    let before = bootstraps(&node);
    let node = node.taken_over();
    let others = |running: &BTreeSet<u32>| running.len() == 2 && running.is_disjoint(&before);
    wait::for_value("those of the new node run", SOON, || bootstraps(&node), others);
    node.stop();
}

#[test]
fn another_version_has_its_own_and_one_without_ends_them() {
    let node = Node::start();
    deploy_kept(&node, "2", &[]);
    let before = until_running(&node, 2);
    deploy_kept(&node, "2", &["--env", "COLOUR=green"]);
    let others = |running: &BTreeSet<u32>| running.len() == 2 && running.is_disjoint(&before);
    wait::for_value("those of the new version run", SOON, || bootstraps(&node), others);
    deploy_kept(&node, "0", &[]);
    until_running(&node, 0);
    deploy_kept(&node, "2", &[]);
    until_running(&node, 2);
    node.cli(&["remove", "kept"]).expect_code(0);
    until_running(&node, 0);
    node.stop();
}

#[test]
fn more_than_there_may_be_are_refused_and_those_that_fail_are_tried_again_with_pauses() {
    let node = Node::start();
    let options = ["--processes", "2", "--processes-min", "3"];
    try_deploy(&node, &path("hello-lambda"), "lambda", "more", &options)
        .expect_error(&["processes-min"]);
    deploy_kept(&node, "2", &["--env", "INIT_EXIT=7", "--no-trial"]);
    // The last words stand for a start each: with pauses of 100, 200, 400, ... ms.
    wait::until("it was tried", SOON, || {
        node.stderr().contains("last words of the init").then_some(())
    });
    wait::throughout("it is not tried all the time", Duration::from_secs(3), || {
        node.stderr().matches("it ended before it asked for its first event").count() <= 24
    });
    node.stop();
}
