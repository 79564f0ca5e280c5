//! The worker's side of the spawner: starts the process and owns its channel.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use abi::channel::Channel;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

/// The one argument by which a binary knows that it is to run [`crate::spawner_main`].
pub const SPAWNER_ARGUMENT: &str = "sockhop-spawner";

/// Why there is no spawner.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The channel could not be made.
    #[error("the channel to the spawner cannot be made: {0}; raise `ulimit -n`")]
    Channel(#[source] io::Error),
    /// The program could not be executed.
    #[error("the spawner {program} cannot be started: {source}; is /proc mounted?")]
    Execute {
        /// What was to be executed.
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A running spawner. It ends when its channel does, and with it every sandbox of it.
#[derive(Debug)]
pub struct Spawner {
    channel: Channel,
    child: Child,
}

impl Spawner {
    /// Executes `program` (`/proc/self/exe`) as a spawner: with no environment, no fds but stderr
    /// and its channel, and `/` as its working directory.
    ///
    /// It has no parent-death signal on purpose. SIGKILL would leave its cgroups behind, while the
    /// end of the channel, which the kernel closes whatever the worker dies of, lets it clean up.
    ///
    /// # Errors
    /// Returns [`StartError`] if the kernel refuses.
    pub fn start(program: &Path) -> Result<Self, StartError> {
        let (channel, far) = Channel::pair().map_err(StartError::Channel)?;
        let far: OwnedFd = far.as_fd().try_clone_to_owned().map_err(StartError::Channel)?;
        let mut command = Command::new(program);
        command.arg(SPAWNER_ARGUMENT).env_clear().current_dir("/");
        // The channel is its stdin, which needs no code between fork and exec: std can use
        // posix_spawn, which copies no page tables.
        command.stdin(Stdio::from(far)).stdout(Stdio::null()).stderr(Stdio::inherit());
        let execute =
            |source| StartError::Execute { program: program.display().to_string(), source };
        let child = command.spawn().map_err(execute)?;
        Ok(Self { channel, child })
    }

    /// Lets the spawner, and what it starts from then on, run on these cores. With none given
    /// nothing changes.
    ///
    /// # Errors
    /// When the kernel refuses, for example because none of them is there.
    pub fn run_on(&self, cores: &[u16]) -> io::Result<()> {
        if cores.is_empty() {
            return Ok(());
        }
        let mut set = CpuSet::new();
        let known = cores.iter().map(|core| usize::from(*core));
        known.filter(|core| *core < CpuSet::MAX_CPU).for_each(|core| set.set(core));
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        Ok(sched_setaffinity(pid, &set)?)
    }

    /// Returns the channel, for `ToSpawner` and `FromSpawner`.
    #[must_use]
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Returns the spawner's pid.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the channel and the process, which is to be waited for once the channel has ended.
    #[must_use]
    pub fn into_parts(self) -> (Channel, Child) {
        (self.channel, self.child)
    }

    /// Closes the channel, and waits until the spawner has ended its sandboxes and itself. Blocks
    /// for as long as the kernel takes to end processes, usually milliseconds.
    ///
    /// # Errors
    /// When its status cannot be had.
    pub fn end(self) -> io::Result<ExitStatus> {
        let Self { channel, mut child } = self;
        drop(channel);
        child.wait()
    }
}
