//! Counters as they stand: the answer of `GET /v1/top`, which `sockhop top` makes rates from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::jobs::JobsStatus;
use crate::status::WorkerState;

/// How many classes of outcomes are counted: 1xx to 5xx, and no reply.
pub const OUTCOMES: usize = 6;
/// How many ranges of latency are counted.
pub const LATENCIES: usize = 18;

/// Everything at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// The moment, in microseconds of the node's monotonic clock.
    pub at_us: u64,
    /// The node as a whole.
    pub node: NodeSample,
    /// Its workers.
    pub workers: Vec<WorkerSample>,
    /// The functions that were called, or have asynchronous invocations.
    pub functions: Vec<FunctionSample>,
}

/// The node as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeSample {
    /// The process id of the engine.
    pub pid: u32,
    /// How many functions are deployed.
    pub functions: usize,
    /// Whether the node is stopping.
    pub draining: bool,
    /// When the node started, in seconds since 1970.
    pub started_s: u64,
    /// Connections accepted so far.
    pub accepted: u64,
    /// The resident memory of the engine.
    pub memory_bytes: u64,
    /// Its asynchronous invocations.
    #[serde(default)]
    pub jobs: JobsStatus,
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerSample {
    /// Its place among the workers.
    pub index: usize,
    /// Its process id. Null while no process runs.
    pub pid: Option<u32>,
    /// The core that it is pinned to.
    pub core: usize,
    /// `shared`, or the function that it is for.
    pub pool: String,
    /// What it is doing.
    pub state: WorkerState,
    /// How often its process was started again.
    pub restarts: u32,
    /// Connections that it has now.
    pub connections: u64,
    /// Requests that it is serving now.
    pub in_flight: u64,
    /// Requests begun so far, by all processes that were in its place.
    pub requests: u64,
    /// The resident memory of its process, 0 while that is unknown.
    pub memory_bytes: u64,
}

/// One function.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FunctionSample {
    /// The function's name.
    pub name: String,
    /// Its invocations under way.
    pub in_flight: u64,
    /// Its requests that wait for one of those to end.
    pub queued: u64,
    /// Invocations so far by the class of their status: 1xx to 5xx, and at last those without one.
    pub outcomes: [u64; OUTCOMES],
    /// Invocations so far by how long they took, in the ranges that `/metrics` has.
    pub latency: [u64; LATENCIES],
    /// Its asynchronous invocations.
    #[serde(default)]
    pub jobs: JobsStatus,
}
