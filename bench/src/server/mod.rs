//! The servers that are compared: how each is found, started on a free loopback port, and ended.
//!
//! `child` owns the processes and their files. The modules named after servers hold only what differs:
//! flags, configuration, and how each says that it is ready.

mod child;
mod nginx;
mod sockhop;
mod wasmtime;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::target::{self, Target};
pub use child::{Child, Error as ChildError, scratch};
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
    #[error("`sockhop status --json` names no admin listener, though the node was told to have one: {output}")]
    NoAdmin {
        /// What it printed.
        output: String,
    },
    /// No binary.
    #[error("sockhop was not found beside this program or on PATH; say where its folder is: --sockhop-bin")]
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

/// Something to compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The product: `sockhop serve` and one deployed function.
    Sockhop {
        /// The `sockhop` binary.
        binary: PathBuf,
        /// Requests one instance serves.
        instances: Instances,
    },
    /// `wasmtime serve`.
    Wasmtime {
        /// The `wasmtime` binary.
        binary: PathBuf,
        /// With flags that make it faster, or as it comes.
        tuned: bool,
        /// Requests one instance serves.
        instances: Instances,
    },
    /// nginx with one worker and a constant reply: what HTTP itself costs.
    Nginx {
        /// The `nginx` binary.
        binary: PathBuf,
    },
}

/// A server that answers. Ends with this value.
#[derive(Debug)]
pub struct Server {
    /// Its process.
    pub child: Child,
    /// Where it answers.
    pub target: Target,
    /// Commands that brought it there, for the report.
    pub commands: Vec<String>,
}

impl Kind {
    /// What the report calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sockhop { instances: Instances::Fresh, .. } => "sockhop",
            Self::Sockhop { instances: Instances::Reuse, .. } => "sockhop, reuse",
            Self::Wasmtime { tuned: false, instances: Instances::Fresh, .. } => "wasmtime serve",
            Self::Wasmtime { tuned: true, instances: Instances::Fresh, .. } => "wasmtime serve, tuned",
            Self::Wasmtime { tuned: false, instances: Instances::Reuse, .. } => "wasmtime serve, reuse",
            Self::Wasmtime { tuned: true, instances: Instances::Reuse, .. } => "wasmtime serve, tuned, reuse",
            Self::Nginx { .. } => "nginx",
        }
    }

    /// Starts it and waits until it answers.
    ///
    /// `name` is what sockhop calls the function; a peer has one function, without a name.
    pub fn start(&self, component: &Path, name: &str) -> Result<Server, Error> {
        match self {
            Self::Sockhop { binary, instances } => sockhop::start(binary, component, name, *instances),
            Self::Wasmtime { binary, tuned, instances } => wasmtime::start(binary, *tuned, *instances, component),
            Self::Nginx { binary } => nginx::start(binary),
        }
    }

    /// What the binary says its version is, in one line.
    pub fn version(&self) -> String {
        let (binary, flag) = match self {
            Self::Sockhop { binary, .. } | Self::Wasmtime { binary, .. } => (binary, "--version"),
            Self::Nginx { binary } => (binary, "-v"),
        };
        let mut command = Command::new(binary);
        command.arg(flag);
        match child::run(self.name(), SERVER_CORE, command) {
            Ok((_, text)) => text.lines().next().unwrap_or("unknown").to_owned(),
            Err(_) => "unknown".to_owned(),
        }
    }
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
