//! The messages between the worker of a native function, its spawner, and the init of each sandbox.
//!
//! A worker has one channel to its spawner ([`ToSpawner`], [`FromSpawner`]) and one to the init of
//! each sandbox ([`ToSandbox`], [`FromSandbox`]), the *process channel*. Each message carries at
//! most one fd; no message owns one.

#![allow(
    missing_docs,
    reason = "rkyv's derives make resolvers without docs; every type of ours has them"
)]

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

use crate::channel::Message;

/// The most bytes that the arguments and the environment of a program have together. The kernel's
/// own limit (ARG_MAX, execve(2)) is beyond it.
pub const PROGRAM_TEXT_BYTES_MAX: usize = 128 * 1024;
/// The most arguments, and the most variables, of a program.
pub const PROGRAM_STRINGS_MAX: usize = 1024;
/// The most programs that run beside one.
pub const BESIDE_MAX: usize = 10;
/// The longest path in a sandbox.
pub const PATH_BYTES_MAX: usize = 1024;
/// The longest host name (HOST_NAME_MAX, gethostname(2)).
pub const HOSTNAME_BYTES_MAX: usize = 64;
/// The most listeners of a sandbox.
pub const LISTENERS_MAX: usize = 16;
/// The most ports that [`FromSandbox::Ports`] names.
pub const PORTS_MAX: usize = 4096;
/// The longest sentence about a failure.
pub const REASON_BYTES_MAX: usize = 2048;
/// The highest signal (SIGRTMAX, signal(7)).
pub const SIGNAL_MAX: u8 = 64;

/// How a program is kept apart from the host.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Namespaces, a root of its own, seccomp, no capabilities, resource limits.
    Full,
    /// landlock, seccomp and resource limits, but no namespaces. The program sees the host's
    /// processes, can signal those of its own user, and shares the host's network.
    Basic,
}

/// Which network a program has.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkAccess {
    /// A network namespace with nothing but loopback.
    Isolated,
    /// The host's network.
    Host,
}

/// When a program is executed.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// As soon as its sandbox is set up.
    AtOnce,
    /// On [`ToSandbox::Start`]. Until then its sandbox is kept ready, which takes a fraction of the
    /// time and hardly any memory.
    WhenTold,
}

/// What to start, and in what sandbox.
#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// The code that a [`ToSpawner::Code`] brought.
    pub code: u64,
    /// The absolute path of the program, as the sandbox has it (`/var/task/bootstrap`).
    pub program: String,
    /// The arguments behind the program's name.
    pub args: Vec<String>,
    /// The absolute paths of programs that run beside it, with its environment and no arguments. If
    /// one of them ends, everything does, until [`ToSandbox::Linger`] says otherwise.
    pub beside: Vec<String>,
    /// The environment, all of it.
    pub env: Vec<(String, String)>,
    /// Where the program starts, as the sandbox has it.
    pub working_directory: String,
    /// What the program finds as its host's name.
    pub hostname: String,
    /// The ports of 127.0.0.1 that the worker wants a listener on, made inside.
    pub listen: Vec<u16>,
    /// The most memory of all its processes together, files in `/tmp` included.
    pub memory_bytes_max: u64,
    /// The most processes and threads together.
    pub processes_max: u32,
    /// The most file descriptors of a process.
    pub open_files_max: u32,
    /// The size of `/tmp`.
    pub tmp_bytes_max: u64,
    /// The size of the largest file that may be written; `u64::MAX` for any.
    pub file_bytes_max: u64,
    /// How it is kept apart from the host.
    pub level: Level,
    /// Which network it has.
    pub network: NetworkAccess,
    /// When it is executed.
    pub begin: Begin,
}

/// The environment by name only: its values may be secrets.
impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Sandbox")
            .field("code", &self.code)
            .field("program", &self.program)
            .field("args", &self.args)
            .field("beside", &self.beside)
            .field("env", &names)
            .field("working_directory", &self.working_directory)
            .field("listen", &self.listen)
            .field("level", &self.level)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

/// Returns whether `text` can be a C string that is not longer than `bytes_max`.
fn is_c_string(text: &str, bytes_max: usize) -> bool {
    text.len() <= bytes_max && !text.as_bytes().contains(&0)
}

