//! Proposals of WebAssembly that need a heap beside the memory: garbage collection and exceptions,
//! in every kind of function.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::time::{Duration, Instant};

use harness::{Node, guests, process, wait, wat};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);
const MIB: u64 = 1024 * 1024;

/// A node with one worker and `hello`, and a folder for files to deploy.
struct Place {
    node: Node,
    files: TempDir,
}

impl Place {
    fn new() -> Self {
        let cores = harness::node::two_cores();
        let core = cores.split(['-', ',']).next().unwrap_or("0").to_owned();
        let node = Node::build().option("--cores", core).start();
        node.deploy("hello", "hello", &[]);
        node.get("/hello/").expect_hello();
        Self { node, files: TempDir::new().unwrap() }
    }

    fn try_deploy(&self, name: &str, content: &[u8], options: &[&str]) -> harness::Finished {
        let file = self.files.path().join(format!("{name}.wasm"));
        fs::write(&file, content).unwrap();
        self.node.cli(&[&["deploy", file.to_str().unwrap(), "--name", name], options].concat())
    }

    fn deploy(&self, name: &str, content: &[u8], options: &[&str]) {
        self.try_deploy(name, content, options).expect_code(0);
    }

    fn worker(&self) -> u32 {
        self.node.status().workers[0].pid
    }

    /// Waits until the function's log has `words`, and returns the log.
    fn log_with(&self, name: &str, words: &str) -> String {
        wait::until(words, SOON, || {
            let log = self.node.cli(&["logs", name]).stdout;
            log.contains(words).then_some(log)
        })
    }

    /// Returns the outcome in the record of the function's last invocation.
    fn outcome(&self, name: &str) -> String {
        let printed = self.node.cli(&["logs", name, "--json"]).expect_code(0).stdout;
        let records = harness::running::records(&printed);
        let mut outcomes = records.iter().filter_map(|record| record["outcome"].as_str());
        outcomes.next_back().unwrap_or_default().to_owned()
    }
}

fn component(name: &str) -> Vec<u8> {
    fs::read(guests::path(name)).unwrap()
}

#[test]
fn objects_and_exceptions_are_there_for_functions_of_every_kind() {
    let place = Place::new();
    for program in ["objects", "exceptions"] {
        place.deploy("core", &wat::command(program), &[]);
        for _ in 0..5 {
            assert_eq!(place.node.get("/core/").text(), "200", "{program}");
        }
        for handler in [wat::handler_02(program), wat::handler_03(program)] {
            for options in [&["--instances", "fresh"][..], &["--instances", "reuse=3"]] {
                place.deploy("handler", &handler, options);
                for _ in 0..8 {
                    assert_eq!(place.node.get("/handler/").status(), 200, "{program} {options:?}");
                }
            }
        }
        // Components of all kinds. Instances of handlers are made ready before a request.
        for name in ["hello", "hello-p3", "cmd"] {
            place.deploy("with", &wat::started_in(&component(name), program), &[]);
            for _ in 0..5 {
                place.node.get("/with/").expect_hello();
            }
        }
        let alone = ["--isolation", "process"];
        place.deploy("alone", &wat::handler_02(program), &alone);
        assert_eq!(place.node.get("/alone/").status(), 200, "{program}");
    }
    place.node.stop();
}

#[test]
fn a_heap_is_part_of_the_memory_that_a_function_may_have() {
    const MAY_GROW_BYTES: u64 = 64 * MIB;
    let place = Place::new();
    let pid = place.worker();
    let limit = ["--memory", "16MiB", "--no-trial"];
    place.deploy("core", &wat::command("hoard"), &limit);
    place.deploy("handler", &wat::handler_02("hoard"), &limit);
    let reuse = [&limit[..], &["--instances", "reuse=100"]].concat();
    place.deploy("reused", &wat::handler_02("hoard"), &reuse);
    place.deploy("p3", &wat::handler_03("hoard"), &limit);
    let before = process::resident(pid);
    for name in ["core", "handler", "reused", "p3"] {
        for _ in 0..10 {
            let detail = place.node.get(&format!("/{name}/")).expect_problem(500);
            let limit = "ran into its memory limit of 16777216 bytes";
            assert!(detail.contains(limit), "{name}: {detail}");
            place.node.get("/hello/").expect_hello();
        }
        place.log_with(name, "ran into its memory limit");
        assert_eq!(place.outcome(name), "memory", "{name}");
    }
    let grown = process::resident(pid).saturating_sub(before);
    assert!(grown < MAY_GROW_BYTES, "the worker has grown by {grown} bytes");
    // A heap begins with 512 KiB. A deploy with a lower limit fails, and so does one whose start
    // code needs more.
    let refused = place.try_deploy("small", &wat::handler_02("objects"), &["--memory", "256KiB"]);
    refused.expect_error(&["more than its --memory of 262144 bytes"]);
    for name in ["hello", "hello-p3", "cmd"] {
        let file = wat::started_in(&component(name), "hoard");
        let refused = place.try_deploy("start", &file, &["--memory", "16MiB"]);
        refused.expect_error(&["more than its --memory of 16777216 bytes"]);
    }
    assert_eq!(place.worker(), pid, "the worker was not killed");
    place.node.stop();
}

