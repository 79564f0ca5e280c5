//! Starts a real node on free ports and in a folder of its own, controls it by its command line,
//! and ends it.

use std::ffi::OsStr;
use std::io::{Seek as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::client::{Connection, Reply};
use crate::process::Identity;
use crate::running::{Finished, Running};
use crate::s3::Server;
use crate::status::Status;
use crate::{guests, nats, process, s3, wait};

/// How long a node may take to print its ready line on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(30);
/// How long a command of the CLI may take, compiling included.
const COMMAND: Duration = Duration::from_secs(60);
/// How long a node that has nothing left to do may take from SIGTERM to its end.
const STOP: Duration = Duration::from_secs(10);

/// Returns the folder of `sockhop` and `sockhop-worker`.
pub fn binaries() -> PathBuf {
    let folder = std::env::var_os("SOCKHOP_BIN_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/quick"),
        PathBuf::from,
    );
    for name in ["sockhop", "sockhop-worker"] {
        let path = folder.join(name);
        assert!(
            path.is_file(),
            "{} is not there: run scripts/test, which builds them",
            path.display()
        );
    }
    folder
}

/// Copies both binaries to a temporary folder.
pub fn copied_binaries() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    for name in ["sockhop", "sockhop-worker"] {
        std::fs::copy(binaries().join(name), folder.path().join(name))
            .expect("room for the binaries");
    }
    folder
}

/// Copies both binaries to a temporary folder, with `worker` in the place of `sockhop-worker`,
/// which is `real-worker` there. The file `mischief` chooses what each worker does that starts.
/// Without it, they are real ones.
pub fn binaries_with_worker(worker: &str) -> TempDir {
    let folder = copied_binaries();
    let place = folder.path().join("sockhop-worker");
    std::fs::rename(&place, folder.path().join("real-worker")).expect("it is there");
    std::fs::copy(worker, place).expect("room for the binary");
    folder
}

/// Returns the command `sockhop` without the variables and the contexts that could point it to
/// another node.
pub fn sockhop() -> Command {
    sockhop_in(&binaries())
}

fn sockhop_in(folder: &Path) -> Command {
    let mut command = Command::new(folder.join("sockhop"));
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"SOCKHOP_"))
    {
        command.env_remove(name);
    }
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command
}

/// Runs `sockhop` with `arguments` to its end.
pub fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Finished {
    Running::spawn(sockhop().args(arguments)).finish(COMMAND)
}

/// Returns two of the cores that this process may use, or the only one, as `--cores` takes them.
pub fn two_cores() -> String {
    let mut cores = process::cores(std::process::id()).into_iter();
    let first = cores.next().expect("this test runs on one of them");
    match cores.next() {
        Some(second) if second == first + 1 => format!("{first}-{second}"),
        Some(second) => format!("{first},{second}"),
        None => first.to_string(),
    }
}

/// The options that a node is started with.
#[derive(Debug, Default)]
pub struct NodeBuilder {
    binaries: Option<PathBuf>,
    open_files: Option<u64>,
    data: Option<PathBuf>,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    listeners: usize,
    in_folder: bool,
}

impl NodeBuilder {
    /// Uses this data folder, which outlives the node, instead of a temporary one.
    #[must_use]
    pub fn data(mut self, folder: &Path) -> Self {
        self.data = Some(folder.to_owned());
        self
    }

    /// Runs the binaries of this folder, which may be changed while the node runs: see
    /// [`copied_binaries`].
    #[must_use]
    pub fn binaries(mut self, folder: &Path) -> Self {
        self.binaries = Some(folder.to_owned());
        self
    }

    /// Limits the number of file descriptors of each of its processes.
    #[must_use]
    pub fn open_files(mut self, limit: u64) -> Self {
        self.open_files = Some(limit);
        self
    }

    /// Adds an option of `serve` with its value.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let value = value.as_ref().to_str().expect("the tests use plain names");
        self.arguments.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Keeps the store in the data folder, whatever `SOCKHOP_TEST_STORE` says, for a test that
    /// looks at its files.
    #[must_use]
    pub fn in_folder(mut self) -> Self {
        self.in_folder = true;
        self
    }

    /// Keeps the store under `prefix` in the bucket of `server`, which is reached at `address`.
    #[must_use]
    pub fn bucket(mut self, server: &Server, prefix: &str, address: SocketAddr) -> Self {
        self.arguments.extend(server.options(prefix, address));
        self
    }

    /// Sets an environment variable of the node.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Listens on `count` ports instead of one.
    #[must_use]
    pub fn listeners(mut self, count: usize) -> Self {
        self.listeners = count;
        self
    }

