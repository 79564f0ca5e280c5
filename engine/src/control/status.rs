//! What `sockhop status` tells, as it stands on the wire. Owns no fds.

use serde::{Deserialize, Serialize};

use super::sync::Away;

/// The node as a whole.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct NodeStatus {
    pub(crate) pid: u32,
    pub(crate) version: &'static str,
    pub(crate) listeners: Vec<String>,
    /// Where the control API is served over TCP, if it is.
    pub(crate) admin: Option<String>,
    /// Of the catalogue that is served by.
    pub(crate) generation: u64,
    pub(crate) functions: usize,
    /// Runs of the compiler since the node started.
    pub(crate) compilations: u64,
    pub(crate) draining: bool,
    /// Since when and why the store is away, if it is.
    pub(crate) store_away: Option<Away>,
    /// When it started, in seconds since 1970.
    pub(crate) started_s: u64,
}

/// What a worker's slot is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WorkerState {
    /// Its process runs and does not serve yet.
    Starting,
    /// It serves.
    Ready,
    /// It has not moved lately, and gets no connections until it does.
    Silent,
    /// Nobody calls its function: it is started when somebody does.
    Dormant,
    /// Its process has died; the next one is to start.
    Restarting,
}

/// One worker.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct WorkerStatus {
    pub(crate) index: usize,
    pub(crate) pid: Option<u32>,
    pub(crate) core: usize,
    /// `shared`, or the function it is for.
    pub(crate) pool: String,
    pub(crate) state: WorkerState,
    pub(crate) restarts: u32,
    /// Of its processes, those in a row that did not come to serve.
    pub(crate) failed_starts: u32,
    /// What the last of those said.
    pub(crate) last_words: Option<String>,
    /// Hops into it.
    pub(crate) connections_taken: u64,
    pub(crate) connections_open: u64,
    pub(crate) requests: u64,
    pub(crate) in_flight: u64,
    /// Connections it gave back.
    pub(crate) returns: u64,
    pub(crate) modules: u64,
    /// Resident memory of its process; filled in by the control API.
    pub(crate) memory_bytes: Option<u64>,
}

/// The whole answer.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Status {
    pub(crate) node: NodeStatus,
    pub(crate) workers: Vec<WorkerStatus>,
}
