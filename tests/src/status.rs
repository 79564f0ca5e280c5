//! The output of `sockhop status --json`, as far as the tests read it.

use serde::Deserialize;

/// The whole output.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// The node itself.
    pub node: NodeStatus,
    /// The workers, one entry each.
    pub workers: Vec<WorkerStatus>,
}

/// The node itself.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeStatus {
    /// The pid of the engine.
    pub pid: u32,
    /// The URLs that it listens on.
    pub listeners: Vec<String>,
    /// The URL of the control API over TCP, if it has one.
    pub admin: Option<String>,
    /// The URL of the API as AWS Lambda has it, if it has one.
    pub lambda_api: Option<String>,
    /// What this host does not let native functions have, a sentence each.
    pub native_limits: Vec<String>,
    /// The generation of the catalogue.
    pub generation: u64,
    /// The number of compilers that were started.
    pub compilations: u64,
    /// Whether it is draining.
    pub draining: bool,
}

/// A worker.
#[derive(Debug, Clone, Deserialize)]
pub struct WorkerStatus {
    /// Its position in the list.
    pub index: u32,
    /// The pid of its process; 0 between two processes.
    #[serde(deserialize_with = "pid_or_zero")]
    pub pid: u32,
    /// The core that it is pinned to.
    pub core: u32,
    /// `shared`, or the function that it belongs to.
    pub pool: String,
    /// `starting`, `ready`, `silent`, `restarting` or `dormant`.
    pub state: String,
    /// The number of processes in a row that ended before they served.
    pub failed_starts: u32,
    /// The last output of the last of those.
    pub last_words: Option<String>,
    /// How often the engine has started it again.
    pub restarts: u32,
    /// The number of connections that it was given.
    pub connections_taken: u64,
    /// The number of connections that it has now.
    pub connections_open: u64,
    /// The number of requests that it has answered.
    pub requests: u64,
    /// The number of requests that it is answering now.
    pub in_flight: u64,
    /// The number of connections that it has given back to the engine.
    pub returns: u64,
}

impl Status {
    /// Returns the number of connections that all workers were given.
    pub fn hops(&self) -> u64 {
        self.workers.iter().map(|w| w.connections_taken).sum()
    }

    /// Returns the number of connections that all workers have given back.
    pub fn returns(&self) -> u64 {
        self.workers.iter().map(|w| w.returns).sum()
    }

    /// Returns the number of requests that are being answered now.
    pub fn in_flight(&self) -> u64 {
        self.workers.iter().map(|w| w.in_flight).sum()
    }

    /// Returns the number of requests that the workers of `pool` have answered.
    pub fn requests_in(&self, pool: &str) -> u64 {
        self.pool(pool).map(|w| w.requests).sum()
    }

    /// Returns the number of connections that all workers have now.
    pub fn open(&self) -> u64 {
        self.workers.iter().map(|w| w.connections_open).sum()
    }

    /// Returns the workers of a pool.
    pub fn pool(&self, pool: &str) -> impl Iterator<Item = &WorkerStatus> {
        self.workers.iter().filter(move |w| w.pool == pool)
    }
}

fn pid_or_zero<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    Ok(Option::<u32>::deserialize(deserializer)?.unwrap_or_default())
}
