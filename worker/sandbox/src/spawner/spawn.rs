//! One spawn: a cgroup, a clone, the maps of ids. Owns the two pipes' fds of an init until it runs.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use abi::channel::Channel;
use abi::sandbox::{Level, NetworkAccess, Sandbox};
use nix::errno::Errno;
use nix::unistd::Pid;
use rustix::pipe::{PipeFlags, pipe_with};

use super::scratch;
use crate::cgroup::{self, Controller, Group, Limits, Parent};
use crate::clone::{Cloned, clone3};
use crate::filter::Filters;
use crate::identity::Identity;
use crate::init::{self, Outputs};
use crate::layout::{self, Entry};
use crate::support::refusal_of_namespaces;

/// What all sandboxes of a spawner have in common.
#[derive(Debug)]
pub(super) struct Common {
    identity: Identity,
    layout: Vec<Entry>,
    parents: Vec<Parent>,
    /// By level and network, as they are first asked for.
    filters: Vec<((Level, NetworkAccess), Filters)>,
    /// Ends in every init when this process does.
    lifeline: (OwnedFd, Option<OwnedFd>),
    /// How many sandboxes there have been.
    count: u64,
}

/// A sandbox that was made, and what is to be cleaned up at its end.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) group: Group,
    pub(super) scratch: Option<PathBuf>,
}

impl Common {
    /// Looks at what this process is and may, and removes what others have left.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(super) fn new() -> Result<Self, String> {
        let parents = cgroup::parents(&mut Vec::new());
        cgroup::remove_leftovers(&parents);
        Ok(Self {
            identity: Identity::of_this_process().map_err(|error| error.to_string())?,
            layout: layout::scan(),
            parents,
            filters: Vec::new(),
            lifeline: pipe_with(PipeFlags::CLOEXEC)
                .map(|(read, write)| (read, Some(write)))
                .map_err(|error| format!("the spawner's lifeline cannot be made: {error}"))?,
            count: 0,
        })
    }

    /// Ends the lifeline, as the end of this process does.
    pub(super) fn end_lifeline(&mut self) {
        self.lifeline.1 = None;
    }

    /// Makes sure of the filters of a kind of sandbox, and returns their place.
    fn filters(&mut self, sandbox: &Sandbox) -> Result<usize, String> {
        let kind = (sandbox.level, sandbox.network);
        if let Some(index) = self.filters.iter().position(|(known, _)| *known == kind) {
            return Ok(index);
        }
        let filters = Filters::compile(sandbox.level, sandbox.network).map_err(|error| {
            format!("the seccomp filter cannot be made: {error}; sandboxes need x86-64 or arm64")
        })?;
        self.filters.push((kind, filters));
        Ok(self.filters.len() - 1)
    }

    /// Makes a sandbox and lets its init run. `channel` is the far end of its process channel.
    ///
    /// # Errors
    /// A sentence for the operator. Nothing of the sandbox is left then.
    pub(super) fn spawn(
        &mut self,
        sandbox: &Sandbox,
        code: BorrowedFd<'_>,
        channel: OwnedFd,
    ) -> Result<Made, String> {
        self.count += 1;
        let name = format!("{}{}-{}", cgroup::PREFIX, std::process::id(), self.count);
        let filters = self.filters(sandbox)?;
        let limits = Limits {
            memory_bytes_max: sandbox.memory_bytes_max,
            processes_max: sandbox.processes_max,
        };
        let mut group = Group::create(&self.parents, &name, limits)?;
        let made = self.clone_init(sandbox, code, channel, (filters, &name, &group));
        group.close();
        match made {
            Ok((pid, pidfd, scratch)) => Ok(Made { pid, pidfd, group, scratch }),
            Err(reason) => {
                group.remove();
                Err(reason)
            }
        }
    }

    /// Clones the init and releases it.
    fn clone_init(
        &self,
        sandbox: &Sandbox,
        code: BorrowedFd<'_>,
        channel: OwnedFd,
        (filters, name, group): (usize, &str, &Group),
    ) -> Result<(Pid, OwnedFd, Option<PathBuf>), String> {
        let (_, filters) = self.filters.get(filters).ok_or("there are no filters for it")?;
        let (released, release) = pipe_with(PipeFlags::CLOEXEC)
            .map_err(|error| format!("a pipe cannot be made: {error}; raise `ulimit -n`"))?;
        let outputs = Outputs::create(self.identity)
            .map_err(|error| format!("its output cannot be taken: {error}; raise `ulimit -n`"))?;
        let scratch = match sandbox.level {
            Level::Full => None,
            Level::Basic => Some(scratch::create(name, self.identity).map_err(|error| {
                format!("a folder for temporary files cannot be made in /tmp: {error}")
            })?),
        };
        let limits =
            |controller| self.parents.iter().any(|parent| parent.controllers.contains(&controller));
        let channel = Channel::from(channel);
        let start = init::Start {
            channel: &channel,
            lifeline: self.lifeline.0.as_fd(),
            released: released.as_fd(),
            code,
            sandbox,
            identity: self.identity,
            layout: &self.layout,
            filters,
            group,
            outputs: &outputs,
            memory_by_cgroup: limits(Controller::Memory),
            processes_by_cgroup: limits(Controller::Pids),
            scratch: scratch.as_deref(),
        };
        let cloned = nix::unistd::fchdir(code)
            .map_err(|errno| format!("the folder of the code cannot be entered: {errno}"))
            // SAFETY: this process has one thread, so the child is a whole copy of it.
            .and_then(|()| unsafe { clone3(namespaces(sandbox)) }.map_err(refused));
        let (pid, pidfd) = match cloned {
            Ok(Cloned::Child) => init::run(&start),
            Ok(Cloned::Parent(pid, pidfd)) => (pid, pidfd),
            Err(reason) => {
                leave(scratch);
                return Err(reason);
            }
        };
        // Not to keep the file system of the code busy.
        let _ = std::env::set_current_dir("/");
        let mapped = match sandbox.level {
            Level::Full => self.identity.write_maps(pid),
            Level::Basic => Ok(()),
        };
        match mapped.and_then(|()| File::from(release).write_all(&[1])) {
            Ok(()) => Ok((pid, pidfd, scratch)),
            Err(error) => {
                // The init ends by the end of the pipe, before it has done anything.
                let _ = nix::sys::wait::waitpid(pid, None);
                leave(scratch);
                Err(format!(
                    "the users of the sandbox cannot be set: {error}; does the node run in a container without CAP_SETUID?"
                ))
            }
        }
    }
}

fn leave(scratch: Option<PathBuf>) {
    if let Some(folder) = scratch {
        scratch::remove(&folder);
    }
}

/// Returns the namespaces of a sandbox, as flags of clone(2).
fn namespaces(sandbox: &Sandbox) -> i32 {
    match (sandbox.level, sandbox.network) {
        (Level::Basic, _) => 0,
        (Level::Full, NetworkAccess::Host) => init::NAMESPACES,
        (Level::Full, NetworkAccess::Isolated) => init::NAMESPACES | libc::CLONE_NEWNET,
    }
}

/// Returns the sentence for a clone that was refused.
fn refused(errno: Errno) -> String {
    format!("namespaces cannot be made: {}", refusal_of_namespaces(errno))
}
