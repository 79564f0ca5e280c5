//! Keeps a process's memory to itself: no core dump of it is written, and no other process of its
//! user reads it (prctl(2), PR_SET_DUMPABLE). Root still can. `exec` undoes it, so each program
//! does it first of all. Owns no fds.

use std::io;

/// Forbids dumps of this process, and of those that it starts.
///
/// # Errors
/// When the kernel, or a filter in front of it, refuses.
pub fn forbid() -> io::Result<()> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain system calls about this process alone; the limit lives until the call returns.
    let forbidden = unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none) == 0
            && libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) == 0
    };
    if forbidden { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_forbidden_for_good() {
        forbid().unwrap();
        forbid().unwrap();
        // SAFETY: a plain system call about this process alone.
        assert_eq!(unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) }, 0);
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
    }
}
