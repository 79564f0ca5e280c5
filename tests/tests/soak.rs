//! Everything at once, for `SOCKHOP_SOAK_SECONDS` seconds (20 by default; 600 is a full run):
//! clients that keep their connections and clients that do not, on a function in shared workers and
//! on one in a worker of its own; deploys; workers that are killed or stopped for a while; clients
//! that reset, send nothing, send half a request, or send heads byte by byte.
//!
//! A request may fail in one way only: its connection ends without a complete reply, within
//! [`EXCUSED`] after a worker was killed. Each kill excuses as many failures as the worker had
//! connections, and those of the clients that open a new connection for every request, which the
//! worker may have been given since they were counted. A refusal, a status other than 200, a
//! timeout or an older version is never excused. Afterwards the engine has as many fds as before.
//! In a long run its memory has not grown either.
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use harness::client::request;
use harness::status::Status;
use harness::{Connection, Node, process, wait};
use libc::linger;
use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt::Linger};
use serde_json::Value;

const SECONDS: u64 = 20;
/// A run of at least this length also checks the engine's memory. A shorter one does not.
const LONG: Duration = Duration::from_secs(300);
/// How long after a kill a connection may end because of it.
const EXCUSED: Duration = Duration::from_secs(2);
/// How long a node may take after a kill until it has all its workers, on a busy machine and after
/// many kills.
const BACK: Duration = Duration::from_secs(30);
/// Shorter than the time after which the engine regards a worker as dead.
const STOPPED: Duration = Duration::from_millis(500);
/// The clients of each kind on each function.
const KEEPING: usize = 8;
const RENEWING: usize = 3;
/// The pause between a client's requests. The guest writes two lines for each, and all of them are
/// kept for a failure.
const PACE: Duration = Duration::from_millis(20);
/// The clients that only take up room.
const ROOM: usize = 20;
/// How much memory the allocator may keep: the engine's resident memory varied by this much while
/// its live heap grew by 0.3 MB in 420 s, about a kilobyte for each deploy. A leak of 75 bytes a
/// request exceeds this in the ten minutes of a full run.
const NOISE_BYTES: f64 = 32.0 * 1024.0 * 1024.0;

/// Name and isolation.
const FUNCTIONS: [(&str, &str); 2] = [("together", "shared"), ("alone", "process")];

/// What all threads share.
struct Soak {
    address: SocketAddr,
    stop: AtomicBool,
    /// The lowest version of each function that may answer.
    promised: [AtomicU64; 2],
    served: AtomicU64,
    resets: AtomicU64,
}

/// A request that was not answered correctly.
#[derive(Debug)]
struct Failure {
    at: Instant,
    /// The connection ended, which a kill excuses.
    ended: bool,
    what: String,
}

#[derive(Debug)]
struct Kill {
    at: Instant,
    /// The number of connections that it may cost at most.
    connections: u64,
    /// The number of connections that it has cost.
    failures: u64,
}

impl Soak {
    fn goes_on(&self) -> bool {
        !self.stop.load(SeqCst)
    }

    /// Sends requests until the end, on one connection or on a new one each time.
    fn client(&self, function: usize, keeps: bool) -> Vec<Failure> {
        let (mut failures, mut kept) = (Vec::new(), None);
        while self.goes_on() {
            let opened = kept.take().map_or_else(|| Connection::try_open(self.address), Ok);
            let mut connection = match opened {
                Ok(connection) => connection,
                Err(error) => {
                    failures.push(Failure {
                        at: Instant::now(),
                        ended: false,
                        what: format!("connecting: {error}"),
                    });
                    wait::pause();
                    continue;
                }
            };
            match self.ask(&mut connection, function, keeps) {
                Ok(()) => _ = self.served.fetch_add(1, SeqCst),
                Err((ended, what)) => {
                    failures.push(Failure { at: Instant::now(), ended, what });
                    continue;
                }
            }
            kept = keeps.then_some(connection);
            self.pass(PACE);
        }
        failures
    }

