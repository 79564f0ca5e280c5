//! Under steady load, deploys, rollbacks, take-overs and kills lose no request of a native function
//! but those that were in the process that was killed; and nothing is left on the host.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use harness::client::request;
use harness::native::{cgroups_of, deploy, mounts, programs_of, under_load, under_load_at, worker};
use harness::{Connection, Node, process, running, wait};
use tempfile::TempDir;

/// How long something may take that takes a second on an idle machine.
const SOON: Duration = Duration::from_secs(20);
const CLIENTS: usize = 8;
const PROCESSES: usize = 4;

/// A guest whose requests take a while, so that some are under way whatever happens when.
struct Guest {
    name: &'static str,
    kind: &'static str,
    program: &'static str,
    target: &'static str,
    /// Requests that one process has at a time.
    requests: usize,
}

const LAMBDA: Guest = Guest {
    name: "lambda-http",
    kind: "lambda",
    program: "bootstrap",
    target: "/lambda-http/sleep?ms=20",
    requests: 1,
};
const SERVER: Guest = Guest {
    name: "server",
    kind: "server",
    program: "server",
    target: "/server/slow?ms=20",
    requests: 2,
};

impl Guest {
    fn deploy(&self, node: &Node, options: &[&str]) {
        let (processes, requests) = (PROCESSES.to_string(), self.requests.to_string());
        let own = ["--processes", &processes, "--process-requests", &requests];
        deploy(node, self.name, self.kind, self.name, &[&own[..], options].concat());
    }

    fn started(&self) -> Node {
        let node = Node::start();
        self.deploy(&node, &[]);
        self.expect_served(&node);
        node
    }

    fn expect_served(&self, node: &Node) {
        let reply = node.get(self.target);
        assert_eq!((reply.status(), reply.text().as_str()), (200, "slept 20 ms"));
    }

    fn pids(&self, node: &Node) -> Vec<u32> {
        programs_of(node, self.name, self.program)
    }

    fn until_all_run(&self, node: &Node) -> Vec<u32> {
        let all = |pids: &Vec<u32>| pids.len() == PROCESSES;
        wait::for_value("all processes run", SOON, || self.pids(node), all)
    }
}

/// Stops a node, and checks that it leaves nothing behind.
fn stop_without_trace(node: Node, also: &[u32]) {
    let processes = [node.processes(), also.to_vec()].concat();
    node.stop();
    expect_no_trace(&processes);
}

fn expect_no_trace(processes: &[u32]) {
    for pid in processes {
        wait::until("a process of the node is gone", SOON, || {
            (!process::alive(*pid)).then_some(())
        });
    }
    wait::for_value("the cgroups are gone", SOON, || cgroups_of(processes), |all| all.is_empty());
}

fn deploys_and_rollbacks_lose_nothing(guest: &Guest) {
    let node = guest.started();
    let (served, failed) = under_load(&node, guest.target, CLIENTS, || {
        for round in 0..3 {
            guest.deploy(&node, &["--env", &format!("ROUND={round}")]);
            node.cli(&["rollback", guest.name]).expect_code(0);
        }
    });
    assert_eq!(failed, Vec::<String>::new(), "{served} were served");
    // The versions that are no longer called end their processes.
    let few = |pids: &Vec<u32>| pids.len() <= PROCESSES;
    wait::for_value("old versions' processes end", SOON, || guest.pids(&node), few);
    stop_without_trace(node, &[]);
}

#[test]
fn deploys_and_rollbacks_lose_no_request_of_a_lambda() {
    deploys_and_rollbacks_lose_nothing(&LAMBDA);
}

#[test]
fn deploys_and_rollbacks_lose_no_request_of_a_server() {
    deploys_and_rollbacks_lose_nothing(&SERVER);
}

fn take_overs_lose_nothing(guest: &Guest) {
    let node = guest.started();
    let mut before = node.processes();
    let address = node.addresses()[0];
    let (node, served, failed) = under_load_at(address, guest.target, CLIENTS, || {
        let mut node = node;
        for _ in 0..3 {
            node = node.taken_over();
            before.extend(node.processes());
            guest.expect_served(&node);
        }
        node
    });
    assert_eq!(failed, Vec::<String>::new(), "{served} were served");
    stop_without_trace(node, &before);
}

#[test]
fn take_overs_lose_no_request_of_a_lambda() {
    take_overs_lose_nothing(&LAMBDA);
}

#[test]
fn take_overs_lose_no_request_of_a_server() {
    take_overs_lose_nothing(&SERVER);
}

