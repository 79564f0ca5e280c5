//! A node whose stderr nobody reads goes on: a line that it cannot write delays no request, no
//! deploy and not the supervisor.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use harness::running::kill_now;
use harness::status::Status;
use harness::{Connection, guests, node, process, wait};
use nix::sys::signal::Signal;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

/// Kills the node when the test ends, also if it fails.
struct Unread(Child);

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn cli(data: &Path, arguments: &[&str]) -> String {
    let data = data.to_str().unwrap();
    node::run(arguments[..1].iter().chain(&["--data", data]).chain(&arguments[1..]))
        .expect_code(0)
        .stdout
}

#[test]
fn a_node_whose_stderr_is_full_serves_deploys_replaces_workers_and_ends() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let mut command = node::sockhop();
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--cores",
        &node::two_cores(),
        "--guest-log",
        "stderr",
    ]);
    command.arg("--data").arg(&data);
    let mut node = Unread(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut ready = String::new();
    BufReader::new(node.0.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let address: SocketAddr =
        ready.trim_end().strip_prefix("ready http://").unwrap().parse().unwrap();
    let inspect = guests::path("inspect");
    let inspect = inspect.to_str().unwrap();
    cli(&data, &["deploy", inspect, "--name", "it"]);

    // Its guest writes two lines for each: a pipe holds 64 KiB, the workers' queues 4,096 lines
    // each.
    let mut connections: Vec<Connection> = (0..8).map(|_| Connection::open(address)).collect();
    for request in 0..12_000 {
        assert_eq!(connections[request % 8].get("/it/").status(), 200);
    }
    let status = || -> Status { serde_json::from_str(&cli(&data, &["status", "--json"])).unwrap() };
    for _ in 0..3 {
        let victim = status().workers[0].pid;
        kill_now(victim);
        let back =
            |status: &Status| status.workers[0].state == "ready" && status.workers[0].pid != victim;
        wait::for_value("the worker is replaced", SOON, status, back);
    }
    cli(&data, &["deploy", inspect, "--name", "another"]);
    assert_eq!(Connection::open(address).get("/another/").status(), 200);
    drop(connections);
    process::signal(node.0.id(), Signal::SIGTERM);
    let ended = wait::until("it ends", SOON, || node.0.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0), "{ended}");
}