    /// Sends a request. The error is whether only its connection has ended, and why it failed.
    fn ask(
        &self,
        connection: &mut Connection,
        function: usize,
        keeps: bool,
    ) -> Result<(), (bool, String)> {
        let promised = self.promised[function].load(SeqCst);
        let target = format!("/{}/", FUNCTIONS[function].0);
        let headers: &[(&str, &str)] = if keeps { &[] } else { &[("connection", "close")] };
        let sent = connection.try_send(request("GET", &target, headers, b""));
        sent.map_err(|error| {
            let ended = matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
            (ended, format!("{target}, sending: {error}"))
        })?;
        let reply = connection.try_reply().map_err(|cut| {
            let ended =
                ["connection ended", "reset by peer"].iter().any(|end| cut.cause.contains(end));
            (ended, format!("{target}: {cut:?}"))
        })?;
        if reply.status() != 200 {
            return Err((false, format!("{target}: {:?} {}", reply.head, reply.text())));
        }
        let seen: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let version = seen
            .pointer("/environment/VERSION")
            .and_then(Value::as_str)
            .and_then(|text| text.parse().ok());
        match version {
            Some(version) if promised <= version => Ok(()),
            _ => Err((
                false,
                format!(
                    "{target}: {version:?} answered after {promised} was deployed: {}",
                    reply.text()
                ),
            )),
        }
    }

    /// Runs clients that reset before the end of their request, or before its reply.
    fn reset(&self) {
        let whole = request("GET", "/together/", &[], b"");
        while self.goes_on() {
            for part in [&whole[..0], &whole[..whole.len() / 2], &whole[..]] {
                let mut stream = TcpStream::connect(self.address).expect("the node accepts");
                let now = linger { l_onoff: 1, l_linger: 0 };
                setsockopt(&stream, Linger, &now).expect("an option that every socket has");
                stream.write_all(part).expect("the node takes a part of a request");
                self.resets.fetch_add(1, SeqCst);
            }
            wait::pause();
        }
    }

    /// Opens connections that send nothing, or end their side in the middle of a request. The
    /// oldest are closed as new ones are opened.
    fn half_open(&self) {
        let mut open = VecDeque::new();
        while self.goes_on() {
            let mut stream = TcpStream::connect(self.address).expect("the node accepts");
            if open.len() % 2 == 0 {
                // It may have been answered and closed before the second step.
                _ = stream
                    .write_all(b"GET /alone/ HT")
                    .and_then(|()| stream.shutdown(Shutdown::Write));
            }
            open.push_back(stream);
            if open.len() > ROOM {
                open.pop_front();
            }
            wait::pause();
        }
    }

    /// Sends heads byte by byte that never end. A client that is refused connects again.
    fn slow(&self) {
        let start = || {
            let mut stream = TcpStream::connect(self.address).expect("the node accepts");
            stream.set_nonblocking(true).expect("a socket");
            _ = stream.write(b"GET /together/ HTTP/1.1\r\nhost: slow\r\nx-slow: ");
            stream
        };
        let mut streams: Vec<TcpStream> = (0..ROOM).map(|_| start()).collect();
        while self.goes_on() {
            for stream in &mut streams {
                let closed =
                    !matches!(stream.read(&mut [0]), Err(e) if e.kind() == ErrorKind::WouldBlock);
                if closed || stream.write(b"a").is_err() {
                    *stream = start();
                }
            }
            for _ in 0..10 {
                wait::pause();
            }
        }
    }

    /// Deploys a new version of the functions in turn, and returns the number of deploys.
    fn deploy(&self, node: &Node, every: Duration) -> u64 {
        let mut count = 0;
        while self.goes_on() {
            let function = usize::from(count % 2 == 1);
            let version = self.promised[function].load(SeqCst) + 1;
            deploy(node, function, version);
            self.promised[function].store(version, SeqCst);
            count += 1;
            self.pass(every);
        }
        count
    }

