//! `sockhop status --json`, as the tests rely on it.

use serde::Deserialize;

/// The whole answer.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// The node itself.
    pub node: NodeStatus,
    /// One entry a worker process.
    pub workers: Vec<WorkerStatus>,
}

/// The node itself.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeStatus {
    /// Pid of the engine.
    pub pid: u32,
    /// URLs it listens on.
    pub listeners: Vec<String>,
    /// The control API's URL over TCP, if it has one.
    pub admin: Option<String>,
    /// Generation of the catalogue.
    pub generation: u64,
    /// Compile children run since the start.
    pub compilations: u64,
    /// Whether it is on its way out.
    pub draining: bool,
}

/// One worker process.
#[derive(Debug, Clone, Deserialize)]
pub struct WorkerStatus {
    /// Its place in the list.
    pub index: u32,
    /// Its pid, for as long as it lives; 0 between two processes.
    #[serde(deserialize_with = "pid_or_zero")]
    pub pid: u32,
    /// The core it is pinned to.
    pub core: u32,
    /// `shared`, or the function it belongs to.
    pub pool: String,
    /// `starting`, `ready`, `silent`, `restarting` or `dormant`.
    pub state: String,
    /// Its processes in a row that did not come to serve.
    pub failed_starts: u32,
    /// What the last of those said.
    pub last_words: Option<String>,
    /// How often the engine had to start it anew.
    pub restarts: u32,
    /// Connections that hopped into it.
    pub connections_taken: u64,
    /// Connections it owns now.
    pub connections_open: u64,
    /// Requests it has answered.
    pub requests: u64,
    /// Requests it is answering now.
    pub in_flight: u64,
    /// Connections it sent back to the engine.
    pub returns: u64,
}

impl Status {
    /// Hops so far, over all workers.
    pub fn hops(&self) -> u64 {
        self.workers.iter().map(|w| w.connections_taken).sum()
    }

    /// Connections sent back so far, over all workers.
    pub fn returns(&self) -> u64 {
        self.workers.iter().map(|w| w.returns).sum()
    }

    /// Requests being answered now.
    pub fn in_flight(&self) -> u64 {
        self.workers.iter().map(|w| w.in_flight).sum()
    }

    /// Requests answered so far in `pool`.
    pub fn requests_in(&self, pool: &str) -> u64 {
        self.pool(pool).map(|w| w.requests).sum()
    }

    /// Connections open in workers now.
    pub fn open(&self) -> u64 {
        self.workers.iter().map(|w| w.connections_open).sum()
    }

    /// The workers of one pool.
    pub fn pool(&self, pool: &str) -> impl Iterator<Item = &WorkerStatus> {
        self.workers.iter().filter(move |w| w.pool == pool)
    }
}

fn pid_or_zero<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    Ok(Option::<u32>::deserialize(deserializer)?.unwrap_or_default())
}
