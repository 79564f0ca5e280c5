//! A program: a child of init that gives everything up, waits until its sandbox is set up, and
//! executes. Those beside the program itself are like it.
//!
//! [`Outputs`] owns both ends of the program's stdout and stderr until the worker and the program
//! have theirs. The child tells over a pipe at which step it failed; `exec` closes that pipe.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::PathBuf;

use abi::sandbox::{FromSandbox, Level, NetworkAccess, Step};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{ForkResult, Pid, execve, fork};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::thread::CapabilitySet;

use super::failure::{Failure, OrFail as _};
use super::places::Places;
use super::{Start, fds, privileges};
use crate::identity::{Identity, PROGRAM_GID, PROGRAM_UID};
use crate::restrict;

/// Of a report that the program failed to start: a byte for the step and four for the error.
const REPORT_HEAD_BYTES: usize = 5;
/// Steps that a program's child can fail at, by their number in a report.
const STEPS: [Step; 5] =
    [Step::Limits, Step::Privileges, Step::Identity, Step::WorkingDirectory, Step::Execute];

/// The program's stdout and stderr, made by the spawner.
#[derive(Debug)]
pub(crate) struct Outputs {
    stdout: Pipe,
    stderr: Pipe,
}

/// A pipe.
#[derive(Debug)]
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Outputs {
    /// Makes the pipes. They belong to the program's user, so that it can open `/dev/stdout` and
    /// `/dev/stderr`, which only the spawner has the power for.
    ///
    /// # Errors
    /// When there are no fds left.
    pub(crate) fn create(identity: Identity) -> io::Result<Self> {
        let make = || -> io::Result<Pipe> {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            rustix::fs::fcntl_setfl(&read, rustix::fs::OFlags::NONBLOCK)?;
            if matches!(identity, Identity::Own { .. }) {
                let (uid, gid) = identity.program_on_host();
                std::os::unix::fs::fchown(&write, Some(uid), Some(gid))?;
            }
            Ok(Pipe { read, write })
        };
        Ok(Self { stdout: make()?, stderr: make()? })
    }

    /// Returns the numbers of all four ends.
    pub(super) fn fds(&self) -> [RawFd; 4] {
        [&self.stdout.read, &self.stdout.write, &self.stderr.read, &self.stderr.write]
            .map(|fd| fd.as_raw_fd())
    }

    /// Returns the messages that take the read ends to the worker.
    pub(super) fn for_the_worker(&self) -> [(FromSandbox, &OwnedFd); 2] {
        [(FromSandbox::Stdout, &self.stdout.read), (FromSandbox::Stderr, &self.stderr.read)]
    }
}

/// Returns the user and the group that the program becomes, or `None` if it is init's already.
fn program_user(start: &Start<'_>) -> Option<(u32, u32)> {
    match (start.identity, start.sandbox.level) {
        (Identity::Same { .. }, _) => None,
        (Identity::Own { .. }, Level::Full) => Some((PROGRAM_UID, PROGRAM_GID)),
        (identity @ Identity::Own { .. }, Level::Basic) => Some(identity.program_on_host()),
    }
}

/// What `execve` takes, made before the fork.
struct Command {
    /// The path as the sandbox has it, for messages.
    path: String,
    program: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    directory: PathBuf,
}

impl Command {
    fn new(start: &Start<'_>, path: &str, args: &[String]) -> io::Result<Self> {
        let sandbox = start.sandbox;
        let places = match sandbox.level {
            Level::Full => None,
            Level::Basic => Some(Places::new(start)?),
        };
        let (placed, directory) = match &places {
            None => (PathBuf::from(path), PathBuf::from(&sandbox.working_directory)),
            Some(places) => (places.program(path), places.directory.clone()),
        };
        let text = |text: &str| CString::new(text).map_err(io::Error::other);
        let args = std::iter::once(path).chain(args.iter().map(String::as_str));
        let args = args.map(text).collect::<io::Result<_>>()?;
        let mut env = Vec::with_capacity(sandbox.env.len() + 1);
        for (name, value) in &sandbox.env {
            let told = places.as_ref().map(|places| places.told(value));
            let value = told.as_deref().unwrap_or(value);
            env.push(text(&format!("{name}={value}"))?);
        }
        if let (Some(scratch), false) =
            (start.scratch, sandbox.env.iter().any(|(name, _)| name == "TMPDIR"))
        {
            env.push(text(&format!("TMPDIR={}", scratch.display()))?);
        }
        let program = CString::new(std::os::unix::ffi::OsStrExt::as_bytes(placed.as_os_str()))?;
        Ok(Self { path: path.to_owned(), program, args, env, directory })
    }
}

