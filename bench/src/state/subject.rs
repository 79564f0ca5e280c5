//! Who keeps keys and values, and how each is started. Processes belong to `server`.

use std::path::{Path, PathBuf};

use crate::alone::Error;
use crate::cli::StateArguments;
use crate::server::{self, Node, Server, SqliteOrRedis};

/// One that is measured.
#[derive(Debug)]
pub enum Subject {
    /// A function on a node.
    Sockhop {
        /// The `sockhop` binary.
        binary: PathBuf,
        /// The guest `keyvalue`.
        component: PathBuf,
    },
    /// A native program.
    Native(SqliteOrRedis),
}

const FUNCTION: &str = "keyvalue";

/// Returns all that are here, and the names of the others.
pub fn look(
    binary: &Path,
    component: &Path,
    arguments: &StateArguments,
) -> (Vec<Subject>, Vec<&'static str>) {
    let sockhop = Subject::Sockhop { binary: binary.to_owned(), component: component.to_owned() };
    let (mut subjects, mut missing) = (vec![sockhop], Vec::new());
    match server::find(arguments.redis_bin.as_deref(), "redis-server") {
        Some(redis) => {
            let native = |fsync| SqliteOrRedis::Redis { binary: redis.clone(), fsync };
            subjects.extend(["always", "everysec"].map(native).map(Subject::Native));
        }
        None => missing.push("redis-server"),
    }
    let native = |synchronous| Subject::Native(SqliteOrRedis::Sqlite { synchronous });
    subjects.extend(["full", "normal"].map(native));
    (subjects, missing)
}

impl Subject {
    /// What the tables call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sockhop { .. } => "sockhop",
            Self::Native(native) => native.name(),
        }
    }

    /// Starts it with nothing in it.
    pub fn start(&self) -> Result<Server, Error> {
        match self {
            Self::Sockhop { binary, component } => {
                let node = Node::start(binary)?;
                // What a request without operations comes to is of no interest.
                let options = ["--no-trial", "--kv-calls", "1000000"];
                let deployed = node.deploy_with(component, FUNCTION, &options)?;
                let mut server = Server::of(node, FUNCTION)?;
                server.commands.push(deployed);
                Ok(server)
            }
            Self::Native(native) => Ok(native.start()?),
        }
    }

    /// Whose version is of interest beside the node's, and that.
    pub fn version(&self) -> Option<String> {
        match self {
            Self::Sockhop { .. } => None,
            Self::Native(native) => Some(native.version()),
        }
    }
}
