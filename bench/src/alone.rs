//! The common parts of the commands that measure sockhop alone: the conditions of a measurement,
//! the processes of a node, and the errors. Holds no file descriptor.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::environment::{Binary, Environment};
use crate::server::{self, Instances, Kind, Node};
use crate::target::Fetched;
use crate::{copies, cpu, interrupt, load, metrics, output, process_tree, quiet, smaps, target};

/// The name, in the kernel's tables, of the process that runs functions,
const WORKER: &str = "sockhop-worker";
/// and of the one that ends TLS.
const EDGE: &str = "sockhop-edge";

/// An error of such a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no component, or the report cannot be written.
    #[error(transparent)]
    Output(#[from] output::Error),
    /// Its copies cannot be made.
    #[error(transparent)]
    Copies(#[from] copies::Error),
    /// The node failed.
    #[error(transparent)]
    Server(#[from] server::Error),
    /// A request failed.
    #[error(transparent)]
    Target(#[from] target::Error),
    /// The load failed as a whole.
    #[error(transparent)]
    Load(#[from] load::Error),
    /// A function does not work, or does not always reply alike.
    #[error(
        "function {name} answers with status {status} and {bytes} bytes; is the component one that replies 200 to GET, and always the same?"
    )]
    Answer {
        /// The function.
        name: String,
        /// Its status.
        status: u16,
        /// The length of its body.
        bytes: usize,
    },
    /// Keys and values are not as they should be.
    #[error("{server} answers with status {status} when it is asked about a key: {body}")]
    State {
        /// Who.
        server: String,
        /// Its status.
        status: u16,
        /// Its body, or the beginning of it.
        body: String,
    },
    /// Jobs are not as they should be.
    #[error("the node's jobs are not as expected: {0}")]
    Jobs(String),
    /// The node has no worker, or more than one.
    #[error(
        "the node has {count} processes called {name}, not one; on one core that is a node this does not know"
    )]
    Processes {
        /// The name.
        name: &'static str,
        /// The number of those that have it.
        count: usize,
    },
    /// There is no such core.
    #[error(transparent)]
    Cpu(#[from] cpu::Error),
    /// /proc cannot be read.
    #[error(transparent)]
    Process(#[from] process_tree::Error),
    /// The process is gone.
    #[error(transparent)]
    Smaps(#[from] smaps::Error),
    /// The node is gone, or we were stopped.
    #[error(transparent)]
    Quiet(#[from] quiet::Error),
    /// Its /metrics cannot be read.
    #[error(transparent)]
    Metrics(#[from] metrics::Error),
    /// There are more connections than files that may be open.
    #[error(transparent)]
    OpenFiles(#[from] crate::client::OpenFilesError),
    /// A client of the crowd cannot reach the node.
    #[error(
        "cannot open connection {number} to {address} ({source}); is the node still up, and are there ports left?"
    )]
    Crowd {
        /// The number of clients before it.
        number: usize,
        /// The node's address.
        address: std::net::SocketAddr,
        /// The kernel's error.
        source: std::io::Error,
    },
    /// A signal stopped the command.
    #[error(transparent)]
    Interrupted(#[from] interrupt::Error),
}

/// The conditions of a measurement, for its report.
#[derive(Debug, Serialize)]
pub struct Provenance {
    /// The machine and the date.
    pub environment: Environment,
    /// The version that the binary prints.
    pub version: String,
    /// The component that was run.
    pub binaries: Vec<Binary>,
    /// The commands that started the node and deployed the first function.
    pub commands: Vec<String>,
    /// The reasons to doubt the numbers.
    pub warnings: Vec<String>,
}

impl Provenance {
    /// Records the conditions. Call this before any load.
    pub fn of(binary: &Path) -> Self {
        let environment = Environment::look();
        let binaries = [binary.to_owned(), binary.with_file_name("sockhop-worker")]
            .map(|path| Binary::look(&path));
        let version =
            Kind::Sockhop { binary: binary.to_owned(), label: None, instances: Instances::Fresh }
                .version();
        let mut warnings = environment.warnings();
        warnings.extend(binaries.iter().filter_map(Binary::warning));
        Self { environment, version, binaries: binaries.to_vec(), commands: Vec::new(), warnings }
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}", self.environment)?;
        writeln!(f, "sockhop: {}", self.version)?;
        for command in &self.commands {
            writeln!(f, "    {command}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}

/// Returns the only worker of a node on one core.
pub fn worker(node: &Node) -> Result<u32, Error> {
    only(node, WORKER)
}

/// Returns the only process of a node on one core that ends TLS.
pub fn edge(node: &Node) -> Result<u32, Error> {
    only(node, EDGE)
}

fn only(node: &Node, name: &'static str) -> Result<u32, Error> {
    let named = |pid: u32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let tree = process_tree::tree(node.child.id())?;
    let found: Vec<u32> =
        tree.iter().map(|process| process.pid).filter(|&pid| named(pid)).collect();
    match found[..] {
        [pid] => Ok(pid),
        _ => Err(Error::Processes { name, count: found.len() }),
    }
}

/// Returns an error unless a function replied 200.
pub fn expect_ok(name: &str, fetched: &Fetched) -> Result<(), Error> {
    if fetched.status == 200 {
        return Ok(());
    }
    Err(Error::Answer { name: name.to_owned(), status: fetched.status, bytes: fetched.body.len() })
}
