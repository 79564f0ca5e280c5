//! What the commands that look at sockhop alone have in common: what a number of theirs was
//! measured on, the processes of a node, and what may go wrong. Holds no file descriptor.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::environment::{Binary, Environment};
use crate::server::{self, Instances, Kind, Node};
use crate::target::Fetched;
use crate::{copies, cpu, interrupt, load, metrics, output, process_tree, quiet, smaps, target};

/// What the kernel calls the process that runs functions.
const WORKER: &str = "sockhop-worker";

/// What goes wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No component, or no report file.
    #[error(transparent)]
    Output(#[from] output::Error),
    /// No copies of it.
    #[error(transparent)]
    Copies(#[from] copies::Error),
    /// The node.
    #[error(transparent)]
    Server(#[from] server::Error),
    /// A request.
    #[error(transparent)]
    Target(#[from] target::Error),
    /// The load as a whole.
    #[error(transparent)]
    Load(#[from] load::Error),
    /// A function that does not work, or not always alike.
    #[error(
        "function {name} answers with status {status} and {bytes} bytes; is the component one that replies 200 to GET, and always the same?"
    )]
    Answer {
        /// Which.
        name: String,
        /// Its status.
        status: u16,
        /// Of its body.
        bytes: usize,
    },
    /// No worker, or too many.
    #[error(
        "the node has {count} processes called {WORKER}, not one; on one core that is a node this does not know"
    )]
    Workers {
        /// How many.
        count: usize,
    },
    /// No such core.
    #[error(transparent)]
    Cpu(#[from] cpu::Error),
    /// No /proc.
    #[error(transparent)]
    Process(#[from] process_tree::Error),
    /// The process is gone.
    #[error(transparent)]
    Smaps(#[from] smaps::Error),
    /// The node is gone, or we were stopped.
    #[error(transparent)]
    Quiet(#[from] quiet::Error),
    /// Its /metrics.
    #[error(transparent)]
    Metrics(#[from] metrics::Error),
    /// More connections than files.
    #[error(transparent)]
    OpenFiles(#[from] crate::client::OpenFilesError),
    /// A client that is to press the node cannot even reach it.
    #[error(
        "cannot open connection {number} to {address} ({source}); is the node still up, and are there ports left?"
    )]
    Crowd {
        /// How many came before it.
        number: usize,
        /// The node.
        address: std::net::SocketAddr,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Stopped by a signal.
    #[error(transparent)]
    Interrupted(#[from] interrupt::Error),
}

/// What a report says of itself beside its figures.
#[derive(Debug, Serialize)]
pub struct Provenance {
    /// Where and when.
    pub environment: Environment,
    /// What the binary says.
    pub version: String,
    /// What was run.
    pub binaries: Vec<Binary>,
    /// How the node was started, and the first deploy.
    pub commands: Vec<String>,
    /// What makes the numbers doubtful.
    pub warnings: Vec<String>,
}

impl Provenance {
    /// Looks around. Call before any load.
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

/// The one worker of a node on one core.
pub fn worker(node: &Node) -> Result<u32, Error> {
    let named = |pid: u32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == WORKER)
    };
    let tree = process_tree::tree(node.child.id())?;
    let workers: Vec<u32> =
        tree.iter().map(|process| process.pid).filter(|&pid| named(pid)).collect();
    match workers[..] {
        [worker] => Ok(worker),
        _ => Err(Error::Workers { count: workers.len() }),
    }
}

/// An error unless a function replied 200.
pub fn expect_ok(name: &str, fetched: &Fetched) -> Result<(), Error> {
    if fetched.status == 200 {
        return Ok(());
    }
    Err(Error::Answer { name: name.to_owned(), status: fetched.status, bytes: fetched.body.len() })
}
