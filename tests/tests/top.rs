//! `sockhop top` without a terminal prints one reading of what the node does, and ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use harness::Node;

#[test]
fn one_reading_tells_what_runs_and_how_fast() {
    let node = Node::with(&["hello", "sleep", "panic"]);
    let stop = AtomicBool::new(false);
    let printed = thread::scope(|scope| {
        for target in ["/hello/", "/panic/"] {
            let (node, stop) = (&node, &stop);
            scope.spawn(move || {
                let mut connection = node.connect();
                while !stop.load(Ordering::Relaxed) {
                    connection.get(target);
                }
            });
        }
        let finished = node.cli(&["top"]);
        stop.store(true, Ordering::Relaxed);
        finished.expect_code(0).stdout
    });
    let line = |start: &str| {
        let found = printed.lines().find(|line| line.starts_with(start));
        found
            .unwrap_or_else(|| panic!("{start} is not in:\n{printed}"))
            .split_whitespace()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        line("FUNCTION"),
        ["FUNCTION", "REQ/S", "RUN", "QUEUED", "JOBS", "DEAD", "ERR%", "P50", "P99"]
    );
    let (hello, panic) = (line("hello"), line("panic"));
    assert!(hello[1].parse::<f64>().is_ok_and(|rate| rate > 1.0), "{printed}");
    assert_eq!((hello[6], panic[6]), ("0.0", "100.0"), "{printed}");
    assert!(["us", "ms", "s"].contains(&hello[8]), "{printed}");
    assert!(
        !printed.lines().any(|line| line.starts_with("sleep")),
        "it was never called: {printed}"
    );
    assert_eq!(
        printed.lines().filter(|line| line.contains(" shared ")).count(),
        node.status().workers.len()
    );
    assert!(printed.starts_with(&format!("sockhop {} ", node.pid())), "{printed}");
    assert!(!printed.contains('\u{1b}'), "nothing for a terminal: {printed:?}");
    node.stop();
}

#[test]
fn without_a_node_it_says_so() {
    let nobody = tempfile::TempDir::new().unwrap();
    let failed =
        harness::node::run(["top", "--data", nobody.path().to_str().unwrap()]).expect_code(1);
    assert!(failed.stderr.contains("no node answers") && failed.stdout.is_empty(), "{failed:?}");
}
