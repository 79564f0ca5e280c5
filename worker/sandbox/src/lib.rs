//! Processes of native functions, each in a sandbox.
//!
//! ```text
//! worker ── ToSpawner, FromSpawner ──▶ spawner ── clone3 ──▶ init, pid 1 ── fork ──▶ program
//!    └───── ToSandbox, FromSandbox, the process channel ──────▲
//! ```
//!
//! The *spawner* is a small process with one thread, which the worker starts of its own binary
//! ([`Spawner::start`], [`spawner_main`]). For each process it makes the namespaces and the cgroup.
//! The *init* of a sandbox is a copy of the spawner: it makes the root, the listeners and the
//! pipes, starts the program, and reports to the worker until the program has ended. When the
//! worker, the spawner or the init ends, everything behind it ends too: by the end of a channel, of
//! the *lifeline* (a pipe that the spawner alone can write to), and of the pid namespace.
//!
//! # Without namespaces
//!
//! At [`abi::sandbox::Level::Basic`] there are no namespaces, and landlock and seccomp stand alone.
//! They stop reading and writing files other than the code, the system's and a folder for temporary
//! files; sockets of the host's file system; UDP and, from Linux 6.7 on, TCP connections, if the
//! network is to be isolated; and from Linux 6.12 on signals to other processes and abstract
//! sockets. They do *not* stop a program from
//! * being seen by, and seeing the numbers of, the host's processes, and System V shared memory,
//! * listening on ports of the host, and before Linux 6.7 connecting to those of the node,
//! * signalling processes of its own user before Linux 6.12: of the node itself, unless that runs
//!   as root and so gives programs users of their own,
//! * filling the file system of `/tmp`, where its folder is,
//! * leaving daemons behind that fork faster than the init can kill them, where no cgroup holds
//!   them.
//!
//! Paths are the host's there: `/var/task` and `/opt` are found for the program and its working
//! directory, and `TMPDIR` names the folder that stands for `/tmp`. A listener gets a free port of
//! the host, so a worker whose program must be told the port beforehand makes the listener itself.
//!
//! # Fds
//!
//! The fds of listeners, connections, pipes and pidfds are the worker's once it has received them.
//! No fd of the node is open in a program.

mod cgroup;
mod children;
pub mod client;
mod clone;
mod confine;
mod filter;
mod identity;
mod init;
mod layout;
mod listening;
mod outbox;
mod restrict;
mod spawner;
mod start;
mod support;

pub use cgroup::NODE_LEAF;
pub use confine::{ConfineError, confine};
pub use spawner::spawner_main;
pub use start::{SPAWNER_ARGUMENT, Spawner, StartError};
pub use support::{LimitedBy, Support, support};
