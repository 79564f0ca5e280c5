//! Asynchronous invocations in NATS: nodes and servers that go lose none, those that are left take
//! over, and every node can change every one.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use harness::client::request;
use harness::nats::{Cluster, FLOOR, NEWEST, Server};
use harness::running::records;
use harness::{Connection, Node, NodeBuilder, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(30);
/// Nobody waits for a server that is away.
const QUICKLY: Duration = Duration::from_secs(5);
/// What does not fit into one message of a server.
const MIB: usize = 1024 * 1024;

fn with(server: &Server) -> NodeBuilder {
    Node::build().option("--nats", server.url())
}

/// Submits a job by the command, and returns its id.
fn submit(node: &Node, name: &str, path: &str) -> String {
    let said = node.cli(&["invoke", name, "--async", "--path", path]).expect_code(0).stdout;
    said.trim().to_owned()
}

fn shown(node: &Node, id: &str) -> Value {
    records(&node.cli(&["jobs", "show", id, "--json"]).expect_code(0).stdout).remove(0)
}

/// Returns a job once it is as it should be.
fn until(node: &Node, id: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    wait::for_value(what, SOON, || shown(node, id), is_so)
}

fn is_done(node: &Node, id: &str) -> Value {
    until(node, id, "the job is done", |job| job["state"] == "done")
}

/// Returns a job after its first attempt, which has failed.
fn has_failed(node: &Node, id: &str) -> Value {
    until(node, id, "it has failed", |job| job["attempts"] == 1)
}

/// Returns the ids of all jobs in a state.
fn listed(node: &Node, state: &str) -> Option<Vec<String>> {
    let all = ["jobs", "list", "--json", "--limit", "1000", "--state", state];
    let said = node.cli(&all);
    let id = |job: &Value| job["id"].as_str().unwrap().to_owned();
    (said.code == Some(0)).then(|| records(&said.stdout).iter().map(id).collect())
}

/// Returns what the control API answers, which commands would ask again for a while.
fn ask(node: &Node, method: &str, target: &str) -> String {
    let mut control = UnixStream::connect(node.data().join("control.sock")).unwrap();
    control.write_all(&request(method, target, &[("connection", "close")], b"")).unwrap();
    let mut answer = String::new();
    control.read_to_string(&mut answer).unwrap();
    answer
}

/// Returns how many jobs a node says that it has itself.
fn own(node: &Node) -> u64 {
    let metrics = ask(node, "GET", "/metrics");
    let of = |line: &str| -> Option<u64> {
        line.strip_prefix("sockhop_jobs{")?.split_once("} ")?.1.parse().ok()
    };
    metrics.lines().filter_map(of).sum()
}

fn until_own(node: &Node, count: u64) {
    wait::for_value("the node has as many jobs", SOON, || own(node), |own| *own == count);
}

/// Has jobs that each count up a key of their own be made by clients that do not wait, until told to
/// stop. Returns the ids of those that were accepted.
fn submit_until(
    stop: &AtomicBool,
    address: SocketAddr,
    prefix: &str,
    accepted: &AtomicUsize,
) -> Vec<String> {
    let (mut ids, mut connection) = (Vec::new(), None);
    for number in 0.. {
        if stop.load(Relaxed) {
            break;
        }
        let key = format!("{prefix}-{number}");
        let body = json!([["increment", key, 1]]).to_string();
        let request = request("POST", "/a/2", &[("prefer", "respond-async")], body.as_bytes());
        let reply = connection.take().or_else(|| Connection::try_open(address).ok()).and_then(
            |mut open: Connection| {
                open.try_send(&request).ok()?;
                let reply = open.try_reply().ok()?;
                connection = Some(open);
                Some(reply)
            },
        );
        match reply {
            Some(reply) if reply.status() == 202 => {
                ids.push(reply.json()["id"].as_str().unwrap().to_owned());
                accepted.fetch_add(1, Relaxed);
            }
            // Whatever has gone; nothing was promised.
            _ => thread::sleep(Duration::from_millis(5)),
        }
    }
    ids
}

/// Returns how often each key was counted up.
fn counts(node: &Node) -> BTreeMap<String, u64> {
    let exported = node.cli(&["kv", "export", "a"]).expect_code(0).stdout;
    let count = |entry: &Value| {
        // In base64: a number of one digit.
        let value = match entry["value"].as_str().unwrap() {
            "MQ==" => 1,
            "Mg==" => 2,
            "Mw==" => 3,
            other => panic!("{other}"),
        };
        (entry["key"].as_str().unwrap().to_owned(), value)
    };
    records(&exported).iter().map(count).collect()
}

#[test]
fn nodes_and_servers_that_are_killed_lose_no_job_that_was_accepted() {
    let (mut cluster, folder) = (Cluster::start(), TempDir::new().unwrap());
    let urls = cluster.urls();
    let start = |at: usize| {
        let data = folder.path().join(at.to_string());
        Node::build().option("--nats", &urls).data(&data).start()
    };
    let mut nodes = [0, 1, 2].map(start);
    let options = ["--respond-async", "--job-attempts", "100", "--job-pause", "1s"];
    nodes.iter().for_each(|node| node.deploy("keyvalue", "a", &options));
    assert!(nodes[0].stderr().contains("\"sockhop_jobs\" in NATS is there; copies of it: 3"));
    let (stop, accepted) = (AtomicBool::new(false), AtomicUsize::new(0));
    let ids: Vec<String> = thread::scope(|scope| {
        let client = |client: usize| {
            let address = nodes[client % 3].addresses()[0];
            let (stop, accepted) = (&stop, &accepted);
            scope.spawn(move || submit_until(stop, address, &client.to_string(), accepted))
        };
        let clients: Vec<_> = (0..6).map(client).collect();
        let progress = |more: usize| {
            let before = accepted.load(Relaxed);
            let some = || (accepted.load(Relaxed) >= before + more).then_some(());
            wait::until("jobs are accepted", 2 * SOON, some);
        };
        progress(600);
        let leader = cluster.leader("sockhop_jobs");
        cluster.0[leader].kill();
        progress(600);
        nodes[0].kill_engine();
        progress(600);
        cluster.0[leader].restart();
        nodes[1].kill_engine();
        progress(300);
        stop.store(true, Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let [_, _, left] = &nodes;
    let none = |ids: &Option<Vec<String>>| ids.as_ref().is_some_and(Vec::is_empty);
    wait::for_value("all jobs have run", 2 * SOON, || listed(left, "queued"), none);
    until_own(left, 0);
    assert!(left.stderr().contains("has taken over"), "{}", left.stderr());
    for id in &ids {
        let answer = ask(left, "GET", &format!("/v1/jobs/{id}"));
        assert!(answer.contains("\"state\":\"done\""), "the job {id} is lost: {answer}");
    }
    // Those that found state when they ran: the function answers well without it, too.
    let counts = counts(left);
    let again: u64 = counts.values().map(|count| count - 1).sum();
    // What ran at a kill, of a node or of the server that was to keep what came of it.
    assert!(again <= 3 * 256, "{again} of {} ran more than once", counts.len());
    println!("{} accepted, {} counted, {again} times once more", ids.len(), counts.len());
    assert!(none(&listed(left, "dead")));
    // Those that come back have none, and take new ones.
    let back = start(0);
    assert_eq!(own(&back), 0);
    let id = submit(&back, "a", "/2");
    until(left, &id, "it is tried", |job| job["attempts"] != 0 || job["state"] == "done");
    back.stop();
}

#[test]
fn every_node_shows_hastens_and_removes_every_job() {
    for version in [FLOOR, NEWEST] {
        let server = Server::of_version(version);
        let [one, other] = [with(&server).start(), with(&server).start()];
        for node in [&one, &other] {
            node.deploy("status", "status", &["--job-pause", "1h"]);
            node.deploy("status", "once", &["--job-attempts", "1"]);
            node.deploy("sleep", "sleep", &[]);
        }
        let waits = submit(&one, "status", "/?code=500");
        assert_eq!(has_failed(&other, &waits)["state"], "queued");
        assert_eq!(listed(&other, "queued").unwrap(), std::slice::from_ref(&waits));
        assert_eq!((own(&one), own(&other)), (1, 0));
        other.cli(&["jobs", "retry", &waits]).expect_code(0);
        let again = until(&other, &waits, "it is tried again", |job| job["attempts"] == 2);
        assert_eq!((again["state"].as_str(), own(&other)), (Some("queued"), 0), "{again}");
        other.cli(&["jobs", "cancel", &waits]).expect_code(0);
        one.cli(&["jobs", "show", &waits]).expect_error(&["no asynchronous invocation"]);
        until_own(&one, 0);
        let dead = submit(&one, "once", "/?code=500");
        let is_dead = |job: &Value| job["state"] == "dead";
        until(&other, &dead, "it is a dead letter", is_dead);
        other.cli(&["jobs", "retry", "--all", "once"]).expect_code(0);
        until(&other, &dead, "it is one again", |job| is_dead(job) && job["attempts"] == 1);
        other.cli(&["jobs", "cancel", &dead]).expect_code(0);
        until_own(&one, 0);
        // Of one that runs, the other node only sees that it is not done.
        let runs = submit(&one, "sleep", "/?ms=3000");
        until(&one, &runs, "it runs", |job| job["state"] == "running");
        other.cli(&["jobs", "cancel", &runs]).expect_code(0);
        until_own(&one, 0);
        other.cli(&["jobs", "cancel", &runs]).expect_error(&["no asynchronous invocation"]);
        [one, other].into_iter().for_each(Node::stop);
    }
}

#[test]
fn jobs_wait_while_their_server_is_away() {
    let mut server = Server::start();
    let node = with(&server).start();
    node.deploy("hello", "hello", &["--respond-async"]);
    node.deploy("sleep", "sleep", &[]);
    let slow = submit(&node, "sleep", "/?ms=2000");
    until(&node, &slow, "it runs", |job| job["state"] == "running");
    server.kill();
    wait::until("it is noticed", SOON, || node.stderr().contains("has ended; until").then_some(()));
    let mut connection = node.connect();
    let began = Instant::now();
    connection.send(request("POST", "/hello/", &[("prefer", "respond-async")], b""));
    let reply = connection.reply();
    assert_eq!((reply.status(), reply.head.get("retry-after").is_some()), (503, true));
    assert!(began.elapsed() < QUICKLY, "{:?}", began.elapsed());
    for (method, target) in [("POST", "/v1/functions/hello/invocations"), ("GET", "/v1/jobs")] {
        let answer = ask(&node, method, target);
        assert!(answer.contains("503") && answer.contains("NATS is away"), "{answer}");
    }
    node.get("/hello/").expect_hello();
    server.restart();
    let kept = wait::until("it is back", SOON, || {
        let said = node.cli(&["invoke", "hello", "--async"]);
        (said.code == Some(0)).then(|| said.stdout.trim().to_owned())
    });
    is_done(&node, &kept);
    assert_eq!(is_done(&node, &slow)["attempts"], 1, "what came of it was kept later");
    node.stop();
}

#[test]
fn others_run_what_a_node_leaves_and_one_that_was_cut_off_runs_nothing_of_it() {
    let (server, folder) = (Server::start(), TempDir::new().unwrap());
    let start = |name: &str| with(&server).data(&folder.path().join(name)).start();
    let [one, other] = [start("one"), start("other")];
    for node in [&one, &other] {
        node.deploy("status", "status", &["--job-pause", "1h"]);
    }
    let waiting: Vec<String> = (0..5).map(|_| submit(&one, "status", "/?code=500")).collect();
    waiting.iter().for_each(|id| drop(has_failed(&other, id)));
    assert_eq!((own(&one), own(&other)), (5, 0));
    let engine = Pid::from_raw(one.pid().try_into().unwrap());
    kill(engine, Signal::SIGSTOP).unwrap();
    until_own(&other, 5);
    kill(engine, Signal::SIGCONT).unwrap();
    until_own(&one, 0);
    other.cli(&["jobs", "retry", &waiting[0]]).expect_code(0);
    until(&one, &waiting[0], "it is tried again", |job| job["attempts"] == 2);
    // One that stops says so.
    other.stop();
    until_own(&one, 5);
    let back = start("other");
    until_own(&back, 0);
    back.stop();
    // The last one finds its own again.
    one.stop();
    let one = start("one");
    until_own(&one, 5);
    assert_eq!(listed(&one, "queued").unwrap(), waiting);
    one.stop();
}

/// Writes a value into the bucket of jobs, past everything.
fn put(server: &Server, key: &str, value: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    write!(
        stream,
        "CONNECT {{\"verbose\":false}}\r\nPUB $KV.sockhop_jobs.{key} {}\r\n",
        value.len()
    )
    .unwrap();
    stream.write_all(value).unwrap();
    stream.write_all(b"\r\nPING\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines();
    assert!(lines.any(|line| line.unwrap() == "PONG"));
}

#[test]
fn what_is_foreign_in_the_bucket_harms_nobody() {
    let (server, folder) = (Server::start(), TempDir::new().unwrap());
    let start = || with(&server).data(folder.path()).start();
    let node = start();
    node.deploy("status", "status", &["--job-pause", "1h"]);
    node.deploy("hello", "hello", &[]);
    let id = submit(&node, "status", "/?code=500");
    has_failed(&node, &id);
    let foreign = "019406c2-5e4e-7d11-8f3a-6f0f4f2d3c1b";
    for key in ["job.x", "job", "a.b.c", "node.x", "node.y.z", "request.x.0"] {
        put(&server, key, b"x");
    }
    for value in [&b""[..], b"x", b"{}", &[0xff; 100]] {
        put(&server, &format!("job.{foreign}"), value);
        put(&server, &format!("done.{foreign}"), value);
        for method in ["GET", "DELETE"] {
            let answer = ask(&node, method, &format!("/v1/jobs/{foreign}"));
            assert!(answer.contains("damaged"), "{answer}");
        }
        assert_eq!(listed(&node, "queued").unwrap(), std::slice::from_ref(&id));
        is_done(&node, &submit(&node, "hello", "/"));
    }
    // A job whose request is another's, or is not there.
    put(&server, &format!("request.{id}.0"), b"x");
    node.cli(&["jobs", "retry", &id]).expect_code(0);
    wait::until("it is said", SOON, || {
        node.stderr().contains(&format!("{id} is damaged")).then_some(())
    });
    node.stop();
    let node = start();
    is_done(&node, &submit(&node, "hello", "/"));
    node.cli(&["jobs", "cancel", &id]).expect_code(0);
    node.stop();
}

#[test]
fn what_a_node_has_kept_by_itself_it_brings_along() {
    let (server, folder) = (Server::start(), TempDir::new().unwrap());
    let alone = Node::build().data(folder.path()).start();
    alone.deploy("status", "status", &["--job-pause", "1h"]);
    alone.deploy("echo", "large", &["--job-pause", "1h", "--job-attempts", "1"]);
    alone.deploy("status", "once", &["--job-attempts", "1"]);
    let (waits, dead) =
        (submit(&alone, "status", "/?code=500"), submit(&alone, "once", "/?code=500"));
    has_failed(&alone, &waits);
    has_failed(&alone, &dead);
    alone.stop();
    let node = with(&server).data(folder.path()).start();
    until_own(&node, 2);
    wait::until("it is said", SOON, || {
        node.stderr().contains("2 asynchronous invocations").then_some(())
    });
    assert_eq!(listed(&node, "queued").unwrap(), [waits]);
    assert_eq!(listed(&node, "dead").unwrap(), std::slice::from_ref(&dead));
    node.cli(&["jobs", "retry", &dead]).expect_code(0);
    until(&node, &dead, "it is tried again", |job| job["state"] == "dead");
    // One that is larger than a message.
    let said = node.cli_with_stdin(&["invoke", "large", "--async", "-d", "@-"], &vec![b'x'; MIB]);
    is_done(&node, said.expect_code(0).stdout.trim());
    node.stop();
    let alone = Node::build().data(folder.path()).start();
    assert_eq!((own(&alone), listed(&alone, "dead").unwrap()), (0, Vec::new()));
    alone.stop();
}