    /// Starts the node and waits for its ready line.
    #[must_use]
    pub fn start(self) -> Node {
        let own_data = self.data.is_none().then(|| TempDir::new().expect("a temporary folder"));
        let data = self
            .data
            .or_else(|| Some(own_data.as_ref()?.path().join("data")))
            .expect("one of both");
        let mut arguments = self.arguments;
        if !self.in_folder && !arguments.iter().any(|a| a == "--store") {
            arguments.extend(s3::options_of_this_test(&data));
        }
        if !arguments.iter().any(|a| a == "--nats") {
            arguments.extend(nats::options_of_this_test(&data));
        }
        if !arguments.iter().any(|a| a == "--cores") {
            arguments.extend(["--cores".to_owned(), two_cores()]);
        }
        if !arguments.iter().any(|a| a == "--guest-log") {
            // Many tests look on stderr for what guests write.
            arguments.extend(["--guest-log", "stderr"].map(str::to_owned));
        }
        let asked_for = arguments.windows(2).filter(|two| two[0] == "--listen");
        // A Unix socket has no address.
        let asked_for = asked_for.filter(|two| !two[1].starts_with("unix:")).count();
        let listeners = self.listeners.max(1) + asked_for;
        // In front of those of the test.
        for _ in 0..self.listeners.max(1) {
            arguments.splice(0..0, ["--listen", "127.0.0.1:0"].map(str::to_owned));
        }
        let mut command = sockhop_in(&self.binaries.unwrap_or_else(binaries));
        if let Some(limit) = self.open_files {
            process::limit_fds(&mut command, limit);
        }
        let node = Node::spawn(command, (arguments, self.variables), data, own_data);
        assert_eq!(node.addresses.len(), listeners, "one URL a listener: {:?}", node.ready);
        node
    }
}

/// Waits for the ready line of `sockhop serve`. Returns the line and the addresses in it.
pub fn ready_line(running: &mut Running) -> (String, Vec<SocketAddr>) {
    let ready = wait::until("the node prints its ready line", START, || {
        assert!(running.exited().is_none(), "the node ended before it was ready");
        running.stdout().contains('\n').then(|| running.stdout())
    });
    let urls = ready
        .trim_end()
        .strip_prefix("ready ")
        .unwrap_or_else(|| panic!("no ready line: {ready:?}"));
    let addresses = urls.split(' ').filter(|url| !url.starts_with("unix:/")).map(address).collect();
    (ready, addresses)
}

fn address(url: &str) -> SocketAddr {
    let url = url.strip_suffix("?proxy-protocol").unwrap_or(url);
    let address = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let address = address.and_then(|address| address.parse().ok());
    address.unwrap_or_else(|| panic!("no URL of the form http(s)://ADDRESS:PORT: {url:?}"))
}

/// Processes that are killed when this is dropped.
#[derive(Debug, Default)]
struct Descendants(Vec<Identity>);

/// A running node. When it is dropped it is stopped and checked as by [`Node::stop`]. In a failing
/// test it is killed and shows its streams.
#[derive(Debug)]
pub struct Node {
    running: Running,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    ready: String,
    data: PathBuf,
    addresses: Vec<SocketAddr>,
    ended: bool,
    // The processes below the engine when it was asked to end: a faulty node might leave them
    // running.
    descendants: Descendants,
    // Last, so that the folder is removed after the processes that use it.
    own_data: Option<TempDir>,
}

impl Node {
    fn spawn(
        mut command: Command,
        (arguments, variables): (Vec<String>, Vec<(String, String)>),
        data: PathBuf,
        own_data: Option<TempDir>,
    ) -> Self {
        command.envs(variables.iter().cloned());
        let mut running =
            Running::spawn(command.arg("serve").arg("--data").arg(&data).args(&arguments));
        let (ready, addresses) = ready_line(&mut running);
        let descendants = Descendants::default();
        Self {
            running,
            arguments,
            variables,
            ready,
            data,
            addresses,
            ended: false,
            descendants,
            own_data,
        }
    }

    /// Starts another node with the same options and variables, and with `cores` if they are given,
    /// which takes over from this one. The data folder belongs to the new node from now on. This
    /// one is about to end: see [`Self::expect_ended`].
    #[must_use]
    pub fn successor(&mut self, cores: Option<&str>) -> Self {
        self.note_descendants();
        self.ended = true;
        let mut arguments = self.arguments.clone();
        let at = arguments
            .iter()
            .position(|a| a == "--cores")
            .expect("every node of the tests has this option");
        if let Some(cores) = cores {
            cores.clone_into(&mut arguments[at + 1]);
        }
        let all = arguments.iter().cloned().chain(["--take-over".to_owned()]).collect();
        let mut successor = Self::spawn(
            sockhop(),
            (all, self.variables.clone()),
            self.data.clone(),
            self.own_data.take(),
        );
        successor.arguments = arguments;
        successor
    }