fn a_killed_process_takes_its_requests_and_no_more(guest: &Guest) {
    const KILLS: usize = 5;
    let node = guest.started();
    let own_worker = worker(&node, guest.name);
    let mut killed = Vec::new();
    let (served, failed) = under_load(&node, guest.target, CLIENTS, || {
        for _ in 0..KILLS {
            let all = guest.until_all_run(&node);
            running::kill_if_there(all[0]);
            killed.push(all[0]);
            wait::until("it is gone", SOON, || (!process::alive(all[0])).then_some(()));
        }
        guest.until_all_run(&node);
    });
    assert!(failed.len() <= KILLS * guest.requests, "{served} were served, failed: {failed:#?}");
    for answer in &failed {
        assert!(answer.starts_with("502 "), "the node tells each client so: {answer}");
    }
    assert!(served > 0);
    assert_eq!(worker(&node, guest.name), own_worker, "the worker has not noticed");
    stop_without_trace(node, &killed);
}

#[test]
fn a_killed_process_takes_no_more_with_it_than_its_event() {
    a_killed_process_takes_its_requests_and_no_more(&LAMBDA);
}

#[test]
fn a_killed_process_takes_no_more_with_it_than_its_requests() {
    a_killed_process_takes_its_requests_and_no_more(&SERVER);
}

fn a_killed_worker_takes_its_requests_and_no_more(guest: &Guest) {
    const KILLS: usize = 3;
    let node = guest.started();
    let neighbour = "neighbour";
    deploy(&node, "hello-lambda", "lambda", neighbour, &[]);
    let mut killed = Vec::new();
    let (served, failed) = under_load(&node, guest.target, CLIENTS, || {
        let ((), others, lost) = under_load_at(node.addresses()[0], "/neighbour/", 2, || {
            for _ in 0..KILLS {
                guest.until_all_run(&node);
                let own = worker(&node, guest.name);
                killed.extend([vec![own], process::descendants(own)].concat());
                running::kill_now(own);
                node.until_status("there is another worker", SOON, |status| {
                    let mut pool = status.pool(guest.name);
                    pool.any(|other| other.state == "ready" && ![0, own].contains(&other.pid))
                });
            }
            guest.until_all_run(&node);
        });
        assert_eq!(lost, Vec::<String>::new(), "{others} of another function were served");
    });
    assert!(failed.len() <= KILLS * CLIENTS, "{served} were served, and failed: {failed:#?}");
    guest.expect_served(&node);
    stop_without_trace(node, &killed);
}

#[test]
fn a_killed_worker_of_a_lambda_takes_no_more_with_it_than_its_requests() {
    a_killed_worker_takes_its_requests_and_no_more(&LAMBDA);
}

#[test]
fn a_killed_worker_of_a_server_takes_no_more_with_it_than_its_requests() {
    a_killed_worker_takes_its_requests_and_no_more(&SERVER);
}

#[test]
fn a_killed_engine_leaves_nothing_and_its_successor_serves() {
    let mounts_before = mounts();
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let mut node = Node::build().data(&data).start();
    let guests = [&LAMBDA, &SERVER];
    for guest in guests {
        guest.deploy(&node, &[]);
        guest.expect_served(&node);
    }
    let address = node.addresses()[0];
    let (killed, served, lost) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    // Each asks again and again, until its connection ends.
    let client = |target: &str| {
        let mut connection = Connection::open(address);
        loop {
            let sent = connection.try_send(request("GET", target, &[], b"")).is_ok();
            match sent.then(|| connection.try_reply()) {
                Some(Ok(reply)) if reply.status() == 200 => drop(served.fetch_add(1, SeqCst)),
                Some(Ok(reply)) => panic!("{} {}", reply.status(), reply.text()),
                Some(Err(_)) | None => break,
            }
        }
        if !killed.load(SeqCst) {
            lost.fetch_add(1, SeqCst);
        }
    };
    let below = thread::scope(|scope| {
        for at in 0..CLIENTS {
            let target = guests[at % guests.len()].target;
            scope.spawn(move || client(target));
        }
        wait::until("they are served", SOON, || (served.load(SeqCst) > 100).then_some(()));
        let below = node.processes();
        killed.store(true, SeqCst);
        node.kill_engine();
        below
    });
    assert_eq!(lost.load(SeqCst), 0, "before the engine was killed");
    for pid in &below {
        wait::until("a process of it is gone", SOON, || (!process::alive(*pid)).then_some(()));
    }
    drop(node);
    let node = Node::build().data(&data).start();
    guests.iter().for_each(|guest| guest.expect_served(&node));
    expect_no_trace(&below);
    stop_without_trace(node, &below);
    assert!(mounts() <= mounts_before, "mounts: {mounts_before} before, {} after", mounts());
}
