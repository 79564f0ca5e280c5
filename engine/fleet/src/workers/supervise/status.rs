//! The rows of `sockhop status`: one for each worker. Owns no fds.

use std::sync::atomic::Ordering::Relaxed;

use api::status::{WorkerState, WorkerStatus};

use super::Supervisor;
use crate::core::Pool;
use crate::core::fleet::{Phase, WorkerSlot};

impl Supervisor {
    /// Returns the status of every slot, in the order of their rows.
    pub(super) fn status(&self) -> Vec<WorkerStatus> {
        self.fleet.slots().map(|(index, slot)| self.status_of(index, slot)).collect()
    }

    fn status_of(&self, index: usize, slot: &WorkerSlot) -> WorkerStatus {
        let row = &self.board.rows()[index];
        let state = match &slot.phase {
            Phase::Dormant => WorkerState::Dormant,
            Phase::Resting { .. } => WorkerState::Restarting,
            Phase::Running(_) if slot.is_silent() => WorkerState::Silent,
            Phase::Running(_) if slot.serves() => WorkerState::Ready,
            Phase::Running(_) => WorkerState::Starting,
        };
        WorkerStatus {
            index,
            pid: self.processes.get(&index).map(|process| process.link.pid),
            core: slot.core,
            pool: match &slot.pool {
                Pool::Shared => "shared".to_owned(),
                Pool::Edge => "edge".to_owned(),
                Pool::Function(name) => name.clone(),
                Pool::Trial(name) => format!("trial of {name}"),
            },
            state,
            restarts: slot.restarts,
            failed_starts: slot.failed_starts(),
            last_words: self.last_words.get(&index).filter(|words| !words.is_empty()).cloned(),
            connections_taken: row.connections_taken.load(Relaxed),
            connections_open: row.connections_open(),
            requests: row.requests.load(Relaxed),
            in_flight: row.in_flight.load(Relaxed),
            returns: row.returns.load(Relaxed),
            modules: row.modules.load(Relaxed),
            memory_bytes: None,
        }
    }
}
