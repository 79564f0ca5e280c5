//! The native guests, which `scripts/test` builds: their deploys, requests to them, and what is
//! left of them on the host.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::answer::Answer;
use crate::client::{Connection, Reply, head, request};
use crate::node::Node;
use crate::running::Finished;
use crate::{process, wait};

/// Returns the folder of a native guest.
pub fn path(guest: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/target/native").join(guest);
    assert!(path.is_dir(), "{} is not there: run scripts/test, which builds it", path.display());
    path
}

/// Runs `sockhop deploy` of a file or folder, and returns how it went.
pub fn try_deploy(node: &Node, file: &Path, kind: &str, name: &str, options: &[&str]) -> Finished {
    let file = file.to_str().expect("the tests use plain names");
    node.cli(&[&["deploy", file, "--kind", kind, "--name", name], options].concat())
}

/// Deploys the folder of a guest as the function `name`. Panics if that fails.
#[track_caller]
pub fn deploy(node: &Node, guest: &str, kind: &str, name: &str, options: &[&str]) -> Finished {
    try_deploy(node, &path(guest), kind, name, options).expect_code(0)
}

/// Starts a node with one guest deployed under its own name.
#[must_use]
pub fn node_with(guest: &str, kind: &str, options: &[&str]) -> Node {
    let node = Node::start();
    deploy(&node, guest, kind, guest, options);
    node
}

/// Sends a request with a JSON body on a connection of its own.
pub fn post_json(node: &Node, target: &str, body: &Value) -> Reply {
    let body = body.to_string();
    let mut connection = node.connect();
    let headers = [("content-type", "application/json")];
    connection.send(request("POST", target, &headers, body.as_bytes()));
    connection.reply()
}

/// Sends `bytes`, which are one request, on a connection that ends with its answer. Unlike
/// [`Connection::reply`] the answer has its trailers, and headers that occur twice.
#[track_caller]
pub fn answer(
    node: &Node,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut connection = node.connect();
    let headers = [headers, &[("connection", "close, te")]].concat();
    connection.send(head(method, target, &headers));
    connection.send(body);
    Answer::read(method, &connection.rest())
}

/// Waits until the log of a function has `text`, and returns the log.
#[track_caller]
pub fn until_logged(node: &Node, function: &str, text: &str) -> String {
    wait::until(&format!("the log of {function} has {text:?}"), Duration::from_secs(20), || {
        let log = node.cli(&["logs", function]).stdout;
        log.contains(text).then_some(log)
    })
}

/// Returns the pid of the worker of a function. Panics if it has none that is ready: a function
/// that was not called since its deploy has none.
#[track_caller]
pub fn worker(node: &Node, function: &str) -> u32 {
    let status = node.status();
    let ready = status.pool(function).find(|worker| worker.state == "ready" && worker.pid != 0);
    ready.unwrap_or_else(|| panic!("{function} has no worker: {status:#?}")).pid
}

/// Returns the names of the programs that processes below a node run (proc_pid_comm(5)), by pid.
pub fn programs(node: &Node) -> Vec<(u32, String)> {
    let below = process::descendants(node.pid());
    below.into_iter().filter_map(|pid| Some((pid, program(pid)?))).collect()
}

/// Returns the pids of the programs of a function's processes, which go by `name`.
pub fn programs_of(node: &Node, function: &str, name: &str) -> Vec<u32> {
    let below = process::descendants(worker(node, function));
    let named =
        programs(node).into_iter().filter(|(pid, other)| other == name && below.contains(pid));
    named.map(|(pid, _)| pid).collect()
}

fn program(pid: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned())
}

/// Returns the pids of all processes of the host that go by `name`, whoever started them.
pub fn pids_by_name(name: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| process::alive(*pid) && program(*pid).as_deref() == Some(name)).collect()
}

/// Returns the folders of cgroups that sandboxes of these processes have made, and that are there.
pub fn cgroups_of(pids: &[u32]) -> BTreeSet<PathBuf> {
    let made_by: Vec<String> = pids.iter().map(|pid| format!("sockhop-native-{pid}-")).collect();
    let mut found = BTreeSet::new();
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        // One that has gone since it was listed has nothing in it.
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|file_type| file_type.is_dir()) {
                let name = entry.file_name().to_string_lossy().into_owned();
                if made_by.iter().any(|prefix| name.starts_with(prefix)) {
                    found.insert(entry.path());
                }
                folders.push(entry.path());
            }
        }
    }
    found
}

/// Returns the number of mounts that this process sees.
pub fn mounts() -> usize {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    text.lines().count()
}

/// The number of requests that each client of [`under_load`] sends at least.
const REQUESTS_MIN: usize = 10;

/// Sends GETs from `clients` connections, each again and again, while `work` runs, and returns how
/// many were answered with 200, and what else happened.
pub fn under_load(
    node: &Node,
    target: &str,
    clients: usize,
    work: impl FnOnce(),
) -> (usize, Vec<String>) {
    let ((), served, failed) = under_load_at(node.addresses()[0], target, clients, work);
    (served, failed)
}

/// Does what [`under_load`] does with whatever listens at `address`, as when one node takes over
/// from another, and returns what `work` does as well.
pub fn under_load_at<T>(
    address: SocketAddr,
    target: &str,
    clients: usize,
    work: impl FnOnce() -> T,
) -> (T, usize, Vec<String>) {
    let stop = AtomicBool::new(false);
    let client = || {
        let (mut served, mut failed) = (0, Vec::new());
        let mut connection = Connection::open(address);
        // However quick the work is, each client is seen to be served.
        while !stop.load(SeqCst) || served + failed.len() < REQUESTS_MIN {
            let done = connection
                .try_send(request("GET", target, &[], b""))
                .map_err(|error| error.to_string())
                .and_then(|()| connection.try_reply().map_err(|cut| format!("{cut:?}")));
            match done {
                Ok(reply) if reply.status() == 200 => {
                    served += 1;
                    if reply.head.get("connection") == Some("close") {
                        connection = Connection::open(address);
                    }
                }
                Ok(reply) => failed.push(format!("{} {}", reply.status(), reply.text())),
                Err(error) => {
                    failed.push(error);
                    connection = Connection::open(address);
                }
            }
        }
        (served, failed)
    };
    thread::scope(|scope| {
        let _stop = wait::StopOnDrop(&stop);
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        let done = work();
        stop.store(true, SeqCst);
        let results = clients.into_iter().map(|client| client.join().expect("no client panics"));
        let (served, failed) = results.fold((0, Vec::new()), |(served, mut failed), one| {
            failed.extend(one.1);
            (served + one.0, failed)
        });
        (done, served, failed)
    })
}

/// Has so many threads do the same at once, and returns what each came to.
pub fn at_once<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let work = &work;
        let all: Vec<_> = (0..count).map(|at| scope.spawn(move || work(at))).collect();
        all.into_iter().map(|one| one.join().expect("no thread panics")).collect()
    })
}
