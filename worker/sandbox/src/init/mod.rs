//! The init of a sandbox: pid 1 of its pid namespace, a copy of the spawner that executes nothing.
//!
//! It sets the sandbox up ([`root`], [`network`]), starts the program as its child ([`program`]),
//! and then only waits ([`events`]). It owns the pipes' and listeners' fds until the worker has
//! them; everything else that it has is borrowed from the memory of the spawner that it is a copy
//! of, and is closed by the kernel when it exits.

mod connects;
mod diag;
mod events;
mod failure;
mod fds;
mod mounts;
mod network;
mod places;
mod privileges;
mod program;
mod root;

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use abi::channel::Channel;
use abi::sandbox::{Begin, FromSandbox, Level, NetworkAccess, Sandbox, Step, bounded_reason};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::thread::CapabilitySet;

use crate::cgroup::Group;
use crate::filter::Filters;
use crate::identity::Identity;
use crate::layout::Entry;
use failure::{Failure, OrFail as _};
pub(crate) use program::Outputs;

/// Raised from that of the node, so that the kernel takes programs first when the machine's memory
/// is used up.
const OOM_SCORE_ADJUSTMENT: &str = "500";

/// The namespaces of every sandbox at [`Level::Full`], as flags of clone(2). A network namespace
/// comes to it.
pub(crate) const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// What an init is made with.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    /// The process channel.
    pub(crate) channel: &'a Channel,
    /// Ends when the spawner does.
    pub(crate) lifeline: BorrowedFd<'a>,
    /// Gives one byte when the maps of ids are written; ends before that if the spawner does.
    pub(crate) released: BorrowedFd<'a>,
    /// The folder of the code, which is the working directory too.
    pub(crate) code: BorrowedFd<'a>,
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) identity: Identity,
    pub(crate) layout: &'a [Entry],
    pub(crate) filters: &'a Filters,
    pub(crate) group: &'a Group,
    pub(crate) outputs: &'a Outputs,
    /// Whether the group limits memory; otherwise resource limits do.
    pub(crate) memory_by_cgroup: bool,
    /// The same for processes.
    pub(crate) processes_by_cgroup: bool,
    /// The folder that stands for `/tmp` where there is no root of its own.
    pub(crate) scratch: Option<&'a Path>,
}

/// Runs an init to its end. Never returns into the spawner's code, of which this process has a
/// copy.
pub(crate) fn run(start: &Start<'_>) -> ! {
    let code = catch_unwind(AssertUnwindSafe(|| match set_up(start) {
        Ok(Some(running)) => events::run(start, running),
        // The spawner has gone.
        Ok(None) => 1,
        Err(failure) => {
            let reason = bounded_reason(failure.to_string());
            // If the worker has gone, or reads nothing, nobody is there to tell.
            let _ = start.channel.send(&FromSandbox::Failed { step: failure.step, reason }, None);
            1
        }
    }));
    // SAFETY: ends this process without running what its parent has registered to run at its exit.
    unsafe { libc::_exit(code.unwrap_or(101)) }
}

