//! Engine and workers are killed at every step that a deploy, a removal, a restore, and the
//! shipping of logs take in the bucket: before the server gets the request, and after it has done
//! it. At whichever step, the next engine and a new node read the store, serve the old version or
//! the new one, restore what was being removed, and find every invocation once. A proxy before the
//! server counts the steps and kills.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use harness::disk::spooled;
use harness::faults::{Fault, Proxy};
use harness::running::{kill_if_there, kill_now, records};
use harness::s3::Server;
use harness::{Node, guests, process, wait};
use serde_json::Value;
use tempfile::TempDir;

/// A limit that is higher than the number of steps.
const STEPS_MAX: usize = 60;
/// How long it may take until a worker that was killed is replaced, and a segment is shipped.
const SOON: Duration = Duration::from_secs(20);

/// Which processes are killed, and when.
#[derive(Debug, Clone, Copy)]
enum Killed {
    /// The engine, before the server gets the request.
    EngineBefore,
    /// The engine, after the server has done the step and before its answer arrives.
    EngineAfter,
    /// All workers, while the step is done.
    Workers,
}

const WAYS: [Killed; 3] = [Killed::EngineBefore, Killed::EngineAfter, Killed::Workers];

/// A bucket behind a proxy, and a folder for the node's data.
struct Place {
    server: Server,
    proxy: Proxy,
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let server = Server::s3s_fs();
        let proxy = Proxy::before(server.address());
        Self { server, proxy, folder: TempDir::new().unwrap() }
    }

    fn node_in(&self, folder: &Path) -> Node {
        Node::build().data(folder).bucket(&self.server, "walk", self.proxy.address()).start()
    }

    /// Starts the node that is killed.
    fn node(&self) -> Node {
        self.node_in(&self.folder.path().join("data"))
    }

    /// Kills as `way` says at the step of this number. The flag that is returned is set when it has
    /// happened.
    fn kill_at(
        &self,
        number: usize,
        way: Killed,
        node: &Node,
        is_step: impl Fn(&str) -> bool + Send + 'static,
    ) -> Arc<AtomicBool> {
        let done = Arc::new(AtomicBool::new(false));
        let engine = node.pid();
        let (mut steps, killing) = (0, Arc::clone(&done));
        self.proxy.plan(move |line| {
            if !is_step(line) {
                return Fault::None;
            }
            steps += 1;
            if steps - 1 != number {
                return Fault::None;
            }
            killing.store(true, SeqCst);
            match way {
                // A worker may be dead already, and may be reaped a moment after it was listed.
                Killed::Workers => process::descendants(engine).into_iter().for_each(kill_if_there),
                Killed::EngineBefore | Killed::EngineAfter => kill_now(engine),
            }
            match way {
                Killed::EngineBefore => Fault::Drop,
                Killed::EngineAfter => Fault::Lose,
                Killed::Workers => Fault::None,
            }
        });
        done
    }

    /// Waits for the end of a node whose engine was killed, and stops any other.
    fn end(&self, mut node: Node, way: Killed, killed: bool) {
        match way {
            Killed::EngineBefore | Killed::EngineAfter if killed => node.kill_engine(),
            _ => node.stop(),
        }
        self.proxy.always(Fault::None);
    }
}

/// Calls `step` with each number until there are no more steps: until it returns that the step was
/// not reached.
fn walk(way: Killed, mut step: impl FnMut(usize) -> bool) {
    let steps = (0..STEPS_MAX).find(|number| !step(*number)).unwrap();
    assert!(steps >= 2, "{way:?}: there are more steps than {steps}");
}

#[test]
fn a_deploy_leaves_the_old_version_or_the_new() {
    let place = Place::new();
    let deploy = |node: &Node, number: u64| {
        let (guest, version) = (guests::path("inspect"), format!("VERSION={number}"));
        node.cli(&[
            "deploy",
            guest.to_str().unwrap(),
            "--name",
            "it",
            "--previews",
            "--env",
            &version,
        ])
    };
    let first = place.node();
    deploy(&first, 1).expect_code(0);
    first.stop();
    let (mut active, mut last) = (1, 1);
    for way in WAYS {
        walk(way, |number| {
            let node = place.node();
            let killed = place.kill_at(number, way, &node, |line| {
                !line.starts_with("GET ") && !line.contains("/logs/")
            });
            last += 1;
            let deployed = deploy(&node, last).code == Some(0);
            let killed = killed.load(SeqCst);
            if let Killed::Workers = way {
                node.until_status("others take their place", SOON, |status| {
                    status.workers.iter().all(|worker| worker.state == "ready")
                });
            }
            place.end(node, way, killed);
            let look = |node: &Node| {
                let served = node.version_at("/it/");
                assert!(
                    served == last || (served == active && !deployed),
                    "{way:?} {number}: {served} of {last}"
                );
                let versions = node.cli(&["versions", "it", "--json"]).expect_code(0).stdout;
                for known in records(&versions).iter().take(3) {
                    node.version_at(&format!("/it@v{}/", known["number"]));
                }
                assert!(!node.stderr().contains("damaged"), "{}", node.stderr());
                served
            };
            let (again, elsewhere) = (place.node(), TempDir::new().unwrap());
            let new = place.node_in(elsewhere.path());
            let served = look(&again);
            assert_eq!(look(&new), served, "{way:?} {number}: every node serves the same");
            again.stop();
            new.stop();
            active = served;
            killed
        });
    }
}

