//! A child process whose streams are captured, and which is ended by a guard.

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

/// The text of a stream so far. A thread reads it, so that the child never blocks on a full pipe.
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

/// A running child. When it is dropped it is killed by pid together with its children. In a failing
/// test it shows its streams.
#[derive(Debug)]
pub struct Running {
    child: Child,
    what: String,
    stdout: Capture,
    stderr: Capture,
    status: Option<ExitStatus>,
}

impl Running {
    /// Starts `command` without a stdin, and captures both output streams.
    pub fn spawn(command: &mut Command) -> Self {
        Self::spawn_with(command, Stdio::null())
    }

    /// Starts `command` with this stdin, and captures both output streams.
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

    /// Starts `command` with a terminal of this type (`TERM`) as its stderr. Stdout is captured
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
        // The command holds a copy of the terminal, which would never end.
        command.stderr(Stdio::null());
        let stdout = Capture::of(child.stdout.take().expect("piped above"));
        Self { child, what, stdout, stderr: Capture::of(File::from(terminal.master)), status: None }
    }

    /// The same with the terminal as its stdout, and stderr captured apart from it.
    pub fn printing_to_terminal(command: &mut Command, kind: &str) -> Self {
        let terminal = openpty(None, None).expect("the kernel has a terminal for us");
        let what = format!("{command:?}");
        let started = command
            .env("TERM", kind)
            .stdin(Stdio::null())
            .stdout(Stdio::from(terminal.slave))
            .stderr(Stdio::piped())
            .spawn();
        let mut child = started.unwrap_or_else(|e| panic!("cannot start {what}: {e}"));
        // The command holds a copy of the terminal, which would never end.
        command.stdout(Stdio::null());
        let stderr = Capture::of(child.stderr.take().expect("piped above"));
        Self { child, what, stdout: Capture::of(File::from(terminal.master)), stderr, status: None }
    }

    /// Returns the pid of the child.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns what it has written to stdout so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Returns what it has written to stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Returns the exit status, or `None` if it runs.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("waiting for our own child");
        }
        self.status
    }

    /// Sends a signal to the child, unless it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.exited().is_none() {
            kill(process::nix_pid(self.pid()), signal).expect("our own child, not yet reaped");
        }
    }

    /// Waits until the child has ended by itself.
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} ends", self.what);
        wait::until(&what, limit, || self.exited())
    }

    /// Waits until the process and its streams have ended.
    pub fn finish(mut self, limit: Duration) -> Finished {
        let status = self.wait_exit(limit);
        wait::until("the streams of an ended process end", limit, || {
            self.streams_ended().then_some(())
        });
        Finished { code: status.code(), stdout: self.stdout(), stderr: self.stderr() }
    }

    /// Returns whether no process has the other end of stdout or stderr open.
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
                // The process may have ended in the meantime, and there is nothing to do.
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

/// The result of a command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit code. `None` if a signal ended the command.
    pub code: Option<i32>,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
}

impl Finished {
    /// Panics with both streams unless the exit code is `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code; {self:#?}");
        self
    }

    /// Panics unless the exit code is 1 and stderr has an error as [`Self::expect_error_text`]
    /// checks it.
    #[track_caller]
    pub fn expect_error(self, words: &[&str]) -> Self {
        self.expect_code(1).expect_error_text(words)
    }

    /// Panics unless stderr has a line `error: ...`, every one of `words` in any letter case, and
    /// no panic.
    #[track_caller]
    pub fn expect_error_text(self, words: &[&str]) -> Self {
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

/// Parses what a command has printed with `--json`: one record a line.
pub fn records(printed: &str) -> Vec<serde_json::Value> {
    let record =
        |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {printed}"));
    printed.lines().map(record).collect()
}

/// Sends SIGKILL to a process of a node that this test has started.
pub fn kill_now(pid: u32) {
    process::signal(pid, Signal::SIGKILL);
}

/// Sends SIGKILL to a process that may have ended since it was listed.
pub fn kill_if_there(pid: u32) {
    process::signal_if_there(pid, Signal::SIGKILL);
}
