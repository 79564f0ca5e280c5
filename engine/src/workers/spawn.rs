//! Making a worker process: pinned, tied to this one's life, with its end of the channel, stderr, and nothing else.
//!
//! The worker's end is only borrowed; the child has its own copy at a known number, and the engine's stderr at another, which it
//! takes for its own when it serves; until then its stderr is a pipe to the engine. Every other fd closes at `exec`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{Pid, getpid, getppid};
use tokio::process::{Child, Command};

use crate::host::systemd;
use crate::store::objects::s3::credentials;

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
    // Beyond the numbers that the child gives its own copies, or one could take the place of the other.
    let stderr = fcntl(io::stderr(), FcntlArg::F_DUPFD_CLOEXEC(abi::WORKER_STDERR_FD + 1));
    let stderr = stderr.map_err(|errno| failed(errno.into()))?;
    // SAFETY: the kernel has just made this fd, and nobody else knows of it.
    let stderr = unsafe { OwnedFd::from_raw_fd(stderr) };
    let (fds, parent) = ((channel.as_raw_fd(), stderr.as_raw_fd()), getpid());
    let mut command = Command::new(binary);
    command.envs(crate::log::worker_environment());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    systemd::hide_from(&mut command);
    // A worker runs what others wrote, and has no business with the store.
    for variable in credentials::VARIABLES {
        command.env_remove(variable);
    }
    // SAFETY: between fork and exec only system calls are made; nothing allocates or takes a lock.
    unsafe { command.pre_exec(move || prepare(fds, &cpus, parent)) };
    let child = command.spawn().map_err(failed);
    drop(stderr);
    child
}

/// Runs in the child before `exec`. `channel` and `stderr` are the engine's numbers.
fn prepare((channel, stderr): (RawFd, RawFd), cpus: &CpuSet, parent: Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != parent {
        // The engine died before the line above took hold.
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    sched_setaffinity(Pid::from_raw(0), cpus)?;
    // A terminal sends these to the whole process group; what they mean is the engine's to say.
    for signal in [Signal::SIGHUP, Signal::SIGINT] {
        // SAFETY: no handler is installed; ignored signals stay so over `exec`.
        unsafe { sigaction(signal, &SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty())) }?;
    }
    // The channel first: it may have the number that stderr gets.
    copy_to(channel, abi::WORKER_CHANNEL_FD)?;
    copy_to(stderr, abi::WORKER_STDERR_FD)?;
    let first = libc::c_uint::try_from(abi::WORKER_STDERR_FD + 1).unwrap_or(5);
    let flags = libc::c_int::try_from(libc::CLOSE_RANGE_CLOEXEC).unwrap_or(4);
    // SAFETY: a plain system call on fds of this child; it marks them, without closing what std still needs until `exec`.
    match unsafe { libc::close_range(first, libc::c_uint::MAX, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes `to` a copy of `from` that stays open at `exec`.
fn copy_to(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: plain system calls on fds of this child, which nothing else uses; dup2 makes the copy without close-on-exec, and
    // does nothing at all to a number that is the same already.
    let done = unsafe { if from == to { libc::fcntl(to, libc::F_SETFD, 0) } else { libc::dup2(from, to) } };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
