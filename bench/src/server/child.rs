//! A child process with its scratch folder and its log, ended by process id whatever happens.
//!
//! Owns the process, the folder, and through them the log file both of the child's streams write
//! to. Drop ends the process and everything it started, waits for it, and removes the folder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::process_tree::{self, Process};
use crate::{cpu, interrupt};

/// From start to first good reply: compiling a large component on one core takes seconds.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// From SIGTERM to the end; then SIGKILL.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a start takes is a figure of its own, so this is its grain.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
const LOG_LINES_SHOWN: usize = 12;

/// What goes wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No scratch folder or log.
    #[error(
        "cannot prepare a scratch folder for {name} ({source}); is the temporary folder writable, and not full?"
    )]
    Scratch {
        /// Which server.
        name: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// No process.
    #[error("cannot start `{command}` ({source}); is it a program, and executable?")]
    Start {
        /// As run.
        command: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// It ended, or keeps silent.
    #[error("`{command}` {how}; the end of its log:\n{log}")]
    NotReady {
        /// As run.
        command: String,
        /// What it did instead.
        how: String,
        /// Its last lines.
        log: String,
    },
    /// No such core.
    #[error(transparent)]
    Cpu(#[from] cpu::Error),
    /// Stopped by a signal.
    #[error(transparent)]
    Interrupted(#[from] interrupt::Error),
}

/// A running child.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    command: String,
    scratch: TempDir,
}

/// A new scratch folder; it lives as long as the value.
pub fn scratch(name: &'static str) -> Result<TempDir, Error> {
    tempfile::Builder::new()
        .prefix("sockhop-bench-")
        .tempdir()
        .map_err(|source| Error::Scratch { name, source })
}

/// Runs a command to its end; returns how it ended, and what it printed on either stream.
pub fn run(
    name: &'static str,
    core: usize,
    command: Command,
) -> Result<(ExitStatus, String), Error> {
    Child::start(name, core, command, scratch(name)?)?
        .watch(|ended, log| Some((ended?, log.trim().to_owned())))
}

/// A command as one would type it.
pub fn typed(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

impl Child {
    /// Starts `command` on one core, with its output in a log inside `scratch`.
    pub fn start(
        name: &'static str,
        core: usize,
        mut command: Command,
        scratch: TempDir,
    ) -> Result<Self, Error> {
        let log = File::create(log_path(scratch.path()))
            .map_err(|source| Error::Scratch { name, source })?;
        let errors = log.try_clone().map_err(|source| Error::Scratch { name, source })?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let typed = typed(&command);
        let process = cpu::on_core(core, || command.spawn())?
            .map_err(|source| Error::Start { command: typed.clone(), source })?;
        Ok(Self { process, command: format!("taskset -c {core} {typed}"), scratch })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The command as one would type it, pinning included.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// Waits until `ready` finds what it looks for, in the log or wherever else.
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
            // Before the log is read, so that the last words of a child that has ended are in it.
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

    fn log(&self) -> String {
        fs::read(log_path(self.scratch.path()))
            .map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn log_path(scratch: &Path) -> PathBuf {
    scratch.join("output.log")
}

/// The URL in the first whole line that starts with `start`.
pub fn url_after(log: &str, start: &str) -> Option<String> {
    let line =
        log.split_inclusive('\n').find(|line| line.starts_with(start) && line.ends_with('\n'))?;
    line[start.len()..].split_ascii_whitespace().next().map(str::to_owned)
}

impl Drop for Child {
    fn drop(&mut self) {
        // Looked up first: once the parent is gone, nothing ties its children to us.
        let family = process_tree::tree(self.id()).unwrap_or_default();
        let Ok(id) = i32::try_from(self.id()) else {
            return;
        };
        // Until it is waited for, its id cannot be anybody else's.
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

/// Ends a grandchild that outlived its parent; the start time says that it is still the same
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
