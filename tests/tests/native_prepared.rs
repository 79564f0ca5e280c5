//! A native function that is called keeps a sandbox ready, in which no program is executed yet: the
//! next start executes one there. It is of one version with one set of secrets, and nothing of it
//! outlives what it is for.

use std::fs;
use std::time::Duration;

use harness::native::{at_once, cgroups_of, deploy, post_json, programs_of, worker};
use harness::{Node, process, running, wait};
use serde_json::json;

/// How long something may take that takes a second on an idle machine.
const SOON: Duration = Duration::from_secs(20);
const NAME: &str = "lambda-events";

/// Deploys `lambda-events`, whose processes end soon, and calls it once.
fn deploy_and_call(node: &Node, options: &[&str]) {
    let own = ["--process-idle", "200ms"];
    deploy(node, NAME, "lambda", NAME, &[&own[..], options].concat());
    call(node);
}

fn call(node: &Node) {
    assert_eq!(post_json(node, "/lambda-events/", &json!({ "a": 1 })).status(), 200);
}

fn variable(node: &Node, name: &str) -> String {
    let reply = post_json(node, "/lambda-events/", &json!({ "env": true }));
    reply.json()[name].as_str().unwrap_or_default().to_owned()
}

/// Returns the processes of the function that wait to execute a program: those below an init that
/// go by its name still.
fn waiting(node: &Node) -> Vec<u32> {
    let name = |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let spawners = process::children(worker(node, NAME));
    let inits = spawners.into_iter().flat_map(process::children);
    let below =
        inits.flat_map(|init| process::children(init).into_iter().map(move |at| (init, at)));
    let waiting = below.filter(|(init, pid)| process::alive(*pid) && name(*pid) == name(*init));
    waiting.map(|(_, pid)| pid).collect()
}

/// Waits until no program runs and one process waits, other than `before`. Returns it.
#[track_caller]
fn until_one_waits(node: &Node, before: Option<u32>) -> u32 {
    let found = wait::for_value(
        "it has scaled to zero, and a process waits",
        SOON,
        || (programs_of(node, NAME, "bootstrap"), waiting(node)),
        |(programs, waiting)| {
            programs.is_empty() && waiting.len() == 1 && Some(waiting[0]) != before
        },
    );
    found.1[0]
}

#[track_caller]
fn until_gone(pid: u32) {
    wait::until("it is gone", SOON, || (!process::alive(pid)).then_some(()));
}

#[test]
fn the_next_call_executes_the_program_in_the_process_that_waits() {
    let node = Node::start();
    deploy_and_call(&node, &["--processes", "3"]);
    let first = until_one_waits(&node, None);
    let running = at_once(2, |at| match at {
        0 => {
            let asked = json!({ "sleep_ms": 1500 });
            assert_eq!(post_json(&node, "/lambda-events/", &asked).status(), 200);
            Vec::new()
        }
        _ => wait::for_value(
            "it runs",
            SOON,
            || programs_of(&node, NAME, "bootstrap"),
            |running| !running.is_empty(),
        ),
    });
    assert_eq!(running.concat(), [first]);
    let second = until_one_waits(&node, Some(first));
    call(&node);
    until_one_waits(&node, Some(second));
    node.stop();
}

#[test]
fn another_version_and_other_secrets_let_it_go() {
    let node = Node::start();
    deploy_and_call(&node, &["--env", "COLOUR=red"]);
    let of_the_first = until_one_waits(&node, None);
    deploy(&node, NAME, "lambda", NAME, &["--process-idle", "200ms", "--env", "COLOUR=green"]);
    until_gone(of_the_first);
    assert_eq!(variable(&node, "COLOUR"), "green");
    let of_the_second = until_one_waits(&node, None);
    node.cli_with_stdin(&["secret", "set", NAME, "KEY"], b"one").expect_code(0);
    until_gone(of_the_second);
    assert_eq!(variable(&node, "KEY"), "one");
    let with_a_secret = until_one_waits(&node, None);
    node.cli_with_stdin(&["secret", "set", NAME, "KEY"], b"two").expect_code(0);
    until_gone(with_a_secret);
    assert_eq!(variable(&node, "KEY"), "two");
    let of_the_third = until_one_waits(&node, None);
    assert_eq!(variable(&node, "KEY"), "two");
    let last = until_one_waits(&node, Some(of_the_third));
    node.cli(&["remove", NAME]).expect_code(0);
    until_gone(last);
    node.stop();
}

#[test]
fn one_that_is_killed_is_no_failure_of_the_function() {
    let node = Node::start();
    deploy_and_call(&node, &[]);
    let mut before = None;
    for killed_is_init in [false, true, false, true] {
        let waits = until_one_waits(&node, before);
        before = Some(waits);
        let init = process::descendants(worker(&node, NAME))
            .into_iter()
            .find(|pid| process::children(*pid).contains(&waits))
            .unwrap();
        let killed = if killed_is_init { init } else { waits };
        running::kill_now(killed);
        // It may be chosen for this call before anybody knows of its end.
        call(&node);
    }
    assert!(!node.stderr().contains("a process of function"), "{}", node.stderr());
    node.stop();
}

#[test]
fn one_that_is_killed_is_replaced() {
    let node = Node::start();
    deploy_and_call(&node, &[]);
    let waits = until_one_waits(&node, None);
    running::kill_now(waits);
    until_one_waits(&node, Some(waits));
    node.stop();
}

#[test]
fn the_time_to_start_begins_when_the_program_is_executed() {
    let node = Node::start();
    deploy_and_call(&node, &["--init-timeout", "2s", "--env", "INIT_SLEEP_MS=1000"]);
    let waits = until_one_waits(&node, None);
    wait::throughout("it waits", Duration::from_millis(2500), || waiting(&node) == [waits]);
    call(&node);
    node.stop();
}

#[test]
fn it_goes_with_its_worker_and_leaves_nothing() {
    for (level, kills) in [("full", false), ("full", true), ("basic", false), ("basic", true)] {
        let node = Node::build()
            .option("--native-sandbox", level)
            .option("--own-worker-idle-timeout", "10s")
            .start();
        deploy_and_call(&node, &[]);
        until_one_waits(&node, None);
        let own = worker(&node, NAME);
        let below = process::descendants(own);
        match kills {
            true => running::kill_now(own),
            false => until_gone(own),
        }
        below.iter().for_each(|pid| until_gone(*pid));
        wait::for_value("its cgroups are gone", SOON, || cgroups_of(&below), |all| all.is_empty());
        call(&node);
        node.stop();
    }
}
