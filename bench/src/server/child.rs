//! A child process with its scratch folder and its log. It is ended by its process id in any case.
//!
//! Owns the process and the folder, and through them the log file that both of the child's streams
//! write to. Drop ends the process and everything that it started, waits for it, and removes the
//! folder.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::process_tree::{self, Process};
use crate::{cpu, interrupt};

/// The time limit from the start to the first good reply: compiling a large component on one core
/// takes seconds.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// The time limit from SIGTERM to the end; then SIGKILL follows.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// The interval of looking at a child. The time of a start is a figure of its own, and this is its
/// resolution.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
const LOG_LINES_SHOWN: usize = 12;

/// A child cannot be started, or does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The scratch folder or the log cannot be made.
    #[error(
        "cannot prepare a scratch folder for {name} ({source}); is the temporary folder writable, and not full?"
    )]
    Scratch {
        /// The server.
        name: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
    /// The process cannot be started.
    #[error("cannot start `{command}` ({source}); is it a program, and executable?")]
    Start {
        /// The command line.
        command: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// It has ended, or is silent.
    #[error("`{command}` {how}; the end of its log:\n{log}")]
    NotReady {
        /// The command line.
        command: String,
        /// What it did instead.
        how: String,
        /// The last lines of its log.
        log: String,
    },
    /// There is no such core.
    #[error(transparent)]
    Cpu(#[from] cpu::Error),
    /// A signal stopped the command.
    #[error(transparent)]
    Interrupted(#[from] interrupt::Error),
}

/// A running child.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    started: Instant,
    command: String,
    scratch: TempDir,
}

/// Makes a scratch folder, which is removed with the returned value. Others may pass through it,
/// but not list it: without namespaces, native programs of a node that is run by root have users of
/// their own, and their code is in the node's data folder.
pub fn scratch(name: &'static str) -> Result<TempDir, Error> {
    tempfile::Builder::new()
        .prefix("sockhop-bench-")
        .permissions(Permissions::from_mode(0o711))
        .tempdir()
        .map_err(|source| Error::Scratch { name, source })
}

/// Runs a command to its end. Returns its exit status and the output of both streams.
pub fn run(
    name: &'static str,
    core: usize,
    command: Command,
) -> Result<(ExitStatus, String), Error> {
    Child::start(name, core, command, scratch(name)?)?
        .watch(|ended, log| Some((ended?, log.trim().to_owned())))
}

/// Returns a command as one would type it.
pub fn typed(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

impl Child {
    /// Starts `command` on one core. Its output goes to a log in `scratch`.
    pub fn start(
        name: &'static str,
        core: usize,
        command: Command,
        scratch: TempDir,
    ) -> Result<Self, Error> {
        Self::start_on(name, &[core], command, scratch)
    }

    /// The same on some cores.
    pub fn start_on(
        name: &'static str,
        cores: &[usize],
        mut command: Command,
        scratch: TempDir,
    ) -> Result<Self, Error> {
        let log = File::create(log_path(scratch.path()))
            .map_err(|source| Error::Scratch { name, source })?;
        let errors = log.try_clone().map_err(|source| Error::Scratch { name, source })?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let typed = typed(&command);
        let (started, process) = cpu::on_cores(cores, || (Instant::now(), command.spawn()))?;
        let process = process.map_err(|source| Error::Start { command: typed.clone(), source })?;
        Ok(Self {
            process,
            started,
            command: format!("taskset -c {} {typed}", list(cores)),
            scratch,
        })
    }

    /// Returns its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns when it was started, just before the kernel was asked to.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Returns the command as one would type it, including the pinning.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// Has it end by a signal, and waits for that. What it has started ends with this value.
    pub fn end(self, signal: Signal) -> Result<(), Error> {
        let Ok(id) = i32::try_from(self.id()) else { return Ok(()) };
        let id = Pid::from_raw(id);
        let _ = kill(id, signal);
        // It is left to be waited for, so that its id is not used again.
        let ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let asked = Instant::now();
        while waitid(Id::Pid(id), ended) == Ok(WaitStatus::StillAlive) {
            interrupt::check()?;
            if asked.elapsed() > READY_TIMEOUT {
                let how = format!("did not end within {} s", READY_TIMEOUT.as_secs());
                let (command, log) = (self.command.clone(), self.log());
                return Err(Error::NotReady { command, how, log });
            }
            thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    /// Waits until `ready` finds what it looks for, in the log or elsewhere.
    pub fn wait_until<T>(&mut self, mut ready: impl FnMut(&str) -> Option<T>) -> Result<T, Error> {
        self.watch(|_, log| ready(log))
    }

    fn watch<T>(
        &mut self,
        mut done: impl FnMut(Option<ExitStatus>, &str) -> Option<T>,
    ) -> Result<T, Error> {
        let started = Instant::now();
        loop {
            interrupt::check()?;
            // This comes before the log is read, so that the log has the last words of a child that
            // has ended.
            let ended = self.process.try_wait().ok().flatten();
            let log = self.log();
            if let Some(found) = done(ended, &log) {
                return Ok(found);
            }
            let how = match ended {
                Some(status) => format!("ended before it was ready ({status})"),
                None if started.elapsed() > READY_TIMEOUT => {
                    format!("was not ready within {} s", READY_TIMEOUT.as_secs())
                }
                None => {
                    thread::sleep(LOOK_INTERVAL);
                    continue;
                }
            };
            let lines: Vec<&str> = log.lines().collect();
            let log = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n");
            return Err(Error::NotReady { command: self.command.clone(), how, log });
        }
    }

    /// Returns what it has written.
    pub fn log(&self) -> String {
        fs::read(log_path(self.scratch.path()))
            .map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Returns cores as a command line has them.
pub fn list(cores: &[usize]) -> String {
    cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

fn log_path(scratch: &Path) -> PathBuf {
    scratch.join("output.log")
}

/// Returns the URL in the first whole line that starts with `start`.
pub fn url_after(log: &str, start: &str) -> Option<String> {
    let line =
        log.split_inclusive('\n').find(|line| line.starts_with(start) && line.ends_with('\n'))?;
    line[start.len()..].split_ascii_whitespace().next().map(str::to_owned)
}

impl Drop for Child {
    fn drop(&mut self) {
        // The children are looked up first: once the parent is gone, nothing connects them to it.
        let family = process_tree::tree(self.id()).unwrap_or_default();
        let Ok(id) = i32::try_from(self.id()) else {
            return;
        };
        // The process id is not used again before it was waited for.
        let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        let asked = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) {
            if asked.elapsed() > END_TIMEOUT {
                let _ = self.process.kill();
                let _ = self.process.wait();
                break;
            }
            thread::sleep(LOOK_INTERVAL);
        }
        for process in family.iter().filter(|process| process.pid != self.process.id()) {
            end_survivor(process);
        }
    }
}

/// Ends a grandchild that has outlived its parent. Its start time proves that it is the same
/// process.
fn end_survivor(process: &Process) {
    let same = process_tree::look(process.pid).is_some_and(|now| now.started == process.started);
    if let (true, Ok(id)) = (same, i32::try_from(process.pid)) {
        let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_needs_its_whole_line() {
        assert_eq!(url_after("noise\nready http://a:1\n", "ready ").as_deref(), Some("http://a:1"));
        assert_eq!(url_after("ready http://a:1", "ready "), None);
        assert_eq!(url_after("not ready http://a:1\n", "ready "), None);
    }

    #[test]
    fn a_child_and_its_children_end_with_the_guard() {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM; sleep 60 & echo ready $!; wait"]);
        let mut child = Child::start("sh", 0, command, scratch("sh").unwrap()).unwrap();
        let id = child.id();
        let folder = child.scratch.path().to_owned();
        let grandchild: u32 =
            child.wait_until(|log| url_after(log, "ready ")).unwrap().parse().unwrap();
        drop(child);
        assert_eq!(process_tree::look(id), None);
        // Its new parent may take a moment to wait for it.
        let gone = || {
            fs::read_to_string(format!("/proc/{grandchild}/stat"))
                .map_or(true, |stat| stat.contains(") Z"))
        };
        let started = Instant::now();
        while !gone() && started.elapsed() < Duration::from_secs(5) {
            thread::sleep(LOOK_INTERVAL);
        }
        assert!(gone());
        assert!(!folder.exists());
    }

    #[test]
    fn a_command_runs_to_its_end() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 2"]);
        let (status, output) = run("sh", 0, command).unwrap();
        assert_eq!((status.code(), &*output), (Some(2), "out\nerr"));
    }

    #[test]
    fn a_child_that_ends_early_shows_its_log() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo the reason; exit 3"]);
        let mut child = Child::start("sh", 0, command, scratch("sh").unwrap()).unwrap();
        let error = child.wait_until(|_| None::<()>).unwrap_err().to_string();
        assert!(error.contains("the reason") && error.contains("exit status: 3"), "{error}");
    }
}