/// The program's process, before and after it is executed.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) pid: Pid,
    /// Says why the program could not be executed; ends when it is.
    pub(super) report: OwnedFd,
    /// By one byte the process goes on and executes; without one, by the end of this, it exits.
    go: Option<OwnedFd>,
}

impl Program {
    /// Returns the numbers of its fds.
    pub(super) fn fds(&self) -> Vec<RawFd> {
        self.go.iter().chain([&self.report]).map(|fd| fd.as_raw_fd()).collect()
    }

    /// Returns whether it has not been told to be executed.
    pub(super) fn waits(&self) -> bool {
        self.go.is_some()
    }

    /// Lets it be executed.
    pub(super) fn go(&mut self) {
        if let Some(go) = self.go.take() {
            // A process that is not there any more has told why.
            let _ = File::from(go).write_all(&[1]);
        }
    }
}

/// Makes the process of the program at `path`, which gives up by itself what the program must not
/// have, while init sets up the rest. Putting it into its cgroup alone can take some milliseconds.
pub(super) fn prepare(start: &Start<'_>, path: &str, args: &[String]) -> Result<Program, Failure> {
    let execute = |what: &'static str| move || what.to_owned();
    let command =
        Command::new(start, path, args).or_fail(Step::Execute, execute("preparing its command"))?;
    let pipes = pipe_with(PipeFlags::CLOEXEC)
        .and_then(|report| Ok((report, pipe_with(PipeFlags::CLOEXEC)?)));
    let ((report, reporter), (told, go)) =
        pipes.or_fail(Step::Execute, execute("making a pipe"))?;
    // SAFETY: this process has one thread, so the child is a whole copy and may do what it likes.
    match unsafe { fork() }.or_fail(Step::Limits, || "starting a process".into())? {
        ForkResult::Child => {
            drop((report, go));
            become_program(start, &command, &told, reporter)
        }
        ForkResult::Parent { child } => Ok(Program { pid: child, report, go: Some(go) }),
    }
}

/// Returns the capabilities that this process has.
pub(super) fn held() -> CapabilitySet {
    rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted)
}

/// The child: never returns.
fn become_program(start: &Start<'_>, command: &Command, told: &OwnedFd, reporter: OwnedFd) -> ! {
    let failure = match become_it(start, command, told) {
        Err(failure) => failure,
        Ok(never) => match never {},
    };
    let (step, error, what) = failure;
    let step = STEPS.iter().position(|known| *known == step).unwrap_or(0);
    let mut text = vec![u8::try_from(step).unwrap_or(0)];
    text.extend(error.raw_os_error().unwrap_or(libc::EINVAL).to_le_bytes());
    text.extend(what.as_bytes());
    // Init waits for it, or is gone.
    let _ = File::from(reporter).write_all(&text);
    // SAFETY: ends the child without running what its parent has registered to run at its exit.
    unsafe { libc::_exit(127) }
}

/// At which step the child failed, with which error, doing what.
type ChildFailure = (Step, io::Error, String);

