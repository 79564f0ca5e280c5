//! As many invocations as `SOCKHOP_TEST_LOGS` says (20,000 by default; 1,000,000 is a full run),
//! with a line each, as fast as possible. Afterwards all of them are counted, some are found by
//! their ids, and the node's memory has stayed bounded.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use harness::disk::spooled;
use harness::node::sockhop;
use harness::{Node, wait};
use serde_json::Value;

/// The number of invocations without the variable.
const INVOCATIONS: usize = 20_000;
/// The number of clients, each on a connection of its own.
const CLIENTS: usize = 16;
/// Of all ids, so many are looked up one by one in a run of 1,000,000; of each client's, one in as
/// many at least as ...
const LOOK_UPS: usize = 1000;
/// ... this.
const STEP_MIN: usize = 200;
/// How long it may take until all are found: counting 1,000,000 takes minutes on a busy machine.
const FOUND: Duration = Duration::from_secs(600);
/// How much the engine's memory may grow: a page of an answer, a segment that is shipped, and what
/// the allocator keeps.
const ENGINE_BYTES_MAX: u64 = 200 * 1024 * 1024;

/// Returns the resident memory of a process.
fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Invokes the function `times` times, and returns some of the ids, evenly spread.
fn invoke(node: &Node, times: usize) -> Vec<String> {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let (mut connection, mut ids) = (node.connect(), Vec::new());
                    let times = times / CLIENTS;
                    let step = (times * CLIENTS / LOOK_UPS).max(STEP_MIN);
                    for at in 0..times {
                        let reply = connection.get("/line/");
                        assert_eq!(reply.status(), 200);
                        if at % step == 0 {
                            ids.push(reply.head.invocation_id().to_owned());
                        }
                    }
                    ids
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

/// Returns the number of lines of `logs line --since 1h`, and how many of them are summaries. The
/// lines are not kept in memory.
fn count(node: &Node) -> (usize, usize) {
    let mut command = sockhop();
    command.args(["logs", "line", "--since", "1h", "--data"]).arg(node.data());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let (mut lines, mut summaries, mut before) = (0, 0, String::new());
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let time = line.split(' ').next().unwrap().to_owned();
        assert!(time >= before, "{time} behind {before}");
        before = time;
        if line.contains("  stdout  a line of the log") {
            lines += 1;
        } else if line.contains("  200 ok in ") {
            summaries += 1;
        } else if !line.contains(" after its reply, ") {
            panic!("{line}");
        }
    }
    assert!(child.wait().unwrap().success());
    (lines, summaries)
}

#[test]
fn every_invocation_is_found_by_count_and_any_by_its_id() {
    let wanted =
        std::env::var("SOCKHOP_TEST_LOGS").map_or(INVOCATIONS, |text| text.parse().unwrap());
    let node = Node::build().option("--guest-log", "off").start();
    node.deploy("line", "line", &[]);
    let before = memory(node.pid());
    let start = Instant::now();
    let ids = invoke(&node, wanted);
    let times = wanted / CLIENTS * CLIENTS;
    eprintln!("{times} invocations in {:?}", start.elapsed());
    // Counted before much is shipped, and when everything is.
    wait::for_value(
        "all are found while they are written",
        FOUND,
        || count(&node),
        |found| *found == (times, times),
    );
    wait::for_value("all is shipped", FOUND, || spooled(node.data()), Vec::is_empty);
    let start = Instant::now();
    assert_eq!(count(&node), (times, times));
    eprintln!("counted in {:?}", start.elapsed());
    let mut took: Vec<Duration> = ids
        .iter()
        .map(|id| {
            let start = Instant::now();
            let found = node.cli(&["logs", id, "--json"]).expect_code(0).stdout;
            let found: Value = serde_json::from_str(&found).unwrap();
            let lines = found["lines"].as_array().unwrap();
            assert_eq!(
                (lines.len(), &lines[0]["text"]),
                (1, &"a line of the log".into()),
                "{found:#}"
            );
            assert_eq!(found["record"]["status"], 200, "{found:#}");
            start.elapsed()
        })
        .collect();
    took.sort_unstable();
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    let grown = memory(node.pid()).saturating_sub(before);
    eprintln!(
        "{} look-ups: median {median:?}, longest {longest:?}; the engine has grown by {grown} \
         bytes",
        took.len()
    );
    assert!(grown < ENGINE_BYTES_MAX, "{grown}");
    node.stop();
}
