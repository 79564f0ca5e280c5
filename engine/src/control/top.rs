//! What `sockhop top` asks for again and again: counters as they stand, from which it makes rates. Owns no fds.

use std::sync::Arc;

use abi::board::{FunctionTally, LATENCY_BOUNDS_US, now_us};
use abi::outcome::CLASSES;
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::api::{Control, Failed};
use super::status::WorkerState;
use crate::metrics::memory;

/// Everything at one moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// By the node's monotonic clock.
    pub(crate) at_us: u64,
    pub(crate) node: NodeSample,
    pub(crate) workers: Vec<WorkerSample>,
    /// Those that were called.
    pub(crate) functions: Vec<FunctionSample>,
}

/// The node as a whole.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct NodeSample {
    pub(crate) pid: u32,
    pub(crate) functions: usize,
    pub(crate) draining: bool,
    /// When it started, in seconds since 1970.
    pub(crate) started_s: u64,
    /// Connections accepted so far.
    pub(crate) accepted: u64,
    pub(crate) memory_bytes: u64,
}

/// One worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WorkerSample {
    pub(crate) index: usize,
    pub(crate) pid: Option<u32>,
    pub(crate) core: usize,
    pub(crate) pool: String,
    pub(crate) state: WorkerState,
    pub(crate) restarts: u32,
    pub(crate) connections: u64,
    pub(crate) in_flight: u64,
    /// Begun so far, by all processes that were in its place.
    pub(crate) requests: u64,
    pub(crate) memory_bytes: u64,
}

/// One function.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct FunctionSample {
    pub(crate) name: String,
    pub(crate) in_flight: u64,
    pub(crate) queued: u64,
    /// Invocations so far, by how they ended.
    pub(crate) outcomes: [u64; CLASSES.len()],
    /// And by how long they took.
    pub(crate) latency: [u64; LATENCY_BOUNDS_US.len()],
}

/// Takes a sample.
pub(super) async fn top(State(control): State<Arc<Control>>) -> Result<Json<Sample>, Failed> {
    let (node, workers) = (control.node().await, control.workers().await?);
    let reading = control.shared.metrics.read(&control.shared.snapshot.load().catalogue);
    let workers = workers.into_iter().map(|status| WorkerSample {
        index: status.index,
        pid: status.pid,
        core: status.core,
        pool: status.pool,
        state: status.state,
        restarts: status.restarts,
        connections: status.connections_open,
        in_flight: status.in_flight,
        requests: reading.workers.get(&status.index).map_or(0, |tally| tally.requests),
        memory_bytes: status.memory_bytes.unwrap_or_default(),
    });
    let workers = workers.collect();
    let functions = reading.functions.into_iter().map(|function| {
        let FunctionTally { outcomes, latency, .. } = function.tally;
        let (in_flight, queued) = (function.in_flight, function.queued);
        FunctionSample { name: function.name, in_flight, queued, outcomes, latency: latency.counts }
    });
    let node = NodeSample {
        pid: node.pid,
        functions: node.functions,
        draining: node.draining,
        started_s: node.started_s,
        accepted: reading.dispatch.accepted.iter().map(|(_, count)| count).sum(),
        memory_bytes: memory::resident_bytes(node.pid).unwrap_or_default(),
    };
    Ok(Json(Sample { at_us: now_us(), node, workers, functions: functions.collect() }))
}