/// Gives up, step by step, what the steps before needed, and executes.
fn become_it(
    start: &Start<'_>,
    command: &Command,
    told: &OwnedFd,
) -> Result<std::convert::Infallible, ChildFailure> {
    fn at<E: Into<io::Error>>(step: Step, what: &str) -> impl FnOnce(E) -> ChildFailure {
        move |error| (step, error.into(), what.to_owned())
    }
    let basic = start.sandbox.level == Level::Basic;
    let enter = || {
        std::env::set_current_dir(&command.directory).map_err(at(
            Step::WorkingDirectory,
            &format!("entering the working directory {}", start.sandbox.working_directory),
        ))
    };
    if basic {
        // By the node's power to go through its folders: its working directory is the code's folder
        // still. The folders above that may be closed to the program's user.
        enter()?;
    }
    nix::unistd::setsid().map_err(at(Step::Limits, "making a session"))?;
    start.group.join().map_err(at(Step::Limits, "joining the cgroup"))?;
    // Its stdin is the spawner's, /dev/null.
    rustix::stdio::dup2_stdout(&start.outputs.stdout.write)
        .and_then(|()| rustix::stdio::dup2_stderr(&start.outputs.stderr.write))
        .map_err(at(Step::Limits, "setting up its output"))?;
    privileges::limit_resources(start).map_err(at(Step::Limits, "setting resource limits"))?;
    // An ordinary user without a namespace has no capabilities to lock, and gets none by executing.
    if !held().is_empty() {
        privileges::lock_capabilities()
            .map_err(at(Step::Privileges, "emptying the bounding set of capabilities"))?;
    }
    if let Some((uid, gid)) = program_user(start) {
        privileges::become_user(uid, gid).map_err(at(Step::Identity, "becoming its user"))?;
    }
    privileges::keep_capabilities(CapabilitySet::empty())
        .map_err(at(Step::Privileges, "giving up capabilities"))?;
    // In a pid namespace it would be killed with its init anyway.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(at(Step::Privileges, "asking for a signal at init's end"))?;
    default_signals().map_err(at(Step::Limits, "resetting signals"))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    start
        .filters
        .install()
        .map_err(|error| io::Error::other(error.to_string()))
        .map_err(at(Step::Privileges, "installing the seccomp filter"))?;

    // The sandbox is set up from here on, and its root is this process's root.
    if !matches!(nix::unistd::read(told, &mut [0]), Ok(1)) {
        return Err(at(Step::Execute, "waiting for init")(io::Error::from_raw_os_error(
            libc::EPIPE,
        )));
    }
    if !basic {
        enter()?;
    }
    if start.sandbox.network == NetworkAccess::Host {
        restrict::restrict_abstract_sockets()
            .map_err(at(Step::Privileges, "restricting its sockets by landlock"))?;
    }
    if basic {
        restrict::restrict(start.code, start.scratch, start.layout, start.sandbox)
            .map_err(at(Step::Privileges, "restricting it by landlock"))?;
    }
    fds::close_rest_at_exec().map_err(at(Step::Limits, "closing the node's files"))?;
    execve(&command.program, &command.args, &command.env)
        .map_err(at(Step::Execute, &format!("executing {}", command.path)))
}

/// Gives every signal its default action, and blocks none. Those that are ignored would stay so
/// over `exec`, SIGPIPE for one, which Rust's runtime ignores.
fn default_signals() -> io::Result<()> {
    let action = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in Signal::iterator().filter(|s| !matches!(s, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: the default action runs no code of this process.
        unsafe { nix::sys::signal::sigaction(signal, &action) }?;
    }
    Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?)
}

/// Reads a report of [`become_program`]. Returns `None` for an empty one: the program runs.
pub(super) fn failure_in(report: &[u8]) -> Option<Failure> {
    let (head, what) = report.split_at_checked(REPORT_HEAD_BYTES)?;
    let (step, errno) = head.split_first()?;
    let step = STEPS.get(usize::from(*step)).copied().unwrap_or(Step::Execute);
    let errno = i32::from_le_bytes(errno.try_into().ok()?);
    let what = String::from_utf8_lossy(what).into_owned();
    Some(Failure::new(step, what, io::Error::from_raw_os_error(errno)))
}