    /// Starts a successor on the same cores, and waits until this node has ended.
    #[must_use]
    pub fn taken_over(mut self) -> Self {
        let processes = self.processes();
        let successor = self.successor(None);
        assert_eq!(successor.addresses, self.addresses, "the same sockets");
        self.expect_ended(&processes, STOP);
        successor
    }

    /// Starts a node with the defaults.
    #[must_use]
    pub fn start() -> Self {
        Self::build().start()
    }

    /// Returns a builder, for a node with other options.
    pub fn build() -> NodeBuilder {
        NodeBuilder::default()
    }

    /// Starts a node with the defaults, and deploys each guest under its own name.
    #[must_use]
    pub fn with(guests: &[&str]) -> Self {
        let node = Self::start();
        for guest in guests {
            node.deploy(guest, guest, &[]);
        }
        node
    }

    /// Returns its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Returns the addresses that it listens on, one for each `--listen`.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Returns the pid of the engine.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Returns what the node has written to stderr so far, with the lines of its guests.
    pub fn stderr(&self) -> String {
        self.running.stderr()
    }

    /// Runs a command of the CLI on this node.
    pub fn cli(&self, arguments: &[&str]) -> Finished {
        let data = self.data.to_str().expect("the tests use plain names");
        // After the words that choose the command, and before arguments that only look like
        // options.
        let end =
            arguments.iter().position(|argument| *argument == "--").unwrap_or(arguments.len());
        let (own, rest) = arguments.split_at(end);
        run(own.iter().chain(&["--data", data]).chain(rest))
    }

    /// Runs a command of the CLI on this node with `stdin` as its stdin.
    pub fn cli_with_stdin(&self, arguments: &[&str], stdin: &[u8]) -> Finished {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(stdin).and_then(|()| file.rewind()).expect("room for it");
        let mut command = sockhop();
        command.args(arguments).arg("--data").arg(&self.data);
        Running::spawn_with(&mut command, file.into()).finish(COMMAND)
    }

    /// Returns the number in `VERSION` that the guest `inspect` reports at `target`. Panics if the
    /// request fails.
    #[track_caller]
    pub fn version_at(&self, target: &str) -> u64 {
        let reply = self.get(target);
        assert_eq!(reply.status(), 200, "{target}: {}", reply.text());
        let seen = reply.json();
        let version = seen["environment"]["VERSION"].as_str().and_then(|text| text.parse().ok());
        version.unwrap_or_else(|| panic!("{target}: no VERSION in {seen}"))
    }

    /// Deploys a guest. Panics if that fails.
    #[track_caller]
    pub fn deploy(&self, guest: &str, name: &str, options: &[&str]) {
        let file = guests::path(guest);
        let file = file.to_str().expect("the tests use plain names");
        self.cli(&[&["deploy", file, "--name", name, "--no-trial"], options].concat())
            .expect_code(0);
    }

    /// Returns the output of `sockhop list --json`.
    #[track_caller]
    pub fn list(&self) -> String {
        self.cli(&["list", "--json"]).expect_code(0).stdout
    }

    /// Returns the output of `sockhop status --json`.
    #[track_caller]
    pub fn status(&self) -> Status {
        let printed = self.cli(&["status", "--json"]).expect_code(0).stdout;
        serde_json::from_str(&printed).unwrap_or_else(|e| panic!("{e}: {printed}"))
    }

