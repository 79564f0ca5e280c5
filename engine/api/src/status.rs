//! The node and its workers: the answer of `GET /v1/status`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cron::CronStatus;
use crate::jobs::JobsStatus;

/// The node and all its workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The node as a whole.
    pub node: NodeStatus,
    /// Its workers, one entry for each place that a worker process has.
    pub workers: Vec<WorkerStatus>,
    /// What functions keep on this node, and on no other. Absent where there is nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateUse>,
}

/// How much functions keep.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateUse {
    /// Buckets that have something in them.
    pub buckets: usize,
    /// Their keys.
    pub keys: u64,
    /// Their keys and values.
    pub bytes: u64,
    /// Why none of it can be used. Absent if it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The node as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeStatus {
    /// The process id of the engine.
    pub pid: u32,
    /// The build of the node.
    pub version: String,
    /// The URLs at which functions are called.
    pub listeners: Vec<String>,
    /// The URL of the control API over TCP. Null if it is not served there.
    pub admin: Option<String>,
    /// The URL of the API as AWS Lambda has it. Null if it is not served.
    #[serde(default)]
    pub lambda_api: Option<String>,
    /// Whether functions are found by `/NAME/` at the listeners, besides by their hosts.
    #[serde(default = "path_routes")]
    pub path_routes: bool,
    /// What this host does not let native functions have, a sentence each.
    #[serde(default)]
    pub native_limits: Vec<String>,
    /// The generation of the catalogue that the node serves by.
    pub generation: u64,
    /// How many functions are deployed.
    pub functions: usize,
    /// Runs of the compiler since the node started.
    pub compilations: u64,
    /// Whether the node is stopping.
    pub draining: bool,
    /// Since when and why the store is away. Null if it is not.
    pub store_away: Option<StoreAway>,
    /// When the node started, in seconds since 1970.
    pub started_s: u64,
    /// Who rings by schedules.
    #[serde(default)]
    pub cron: CronStatus,
    /// Asynchronous invocations.
    #[serde(default)]
    pub jobs: JobsStatus,
}

/// A node of an earlier build has no such setting.
fn path_routes() -> bool {
    true
}

/// A store that does not answer, or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreAway {
    /// The store, as its setting names it.
    pub store: String,
    /// Since when, in seconds since 1970.
    pub since_s: u64,
    /// The last reason that was found.
    pub reason: String,
}

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// Its process runs and does not serve yet.
    Starting,
    /// It serves.
    Ready,
    /// It has not moved lately, and gets no connections until it does.
    Silent,
    /// Nobody calls its function: its process is started when somebody does.
    Dormant,
    /// Its process has died, and the next one is to start.
    Restarting,
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerStatus {
    /// Its place among the workers.
    pub index: usize,
    /// Its process id. Null while no process runs.
    pub pid: Option<u32>,
    /// The core that it is pinned to.
    pub core: usize,
    /// `shared`, `edge` if it ends TLS, or the function that it is for.
    pub pool: String,
    /// What it is doing.
    pub state: WorkerState,
    /// How often its process was started again.
    pub restarts: u32,
    /// How many of its processes, in a row and up to now, did not come to serve.
    pub failed_starts: u32,
    /// What the last of those wrote before it ended.
    pub last_words: Option<String>,
    /// Connections that it has been given.
    pub connections_taken: u64,
    /// Connections that it has now.
    pub connections_open: u64,
    /// Requests that it has begun.
    pub requests: u64,
    /// Requests that it is serving now.
    pub in_flight: u64,
    /// Connections that it gave back to the engine.
    pub returns: u64,
    /// Modules that it has loaded.
    pub modules: u64,
    /// The resident memory of its process. Null while that is unknown.
    pub memory_bytes: Option<u64>,
}

impl WorkerState {
    /// Returns the state as JSON has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Silent => "silent",
            Self::Dormant => "dormant",
            Self::Restarting => "restarting",
        }
    }
}
