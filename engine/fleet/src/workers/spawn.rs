//! Starts a worker process. It is pinned to a core, dies with this process, and has its end of the
//! channel, stderr, a short list of variables, and nothing else.
//!
//! The worker's end of the channel is only borrowed: the child has its own copy at a known number.
//! At another number it has the engine's stderr, which it uses when it serves. Until then its
//! stderr is a pipe to the engine. Every other fd closes at `exec`.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use abi::huge_pages::{Pages, SMALL_PAGES_VARIABLE};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{Pid, getpid, getppid};
use tokio::process::{Child, Command};

use host::log;

/// The name of the worker's binary and of its process.
const NAME: &str = "sockhop-worker";

/// Why a worker cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error(
        "the worker's binary {path:?} cannot be found beside the engine's: {source}; install both together"
    )]
    Binary { path: PathBuf, source: io::Error },
    #[error("the worker for core {core} cannot be started: {source}")]
    Spawn { core: usize, source: io::Error },
}

/// The variables of the engine's environment that a worker uses, besides those for the log. All
/// others are the operator's, and may be secret.
const VARIABLES: [&str; 6] = [
    // Which certificates guests' outgoing requests trust (rustls-native-certs).
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    // How the C library looks names up (resolv.conf(5)).
    "RES_OPTIONS",
    "LOCALDOMAIN",
    // What a panic and a trap report.
    "RUST_BACKTRACE",
    "WASMTIME_BACKTRACE_DETAILS",
];

/// The worker's binary as it was when the engine started. If the file is replaced later, the next
/// engine runs the new one.
#[derive(Debug)]
pub struct Binary(OwnedFd);

impl Binary {
    /// Opens `sockhop-worker` beside this process's own binary.
    ///
    /// # Errors
    /// Returns [`SpawnError::Binary`] if it cannot be opened.
    pub fn open() -> Result<Self, SpawnError> {
        let path = std::env::current_exe().map(|own| own.with_file_name(NAME));
        let path = path.unwrap_or_else(|_| NAME.into());
        // A binary that is executed need not be readable.
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(&path);
        match opened.and_then(|file| beyond_the_workers(file.as_fd())) {
            Ok(file) => Ok(Self(file)),
            Err(source) => Err(SpawnError::Binary { path, source }),
        }
    }

    /// Returns the path by which the kernel finds it, in this process and in its children between
    /// `fork` and `exec`.
    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

/// Returns a copy of `fd` with a number beyond those of the copies that a worker has. Otherwise one
/// could overwrite the other.
fn beyond_the_workers(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(abi::WORKER_STDERR_FD + 1))?;
    // SAFETY: the kernel has just made this fd, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// What becomes of a worker when the engine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It ends with the engine.
    EndsWithEngine,
    /// The same, unless it has freed itself of the engine before (PR_SET_PDEATHSIG): then it goes
    /// on by itself.
    MayOutlive,
}

/// Starts a worker that is pinned to `core`. Call it on a thread that lives as long as the engine:
/// the kernel kills the child when that thread ends (PR_SET_PDEATHSIG, prctl(2)).
///
/// # Errors
/// Returns [`SpawnError::Spawn`] if the kernel refuses.
pub fn spawn(
    binary: &Binary,
    channel: BorrowedFd<'_>,
    core: usize,
    (pages, fate): (Pages, Fate),
) -> Result<Child, SpawnError> {
    let failed = |source| SpawnError::Spawn { core, source };
    let mut cpus = CpuSet::new();
    cpus.set(core).map_err(|errno| failed(errno.into()))?;
    let stderr = beyond_the_workers(io::stderr().as_fd()).map_err(failed)?;
    let (fds, parent) = ((channel.as_raw_fd(), stderr.as_raw_fd()), getpid());
    let mut command = Command::new(binary.path());
    command.arg0(NAME).env_clear().envs(environment(|name| std::env::var_os(name)));
    if pages == Pages::Small {
        command.env(SMALL_PAGES_VARIABLE, "1");
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.kill_on_drop(fate == Fate::EndsWithEngine);
    // SAFETY: between fork and exec only system calls are made; nothing allocates or takes a lock.
    unsafe { command.pre_exec(move || prepare(fds, &cpus, parent)) };
    let child = command.spawn().map_err(failed);
    drop(stderr);
    child
}

/// Returns the environment of a worker.
fn environment(variable: impl Fn(&str) -> Option<OsString>) -> Vec<(&'static str, OsString)> {
    let passed_on = VARIABLES.into_iter().filter_map(|name| Some((name, variable(name)?)));
    passed_on
        .chain(log::worker_environment().into_iter().map(|(name, text)| (name, text.into())))
        .collect()
}

/// Runs in the child before `exec`. `channel` and `stderr` are the engine's numbers.
fn prepare((channel, stderr): (RawFd, RawFd), cpus: &CpuSet, parent: Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != parent {
        // The engine died before the line above took hold.
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    sched_setaffinity(Pid::from_raw(0), cpus)?;
    // A terminal sends these to the whole process group, and only the engine is to act on them.
    for signal in [Signal::SIGHUP, Signal::SIGINT] {
        // SAFETY: no handler is installed; ignored signals stay so over `exec`.
        unsafe {
            sigaction(
                signal,
                &SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty()),
            )
        }?;
    }
    // The channel first: it may have the number that stderr gets.
    copy_to(channel, abi::WORKER_CHANNEL_FD)?;
    copy_to(stderr, abi::WORKER_STDERR_FD)?;
    let first = libc::c_uint::try_from(abi::WORKER_STDERR_FD + 1).unwrap_or(5);
    let flags = libc::c_int::try_from(libc::CLOSE_RANGE_CLOEXEC).unwrap_or(4);
    // SAFETY: a plain system call on fds of this child; it marks them, without closing what std
    // still needs until `exec`.
    match unsafe { libc::close_range(first, libc::c_uint::MAX, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes `to` a copy of `from` that stays open at `exec`.
fn copy_to(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: plain system calls on fds of this child, which nothing else uses; dup2 makes the copy
    // without close-on-exec, and does nothing at all to a number that is the same already.
    let done = unsafe {
        if from == to { libc::fcntl(to, libc::F_SETFD, 0) } else { libc::dup2(from, to) }
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_gets_the_variables_on_the_list_and_no_others() {
        let all = |name: &str| Some(OsString::from(format!("of {name}")));
        let names: Vec<&str> = environment(all).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, VARIABLES);
        assert_eq!(environment(|_| None), []);
    }
}
