//! Starts real servers of NATS, which nodes keep state and their turns in: one, or a cluster of
//! three. Each is a process with a folder of its own, which is removed with it.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::pebble::free_port;
use crate::running::Running;
use crate::wait;

/// The oldest version that nodes take.
pub const FLOOR: &str = "2.14.0";
/// The newest that there is.
pub const NEWEST: &str = "2.15.1";

/// How long a server may take to listen on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(60);
/// How long a cluster may take to choose who leads.
const ELECTION: Duration = Duration::from_secs(60);

/// A server. When it is dropped it is killed and its folder is removed.
#[derive(Debug)]
pub struct Server {
    /// None while it was killed.
    running: Option<Running>,
    program: PathBuf,
    /// All that its file says, but for its port.
    config: String,
    /// Its clients' port, which it has again when it is started again.
    port: Option<u16>,
    folder: TempDir,
}

/// Returns the program of this version, in the folder that `SOCKHOP_TEST_NATS` names.
fn program(version: &str) -> PathBuf {
    let named = std::env::var_os("SOCKHOP_TEST_NATS").map(PathBuf::from);
    let folder = named.expect("SOCKHOP_TEST_NATS names the folder of NATS: run scripts/test");
    let path = folder.join(version).join("bin/nats-server");
    assert!(path.is_file(), "{} is not there: run scripts/test", path.display());
    path
}

impl Server {
    /// Starts one of the newest version.
    #[must_use]
    pub fn start() -> Self {
        Self::of_version(NEWEST)
    }

    /// Starts one of this version.
    #[must_use]
    pub fn of_version(version: &str) -> Self {
        Self::with(version, "")
    }

    /// Starts one of this version, whose file says this, too.
    #[must_use]
    pub fn with(version: &str, config: &str) -> Self {
        let mut server = Self::prepared(version, config);
        server.launch();
        server
    }

    /// Starts one that listens on this port.
    #[must_use]
    pub fn on_port(port: u16) -> Self {
        let mut server = Self::prepared(NEWEST, "");
        server.port = Some(port);
        server.launch();
        server
    }

    /// Starts one that keeps nothing.
    #[must_use]
    pub fn without_jetstream() -> Self {
        let mut server = Self::prepared(NEWEST, "");
        server.config = server.config.lines().filter(|line| !line.contains("jetstream")).collect();
        server.launch();
        server
    }

    fn prepared(version: &str, config: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let root = folder.path().display();
        let config = format!(
            "ports_file_dir: \"{root}\"\njetstream: {{ store_dir: \"{root}/store\" }}\n{config}\n"
        );
        Self { running: None, program: program(version), config, port: None, folder }
    }

    fn launch(&mut self) {
        let file = self.folder.path().join("nats.conf");
        let port = self.port.map_or(-1, i32::from);
        let text = format!("listen: \"127.0.0.1:{port}\"\n{}", self.config);
        fs::write(&file, text).expect("room for a file");
        let mut running = Running::spawn(Command::new(&self.program).arg("-c").arg(&file));
        let ports = self.folder.path().join(format!("nats-server_{}.ports", running.pid()));
        self.port = wait::until("the NATS server listens", START, || {
            assert!(running.exited().is_none(), "it ended: {}", running.stderr());
            let ports: Value = serde_json::from_slice(&fs::read(&ports).ok()?).ok()?;
            let port = ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()?;
            TcpStream::connect(("127.0.0.1", port)).ok()?;
            Some(Some(port))
        });
        self.running = Some(running);
    }