#[test]
fn a_function_whose_removal_or_restoring_is_cut_short_is_there_or_is_restored() {
    let place = Place::new();
    let first = place.node();
    for version in ["VERSION=1", "VERSION=2"] {
        first.deploy("inspect", "it", &["--env", version, "--previews"]);
    }
    first.cli(&["alias", "set", "it@staging", "v1"]).expect_code(0);
    first.cli_with_stdin(&["secret", "set", "it", "KEY"], b"hush").expect_code(0);
    first.stop();
    let is_step = |line: &str| !line.starts_with("GET ") && !line.contains("/logs/");
    let way = Killed::EngineAfter;
    for command in ["remove", "restore"] {
        walk(way, |number| {
            let node = place.node();
            if command == "restore" {
                node.cli(&["remove", "it"]).expect_code(0);
            }
            let killed = place.kill_at(number, way, &node, is_step);
            let done = node.cli(&[command, "it"]).code == Some(0);
            let killed = killed.load(SeqCst);
            assert!(done || killed, "{command} {number}: {}", node.stderr());
            place.end(node, way, killed);

            let node = place.node();
            if node.get("/it/").status() == 404 {
                node.cli(&["restore", "it"]).expect_code(0);
            }
            assert_eq!(
                [node.version_at("/it/"), node.version_at("/it@staging/")],
                [2, 1],
                "{command} {number}"
            );
            assert_eq!(node.get("/it/").json()["environment"]["KEY"], "hush", "{command} {number}");
            assert!(!node.stderr().contains("damaged"), "{}", node.stderr());
            // A removal that was cut short is completed.
            node.cli(&["remove", "it"]).expect_code(0);
            node.get("/it@v1/").expect_problem(404);
            node.cli(&["restore", "it"]).expect_code(0);
            assert_eq!(
                [node.version_at("/it/"), node.version_at("/it@staging/")],
                [2, 1],
                "{command} {number}"
            );
            node.stop();
            killed
        });
    }
}

#[test]
fn shipping_loses_no_invocation_and_doubles_none() {
    let place = Place::new();
    let first = place.node();
    first.deploy("inspect", "it", &[]);
    first.stop();
    let mut ids: Vec<String> = Vec::new();
    for way in WAYS {
        walk(way, |number| {
            let node = place.node();
            let id = node.get("/it/").head.invocation_id().to_owned();
            wait::until("it is in the log", SOON, || {
                node.cli(&["logs", &id]).stdout.contains("200 ok").then_some(())
            });
            ids.push(id);
            let killed = place.kill_at(number, way, &node, |line| line.contains("/logs/"));
            // The segments of a dead worker are shipped at once.
            node.status().workers.iter().for_each(|worker| kill_now(worker.pid));
            let data = place.folder.path().join("data");
            wait::until("it is shipped, or comes to the step", SOON, || {
                (killed.load(SeqCst) || spooled(&data).is_empty()).then_some(())
            });
            let killed = killed.load(SeqCst);
            place.end(node, way, killed);
            let node = place.node();
            expect_each_once(&node, &ids);
            node.stop();
            assert!(spooled(&data).is_empty(), "a node that stops ships what there is");
            let elsewhere = TempDir::new().unwrap();
            let new = place.node_in(elsewhere.path());
            expect_each_once(&new, &ids);
            new.stop();
            killed
        });
    }
}

/// Checks that a node finds these invocations and no others, each once, with its two lines and its
/// record.
fn expect_each_once(node: &Node, ids: &[String]) {
    let printed = node.cli(&["logs", "it", "--json", "--limit", "1000"]).expect_code(0).stdout;
    let entries: Vec<Value> = printed.lines().map(|line| line.parse().unwrap()).collect();
    let recorded: Vec<[&str; 2]> = entries
        .iter()
        .map(|entry| ["kind", "invocation"].map(|key| entry[key].as_str().unwrap()))
        .collect();
    let expected: Vec<[&str; 2]> = ids
        .iter()
        .flat_map(|id| ["line", "line", "invocation"].map(|kind| [kind, id.as_str()]))
        .collect();
    assert_eq!(recorded, expected, "{printed}");
    assert!(
        node.cli(&["logs", ids.last().unwrap()]).expect_code(0).stdout.contains("it  200 ok in ")
    );
}
