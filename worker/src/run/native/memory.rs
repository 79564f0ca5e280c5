//! How much memory the processes of a sandbox have had, as the kernel counts it for each. Pure but
//! for what it reads of `/proc`; owns no fds longer than that takes.

use std::fs;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// The most processes of a sandbox that are looked at.
const PROCESSES_MAX: usize = 1024;

/// Returns the most memory that the largest of the processes below `init` has had, of those that
/// still run. Returns `None` if there are none: the program has ended.
pub(super) fn peak_below(init: BorrowedFd<'_>) -> Option<u64> {
    let told = fs::read_to_string(format!("/proc/self/fdinfo/{}", init.as_raw_fd())).ok()?;
    let init: u32 = field(&told, "Pid:")?.parse().ok()?;
    let mut below = children(init);
    let (mut at, mut peak) = (0, None);
    while let Some(pid) = below.get(at).copied().filter(|_| at < PROCESSES_MAX) {
        at += 1;
        below.extend(children(pid));
        // One that has ended since it was listed has no memory any more.
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        peak = peak.max(high_water_mark(&status));
    }
    peak
}

/// Returns the children of a process, by the numbers that this process knows them by
/// (proc_tid_children(5)).
fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let lists: Vec<String> = lists.collect();
    let numbers = lists.iter().flat_map(|list| list.split_ascii_whitespace());
    numbers.filter_map(|number| number.parse().ok()).collect()
}

/// Returns the largest resident set that a process has had (proc_pid_status(5)).
fn high_water_mark(status: &str) -> Option<u64> {
    let kibibytes: u64 = field(status, "VmHWM:")?.strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Returns the rest of the line that begins with `name`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_the_high_water_mark_in_kibibytes() {
        let status = "Name:\tbootstrap\nVmPeak:\t    9000 kB\nVmHWM:\t    1234 kB\nThreads:\t1\n";
        assert_eq!(high_water_mark(status), Some(1234 * 1024));
        // A process that has ended and was not waited for.
        assert_eq!(high_water_mark("Name:\tbootstrap\nState:\tZ (zombie)\n"), None);
        for junk in ["", "VmHWM:", "VmHWM:\tx kB", "VmHWM:\t99999999999999999999 kB"] {
            assert_eq!(high_water_mark(junk), None, "{junk:?}");
        }
    }

    #[test]
    fn the_number_behind_a_pidfd_is_in_its_fdinfo() {
        let fdinfo = "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nPid:\t4711\nNSpid:\t4711\t1\n";
        assert_eq!(field(fdinfo, "Pid:"), Some("4711"));
    }
}