/// Sets the sandbox up and starts its program. Returns `None` if the spawner has gone.
fn set_up(start: &Start<'_>) -> Result<Option<events::Running>, Failure> {
    let sandbox = start.sandbox;
    let mut kept = start.group.fds();
    kept.extend([
        start.channel.as_raw_fd(),
        start.lifeline.as_raw_fd(),
        start.released.as_raw_fd(),
        start.code.as_raw_fd(),
    ]);
    kept.extend(start.outputs.fds());
    fds::close_all_but(&mut kept).or_fail(Step::Limits, || "closing the node's files".into())?;
    if sandbox.level == Level::Full {
        die_with_spawner()?;
    }
    let mut byte = [0];
    // Nothing of the sandbox exists before it has its user.
    if !matches!(nix::unistd::read(start.released, &mut byte), Ok(1)) {
        return Ok(None);
    }
    // Never lowers it; not there in a container that hides it.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJUSTMENT);

    // SIGCHLD comes by an fd, from the first child on.
    let signals = block_child_signals()?;
    let program = program::prepare(start, &sandbox.program, &sandbox.args)?;
    let beside = sandbox.beside.iter().map(|path| program::prepare(start, path, &[]));
    let beside = beside.collect::<Result<Vec<_>, _>>()?;
    let listeners = match sandbox.level {
        Level::Full => {
            // By the node's power to read its folder, before it is given up.
            let code = root::Code::open()?;
            become_root_of_the_sandbox(start.identity)?;
            root::build(&code, start)?;
            rustix::system::sethostname(sandbox.hostname.as_bytes())
                .or_fail(Step::Network, || "setting the host name".into())?;
            network::set_up(sandbox)?
        }
        Level::Basic => {
            let reaps = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
            reaps.or_fail(Step::Identity, || "becoming the reaper of processes".into())?;
            network::listeners(sandbox)?
        }
    };
    for (message, fd) in start.outputs.for_the_worker() {
        tell(start.channel, &message, fd)?;
    }
    for (message, listener) in listeners {
        tell(start.channel, &message, &listener)?;
        // The worker's copy is the only one from here on.
    }
    let diag = shares_network(sandbox).then(diag::Diag::open).flatten();
    let mut running = events::Running { program, beside, signals, diag };
    if sandbox.begin == Begin::AtOnce {
        running.go();
    }
    confine(start, &running)?;
    Ok(Some(running))
}

/// Leaves init with no more than it needs to wait for a program and to answer the worker.
fn confine(start: &Start<'_>, running: &events::Running) -> Result<(), Failure> {
    // The write ends of the program's pipes too, so that they end when the program's copies do, and
    // the fds that are the worker's.
    let mut kept = start.group.fds();
    kept.extend([start.channel.as_raw_fd(), start.lifeline.as_raw_fd()]);
    kept.extend(running.fds());
    fds::close_all_but(&mut kept).or_fail(Step::Limits, || "closing the pipes' ends".into())?;
    start
        .filters
        .install_refusals()
        .map_err(|error| io::Error::other(error.to_string()))
        .or_fail(Step::Privileges, || "installing the seccomp filter".into())?;
    // Its memory has the program's secrets, and, where the spawner has no users of its own, it is
    // the program's user.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .or_fail(Step::Privileges, || "closing init's memory to others".into())?;
    privileges::keep_capabilities(CapabilitySet::KILL & program::held())
        .or_fail(Step::Privileges, || "giving up init's capabilities".into())
}

/// Blocks SIGCHLD and returns the fd that tells of it.
fn block_child_signals() -> Result<SignalFd, Failure> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None)
        .and_then(|()| SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK))
        .or_fail(Step::Execute, || "making a signalfd".into())
}

/// Sends one of the first messages, for which the new channel's queue has room.
fn tell(channel: &Channel, message: &FromSandbox, fd: &OwnedFd) -> Result<(), Failure> {
    use std::os::fd::AsFd as _;
    channel
        .send(message, Some(fd.as_fd()))
        .map_err(io::Error::other)
        .or_fail(Step::Network, || "handing an fd to the worker".into())
}

/// Has the kernel kill this process when the spawner ends, and with it its pid namespace. The
/// lifeline says the same, and is looked at once the program runs. Without a pid namespace it is
/// all there is: an init that is killed could not end what it has started.
fn die_with_spawner() -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .or_fail(Step::Identity, || "asking for a signal at the spawner's end".into())
}

/// Becomes user and group 0 of the namespace, which are nobody's on the host.
fn become_root_of_the_sandbox(identity: Identity) -> Result<(), Failure> {
    use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    if matches!(identity, Identity::Same { .. }) {
        return Ok(());
    }
    let changed = set_thread_groups(&[])
        .and_then(|()| set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT))
        .and_then(|()| set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT));
    changed.or_fail(Step::Identity, || "becoming the sandbox's user".into())?;
    // A change of user clears it (prctl(2)).
    die_with_spawner()
}

/// Returns whether the program has the host's network.
fn shares_network(sandbox: &Sandbox) -> bool {
    sandbox.level == Level::Basic || sandbox.network == NetworkAccess::Host
}
