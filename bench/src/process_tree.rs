//! A process and its descendants, as /proc shows them: who they are and what CPU time they used.
//! Opens files of /proc for the length of one read only; signals are sent by `server`.
//!
//! The tree is found by parent ids over all of /proc: `task/*/children` is a kernel option that is
//! often off.

use std::fs;
use std::io;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

/// What goes wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No /proc.
    #[error("cannot list /proc ({0}); is it mounted in this container?")]
    Proc(io::Error),
    /// The root of the tree is gone.
    #[error("process {pid} is not in /proc; it has ended, its log says why")]
    Gone {
        /// The process asked for.
        pid: u32,
    },
    /// No clock tick length.
    #[error("cannot learn the clock tick of /proc (sysconf CLK_TCK)")]
    Tick,
}

/// What one line of /proc/PID/stat says, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Who started it.
    pub parent: u32,
    /// User and system time, its own and that of children it has waited for, in clock ticks.
    pub ticks: u64,
    /// When it started, in ticks since boot: with `pid`, an identity that no later process can
    /// have.
    pub started: u64,
}

/// `root` and all its descendants that are alive now.
pub fn tree(root: u32) -> Result<Vec<Process>, Error> {
    let all: Vec<Process> = fs::read_dir("/proc")
        .map_err(Error::Proc)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(look)
        .collect();
    let mut found: Vec<Process> =
        all.iter().copied().filter(|process| process.pid == root).collect();
    if found.is_empty() {
        return Err(Error::Gone { pid: root });
    }
    let mut next = 0;
    while let Some(parent) = found.get(next).map(|process| process.pid) {
        found.extend(all.iter().filter(|process| process.parent == parent));
        next += 1;
    }
    Ok(found)
}

/// How far below the root each process of a tree is, in the tree's order: 0, 1 for its children,
/// and so on.
pub fn depths(tree: &[Process]) -> Vec<usize> {
    let mut depths: Vec<usize> = Vec::new();
    for process in tree {
        let parent = tree.iter().position(|other| other.pid == process.parent);
        // Parents stand before their children; the root's own is not there.
        depths.push(parent.and_then(|at| depths.get(at)).map_or(0, |depth| depth + 1));
    }
    depths
}

/// CPU time, user and system, of `root` and its descendants. A child that ends is not lost: its
/// time moves into what its parent has waited for.
pub fn cpu_time(root: u32) -> Result<Duration, Error> {
    let ticks: u64 = tree(root)?.iter().map(|process| process.ticks).sum();
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK)
        .ok()
        .flatten()
        .and_then(|ticks| u64::try_from(ticks).ok())
        .filter(|&ticks| ticks > 0)
        .ok_or(Error::Tick)?;
    Ok(Duration::from_micros(ticks.saturating_mul(1_000_000) / ticks_per_second))
}

/// One process, or nothing when it is gone.
pub fn look(pid: u32) -> Option<Process> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name stands in parentheses and may hold blanks and parentheses itself, so fields count from
/// the last one: the first after it is the state, field 3 of proc(5).
fn parse(pid: u32, stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |proc_field: usize| fields.get(proc_field - 3)?.parse::<u64>().ok();
    Some(Process {
        pid,
        parent: u32::try_from(number(4)?).ok()?,
        ticks: (14..=17).map(number).sum::<Option<u64>>()?,
        started: number(22)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let line = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 2 3 4 10 20 300 4000 20 0 1 0 99 1 1";
        assert_eq!(parse(7, line), Some(Process { pid: 7, parent: 3, ticks: 4330, started: 99 }));
    }

    #[test]
    fn depths_follow_the_parents() {
        let process = |pid, parent| Process { pid, parent, ticks: 0, started: 0 };
        let tree = [process(7, 1), process(9, 7), process(8, 7), process(20, 8), process(5, 20)];
        assert_eq!(depths(&tree), [0, 1, 1, 2, 3]);
        assert_eq!(depths(&[]), [0; 0]);
    }

    #[test]
    fn a_child_is_in_the_tree_of_its_parent() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let found = tree(std::process::id()).unwrap();
        assert!(found.iter().any(|process| process.pid == child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(matches!(tree(child.id()), Err(Error::Gone { .. })));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,200}") {
            let _ = parse(1, &text);
        }
    }
}