/// Garbage is collected, rings of objects too. What an instance keeps adds up until it fails, and
/// is freed with it.
#[test]
fn an_instance_that_is_used_again_keeps_no_garbage() {
    let place = Place::new();
    let pid = place.worker();
    let reuse = ["--memory", "32MiB", "--instances", "reuse=1000", "--no-trial"];
    place.deploy("objects", &wat::handler_02("objects"), &reuse);
    place.deploy("keep", &wat::handler_02("keep"), &reuse);
    let mut connection = place.node.connect();
    for _ in 0..50 {
        assert_eq!(connection.get("/objects/").status(), 200);
    }
    let before = process::resident(pid);
    let (mut failed, mut last) = (0, 200);
    for at in 0..50 {
        let reply = connection.get("/keep/");
        if reply.status() != 200 {
            assert!(reply.expect_problem(500).contains("memory limit"), "request {at}");
            assert_eq!(last, 200, "request {at} had a fresh instance");
            failed += 1;
        }
        last = reply.status();
    }
    assert!((2..15).contains(&failed), "{failed} of 50 failed");
    let grown = process::resident(pid).saturating_sub(before);
    assert!(grown < 96 * MIB, "the worker has grown by {grown} bytes");
    assert_eq!(place.worker(), pid, "the worker was not killed");
    place.node.stop();
}

#[test]
fn an_exception_that_nothing_catches_is_a_trap_whose_reason_is_in_the_log() {
    let place = Place::new();
    let threw = "it threw an exception that nothing caught";
    for (program, reason) in [("uncaught", threw), ("deep", "call stack exhausted")] {
        place.deploy("core", &wat::command(program), &["--no-trial"]);
        place.deploy("handler", &wat::handler_02(program), &["--no-trial"]);
        place.deploy("p3", &wat::handler_03(program), &["--no-trial"]);
        for name in ["core", "handler", "p3"] {
            let detail = place.node.get(&format!("/{name}/")).expect_problem(500);
            assert!(detail.contains("trapped"), "{program}: {detail}");
            assert!(!detail.contains("exception"), "{program}: {detail}");
            place.log_with(name, &format!("trap: {reason}"));
            assert_eq!(place.outcome(name), "trap", "{program} in {name}");
        }
        for name in ["hello", "hello-p3", "cmd"] {
            let file = wat::started_in(&component(name), program);
            let refused = place.try_deploy("with", &file, &[]);
            refused.expect_error(&[reason]);
        }
        place.node.get("/hello/").expect_hello();
    }
    let log = place.log_with("core", "call stack exhausted");
    assert!(log.contains("thrower"), "the frames of what was thrown: {log}");
    place.node.stop();
}

#[test]
fn a_guest_that_collects_and_throws_without_end_lets_others_run_and_is_ended_by_its_limit() {
    let place = Place::new();
    let pid = place.worker();
    let limits = ["--timeout", "10s", "--cpu-time", "2s", "--no-trial"];
    place.deploy("core", &wat::command("forever"), &limits);
    place.deploy("handler", &wat::handler_02("forever"), &limits);
    place.deploy("p3", &wat::handler_03("forever"), &limits);
    for name in ["core", "handler", "p3"] {
        let mut connection = place.node.connect();
        connection.send(harness::client::head("GET", &format!("/{name}/"), &[]));
        let (mut hello, mut served, began) = (place.node.connect(), 0, Instant::now());
        while began.elapsed() < Duration::from_secs(1) {
            hello.get("/hello/").expect_hello();
            served += 1;
        }
        assert!(served >= 20, "{name}: {served} others were served meanwhile");
        let detail = connection.reply().expect_problem(504);
        assert!(detail.contains("processor time"), "{name}: {detail}");
    }
    assert_eq!(place.worker(), pid, "the worker was not killed");
    place.node.stop();
}
