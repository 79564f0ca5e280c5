//! The servers that are measured: how each is found, prepared, started on a free loopback port, and
//! ended.
//!
//! `child` owns the processes and their files. The modules named after servers hold only what
//! differs: flags, configuration, and how each says that it is ready. `kind` says which there are.

mod child;
mod kind;
mod nginx;
mod null;
mod sockhop;
mod spin;
mod wasmtime;
mod workerd;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process_tree;
use crate::smaps::{self, Sample};
use crate::target::{self, Target};
pub use child::{Child, Error as ChildError, run, scratch};
pub use kind::{Kind, Places, Prepared};
pub use null::upstream;
pub use sockhop::Node;

/// Where every measured server runs: one core each, one after the other.
pub const SERVER_CORE: usize = 0;
/// Where the client runs.
pub const LOAD_CORE: usize = 1;

/// So many that the making of instances does not show.
const REUSE: u32 = 100_000;

/// What goes wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The child's files or process.
    #[error(transparent)]
    Child(#[from] child::Error),
    /// No free port.
    #[error("cannot find a free port on 127.0.0.1 ({0})")]
    Port(std::io::Error),
    /// `sockhop deploy`, or another command of its, said no.
    #[error("`{command}` failed ({status}): {output}")]
    Told {
        /// As run.
        command: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// What it printed.
        output: String,
    },
    /// No admin listener.
    #[error(
        "`sockhop status --json` names no admin listener, though the node was told to have one: {output}"
    )]
    NoAdmin {
        /// What it printed.
        output: String,
    },
    /// A file of its own that a server needs.
    #[error("cannot write {} ({source}); is the temporary folder full?", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Many functions.
    #[error(transparent)]
    Copies(#[from] crate::copies::Error),
    /// This program.
    #[error("cannot find this program's own file ({0})")]
    Own(std::io::Error),
    /// No binary.
    #[error(
        "sockhop was not found beside this program or on PATH; say where its folder is: --sockhop-bin"
    )]
    NoSockhop,
    /// The URL it printed.
    #[error(transparent)]
    Target(#[from] target::Error),
}

/// How many requests one instance serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instances {
    /// One, which is every server's default for a WASI 0.2 component.
    Fresh,
    /// [`REUSE`], one after another.
    Reuse,
}

/// What a server is to serve.
#[derive(Debug, Clone)]
pub struct Serving {
    /// What servers of components run.
    pub component: PathBuf,
    /// What workerd runs instead, if anybody wrote it: it knows no components.
    pub script: Option<&'static str>,
    /// What servers without functions reply.
    pub fixed: Vec<u8>,
    /// So many of them, all alike but each a file of its own.
    pub functions: u32,
    /// Options of `sockhop deploy`.
    pub options: Vec<String>,
}

/// A server that answers. Ends with this value.
#[derive(Debug)]
pub struct Server {
    /// Its processes: one, or one a function.
    pub children: Vec<Child>,
    /// Where each function answers.
    pub targets: Vec<Target>,
    /// Commands that brought it there, for the report.
    pub commands: Vec<String>,
}

impl Server {
    /// Of one process.
    fn one(child: Child, targets: Vec<Target>) -> Self {
        let commands = vec![child.command().to_owned()];
        Self { children: vec![child], targets, commands }
    }

    /// Where its first function answers.
    pub fn target(&self) -> &Target {
        let Some(target) = self.targets.first() else { unreachable!("every server has one") };
        target
    }

    /// User and system time of all its processes.
    pub fn cpu_time(&self) -> Result<Duration, process_tree::Error> {
        self.children.iter().map(|child| process_tree::cpu_time(child.id())).sum()
    }

    /// What no kernel could take from all its processes without swapping, in bytes.
    pub fn memory(&self) -> Result<u64, smaps::Error> {
        let mut sum = 0;
        for child in &self.children {
            for process in process_tree::tree(child.id()).unwrap_or_default() {
                sum += Sample::of(process.pid)?.kept();
            }
        }
        Ok(sum)
    }
}

/// Addresses that were free a moment ago, all of them different.
fn free_addresses(count: usize) -> Result<Vec<SocketAddr>, Error> {
    let listeners: Result<Vec<TcpListener>, _> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    let addresses = listeners.and_then(|all| all.iter().map(TcpListener::local_addr).collect());
    addresses.map_err(Error::Port)
}

/// The `sockhop` binary: in the folder given, else beside this program, else on PATH.
pub fn find_sockhop(folder: Option<&Path>) -> Option<PathBuf> {
    match folder {
        Some(folder) => find(Some(&folder.join("sockhop")), "sockhop"),
        None => std::env::current_exe()
            .ok()
            .and_then(|path| find(Some(&path.with_file_name("sockhop")), "sockhop"))
            .or_else(|| find(None, "sockhop")),
    }
}

/// A binary: as given, else the first of that name on PATH.
pub fn find(given: Option<&Path>, name: &str) -> Option<PathBuf> {
    match given {
        Some(path) => path.is_file().then(|| path.to_owned()),
        None => std::env::split_paths(&std::env::var_os("PATH")?)
            // Where Debian has servers, and a user's PATH has not.
            .chain(["/usr/sbin".into()])
            .map(|folder| folder.join(name))
            .find(|path| path.is_file()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binaries_are_found_on_path_or_named_as_missing() {
        assert!(find(None, "sh").is_some());
        assert_eq!(find(None, "no-such-program-here"), None);
        assert_eq!(find(Some(Path::new("/no/such/file")), "sh"), None);
    }
}
