//! The servers that are measured: how each is found, prepared, started on a free loopback port, and
//! ended.
//!
//! `child` owns the processes and their files. The modules named after servers hold only what
//! differs: flags, configuration, and how each says that it is ready. `kind` says which there are.

mod cargo_lambda;
mod certificate;
mod child;
mod hyper;
mod keeper;
mod kind;
mod nginx;
mod null;
mod program;
mod signature;
mod sockhop;
mod spin;
mod wasmtime;
mod workerd;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::process_tree;
use crate::smaps::{self, Sample};
use crate::target::{self, Request, Target};
#[cfg(test)]
pub use certificate::Certificate;
pub use child::{Child, Error as ChildError, run, scratch};
pub use keeper::SqliteOrRedis;
pub use kind::{Kind, PLAIN, Places, Prepared};
pub use null::upstream;
pub use program::{Program, bootstrap_command, server_command};
use signature::Signer;
pub use sockhop::Node;

/// The core of every measured server; they run one after the other.
pub const SERVER_CORE: usize = 0;
/// The client's core.
pub const LOAD_CORE: usize = 1;

/// The requests of an instance that is reused: so many that the cost of making instances does not
/// show.
const REUSE: u32 = 100_000;

/// A server cannot be started or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The child's files or its process failed.
    #[error(transparent)]
    Child(#[from] child::Error),
    /// There is no free port.
    #[error("cannot find a free port on 127.0.0.1 ({0})")]
    Port(std::io::Error),
    /// `sockhop deploy`, or another of its commands, failed.
    #[error("`{command}` failed ({status}): {output}")]
    Told {
        /// The command line.
        command: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// Its output.
        output: String,
    },
    /// The node has no admin listener.
    #[error(
        "`sockhop status --json` names no admin listener, though the node was told to have one: {output}"
    )]
    NoAdmin {
        /// Its output.
        output: String,
    },
    /// The node has no Lambda API.
    #[error(
        "`sockhop status --json` names no Lambda API, though the node was told to have one: {output}"
    )]
    NoLambdaApi {
        /// Its output.
        output: String,
    },
    /// The key of its Lambda API cannot be read.
    #[error("cannot read the node's token from {} ({source})", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// The kernel's error.
        source: std::io::Error,
    },
    /// A file that a server needs cannot be written.
    #[error("cannot write {} ({source}); is the temporary folder full?", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The kernel's error.
        source: std::io::Error,
    },
    /// The server cannot serve many functions.
    #[error(transparent)]
    Copies(#[from] crate::copies::Error),
    /// No certificate can be made.
    #[error("cannot make a certificate ({0}); this is a bug in sockhop-bench")]
    Certificate(#[from] rcgen::Error),
    /// The path of this program is not known.
    #[error("cannot find this program's own file ({0})")]
    Own(std::io::Error),
    /// There is no binary.
    #[error(
        "sockhop was not found beside this program or on PATH; say where its folder is: --sockhop-bin"
    )]
    NoSockhop,
    /// The URL that it printed is malformed.
    #[error(transparent)]
    Target(#[from] target::Error),
}

/// The number of requests that one instance serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instances {
    /// One request, which is every server's default for a WASI 0.2 component.
    Fresh,
    /// [`REUSE`] requests, one after another.
    Reuse,
}

/// Makes the folder of a static site whose page has so many bytes. They cannot be compressed, as
/// those of a picture.
pub fn site(bytes: usize) -> Result<TempDir, Error> {
    let folder = scratch("site")?;
    let path = folder.path().join("index.html");
    let mut state = 1_u64;
    let next = || {
        // Knuth's generator; the upper bits are the better ones.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    let page: Vec<u8> = std::iter::repeat_with(next).take(bytes).collect();
    std::fs::write(&path, page).map_err(|source| Error::Write { path: path.clone(), source })?;
    Ok(folder)
}

/// What a server serves.
#[derive(Debug, Clone)]
pub struct Serving {
    /// The file: a component, or a program that is run as it is.
    pub component: PathBuf,
    /// How that is run and called.
    pub program: Program,
    /// The script that workerd runs instead, if there is one: it knows no components.
    pub script: Option<&'static str>,
    /// The reply of servers without functions.
    pub fixed: Vec<u8>,
    /// The number of functions, all alike, each with a file of its own.
    pub functions: u32,
    /// Options of `sockhop deploy`.
    pub options: Vec<String>,
    /// Whether it is served inside of TLS: HTTP/1.1, or HTTP/2 to who asks for it.
    pub tls: bool,
}

/// A server that answers. It ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    /// Its processes: one, or one for each function.
    pub children: Vec<Child>,
    /// The address of each function.
    pub targets: Vec<Target>,
    /// The commands that have started it, for the report.
    pub commands: Vec<String>,
    /// What signs requests, if it wants them signed.
    signer: Option<Signer>,
}

impl Server {
    /// Returns a server of one process.
    fn one(child: Child, targets: Vec<Target>) -> Self {
        let commands = vec![child.command().to_owned()];
        Self { children: vec![child], targets, commands, signer: None }
    }

    /// Returns a node that has a function.
    pub fn of(node: Node, function: &str) -> Result<Self, Error> {
        let target = node.target(function)?;
        Ok(Self::one(node.child, vec![target]))
    }

    /// Returns the address of its first function.
    pub fn target(&self) -> &Target {
        let Some(target) = self.targets.first() else { unreachable!("every server has one") };
        target
    }

    /// Returns `request` as its first function takes it: signed, if need be.
    pub fn request(&self, request: &Request) -> Request {
        match &self.signer {
            Some(signer) => signer.sign(request, self.target()),
            None => request.clone(),
        }
    }

    /// Returns the user and system time of all its processes.
    pub fn cpu_time(&self) -> Result<Duration, process_tree::Error> {
        self.children.iter().map(|child| process_tree::cpu_time(child.id())).sum()
    }

    /// Returns the bytes that the kernel cannot take from its processes without swapping.
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

/// Returns distinct addresses that were free a moment ago.
pub fn free_addresses(count: usize) -> Result<Vec<SocketAddr>, Error> {
    let listeners: Result<Vec<TcpListener>, _> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    let addresses = listeners.and_then(|all| all.iter().map(TcpListener::local_addr).collect());
    addresses.map_err(Error::Port)
}

/// Returns the `sockhop` binary: from the given folder, beside this program, or from PATH.
pub fn find_sockhop(folder: Option<&Path>) -> Option<PathBuf> {
    match folder {
        Some(folder) => find(Some(&folder.join("sockhop")), "sockhop"),
        None => std::env::current_exe()
            .ok()
            .and_then(|path| find(Some(&path.with_file_name("sockhop")), "sockhop"))
            .or_else(|| find(None, "sockhop")),
    }
}

/// Returns a binary: the given one, or the first of that name on PATH.
pub fn find(given: Option<&Path>, name: &str) -> Option<PathBuf> {
    match given {
        Some(path) => path.is_file().then(|| path.to_owned()),
        None => std::env::split_paths(&std::env::var_os("PATH")?)
            // Debian installs servers here, and a user's PATH does not include it.
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
