//! clone3(2), for which neither nix nor rustix has a call.

use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::Pid;

/// Which of the two processes goes on.
#[derive(Debug)]
pub(crate) enum Cloned {
    /// The one that called, with the pid and the pidfd of the other.
    Parent(Pid, OwnedFd),
    /// The new one.
    Child,
}

/// Makes a copy of this process in new namespaces. Its end is told by SIGCHLD.
///
/// # Errors
/// What the kernel said.
///
/// # Safety
/// In a process with several threads, the child may make system calls only, and must leave by
/// `_exit` or `exec`: locks may be held by threads that it does not have.
pub(crate) unsafe fn clone3(namespaces: i32) -> Result<Cloned, Errno> {
    let mut pidfd: RawFd = -1;
    // SAFETY: all zeroes is a value of this C struct, of integers alone.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from(namespaces.cast_unsigned() | libc::CLONE_PIDFD.cast_unsigned());
    args.pidfd = (&raw mut pidfd).addr() as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    // Provenance, of which the kernel knows nothing, is exposed for the address in `args`.
    (&raw mut pidfd).expose_provenance();
    // SAFETY: the kernel reads as many bytes of `args` as it is told it has, and writes one fd to
    // `pidfd`; both live until the call returns. Without CLONE_VM the child has a memory of its
    // own, and without a stack it goes on with a copy of this one.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(Errno::last()),
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: the kernel has just made this fd, and nobody else knows of it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent(Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX)), pidfd))
        }
    }
}
