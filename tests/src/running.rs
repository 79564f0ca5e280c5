//! A child process with both streams captured and a guard that ends it.

use std::fs::File;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};

use crate::{process, wait};

/// What one stream has given so far, filled by a thread of its own so that the child never blocks
/// on a full pipe.
#[derive(Debug, Clone, Default)]
struct Capture {
    bytes: Arc<Mutex<Vec<u8>>>,
    ended: Arc<AtomicBool>,
}

impl Capture {
    fn of(mut stream: impl Read + Send + 'static) -> Self {
        let capture = Self::default();
        let shared = capture.clone();
        thread::spawn(move || {
            let mut piece = [0; 8192];
            while let Ok(n @ 1..) = stream.read(&mut piece) {
                shared.bytes.lock().expect("no holder panics").extend_from_slice(&piece[..n]);
            }
            shared.ended.store(true, Ordering::Release);
        });
        capture
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("no holder panics")).into_owned()
    }
}

/// A running child. Dropped, it is killed by pid together with its children; in a failing test it
/// shows its streams.
#[derive(Debug)]
pub struct Running {
    child: Child,
    what: String,
    stdout: Capture,
    stderr: Capture,
    status: Option<ExitStatus>,
}

impl Running {
    /// Starts `command` with no stdin and both output streams captured.
    pub fn spawn(command: &mut Command) -> Self {
        Self::spawn_with(command, Stdio::null())
    }

    /// The same with this for stdin.
    pub fn spawn_with(command: &mut Command, stdin: Stdio) -> Self {
        let what = format!("{command:?}");
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {what}: {e}"));
        let stdout = Capture::of(child.stdout.take().expect("piped above"));
        let stderr = Capture::of(child.stderr.take().expect("piped above"));
        Self { child, what, stdout, stderr, status: None }
    }

    /// Starts `command` with a terminal of this type (`TERM`) for its stderr, and stdout captured
    /// apart from it.
    pub fn at_terminal(command: &mut Command, kind: &str) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let terminal = openpty(&size, None).expect("the kernel has a terminal for us");
        let what = format!("{command:?}");
        let started = command
            .env("TERM", kind)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(terminal.slave))
            .spawn();
        let mut child = started.unwrap_or_else(|e| panic!("cannot start {what}: {e}"));
        // The command has kept its copy of the terminal, which would never end.
        command.stderr(Stdio::null());
        let stdout = Capture::of(child.stdout.take().expect("piped above"));
        Self { child, what, stdout, stderr: Capture::of(File::from(terminal.master)), status: None }
    }

    /// The child's pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stdout so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has written to stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// The exit status, once it has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("waiting for our own child");
        }
        self.status
    }

    /// Sends it a signal, unless it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.exited().is_none() {
            kill(process::nix_pid(self.pid()), signal).expect("our own child, not yet reaped");
        }
    }

    /// Waits until it has ended by itself.
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} ends", self.what);
        wait::until(&what, limit, || self.exited())
    }

    /// Waits for the end of the process and of its streams.
    pub fn finish(mut self, limit: Duration) -> Finished {
        let status = self.wait_exit(limit);
        wait::until("the streams of an ended process end", limit, || {
            self.streams_ended().then_some(())
        });
        Finished { code: status.code(), stdout: self.stdout(), stderr: self.stderr() }
    }

    /// Whether nobody holds the other end of stdout and stderr any more.
    pub fn streams_ended(&self) -> bool {
        self.stdout.ended.load(Ordering::Acquire) && self.stderr.ended.load(Ordering::Acquire)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.exited().is_none() {
            let pid = self.pid();
            let offspring = process::descendants(pid);
            for pid in offspring.into_iter().chain([pid]) {
                // It may have ended between the look and the kill; then there is nothing to do.
                let _ = kill(process::nix_pid(pid), Signal::SIGKILL);
            }
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("---- {} (pid {}, {:?})", self.what, self.pid(), self.status);
            eprintln!("---- its stdout\n{}", self.stdout());
            eprintln!("---- its stderr\n{}", self.stderr());
        }
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit code, `None` when a signal ended it.
    pub code: Option<i32>,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
}

impl Finished {
    /// Panics with both streams unless it ended with `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code; {self:#?}");
        self
    }

    /// Panics unless it failed with exit code 1 and one clear `error: ` that holds every one of
    /// `words`.
    #[track_caller]
    pub fn expect_error(self, words: &[&str]) -> Self {
        self.expect_code(1).expect_said(words)
    }

    /// Panics unless stderr holds an `error: ` with every one of `words` (letter case aside) and no
    /// panic.
    #[track_caller]
    pub fn expect_said(self, words: &[&str]) -> Self {
        let said = self.stderr.to_lowercase();
        assert!(
            said.lines().any(|line| line.starts_with("error: ")),
            "no line `error: ...` on stderr; {self:#?}"
        );
        assert!(!said.contains("panicked at"), "a panic is no error message; {self:#?}");
        for word in words {
            assert!(said.contains(&word.to_lowercase()), "stderr does not say {word:?}; {self:#?}");
        }
        self
    }
}

/// The records that a command has printed with `--json`, a line each.
pub fn records(printed: &str) -> Vec<serde_json::Value> {
    let record =
        |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {printed}"));
    printed.lines().map(record).collect()
}

/// Sends SIGKILL to a process that belongs to a node this test started.
pub fn kill_now(pid: u32) {
    process::signal(pid, Signal::SIGKILL);
}

/// The same to one that may have ended since it was listed.
pub fn kill_if_there(pid: u32) {
    process::signal_if_there(pid, Signal::SIGKILL);
}
