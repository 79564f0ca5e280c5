//! The engine under an init system that speaks systemd's protocols: it takes its sockets, and
//! notifies it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::node::{binaries, ready_line, run, two_cores};
use harness::process::{self, Identity};
use harness::{Connection, Running, guests, wait};
use nix::sys::signal::Signal;
use tempfile::TempDir;

const SECOND: Duration = Duration::from_secs(1);

/// Starts `sockhop serve` as an init system does: with `socket` as its fd 3, and the variables that
/// announce it.
fn activated(data: &TempDir, socket: OwnedFd, variables: &[(&str, &str)]) -> Running {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        r#"exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web; exec "$@""#,
        "sh",
    ]);
    command
        .arg(binaries().join("sockhop"))
        .args(["serve", "--cores", &two_cores(), "--data"])
        .arg(data.path());
    command.envs(variables.iter().copied());
    Running::spawn_with(&mut command, socket.into())
}

fn deploy(data: &TempDir, name: &str) {
    let (file, data) = (guests::path("hello"), data.path().to_str().unwrap());
    run(["deploy", file.to_str().unwrap(), "--name", name, "--data", data]).expect_code(0);
}

/// The receiver of an init system's notifications.
struct Heard {
    socket: UnixDatagram,
    _folder: TempDir,
    path: String,
}

impl Heard {
    fn listen() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(20 * SECOND)).unwrap();
        Self { socket, _folder: folder, path: path.to_str().unwrap().to_owned() }
    }

    /// Waits for the next message with a line that begins with `line`, and returns its lines.
    fn until(&self, line: &str) -> Vec<String> {
        loop {
            let mut message = [0; 4096];
            let length =
                self.socket.recv(&mut message).unwrap_or_else(|error| panic!("no {line}: {error}"));
            let lines: Vec<String> =
                String::from_utf8_lossy(&message[..length]).lines().map(str::to_owned).collect();
            if lines.iter().any(|said| said.starts_with(line)) {
                return lines;
            }
        }
    }
}

#[test]
fn a_socket_that_is_given_is_the_one_that_is_served() {
    let data = TempDir::new().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = socket.local_addr().unwrap();
    // The request is sent before the engine accepts: the socket of the init system holds it.
    let mut early = Connection::open(address);
    early.send("GET /nobody/ HTTP/1.1\r\nhost: node.test\r\n\r\n");
    let mut node = activated(&data, socket.try_clone().unwrap().into(), &[]);
    let (_, addresses) = ready_line(&mut node);
    assert_eq!(addresses, [address], "and not --listen's default");
    early.reply().expect_problem(404);
    deploy(&data, "hello");
    for _ in 0..50 {
        Connection::open(address).get("/hello/").expect_hello();
    }
    for worker in process::descendants(node.pid()) {
        let environment = fs::read(format!("/proc/{worker}/environ")).unwrap();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        assert!(!environment.contains("LISTEN_"), "{environment}");
        let listening = process::fds(node.pid())[&3].clone();
        assert!(listening.starts_with("socket:"), "{listening}");
        assert!(
            !process::fds(worker).values().any(|what| *what == listening),
            "a worker has the listening socket"
        );
    }
    node.signal(Signal::SIGTERM);
    assert_eq!(node.wait_exit(10 * SECOND).code(), Some(0));
    // The init system keeps the socket: a client that connects now waits for the next start.
    let mut late = Connection::open(address);
    late.send("GET /hello/ HTTP/1.1\r\nhost: node.test\r\n\r\n");
    let mut node = activated(&data, socket.into(), &[]);
    late.reply().expect_hello();
    node.signal(Signal::SIGTERM);
    assert_eq!(node.wait_exit(10 * SECOND).code(), Some(0));
}

