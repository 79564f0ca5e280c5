//! Runs the Prometheus of Debian: the server, which scrapes a node, and `promtool`, which checks
//! metrics. Owns the process and its folder.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Connection, request};
use crate::{Running, answer::Answer, wait};

const START: Duration = Duration::from_secs(60);

/// Returns the path of a program of Debian's package, which scripts/test has unpacked.
fn binary(name: &str) -> PathBuf {
    let named = std::env::var_os("SOCKHOP_TEST_PROMETHEUS").map(PathBuf::from);
    let cache = || std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache =
        || cache().or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let folder =
        named.or_else(|| Some(cache()?.join("sockhop/prometheus/usr/bin"))).expect("a home folder");
    let path = folder.join(name);
    assert!(path.is_file(), "{} is not there: run scripts/test, which installs it", path.display());
    path
}

/// Runs `promtool check metrics` on a text, and returns its output.
#[must_use]
pub fn promtool(metrics: &[u8]) -> Output {
    let mut command = Command::new(binary("promtool"));
    command
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool starts");
    child.stdin.take().expect("it is piped").write_all(metrics).expect("promtool reads");
    child.wait_with_output().expect("promtool ends")
}

/// A running server. When it is dropped it is killed and its folder is removed.
#[derive(Debug)]
pub struct Prometheus {
    // Before the folder, so that it ends first.
    _running: Running,
    address: SocketAddr,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts a server that scrapes `target` several times a second.
    #[must_use]
    pub fn scraping(target: SocketAddr) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let configuration = format!(
            "scrape_configs:\n  - job_name: sockhop\n    scrape_interval: 200ms\n    \
             scrape_timeout: 200ms\n    \
             static_configs:\n      - targets: [\"{target}\"]\n"
        );
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, configuration).expect("its folder is writable");
        let mut command = Command::new(binary("prometheus"));
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg("--web.listen-address=127.0.0.1:0");
        let running = Running::spawn(&mut command);
        let address = wait::until("Prometheus says where it listens", START, || {
            let stderr = running.stderr();
            let (_, address) = stderr.split_once("msg=\"Listening on\" address=")?;
            address.lines().next()?.parse().ok()
        });
        Self { _running: running, address, _folder: folder }
    }

    /// Returns the `data` in an answer of its API.
    #[must_use]
    pub fn get(&self, path: &str) -> Value {
        let mut connection = Connection::open(self.address);
        connection.send(request("GET", path, &[("connection", "close")], b""));
        let answer = Answer::read("GET", &connection.rest());
        let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        json["data"].clone()
    }
}