    /// Waits until `wanted` accepts the status, and returns it.
    pub fn until_status(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Status) -> bool,
    ) -> Status {
        wait::for_value(what, limit, || self.status(), wanted)
    }

    /// Waits until no guest runs: one may still run when its reply has arrived, and until it ends
    /// its instance serves nobody else.
    pub fn until_idle(&self) {
        let limit = Duration::from_secs(5);
        self.until_status("no guest runs", limit, |status| status.in_flight() == 0);
    }

    /// Opens a new connection.
    pub fn connect(&self) -> Connection {
        Connection::open(self.addresses[0])
    }

    /// Sends a GET on a new connection, and returns the reply.
    pub fn get(&self, target: &str) -> Reply {
        self.connect().get(target)
    }

    /// Returns the number of open file descriptors of the engine and of each worker at rest, by
    /// pid. It is the least of several counts, since the connection of a command that has just
    /// ended may still be closing.
    pub fn fds(&self) -> Vec<(u32, usize)> {
        let count = |pid| {
            (0..20)
                .map(|_| {
                    wait::pause();
                    lasting_fds(pid).len()
                })
                .min()
        };
        let pids = self.processes();
        pids.into_iter().map(|pid| (pid, count(pid).expect("counted 20 times"))).collect()
    }

    /// Returns the pids of the engine and of all processes below it, in order.
    pub fn processes(&self) -> Vec<u32> {
        let mut below = process::descendants(self.pid());
        below.sort_unstable();
        [vec![self.pid()], below].concat()
    }

    /// Returns the CPU time of the engine and of all processes below it.
    pub fn cpu_time(&self) -> Duration {
        self.processes().into_iter().map(process::cpu_time).sum()
    }

    /// Waits until no process has more file descriptors than in `before`. The failure shows the
    /// processes that have more.
    #[track_caller]
    pub fn expect_fds_back_at(&self, before: &[(u32, usize)], limit: Duration) {
        let grown = || -> Vec<_> {
            let open = before.iter().map(|(pid, count)| (*pid, *count, lasting_fds(*pid)));
            open.filter(|(_, count, now)| now.len() > *count).collect()
        };
        wait::for_value(
            "no process holds more fds than before (pid, before, now)",
            limit,
            grown,
            Vec::is_empty,
        );
    }

    fn note_descendants(&mut self) {
        let below = process::descendants(self.pid());
        self.descendants.0.extend(below.into_iter().filter_map(Identity::of));
    }

    /// Asks the node to read its configuration again (SIGHUP).
    pub fn hang_up(&self) {
        process::signal(self.pid(), Signal::SIGHUP);
    }

    /// Asks the node to stop as an init system does (SIGTERM).
    pub fn terminate(&mut self) {
        self.note_descendants();
        self.running.signal(Signal::SIGTERM);
    }

    /// Asks the node to stop as Ctrl-C does (SIGINT).
    pub fn interrupt(&mut self) {
        self.note_descendants();
        self.running.signal(Signal::SIGINT);
    }

    /// Kills the engine alone, which has no chance to clean up.
    pub fn kill_engine(&mut self) {
        self.note_descendants();
        self.running.signal(Signal::SIGKILL);
        self.running.wait_exit(STOP);
        self.ended = true;
    }

    /// Stops a node that has nothing left to do, and checks its end as [`Self::stop_within`] does.
    pub fn stop(mut self) {
        self.stop_within(STOP);
    }

    /// Stops the node within `limit`. Panics unless its exit code is 0, no process is left, stdout
    /// has one line, and no process of the node has panicked.
    pub fn stop_within(&mut self, limit: Duration) {
        let processes = self.processes();
        self.terminate();
        self.expect_ended(&processes, limit);
    }

    /// Waits for the end of a node that was asked to stop, and checks it as [`Self::stop_within`]
    /// does.
    pub fn expect_ended(&mut self, processes: &[u32], limit: Duration) {
        self.ended = true;
        let status = self.running.wait_exit(limit);
        assert_eq!(status.code(), Some(0), "exit of a node that was asked to stop: {status}");
        for pid in processes {
            assert!(
                !process::alive(*pid),
                "process {pid} outlives its engine, which had time to end it"
            );
        }
        wait::until("the node's streams end with it", STOP, || {
            self.running.streams_ended().then_some(())
        });
        assert_eq!(self.running.stdout(), self.ready, "stdout has the ready line and nothing else");
        let stderr = self.running.stderr();
        let own = stderr.lines().find(|line| {
            line.contains("panicked at")
                && !line.contains("stream=")
                && !line.contains("\"stream\":")
        });
        assert_eq!(own, None, "a process of the node panicked");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !self.ended && !std::thread::panicking() {
            self.stop_within(STOP);
        }
    }
}

impl Drop for Descendants {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Identity::kill);
    }
}

/// Returns the file descriptors of a process, without two kinds. Loaded modules have one each from
/// their first call on (see `redeploys_leave_no_fd`). The engine keeps as many connections to the
/// test's server of buckets as it has needed at once.
fn lasting_fds(pid: u32) -> std::collections::BTreeMap<u32, String> {
    let mut fds = process::fds(pid);
    let to_the_store = s3::server_of_this_test().map(process::sockets_to).unwrap_or_default();
    fds.retain(|_, what| !what.starts_with("/memfd:module") && !to_the_store.contains(what));
    fds
}
