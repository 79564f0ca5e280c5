//! Closes every fd that a sandbox must not have. Unsafe: an init has a copy of all fds of the
//! spawner, whose owners in the copied memory are never used again.

use std::io;
use std::os::fd::RawFd;

/// Closes all but stdin, stdout, stderr and those in `kept`.
///
/// # Errors
/// Where the kernel is older than Linux 5.9.
pub(super) fn close_all_but(kept: &mut [RawFd]) -> io::Result<()> {
    kept.sort_unstable();
    let mut first = 3_u32;
    for fd in kept.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd >= 3) {
        if fd > first {
            close_range(first, fd - 1, 0)?;
        }
        first = fd.saturating_add(1).max(first);
    }
    close_range(first, u32::MAX, 0)
}

/// Has all but stdin, stdout and stderr closed when the program is executed.
///
/// # Errors
/// Where the kernel is older than Linux 5.11.
pub(super) fn close_rest_at_exec() -> io::Result<()> {
    close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, last: u32, flags: u32) -> io::Result<()> {
    // SAFETY: a plain system call. The process has just been copied from its parent, and uses no
    // owner of any of these fds again: it leaves by _exit or by exec.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
