//! Starts a real node on free ports and a folder of its own, drives it with its own command line,
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
use crate::{guests, process, s3, wait};

/// From the start to the ready line, on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(30);
/// For a command of the CLI, compiling included.
const COMMAND: Duration = Duration::from_secs(60);
/// From SIGTERM to the end of a node that has nothing left to do.
const STOP: Duration = Duration::from_secs(10);

/// The folder that holds `sockhop` and `sockhop-worker`.
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

/// A copy of both binaries in a folder that goes with it.
pub fn binaries_of_its_own() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    for name in ["sockhop", "sockhop-worker"] {
        std::fs::copy(binaries().join(name), folder.path().join(name))
            .expect("room for the binaries");
    }
    folder
}

/// The same, with `worker` in the place of `sockhop-worker`, which is `real-worker` beside it. What
/// is in the file `mischief` there is what each worker does that starts; one without that file is a
/// real one.
pub fn binaries_with(worker: &str) -> TempDir {
    let folder = binaries_of_its_own();
    let place = folder.path().join("sockhop-worker");
    std::fs::rename(&place, folder.path().join("real-worker")).expect("it is there");
    std::fs::copy(worker, place).expect("room for the binary");
    folder
}

/// `sockhop` with nothing inherited that would tell it of another node.
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
    command
}

/// Runs `sockhop` with `arguments` to its end.
pub fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Finished {
    Running::spawn(sockhop().args(arguments)).finish(COMMAND)
}

/// Two cores of those this process may use (one, if there is but one), as `--cores` takes them.
pub fn two_cores() -> String {
    let mut cores = process::cores(std::process::id()).into_iter();
    let first = cores.next().expect("this test runs on one of them");
    match cores.next() {
        Some(second) if second == first + 1 => format!("{first}-{second}"),
        Some(second) => format!("{first},{second}"),
        None => first.to_string(),
    }
}

/// How a node is to be started.
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
    /// Uses a folder that outlives the node, instead of a fresh one.
    #[must_use]
    pub fn data(mut self, folder: &Path) -> Self {
        self.data = Some(folder.to_owned());
        self
    }

    /// Runs the binaries of this folder, which may be changed while the node runs: see
    /// [`binaries_of_its_own`].
    #[must_use]
    pub fn binaries(mut self, folder: &Path) -> Self {
        self.binaries = Some(folder.to_owned());
        self
    }

    /// Lets each of its processes have so many fds and no more.
    #[must_use]
    pub fn open_files(mut self, limit: u64) -> Self {
        self.open_files = Some(limit);
        self
    }

    /// Adds an option of `serve` and its value.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let value = value.as_ref().to_str().expect("the tests use plain names");
        self.arguments.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Keeps its store in its data folder, where the test wants to look at it, whatever
    /// `SOCKHOP_TEST_STORE` says.
    #[must_use]
    pub fn in_folder(mut self) -> Self {
        self.in_folder = true;
        self
    }

    /// Keeps its store under `prefix` in the bucket of `server`, reached at `address`.
    #[must_use]
    pub fn bucket(mut self, server: &Server, prefix: &str, address: SocketAddr) -> Self {
        self.arguments.extend(server.options(prefix, address));
        self
    }

    /// Sets an environment variable for the node.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Listens on that many ports instead of one.
    #[must_use]
    pub fn listeners(mut self, count: usize) -> Self {
        self.listeners = count;
        self
    }

    /// Starts it and waits for its ready line.
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
        if !arguments.iter().any(|a| a == "--cores") {
            arguments.extend(["--cores".to_owned(), two_cores()]);
        }
        if !arguments.iter().any(|a| a == "--guest-log") {
            // What guests write is looked for on stderr by many tests.
            arguments.extend(["--guest-log", "stderr"].map(str::to_owned));
        }
        for _ in 0..self.listeners.max(1) {
            arguments.extend(["--listen", "127.0.0.1:0"].map(str::to_owned));
        }
        let mut command = sockhop_in(&self.binaries.unwrap_or_else(binaries));
        if let Some(limit) = self.open_files {
            process::limit_fds(&mut command, limit);
        }
        let node = Node::spawn(command, (arguments, self.variables), data, own_data);
        assert_eq!(
            node.addresses.len(),
            self.listeners.max(1),
            "one URL a listener: {:?}",
            node.ready
        );
        node
    }
}

