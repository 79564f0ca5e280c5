//! At a terminal, a deploy shows its progress; without one, its output has no progress.

use std::fs;
use std::process::Command;
use std::time::Duration;

use harness::compilers::StoppedCompiler;
use harness::{Connection, Finished, Node, Running, guests, node, wait};
use nix::sys::signal::Signal;

const PATIENTLY: Duration = Duration::from_secs(60);
/// The beginning of a progress line.
const BAR: &str = "[=";

fn deploy(name: &str) -> Command {
    let mut command = node::sockhop();
    command.arg("deploy").arg(guests::path("json")).args(["--name", name]);
    command
}

fn until_said(running: &Running, what: &str) {
    wait::until(what, PATIENTLY, || running.stderr().contains(what).then_some(()));
}

/// Waits for its end, and checks that nothing of the line stays visible.
fn expect_deployed(running: Running, name: &str) {
    let finished = running.finish(PATIENTLY).expect_code(0);
    assert!(finished.stdout.starts_with(&format!("deployed {name}, version v1 ")), "{finished:?}");
    assert_eq!(finished.stdout.lines().count(), 3, "{finished:?}");
    let cleared = finished.stderr.rsplit_once("\x1b[2K");
    let (_, left) = cleared.unwrap_or_else(|| panic!("nothing was cleared: {finished:?}"));
    assert_eq!(left, "", "the line is the last that was drawn, and cleared: {finished:?}");
}

#[test]
fn a_terminal_shows_what_a_deploy_waits_for_over_the_socket_and_over_tcp() {
    let node = Node::build().option("--admin", "127.0.0.1:0").start();
    let (url, data) = (node.status().node.admin.unwrap(), node.data().to_str().unwrap());
    let token = fs::read_to_string(node.data().join("admin.token")).unwrap();
    let mut here = Running::at_terminal(deploy("here").args(["--data", data]), "xterm");
    let stopped = StoppedCompiler::next(&node);
    let there = Running::at_terminal(
        deploy("far").args(["--node", &url]).env("SOCKHOP_TOKEN", token.trim()),
        "xterm",
    );
    until_said(&here, "compiling, 1 s");
    until_said(&there, "waiting for a compiler, 1 before it, 1 s");
    assert!(here.stderr().starts_with("deploying here: "), "{:?}", here.stderr());
    let shown = [here.stderr(), there.stderr()];
    assert!(shown.iter().all(|shown| shown.contains(BAR)), "{shown:?}");
    drop(stopped);
    expect_deployed(there, "far");
    here.wait_exit(PATIENTLY);
    expect_deployed(here, "here");
    node.stop();
}

#[test]
fn ctrl_c_ends_it_as_any_command() {
    let node = Node::start();
    let data = node.data().to_str().unwrap();
    let mut running = Running::at_terminal(deploy("it").args(["--data", data]), "xterm");
    let stopped = StoppedCompiler::next(&node);
    until_said(&running, "compiling, 0 s");
    running.signal(Signal::SIGINT);
    let finished = running.finish(PATIENTLY);
    assert_eq!((finished.code, finished.stdout.as_str()), (None, ""), "{finished:?}");
    // No other screen and no hidden cursor, which would have to be undone.
    assert!(!finished.stderr.contains("\x1b[?"), "{finished:?}");
    drop(stopped);
    let listed = || node.list().contains("\"it\"").then_some(());
    wait::until("what was begun comes to its end", PATIENTLY, listed);
    node.stop();
}

#[test]
fn without_a_terminal_and_at_a_dumb_one_nothing_is_shown() {
    let node = Node::start();
    let data = node.data().to_str().unwrap();
    let say_the_same = |finished: Finished, name: &str, end: &str| {
        let finished = finished.expect_code(0);
        let said = finished.stderr.strip_prefix(&format!("deploying {name}: "));
        let size = said.and_then(|said| said.strip_suffix(&format!(" ...{end}")));
        assert!(size.is_some_and(|size| size.ends_with("iB") && size.len() < 12), "{finished:?}");
        let lines: Vec<&str> = finished.stdout.lines().collect();
        let port = node.addresses()[0].port();
        let (local, address) = (
            format!("http://{name}.localhost:{port}/"),
            format!("http://127.0.0.1:{port}/{name}/"),
        );
        assert!(
            lines[0].starts_with(&format!("deployed {name}, version v1 "))
                && lines[0].ends_with(" s")
        );
        assert_eq!(lines[1..], [local, address], "{finished:?}");
    };
    let quiet = Running::spawn(deploy("quiet").args(["--data", data]));
    let stopped = StoppedCompiler::next(&node);
    let dumb = Running::at_terminal(deploy("dumb").args(["--data", data]), "dumb");
    until_said(&dumb, "deploying");
    // Long enough for a line to be drawn.
    wait::throughout("it says nothing more", Duration::from_secs(1), || {
        !dumb.stderr().contains(BAR)
    });
    drop(stopped);
    say_the_same(quiet.finish(PATIENTLY), "quiet", "\n");
    say_the_same(dumb.finish(PATIENTLY), "dumb", "\r\n");
    node.stop();
}

#[test]
fn what_fails_says_why_and_leaves_no_line() {
    let node = Node::start();
    let data = node.data().to_str().unwrap();
    let mut command = node::sockhop();
    command.arg("deploy").arg(guests::path("panic")).args(["--name", "it", "--data", data]);
    let finished = Running::at_terminal(&mut command, "xterm").finish(PATIENTLY);
    let said = finished.expect_code(1).stderr;
    assert!(said.contains("error: the version does not answer its trial request"), "{said:?}");
    let (_, error) = said.rsplit_once("error: ").unwrap();
    assert!(!error.contains(BAR), "{said:?}");
    node.stop();
}

#[test]
fn only_who_may_deploy_is_told_how_far_one_is() {
    let node = Node::build().option("--admin", "127.0.0.1:0").start();
    let url = node.status().node.admin.unwrap();
    let address: std::net::SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    let mut connection = Connection::open(address);
    let head = "GET /v1/deploys/01920000-0000-7000-8000-000000000000 HTTP/1.1\r\nhost: x\r\n";
    connection.send(format!("{head}connection: close\r\n\r\n").as_bytes());
    let answer = connection.rest();
    assert!(answer.starts_with(b"HTTP/1.1 401 "), "{}", String::from_utf8_lossy(&answer));
    node.stop();
}