    /// Waits for `span`, or until the end of the run.
    fn pass(&self, span: Duration) {
        let start = Instant::now();
        while self.goes_on() && start.elapsed() < span {
            wait::pause();
        }
    }

    /// Returns the engine's memory, second by second.
    fn memory(&self, engine: u32) -> Vec<(f64, f64)> {
        let (start, mut samples) = (Instant::now(), Vec::new());
        while self.goes_on() {
            samples.push((start.elapsed().as_secs_f64(), process::resident(engine) as f64));
            self.pass(Duration::from_secs(1));
        }
        samples
    }
}

fn deploy(node: &Node, function: usize, version: u64) {
    let (name, isolation) = FUNCTIONS[function];
    let version = format!("VERSION={version}");
    node.deploy("inspect", name, &["--env", &version, "--isolation", isolation]);
}

/// Returns whether every worker is there, and `victim` is none of them.
fn back(status: &Status, victim: u32) -> bool {
    status.workers.iter().all(|worker| worker.state == "ready" && worker.pid != victim)
}

/// Kills a worker, each time the next one, and waits until there is another.
fn kill(node: &Node, round: usize) -> Kill {
    loop {
        let status = node.until_status("all workers are ready", BACK, |status| back(status, 0));
        let victim = &status.workers[round % status.workers.len()];
        let kill = Kill {
            at: Instant::now(),
            connections: victim.connections_open + (FUNCTIONS.len() * RENEWING) as u64,
            failures: 0,
        };
        // A worker that was started to try a version has ended with its trial.
        if process::signal_if_there(victim.pid, Signal::SIGKILL) {
            node.until_status("a new worker is ready", BACK, |status| back(status, victim.pid));
            return kill;
        }
    }
}

/// Stops a worker for a while.
fn stop(node: &Node, round: usize) {
    let status = node.status();
    let worker = &status.workers[round % status.workers.len()];
    process::signal_if_there(worker.pid, Signal::SIGSTOP);
    wait::throughout("the engine lives", STOPPED, || process::alive(node.pid()));
    process::signal_if_there(worker.pid, Signal::SIGCONT);
}

/// Assigns each failure to a kill that excuses it, and returns the others.
fn excuse(kills: &mut [Kill], failures: Vec<Failure>) -> Vec<Failure> {
    let mut excused = |failure: &Failure| {
        let recent = |kill: &&mut Kill| {
            failure.at.checked_duration_since(kill.at).is_some_and(|age| age <= EXCUSED)
                && kill.failures < kill.connections
        };
        // The last of them, since an end is seen soon.
        let kill = kills.iter_mut().rev().filter(|_| failure.ended).find(recent)?;
        kill.failures += 1;
        Some(())
    };
    failures.into_iter().filter(|failure| excused(failure).is_none()).collect()
}

/// Returns the growth a second of a line through the samples.
fn slope(samples: &[(f64, f64)]) -> f64 {
    let count = samples.len().max(1) as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let spread: f64 = samples.iter().map(|sample| (sample.0 - x).powi(2)).sum();
    let joint: f64 = samples.iter().map(|sample| (sample.0 - x) * (sample.1 - y)).sum();
    if spread > 0.0 { joint / spread } else { 0.0 }
}

fn at_rest(node: &Node) {
    node.until_status("all clients have gone", BACK, |status| {
        status.open() + status.in_flight() == 0
    });
}

fn engine_fds(node: &Node) -> Vec<(u32, usize)> {
    node.fds().into_iter().filter(|(pid, _)| *pid == node.pid()).collect()
}