/// Waits for the ready line of `sockhop serve` and reads it.
pub fn ready_line(running: &mut Running) -> (String, Vec<SocketAddr>) {
    let ready = wait::until("the node prints its ready line", START, || {
        assert!(running.exited().is_none(), "the node ended before it was ready");
        running.stdout().contains('\n').then(|| running.stdout())
    });
    let urls = ready
        .trim_end()
        .strip_prefix("ready ")
        .unwrap_or_else(|| panic!("no ready line: {ready:?}"));
    let addresses = urls.split(' ').map(address).collect();
    (ready, addresses)
}

fn address(url: &str) -> SocketAddr {
    let address = url.strip_prefix("http://").and_then(|a| a.parse().ok());
    address.unwrap_or_else(|| panic!("no URL of the form http://ADDRESS:PORT: {url:?}"))
}

/// Processes to be killed when this is dropped.
#[derive(Debug, Default)]
struct Offspring(Vec<Identity>);

/// A running node. Dropped, it is stopped and checked as by [`Node::stop`]; in a failing test it is
/// killed and shows its streams.
#[derive(Debug)]
pub struct Node {
    running: Running,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    ready: String,
    data: PathBuf,
    addresses: Vec<SocketAddr>,
    ended: bool,
    // What was below the engine when it was told to end, lest a fault of the node leave it behind.
    offspring: Offspring,
    // Last, so that the folder goes after the processes that use it.
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
        let offspring = Offspring::default();
        Self {
            running,
            arguments,
            variables,
            ready,
            data,
            addresses,
            ended: false,
            offspring,
            own_data,
        }
    }

    /// Starts another node with the same options and variables, but perhaps on other cores, which
    /// takes over from this one and has its folder from now on. This one is on its way out then:
    /// [`Self::expect_ended`].
    #[must_use]
    pub fn successor(&mut self, cores: Option<&str>) -> Self {
        self.note_offspring();
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

    /// The same, and waits until this one has ended, as it should.
    #[must_use]
    pub fn taken_over(mut self) -> Self {
        let processes = self.processes();
        let successor = self.successor(None);
        assert_eq!(successor.addresses, self.addresses, "the same sockets");
        self.expect_ended(&processes, STOP);
        successor
    }

    /// A node with defaults.
    #[must_use]
    pub fn start() -> Self {
        Self::build().start()
    }

    /// A node that is to be started otherwise.
    pub fn build() -> NodeBuilder {
        NodeBuilder::default()
    }

    /// A node with defaults and some guests, each deployed under its own name.
    #[must_use]
    pub fn with(guests: &[&str]) -> Self {
        let node = Self::start();
        for guest in guests {
            node.deploy(guest, guest, &[]);
        }
        node
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Where it listens, one entry a `--listen`.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Pid of the engine.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// What the node has written to stderr so far, its guests' lines included.
    pub fn stderr(&self) -> String {
        self.running.stderr()
    }

    /// Runs a command of the CLI against this node.
    pub fn cli(&self, arguments: &[&str]) -> Finished {
        let data = self.data.to_str().expect("the tests use plain names");
        // Behind the words that choose the command, and before what only looks like an option.
        let end =
            arguments.iter().position(|argument| *argument == "--").unwrap_or(arguments.len());
        let (own, rest) = arguments.split_at(end);
        run(own.iter().chain(&["--data", data]).chain(rest))
    }

    /// Runs a command of the CLI with subcommands against this node, with this on its stdin.
    pub fn cli_fed(&self, arguments: &[&str], stdin: &[u8]) -> Finished {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(stdin).and_then(|()| file.rewind()).expect("room for it");
        let mut command = sockhop();
        command.args(arguments).arg("--data").arg(&self.data);
        Running::spawn_with(&mut command, file.into()).finish(COMMAND)
    }

    /// The number that `inspect` was deployed with as `VERSION` and tells at `target`, which must
    /// work.
    #[track_caller]
    pub fn version_at(&self, target: &str) -> u64 {
        let reply = self.get(target);
        assert_eq!(reply.status(), 200, "{target}: {}", reply.text());
        let seen = reply.json();
        let version = seen["environment"]["VERSION"].as_str().and_then(|text| text.parse().ok());
        version.unwrap_or_else(|| panic!("{target}: no VERSION in {seen}"))
    }

    /// Deploys a guest, which must work.
    #[track_caller]
    pub fn deploy(&self, guest: &str, name: &str, options: &[&str]) {
        let file = guests::path(guest);
        let file = file.to_str().expect("the tests use plain names");
        self.cli(&[&["deploy", file, "--name", name, "--no-trial"], options].concat())
            .expect_code(0);
    }

    /// `sockhop list --json`, as printed.
    #[track_caller]
    pub fn list(&self) -> String {
        self.cli(&["list", "--json"]).expect_code(0).stdout
    }

    /// `sockhop status --json`.
    #[track_caller]
    pub fn status(&self) -> Status {
        let printed = self.cli(&["status", "--json"]).expect_code(0).stdout;
        serde_json::from_str(&printed).unwrap_or_else(|e| panic!("{e}: {printed}"))
    }

    /// Waits until status says what is wanted.
    pub fn until_status(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Status) -> bool,
    ) -> Status {
        wait::for_value(what, limit, || self.status(), wanted)
    }

    /// A new connection.
    pub fn connect(&self) -> Connection {
        Connection::open(self.addresses[0])
    }

    /// A GET on a new connection.
    pub fn get(&self, target: &str) -> Reply {
        self.connect().get(target)
    }

    /// Open fds of the engine and of all workers at rest, by pid. Counted several times, the least
    /// counts: the connection of a command that has just ended may still be closing.
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

    /// The engine and everything below it, in order.
    pub fn processes(&self) -> Vec<u32> {
        let mut below = process::descendants(self.pid());
        below.sort_unstable();
        [vec![self.pid()], below].concat()
    }

    /// CPU time of the engine and everything below it.
    pub fn cpu_time(&self) -> Duration {
        self.processes().into_iter().map(process::cpu_time).sum()
    }

    /// Waits until no process holds more fds than `before`, and shows which they are if it does not
    /// come to that.
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

    fn note_offspring(&mut self) {
        let below = process::descendants(self.pid());
        self.offspring.0.extend(below.into_iter().filter_map(Identity::of));
    }

    /// Asks the node to read its configuration again.
    pub fn hang_up(&self) {
        process::signal(self.pid(), Signal::SIGHUP);
    }

    /// Asks the node to stop, as an init system does.
    pub fn terminate(&mut self) {
        self.note_offspring();
        self.running.signal(Signal::SIGTERM);
    }

    /// Asks the node to stop, as Ctrl-C does.
    pub fn interrupt(&mut self) {
        self.note_offspring();
        self.running.signal(Signal::SIGINT);
    }

    /// Kills the engine, and the engine only, without a chance to clean up.
    pub fn kill_engine(&mut self) {
        self.note_offspring();
        self.running.signal(Signal::SIGKILL);
        self.running.wait_exit(STOP);
        self.ended = true;
    }

    /// Stops a node that has nothing left to do and checks what is true of every run.
    pub fn stop(mut self) {
        self.stop_within(STOP);
    }

    /// Stops the node within `limit` and checks: exit code 0, no process left, one line on stdout,
    /// no panic of its own.
    pub fn stop_within(&mut self, limit: Duration) {
        let processes = self.processes();
        self.terminate();
        self.expect_ended(&processes, limit);
    }

    /// Waits for the end of a node that was told to stop, and checks what is true of every run.
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

impl Drop for Offspring {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Identity::kill);
    }
}

/// A process's fds but for loaded modules: those come with the first call, one a module (see
/// `redeploys_leave_no_fd`); and but for connections to the test's server of buckets, of which the
/// engine keeps as many as it had use for.
fn lasting_fds(pid: u32) -> std::collections::BTreeMap<u32, String> {
    let mut fds = process::fds(pid);
    let to_the_store = s3::server_of_this_test().map(process::sockets_to).unwrap_or_default();
    fds.retain(|_, what| !what.starts_with("/memfd:module") && !to_the_store.contains(what));
    fds
}