#[test]
fn the_file_of_a_unix_socket_that_is_given_is_left_where_it_is() {
    let (data, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let path = folder.path().join("web.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let mut waits = Connection::open_unix(&path);
    waits.send("GET /hello/ HTTP/1.1\r\nhost: node.test\r\n\r\n");
    let mut node = activated(&data, socket.into(), &[]);
    waits.reply().expect_problem(404);
    drop(waits);
    node.signal(Signal::SIGTERM);
    assert_eq!(node.wait_exit(10 * SECOND).code(), Some(0));
    assert!(path.exists());
}

#[test]
fn a_socket_that_does_not_listen_is_named() {
    let data = TempDir::new().unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    activated(&data, udp.into(), &[])
        .finish(10 * SECOND)
        .expect_error(&["fd 3", "TCP or Unix socket"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    activated(&data, stream.into(), &[])
        .finish(10 * SECOND)
        .expect_error(&["fd 3", "does not listen"]);
}

#[test]
fn what_is_meant_for_another_process_is_left_alone() {
    let data = TempDir::new().unwrap();
    let mut command = harness::node::sockhop();
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data.path());
    let mut node = Running::spawn(command.env("LISTEN_PID", "1").env("LISTEN_FDS", "1"));
    ready_line(&mut node);
    node.signal(Signal::SIGTERM);
    assert_eq!(node.wait_exit(10 * SECOND).code(), Some(0));
}

#[test]
fn the_init_system_is_told() {
    let data = TempDir::new().unwrap();
    let heard = Heard::listen();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let variables = [("NOTIFY_SOCKET", heard.path.as_str()), ("WATCHDOG_USEC", "200000")];
    let mut node = activated(&data, socket.into(), &variables);
    let ready = heard.until("READY=1");
    assert!(ready.iter().any(|line| line.starts_with("STATUS=")), "{ready:?}");
    ready_line(&mut node);
    let start = Instant::now();
    for _ in 0..5 {
        heard.until("WATCHDOG=1");
    }
    assert!(
        start.elapsed() >= SECOND * 3 / 10,
        "at half the time, not all the time: {:?}",
        start.elapsed()
    );
    for worker in process::descendants(node.pid()) {
        let environment = fs::read(format!("/proc/{worker}/environ")).unwrap();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        assert!(
            !environment.contains("NOTIFY_SOCKET") && !environment.contains("WATCHDOG"),
            "{environment}"
        );
    }
    node.signal(Signal::SIGTERM);
    heard.until("STOPPING=1");
    assert_eq!(node.wait_exit(10 * SECOND).code(), Some(0));
}

/// Kills an engine that is no child of the test, if the test does not reach its end.
struct Guard(Identity);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.kill();
    }
}

#[test]
fn an_upgrade_is_told_and_the_new_engine_is_the_one_to_watch() {
    let data = TempDir::new().unwrap();
    let heard = Heard::listen();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let variables = [("NOTIFY_SOCKET", heard.path.as_str()), ("WATCHDOG_USEC", "400000")];
    let mut old = activated(&data, socket.into(), &variables);
    heard.until("READY=1");
    old.signal(Signal::SIGUSR2);
    let reloading = heard.until("RELOADING=1");
    assert!(reloading.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading:?}");
    let main = heard.until("MAINPID=");
    let new: u32 = main[0].strip_prefix("MAINPID=").unwrap().parse().unwrap();
    let guard = Identity::of(new).map(Guard);
    assert_ne!(new, old.pid());
    heard.until("READY=1");
    assert_eq!(old.wait_exit(10 * SECOND).code(), Some(0));
    // The old engine has ended, so these are the new one's.
    while heard.socket.set_nonblocking(true).is_ok() && heard.socket.recv(&mut [0; 4096]).is_ok() {}
    heard.socket.set_nonblocking(false).unwrap();
    heard.until("WATCHDOG=1");
    deploy(&data, "hello");
    Connection::open(address).get("/hello/").expect_hello();
    process::signal(new, Signal::SIGTERM);
    heard.until("STOPPING=1");
    wait::until("it ends", 10 * SECOND, || (!process::alive(new)).then_some(()));
    drop(guard);
}

#[test]
fn an_upgrade_that_fails_is_told_too() {
    let data = TempDir::new().unwrap();
    let heard = Heard::listen();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut node = activated(&data, socket.into(), &[("NOTIFY_SOCKET", &heard.path)]);
    heard.until("READY=1");
    let taker = harness::take_over::Taker::connect(data.path());
    taker.send(harness::take_over::HELLO);
    heard.until("RELOADING=1");
    drop(taker);
    heard.until("READY=1");
    node.signal(Signal::SIGTERM);
    assert_eq!(node.wait_exit(10 * SECOND).code(), Some(0));
}
