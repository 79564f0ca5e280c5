//! Reads from `/proc` about the processes of a node: file descriptors, children, CPU time, memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Returns a pid in the type of `nix`.
pub fn nix_pid(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("pids are small"))
}

/// Returns the open file descriptors of a process and what each is. The processes of a node show
/// them to root alone.
pub fn fds(pid: u32) -> BTreeMap<u32, String> {
    let folder = format!("/proc/{pid}/fd");
    fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{folder}: {e}; the tests that look there need root"))
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            // An fd that was closed between the listing and the look is not open.
            let target = fs::read_link(entry.path()).ok()?;
            Some((number, target.to_string_lossy().into_owned()))
        })
        .collect()
}

/// Returns the sockets that are connected to `address`, as [`fds`] names them. Only IPv4, which the
/// tests use.
///
/// Source: `Documentation/networking/proc_net_tcp.rst` of the kernel.
pub fn sockets_to(address: SocketAddr) -> BTreeSet<String> {
    let IpAddr::V4(ip) = address.ip() else { panic!("{address} is not of IPv4") };
    // The address is four bytes of memory read as a number. The port is a number.
    let remote = format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port());
    let table = fs::read_to_string("/proc/net/tcp").expect("the kernel's table of connections");
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|fields| fields[2] == remote)
        .map(|fields| format!("socket:[{}]", fields[9]))
        .collect()
}

/// Returns the parent and the state of a process. Returns `None` if there is no such process.
fn parent_and_state(pid: u32) -> Option<(u32, char)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything, so the fields are read from its end.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.next()?.parse().ok()?, state))
}

/// Sends a signal to a process. Panics if there is no such process.
pub fn signal(pid: u32, signal: Signal) {
    kill(nix_pid(pid), signal).unwrap_or_else(|errno| panic!("{signal} to {pid}: {errno}"));
}

/// Sends a signal to a process that may have ended in the meantime, and returns whether it had not.
pub fn signal_if_there(pid: u32, signal: Signal) -> bool {
    match kill(nix_pid(pid), signal) {
        Ok(()) => true,
        Err(Errno::ESRCH) => false,
        Err(errno) => panic!("{signal} to {pid}: {errno}"),
    }
}

/// Returns whether the process exists and is no zombie.
pub fn alive(pid: u32) -> bool {
    parent_and_state(pid).is_some_and(|(_, state)| state != 'Z')
}

/// A process that cannot be confused with a later one of the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pid: u32,
    started: u64,
}

impl Identity {
    /// Returns the identity of a process. Returns `None` if there is no such process.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Field 22 of all, which is the 20th after the name.
        let started = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?;
        Some(Self { pid, started: started.parse().ok()? })
    }

    /// Kills it, unless it has ended.
    pub fn kill(self) {
        if alive(self.pid) && Self::of(self.pid) == Some(self) {
            // It may end between the look and the kill; then there is nothing to do.
            let _ = kill(nix_pid(self.pid), Signal::SIGKILL);
        }
    }
}

/// Returns the children of a process, zombies included.
pub fn children(parent: u32) -> Vec<u32> {
    fs::read_dir("/proc")
        .expect("/proc is mounted")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| parent_and_state(*pid).is_some_and(|(p, _)| p == parent))
        .collect()
}

/// Returns the children of a process, their children, and so on.
pub fn descendants(parent: u32) -> Vec<u32> {
    let mut all = children(parent);
    let mut next = 0;
    while next < all.len() {
        all.extend(children(all[next]));
        next += 1;
    }
    all
}

/// Returns the time that all threads of a process have spent on a CPU, to the nanosecond.
pub fn cpu_time(pid: u32) -> Duration {
    let folder = format!("/proc/{pid}/task");
    let times: Vec<u64> = fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{folder}: {e}"))
        .flatten()
        .filter_map(|task| thread_time(&task.path()))
        .collect();
    // Without this, a kernel that does not count would pass every test of CPU time.
    assert!(
        !times.is_empty() || !Path::new(&folder).exists(),
        "no thread in {folder} has a schedstat: the tests need a kernel that is built with \
         CONFIG_SCHED_INFO"
    );
    Duration::from_nanos(times.into_iter().sum())
}

fn thread_time(task: &Path) -> Option<u64> {
    // A thread may end between the listing and the look.
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Returns the resident memory of a process in bytes.
pub fn resident(pid: u32) -> u64 {
    field(pid, "status", "VmRSS:") * 1024
}

/// Returns whether the kernel may use huge pages for a process's memory (proc_pid_status(5)).
pub fn may_have_huge_pages(pid: u32) -> bool {
    field(pid, "status", "THP_enabled:") == 1
}

/// Returns the memory of a process that is in huge pages, in bytes.
pub fn huge_pages(pid: u32) -> u64 {
    field(pid, "smaps_rollup", "AnonHugePages:") * 1024
}

/// Returns the number after `name` in one of a process's files.
fn field(pid: u32, file: &str, name: &str) -> u64 {
    let path = format!("/proc/{pid}/{file}");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let line = text
        .lines()
        .find(|line| line.starts_with(name))
        .unwrap_or_else(|| panic!("no {name} in {path}"));
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

/// Returns the cores that a process may run on.
pub fn cores(pid: u32) -> Vec<usize> {
    let allowed = sched_getaffinity(nix_pid(pid)).expect("a live process");
    (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false)).collect()
}

/// Limits the number of file descriptors of `command` and of each process that it starts.
pub fn limit_fds(command: &mut Command, limit: u64) {
    // SAFETY: between fork and exec the closure makes one system call: it allocates nothing and
    // takes no lock.
    unsafe { command.pre_exec(move || Ok(setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?)) };
}

/// Raises the soft limit of open files to the hard one, for this test and the nodes it starts.
pub fn raise_fd_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("our own limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("no more than the hard limit");
}