#[test]
fn whatever_happens_for_however_long_no_request_is_lost_but_in_a_killed_worker() {
    process::raise_fd_limit();
    let seconds = std::env::var("SOCKHOP_SOAK_SECONDS")
        .map_or(SECONDS, |text| text.parse().expect("a number"));
    let length = Duration::from_secs(seconds);
    let node = Node::build().option("--head-timeout", "2s").start();
    (0..FUNCTIONS.len()).for_each(|function| deploy(&node, function, 1));
    let soak = Soak {
        address: node.addresses()[0],
        stop: AtomicBool::new(false),
        promised: [AtomicU64::new(1), AtomicU64::new(1)],
        served: AtomicU64::new(0),
        resets: AtomicU64::new(0),
    };
    for (name, _) in FUNCTIONS.iter().cycle().take(50) {
        assert_eq!(node.get(&format!("/{name}/")).status(), 200);
    }
    at_rest(&node);
    let fds = engine_fds(&node);
    let every = Duration::from_secs(5).min(length / 6);

    let (mut kills, failures, deploys, memory) = thread::scope(|scope| {
        let _end = wait::StopOnDrop(&soak.stop);
        let soak = &soak;
        let mut clients = Vec::new();
        for function in 0..FUNCTIONS.len() {
            clients.extend((0..KEEPING).map(|_| scope.spawn(move || soak.client(function, true))));
            clients
                .extend((0..RENEWING).map(|_| scope.spawn(move || soak.client(function, false))));
        }
        scope.spawn(|| soak.reset());
        scope.spawn(|| soak.half_open());
        scope.spawn(|| soak.slow());
        let deploys = scope.spawn(|| soak.deploy(&node, every * 2 / 5));
        let memory = scope.spawn(|| soak.memory(node.pid()));
        let (start, mut kills) = (Instant::now(), Vec::new());
        while start.elapsed() < length && !deploys.is_finished() {
            let (round, due) = (kills.len(), Instant::now() + every);
            kills.push(kill(&node, round));
            stop(&node, round);
            soak.pass(due.saturating_duration_since(Instant::now()));
        }
        soak.stop.store(true, SeqCst);
        let failures: Vec<_> =
            clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect();
        (
            kills,
            failures,
            deploys.join().expect("every deploy works"),
            memory.join().expect("no panic"),
        )
    });

    let count = failures.len();
    let unexcused = excuse(&mut kills, failures);
    let since_kill = |failure: &Failure| {
        kills.iter().rev().find_map(|kill| failure.at.checked_duration_since(kill.at))
    };
    let lost: Vec<String> = unexcused
        .iter()
        .map(|failure| format!("{}, {:?} after the last kill", failure.what, since_kill(failure)))
        .collect();
    let most = kills.iter().max_by_key(|kill| kill.failures).expect("every run has a kill");
    // The first quarter is the warm-up.
    let later = &memory[memory.len() / 4..];
    let growth = slope(later);
    println!(
        "soak of {seconds} s: {} requests, {count} of them lost to {} kills, at most {} to one, \
         which may have cost {}; {deploys} deploys, {} resets; the engine's memory \
         from {:.1} to {:.1} MiB, {:+.1} KiB/min",
        soak.served.load(SeqCst),
        kills.len(),
        most.failures,
        most.connections,
        soak.resets.load(SeqCst),
        memory.first().map_or(0.0, |sample| sample.1 / 1_048_576.0),
        memory.last().map_or(0.0, |sample| sample.1 / 1_048_576.0),
        growth * 60.0 / 1024.0,
    );
    assert!(
        lost.is_empty(),
        "{} of {count} have no excuse: {:#?}\n{kills:#?}",
        lost.len(),
        &lost[..lost.len().min(10)]
    );
    at_rest(&node);
    node.expect_fds_back_at(&fds, BACK);
    if length >= LONG {
        let span =
            later.last().map_or(0.0, |last| last.0) - later.first().map_or(0.0, |first| first.0);
        assert!(growth * span < NOISE_BYTES, "the engine grows by {growth:.0} bytes a second");
    }
    node.stop();
}
