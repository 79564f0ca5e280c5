//! What `sockhop top` asks for again and again: counters as they stand, from which it makes rates.
//! Owns no fds.

use std::sync::Arc;

use abi::board::{FunctionTally, now_us};
use api::endpoints::GetTop;
use api::top::{FunctionSample, NodeSample, Sample, WorkerSample};
use axum::Json;
use axum::extract::State;

use crate::control::Control;
use crate::metrics::memory;
use crate::routes::Answered;

/// Takes a sample.
pub(crate) async fn top(State(control): State<Arc<Control>>) -> Answered<GetTop> {
    let (node, workers) = (control.node(), control.workers().await?);
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
    let mut depths = control.jobs.depths();
    let functions = reading.functions.into_iter().map(|function| {
        let FunctionTally { outcomes, latency, .. } = function.tally;
        let (in_flight, queued) = (function.in_flight, function.queued);
        let jobs = depths.remove(&function.name).unwrap_or_default();
        let (name, latency) = (function.name, latency.counts);
        FunctionSample { name, in_flight, queued, outcomes, latency, jobs }
    });
    let mut functions: Vec<_> = functions.collect();
    // Those that have jobs, and were not called yet.
    let others = depths.into_iter();
    functions.extend(others.map(|(name, jobs)| FunctionSample {
        name,
        jobs,
        ..FunctionSample::default()
    }));
    let node = NodeSample {
        pid: node.pid,
        functions: node.functions,
        draining: node.draining,
        started_s: node.started_s,
        accepted: reading.dispatch.accepted.iter().map(|(_, count)| count).sum(),
        memory_bytes: memory::resident_bytes(node.pid).unwrap_or_default(),
        jobs: node.jobs,
    };
    Ok(Json(Sample { at_us: now_us(), node, workers, functions }))
}
