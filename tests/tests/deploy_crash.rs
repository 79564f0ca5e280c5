//! An engine that is killed in the middle of deploys leaves a store that the next one can read:
//! versions whose deploy has returned are served, and no version is incomplete.
//! (`killed_at_every_step.rs` and the engine's own tests go through the steps one by one.)

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use harness::node::run;
use harness::running::records;
use harness::{Node, guests, wait};
use tempfile::TempDir;

/// The number of moments at which the engine is killed.
const ROUNDS: u32 = 16;

#[test]
fn an_engine_killed_at_any_moment_of_a_deploy_leaves_a_store_that_is_whole() {
    let data = TempDir::new().unwrap();
    let (path, guest) = (data.path().to_str().unwrap(), guests::path("inspect"));
    let guest = guest.to_str().unwrap();
    let deploy = |number: u64| {
        let version = format!("VERSION={number}");
        run(["deploy", "--data", path, guest, "--name", "it", "--previews", "--env", &version])
    };
    let (mut begun, mut promised) = (1, 1);
    let node = Node::build().data(data.path()).start();
    deploy(1).expect_code(0);
    node.stop();
    for round in 0..ROUNDS {
        let mut node = Node::build().data(data.path()).start();
        let (next, done) = (AtomicU64::new(begun), AtomicU64::new(promised));
        thread::scope(|scope| {
            let deploys = scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, SeqCst) + 1;
                    if deploy(number).code != Some(0) {
                        return;
                    }
                    done.store(number, SeqCst);
                }
            });
            wait::until("a deploy has begun", Duration::from_secs(10), || {
                (next.load(SeqCst) > begun).then_some(())
            });
            // This waits for nothing: it chooses the moment, a different one each round.
            thread::sleep(Duration::from_millis(u64::from(round) * 13));
            node.kill_engine();
            deploys.join().unwrap();
        });
        (begun, promised) = (next.load(SeqCst), done.load(SeqCst));
        let node = Node::build().data(data.path()).start();
        let active = node.version_at("/it/");
        assert!(
            (promised..=begun).contains(&active),
            "{active} is active, of {promised} promised and {begun} begun"
        );
        let versions = records(&node.cli(&["versions", "it", "--json"]).expect_code(0).stdout);
        let mut numbers: Vec<u64> =
            versions.iter().map(|version| version["number"].as_u64().unwrap()).collect();
        assert!(numbers.is_sorted_by(|one, other| one > other), "each number once: {numbers:?}");
        numbers.truncate(3);
        for number in numbers {
            node.version_at(&format!("/it@v{number}/"));
        }
        assert!(!node.stderr().contains("damaged"), "{}", node.stderr());
        node.stop();
        promised = active;
    }
}
