//! The compilers of a node, found by their command lines, and held while a test looks.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::process::{children, signal, signal_if_there};
use crate::{Node, wait};

/// On a machine that is busy with other tests.
const START: Duration = Duration::from_secs(60);

/// The compilers that run.
pub fn compilers(node: &Node) -> Vec<u32> {
    let is_compiler = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(b"compile")
    };
    children(node.pid()).into_iter().filter(is_compiler).collect()
}

/// A compiler that stands still. Goes on when this is dropped, whatever becomes of the test.
#[derive(Debug)]
pub struct Stopped(u32);

impl Stopped {
    /// Stops the next compiler that is found.
    pub fn one(node: &Node) -> Self {
        let pid = wait::until("a compiler runs", START, || compilers(node).first().copied());
        signal(pid, Signal::SIGSTOP);
        Self(pid)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.0
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal_if_there(self.0, Signal::SIGCONT);
    }
}
