//! The engine trusts no worker: one that breaks the protocol is killed and replaced, and all others
//! are served on.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use harness::running::kill_now;
use harness::{Connection, Node, node};

/// How long it may take until a worker that is killed at once has been killed a few times.
const NOTICED: Duration = Duration::from_secs(20);

/// Chooses what every worker does that starts from now on. With `None` they are real ones.
fn make_mischief(folder: &Path, mischief: Option<&str>) {
    let path = folder.join("mischief");
    match mischief {
        Some(mischief) => fs::write(path, mischief).unwrap(),
        None => fs::remove_file(path).unwrap(),
    }
}

/// Checks that the engine kills a worker that does this, logs `said`, and serves on.
fn is_killed(mischief: &str, said: &str) {
    let folder = node::binaries_with_worker(env!("CARGO_BIN_EXE_hostile-worker"));
    let node = Node::build().binaries(folder.path()).start();
    node.deploy("hello", "hello", &[]);
    node.get("/hello/").expect_hello();
    let fds = node.fds().into_iter().filter(|(pid, _)| *pid == node.pid()).collect::<Vec<_>>();
    make_mischief(folder.path(), Some(mischief));
    kill_now(node.status().workers[0].pid);
    node.until_status("it is killed more than once", NOTICED, |_| {
        node.stderr().matches(said).count() > 1
    });
    for _ in 0..20 {
        node.get("/hello/").expect_hello();
    }
    make_mischief(folder.path(), None);
    node.until_status("a real one serves again", NOTICED, |status| {
        status.workers.iter().all(|worker| worker.state == "ready")
    });
    node.get("/hello/").expect_hello();
    node.expect_fds_back_at(&fds, Duration::from_secs(5));
    node.stop();
}

#[test]
fn a_message_of_garbage() {
    is_killed("garbage", "breaks the protocol");
}

#[test]
fn a_message_larger_than_any() {
    is_killed("oversized", "breaks the protocol");
}

#[test]
fn fds_by_the_hundred() {
    is_killed("fds without a message", "breaks the protocol");
}

#[test]
fn garbage_about_state() {
    is_killed("garbage about state", "breaks the protocol");
}

#[test]
fn a_job_that_is_no_request() {
    is_killed("garbage as a job", "breaks the protocol");
}

#[test]
fn a_worker_of_another_build() {
    is_killed("another build", "not of the engine's build");
}

#[test]
fn a_word_out_of_turn() {
    is_killed("out of turn", "which it was not sent");
}

#[test]
fn a_catalogue_that_there_never_was() {
    is_killed("from the future", "which it was not sent");
}

#[test]
fn a_worker_that_gives_back_other_things_than_sockets_harms_nobody_else() {
    let folder = node::binaries_with_worker(env!("CARGO_BIN_EXE_hostile-worker"));
    let node = Node::build().binaries(folder.path()).start();
    node.deploy("hello", "hello", &[]);
    node.deploy("hello", "alone", &["--isolation", "process"]);
    node.get("/hello/").expect_hello();
    node.get("/alone/").expect_hello();
    let fds: Vec<_> = node.fds().into_iter().filter(|(pid, _)| *pid == node.pid()).collect();
    for mischief in ["returns what it was never given", "closes what it gets"] {
        make_mischief(folder.path(), Some(mischief));
        node.status()
            .pool("alone")
            .filter(|worker| worker.pid != 0)
            .for_each(|worker| kill_now(worker.pid));
        for _ in 0..5 {
            let mut connection = Connection::open(node.addresses()[0]);
            connection.send("GET /alone/ HTTP/1.1\r\nHost: a\r\n\r\n");
            // The connection was given to that worker, or no worker was ready in time.
            if let Ok(reply) = connection.try_reply() {
                reply.expect_problem(503);
            }
            node.get("/hello/").expect_hello();
        }
        assert!(node.stderr().contains("no client's connection"), "{}", node.stderr());
        let own = node.status().pool("alone").next().expect("it has a seat").pid;
        make_mischief(folder.path(), None);
        if own != 0 {
            kill_now(own);
        }
        node.until_status("a real one serves again", NOTICED, |status| {
            status.pool("alone").all(|worker| worker.state == "ready" && worker.pid != own)
        });
        node.get("/alone/").expect_hello();
    }
    node.expect_fds_back_at(&fds, Duration::from_secs(5));
    node.stop();
}