impl Sandbox {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// Which field is beyond which limit.
    pub fn check(&self) -> Result<(), &'static str> {
        let is_path = |text: &str| is_c_string(text, PATH_BYTES_MAX) && text.starts_with('/');
        let pairs = self.env.iter().map(|(name, value)| name.len() + value.len() + 2);
        let text_bytes =
            self.args.iter().map(|arg| arg.len() + 1).chain(pairs).fold(0, usize::saturating_add);
        let is_name = |name: &str| !name.is_empty() && !name.contains('=') && !name.contains('\0');
        if !is_path(&self.program) {
            Err("Sandbox.program is not an absolute path of at most PATH_BYTES_MAX")
        } else if self.beside.len() > BESIDE_MAX || !self.beside.iter().all(|path| is_path(path)) {
            Err("Sandbox.beside has more than BESIDE_MAX, or one that is no absolute path")
        } else if !is_path(&self.working_directory) {
            Err("Sandbox.working_directory is not an absolute path of at most PATH_BYTES_MAX")
        } else if !is_c_string(&self.hostname, HOSTNAME_BYTES_MAX) {
            Err("Sandbox.hostname is longer than HOSTNAME_BYTES_MAX, or has a NUL")
        } else if self.args.len() > PROGRAM_STRINGS_MAX || self.env.len() > PROGRAM_STRINGS_MAX {
            Err("Sandbox has more than PROGRAM_STRINGS_MAX arguments or variables")
        } else if text_bytes > PROGRAM_TEXT_BYTES_MAX {
            Err("Sandbox.args and Sandbox.env are longer than PROGRAM_TEXT_BYTES_MAX")
        } else if self.args.iter().any(|arg| arg.contains('\0')) {
            Err("an argument of Sandbox.args has a NUL")
        } else if !self.env.iter().all(|(name, value)| is_name(name) && !value.contains('\0')) {
            Err("a variable of Sandbox.env has no name, a = in its name, or a NUL")
        } else if self.listen.len() > LISTENERS_MAX {
            Err("Sandbox.listen has more than LISTENERS_MAX ports")
        } else if self.listen.contains(&0) {
            Err("a port of Sandbox.listen is 0")
        } else if self.memory_bytes_max == 0 || self.processes_max == 0 || self.tmp_bytes_max == 0 {
            Err("a limit of Sandbox is 0")
        } else {
            Ok(())
        }
    }
}

/// Worker to spawner.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub enum ToSpawner {
    /// Carries an fd (O_PATH) of a folder with the subfolder `task` and perhaps `opt`.
    Code {
        /// What a [`Sandbox`] calls it by. One that was used before is replaced.
        code: u64,
    },
    /// This code is not used any more. Processes that run keep theirs.
    ForgetCode {
        /// Which code.
        code: u64,
    },
    /// Carries the far end of a new process channel.
    Spawn {
        /// What the answers call the process by: never one that was used before.
        process: u64,
        /// What to start.
        sandbox: Box<Sandbox>,
    },
}

/// Spawner to worker.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub enum FromSpawner {
    /// Carries the pidfd of the sandbox's init. The program is not started yet: see
    /// [`FromSandbox::Started`].
    Spawned {
        /// Which process.
        process: u64,
    },
    /// There is no sandbox, and nothing of it is left.
    SpawnFailed {
        /// Which process.
        process: u64,
        /// Why, and what would help.
        reason: String,
    },
    /// Every process of the sandbox has ended, and nothing of it is left.
    Ended {
        /// Which process.
        process: u64,
    },
}

/// Worker to the init of a sandbox.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub enum ToSandbox {
    /// Execute the program of a sandbox that begins [`Begin::WhenTold`]; otherwise nothing.
    Start,
    /// Connect to a port inside, on 127.0.0.1, or else on ::1.
    Connect {
        /// What the answer is to bear.
        ticket: u64,
        /// The port.
        port: u16,
    },
    /// Tell the TCP ports that programs inside listen on.
    Ports,
    /// Send a signal to the program's process group.
    Signal {
        /// Its number (signal(7)), from 1 to [`SIGNAL_MAX`].
        signal: u8,
    },
    /// The program is about to be ended, and those beside it may end by themselves: the sandbox
    /// ends with the last of them, and [`FromSandbox::ProgramEnded`] tells of the program.
    Linger,
    /// Kill every process of the sandbox.
    Kill,
}

/// How a program ended.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(u8),
    /// A signal ended it.
    Signal(u8),
}

