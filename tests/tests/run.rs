//! `sockhop run`: what would be deployed, without a node, and nothing is left of it.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::io::{Seek as _, Write as _};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use harness::{Connection, Finished, Running, guests, native, node, process, wait};
use nix::sys::signal::Signal;
use tempfile::TempDir;

const PATIENTLY: Duration = Duration::from_secs(60);

/// `sockhop run` with a folder of its own for what is temporary.
struct Run {
    running: Running,
    temporary: TempDir,
}

impl Run {
    fn start(arguments: &[&str], stdin: Stdio) -> Self {
        let temporary = TempDir::new().unwrap();
        let mut command = node::sockhop();
        command.arg("run").args(arguments).env("TMPDIR", temporary.path());
        Self { running: Running::spawn_with(&mut command, stdin), temporary }
    }

    /// Waits for its end. Nothing of it is left.
    fn finish(self) -> Finished {
        let finished = self.running.finish(PATIENTLY);
        assert_eq!(fs::read_dir(&self.temporary).unwrap().count(), 0, "its folder is gone");
        finished
    }

    /// Where it serves, once it has said so.
    fn address(&self) -> SocketAddr {
        wait::until("an address", PATIENTLY, || {
            let text = self.running.stdout();
            let url = text.lines().find_map(|line| line.strip_prefix("http://127.0.0.1:"))?;
            url.split('/').next()?.parse().ok().map(|port: u16| ([127, 0, 0, 1], port).into())
        })
    }

    /// Ends it by a signal. Its processes end, and its folder goes.
    fn end(mut self, signal: Signal) -> Option<i32> {
        let children = process::descendants(self.running.pid());
        assert!(!children.is_empty());
        self.running.signal(signal);
        let status = self.running.wait_exit(PATIENTLY);
        for child in children {
            wait::until("its end", PATIENTLY, || (!process::alive(child)).then_some(()));
        }
        wait::until("its folder is gone", PATIENTLY, || {
            (fs::read_dir(&self.temporary).unwrap().count() == 0).then_some(())
        });
        status.code()
    }
}

fn guest(name: &str) -> String {
    guests::path(name).to_str().unwrap().to_owned()
}

#[test]
fn a_command_is_run_once_with_its_streams_and_its_exit_code() {
    let once = |guest: &str, arguments: &[&str]| {
        Run::start(&[&[guest, "--"], arguments].concat(), Stdio::null()).finish()
    };
    for (name, code) in [("cmd", 1), ("cmd-p1", 3)] {
        let guest = guest(name);
        let mut stdin = tempfile::tempfile().unwrap();
        stdin.write_all(&[b'x'; 300_000]).and_then(|()| stdin.rewind()).unwrap();
        let read = Run::start(&[&guest, "--", "count"], stdin.into()).finish();
        assert_eq!(read.expect_code(0).stdout, "300000\n");
        let failed = once(&guest, &["eprint=first%0a", "exit=3"]).expect_code(code);
        assert_eq!(failed.stdout, "stdout before exit\n");
        assert!(failed.stderr.ends_with("first\nstderr before exit\n"), "{failed:#?}");
    }
    let guest = guest("cmd-p1");
    let large = once(&guest, &["big=3000000"]).expect_code(0);
    assert_eq!(large.stdout.chars().count(), 3_000_000);
    let aborted = once(&guest, &["abort"]).expect_code(1);
    assert!(aborted.stderr.contains("asked to"), "{aborted:#?}");
    let options = ["--env", "ONE=two", "--timeout", "500ms"];
    let env = Run::start(&[&options[..], &[&guest, "--", "env"]].concat(), Stdio::null()).finish();
    assert!(env.expect_code(0).stdout.contains("ONE=two\n"));
    let slow = Run::start(&[&options[..], &[&guest, "--", "sleep=60000"]].concat(), Stdio::null());
    slow.finish().expect_error(&["500"]);
}

#[test]
fn what_is_called_over_http_is_served_until_a_signal_comes() {
    let hello = guest("inspect");
    let run = Run::start(&[&hello, "--env", "ONE=two"], Stdio::null());
    let reply = Connection::open(run.address()).get("/inspect/");
    assert_eq!(reply.json()["environment"]["ONE"], "two");
    wait::until("its log", PATIENTLY, || {
        run.running.stdout().contains("inspect stdout line").then_some(())
    });
    assert_eq!(run.end(Signal::SIGINT), Some(0));
    let server = native::path("hello-server");
    let run = Run::start(&[server.to_str().unwrap(), "--kind", "server"], Stdio::null());
    Connection::open(run.address()).get("/hello-server/").expect_hello();
    assert_eq!(run.end(Signal::SIGKILL), None, "and when it is killed, its node ends");
}

#[test]
fn a_project_is_run_as_its_file_says_and_a_command_is_served_where_that_is_asked_for() {
    let folder = TempDir::new().unwrap();
    let project = folder.path().to_str().unwrap();
    fs::copy(guests::path("cmd"), folder.path().join("cmd.wasm")).unwrap();
    let file = "name = \"ask\"\nsource = \"cmd.wasm\"\nargs = [\"print=asked\"]\n";
    fs::write(folder.path().join("sockhop.toml"), file).unwrap();
    let once = Run::start(&[project], Stdio::null()).finish();
    assert_eq!(once.expect_code(0).stdout, "asked");
    let run = Run::start(&[project, "--listen", "127.0.0.1:0"], Stdio::null());
    assert_eq!(Connection::open(run.address()).get("/ask/").text(), "asked");
    assert_eq!(run.end(Signal::SIGTERM), Some(0));
    let wrong = Run::start(&["/nothing/there.wasm"], Stdio::null()).finish();
    wrong.expect_error(&["does not exist"]);
}
