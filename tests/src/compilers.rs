//! Finds the compilers of a node by their command lines, and stops them while a test looks.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::process::{children, signal, signal_if_there};
use crate::{Node, wait};

/// How long a compiler may take to start on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(60);

/// Returns the pids of the compilers that run.
pub fn compilers(node: &Node) -> Vec<u32> {
    let is_compiler = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(b"compile")
    };
    children(node.pid()).into_iter().filter(is_compiler).collect()
}

/// A compiler that has been stopped. It continues when this is dropped, also if the test fails.
#[derive(Debug)]
pub struct StoppedCompiler(u32);

impl StoppedCompiler {
    /// Waits until a compiler runs, and stops it.
    pub fn next(node: &Node) -> Self {
        let pid = wait::until("a compiler runs", START, || compilers(node).first().copied());
        signal(pid, Signal::SIGSTOP);
        Self(pid)
    }

    /// Returns its pid.
    pub fn pid(&self) -> u32 {
        self.0
    }
}

impl Drop for StoppedCompiler {
    fn drop(&mut self) {
        signal_if_there(self.0, Signal::SIGCONT);
    }
}