/// What a sandbox's init was at when it failed.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Becoming the user and the group of the sandbox.
    Identity,
    /// Making its root.
    Mount,
    /// Its host name, its loopback interface, its listeners.
    Network,
    /// Its resource limits and its cgroup.
    Limits,
    /// Capabilities, seccomp, landlock.
    Privileges,
    /// The working directory of the program.
    WorkingDirectory,
    /// Executing the program.
    Execute,
}

/// The init of a sandbox to the worker.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub enum FromSandbox {
    /// Carries the read end of the program's stdout, in non-blocking mode.
    Stdout,
    /// Carries the read end of the program's stderr, in non-blocking mode.
    Stderr,
    /// Carries a listener, in non-blocking mode.
    Listener {
        /// The port that [`Sandbox::listen`] asked for.
        asked: u16,
        /// The port that it has: the same, except on the host's network, where it is a free one.
        port: u16,
    },
    /// The sandbox is set up and waits for [`ToSandbox::Start`].
    Prepared,
    /// The program is executed.
    Started,
    /// Carries a socket that is connected to a port inside, in non-blocking mode.
    Connection {
        /// That of the question.
        ticket: u64,
    },
    /// There is no connection to the port.
    ConnectFailed {
        /// That of the question.
        ticket: u64,
        /// What the kernel said (errno(3)).
        errno: i32,
    },
    /// The TCP ports that programs inside listen on, without those of [`Sandbox::listen`].
    Ports {
        /// In ascending order, the first [`PORTS_MAX`] of them.
        ports: Vec<u16>,
    },
    /// The program has ended, and programs beside it still run, after [`ToSandbox::Linger`].
    ProgramEnded,
    /// The program has ended. The last message.
    Exited {
        /// How.
        status: ExitStatus,
        /// The most memory that was used: of all processes and `/tmp`, where a cgroup counts it,
        /// otherwise of the largest process.
        memory_bytes_peak: u64,
        /// Processor time of its processes in user mode.
        cpu_user_us: u64,
        /// Processor time of its processes in the kernel.
        cpu_system_us: u64,
        /// Whether a process was killed because the sandbox's memory was used up. Always `false`
        /// where no cgroup limits it.
        out_of_memory: bool,
    },
    /// The program was not started, or one beside it was not or has ended. The last message.
    Failed {
        /// What failed.
        step: Step,
        /// Why, and what would help.
        reason: String,
    },
}

/// Returns `reason`, cut to [`REASON_BYTES_MAX`] at a character's end.
#[must_use]
pub fn bounded_reason(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    reason
}

impl Message for ToSpawner {
    fn fd_count(&self) -> usize {
        match self {
            Self::Code { .. } | Self::Spawn { .. } => 1,
            Self::ForgetCode { .. } => 0,
        }
    }

    fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Spawn { sandbox, .. } => sandbox.check(),
            Self::Code { .. } | Self::ForgetCode { .. } => Ok(()),
        }
    }
}

impl Message for FromSpawner {
    fn fd_count(&self) -> usize {
        match self {
            Self::Spawned { .. } => 1,
            Self::SpawnFailed { .. } | Self::Ended { .. } => 0,
        }
    }

    fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::SpawnFailed { reason, .. } if reason.len() > REASON_BYTES_MAX => {
                Err("SpawnFailed.reason is longer than REASON_BYTES_MAX")
            }
            _ => Ok(()),
        }
    }
}

impl Message for ToSandbox {
    fn fd_count(&self) -> usize {
        0
    }

    fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Connect { port: 0, .. } => Err("Connect.port is 0"),
            Self::Signal { signal } if !(1..=SIGNAL_MAX).contains(signal) => {
                Err("Signal.signal is no signal's number")
            }
            _ => Ok(()),
        }
    }
}

impl Message for FromSandbox {
    fn fd_count(&self) -> usize {
        match self {
            Self::Stdout | Self::Stderr | Self::Listener { .. } | Self::Connection { .. } => 1,
            Self::Prepared
            | Self::Started
            | Self::ProgramEnded
            | Self::ConnectFailed { .. }
            | Self::Ports { .. }
            | Self::Exited { .. }
            | Self::Failed { .. } => 0,
        }
    }

    fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Ports { ports } if ports.len() > PORTS_MAX => {
                Err("Ports.ports has more than PORTS_MAX")
            }
            Self::Failed { reason, .. } if reason.len() > REASON_BYTES_MAX => {
                Err("Failed.reason is longer than REASON_BYTES_MAX")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
