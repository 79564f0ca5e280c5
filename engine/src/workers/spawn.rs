//! Making a worker process: pinned, tied to this one's life, with its end of the channel and nothing else.
//!
//! The worker's end is only borrowed; the child has its own copy at a known number, every other fd closes at `exec`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid};
use tokio::process::{Child, Command};

use crate::host::systemd;

/// Why there is no worker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    #[error("the worker's binary {path:?} cannot be found beside the engine's: {source}; install both together")]
    Binary { path: PathBuf, source: io::Error },
    #[error("the worker for core {core} cannot be started: {source}")]
    Spawn { core: usize, source: io::Error },
}

/// The worker's binary: `sockhop-worker` beside this process's own.
///
/// # Errors
/// [`SpawnError::Binary`] when it is not there.
pub(crate) fn binary() -> Result<PathBuf, SpawnError> {
    let path = std::env::current_exe().map(|own| own.with_file_name("sockhop-worker"));
    let path = path.unwrap_or_else(|_| "sockhop-worker".into());
    match path.metadata() {
        Ok(_) => Ok(path),
        Err(source) => Err(SpawnError::Binary { path, source }),
    }
}

/// Starts a worker pinned to `core`. Call it on a thread that lives as long as the engine: the kernel kills the child
/// when that thread ends (PR_SET_PDEATHSIG, prctl(2)).
///
/// # Errors
/// [`SpawnError::Spawn`] when the kernel refuses.
pub(crate) fn spawn(binary: &Path, channel: BorrowedFd<'_>, core: usize) -> Result<Child, SpawnError> {
    let failed = |source| SpawnError::Spawn { core, source };
    let mut cpus = CpuSet::new();
    cpus.set(core).map_err(|errno| failed(errno.into()))?;
    let (channel, parent) = (channel.as_raw_fd(), getpid());
    let mut command = Command::new(binary);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    systemd::hide_from(&mut command);
    // SAFETY: between fork and exec only system calls are made; nothing allocates or takes a lock.
    unsafe { command.pre_exec(move || prepare(channel, &cpus, parent)) };
    command.spawn().map_err(failed)
}

/// Runs in the child before `exec`.
fn prepare(channel: i32, cpus: &CpuSet, parent: Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != parent {
        // The engine died before the line above took hold.
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    sched_setaffinity(Pid::from_raw(0), cpus)?;
    // SAFETY: both are plain system calls on fds of this child, which nothing else uses: dup2 makes the copy without
    // close-on-exec, and close_range marks everything above it, without closing what std still needs until `exec`.
    unsafe {
        if channel == abi::WORKER_CHANNEL_FD {
            if libc::fcntl(channel, libc::F_SETFD, 0) < 0 {
                return Err(io::Error::last_os_error());
            }
        } else if libc::dup2(channel, abi::WORKER_CHANNEL_FD) < 0 {
            return Err(io::Error::last_os_error());
        }
        let first = libc::c_uint::try_from(abi::WORKER_CHANNEL_FD + 1).unwrap_or(4);
        let flags = libc::c_int::try_from(libc::CLOSE_RANGE_CLOEXEC).unwrap_or(4);
        if libc::close_range(first, libc::c_uint::MAX, flags) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