    /// Returns its address for `--nats`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port())
    }

    /// Returns its clients' port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.expect("it was started")
    }

    /// Returns its folder, for files of a test.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills it, which has no chance to clean up.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.signal(Signal::SIGKILL);
            running.wait_exit(START);
        }
    }

    /// Has it stand still, with its connections open, or go on.
    pub fn freeze(&mut self, is_frozen: bool) {
        let signal = if is_frozen { Signal::SIGSTOP } else { Signal::SIGCONT };
        if let Some(running) = &mut self.running {
            running.signal(signal);
        }
    }

    /// Starts it again on what it has kept.
    pub fn restart(&mut self) {
        self.kill();
        self.launch();
    }

    /// Asks JetStream's API, and returns the answer, if there is one.
    #[must_use]
    pub fn api(&self, subject: &str, body: &str) -> Option<Value> {
        let stream = TcpStream::connect(("127.0.0.1", self.port())).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let (mut writer, mut reader) = (stream.try_clone().ok()?, BufReader::new(stream));
        let options = "{\"verbose\":false,\"headers\":true,\"no_responders\":true}";
        let length = body.len();
        write!(
            writer,
            "CONNECT {options}\r\nSUB _INBOX.test 1\r\nPUB $JS.API.{subject} _INBOX.test {length}\r\n{body}\r\n"
        )
        .ok()?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
            if line.starts_with("PING") {
                writer.write_all(b"PONG\r\n").ok()?;
            } else if line.starts_with("MSG ") {
                let length: usize = line.split_whitespace().last()?.parse().ok()?;
                let mut answer = vec![0; length];
                reader.read_exact(&mut answer).ok()?;
                return serde_json::from_slice(&answer).ok();
            } else if line.starts_with("HMSG ") {
                return None;
            }
        }
    }
}

/// A cluster of three.
#[derive(Debug)]
pub struct Cluster(pub Vec<Server>);

impl Cluster {
    /// Starts it, and waits until it has chosen who leads.
    #[must_use]
    pub fn start() -> Self {
        let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let mut routes = String::new();
        for port in &ports {
            let _ = write!(routes, "\"nats-route://127.0.0.1:{port}\", ");
        }
        let prepared = |(at, port): (usize, &u16)| {
            let config = format!(
                "server_name: s{at}\ncluster {{ name: tests, listen: \"127.0.0.1:{port}\", routes: [{routes}] }}"
            );
            let mut server = Server::prepared(NEWEST, &config);
            server.launch();
            server
        };
        let cluster = Self(ports.iter().enumerate().map(prepared).collect());
        wait::until("the cluster has a leader", ELECTION, || {
            let found = cluster.0[0].api("STREAM.NAMES", "{}")?;
            found.get("error").is_none().then_some(())
        });
        cluster
    }

    /// Returns the addresses of all for `--nats`.
    #[must_use]
    pub fn urls(&self) -> String {
        self.0.iter().map(Server::url).collect::<Vec<_>>().join(",")
    }

    /// Returns which server leads this bucket.
    #[must_use]
    pub fn leader(&self, bucket: &str) -> usize {
        wait::until("the bucket has a leader", ELECTION, || {
            let running = self.0.iter().find(|server| server.running.is_some())?;
            let info = running.api(&format!("STREAM.INFO.KV_{bucket}"), "{}")?;
            let name = info["cluster"]["leader"].as_str()?;
            name.strip_prefix('s')?.parse().ok()
        })
    }
}

thread_local! {
    /// The server of a test whose nodes keep state in NATS. It ends with the test's thread.
    static OF_THIS_TEST: Option<Server> = match std::env::var("SOCKHOP_TEST_STATE").as_deref() {
        Err(_) | Ok("local") => None,
        Ok("nats") => Some(Server::start()),
        Ok(other) => panic!("SOCKHOP_TEST_STATE is {other:?}; expected local or nats"),
    };
}

/// Returns the options of `serve` that `SOCKHOP_TEST_STATE` asks for: with `nats` state is in NATS. A
/// node that is started again on the same data folder has the same bucket.
pub fn options_of_this_test(data: &Path) -> Vec<String> {
    // As the end of a folder's name differs.
    let name: String = data.to_string_lossy().chars().filter(char::is_ascii_alphanumeric).collect();
    let bucket = name[name.len().saturating_sub(60)..].to_owned();
    let options = |server: &Server| {
        vec!["--nats".to_owned(), server.url(), "--nats-bucket".to_owned(), bucket]
    };
    OF_THIS_TEST.with(|server| server.as_ref().map(options).unwrap_or_default())
}
