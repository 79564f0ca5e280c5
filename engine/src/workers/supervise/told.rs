//! What `sockhop status` tells of each worker. Owns no fds.

use std::sync::atomic::Ordering::Relaxed;

use super::Supervisor;
use crate::control::status::{WorkerState, WorkerStatus};
use crate::core::Pool;
use crate::core::fleet::{Phase, Seat};

impl Supervisor {
    /// A line for each seat, in the order of their rows.
    pub(super) fn told(&self) -> Vec<WorkerStatus> {
        self.fleet.seats().map(|(index, seat)| self.told_of(index, seat)).collect()
    }

    fn told_of(&self, index: usize, seat: &Seat) -> WorkerStatus {
        let row = &self.board.rows()[index];
        let state = match &seat.phase {
            Phase::Dormant => WorkerState::Dormant,
            Phase::Resting { .. } => WorkerState::Restarting,
            Phase::Running(_) if seat.is_silent() => WorkerState::Silent,
            Phase::Running(_) if seat.serves() => WorkerState::Ready,
            Phase::Running(_) => WorkerState::Starting,
        };
        WorkerStatus {
            index,
            pid: self.manned.get(&index).map(|manned| manned.link.pid),
            core: seat.core,
            pool: match &seat.pool {
                Pool::Shared => "shared".to_owned(),
                Pool::Function(name) => name.clone(),
                Pool::Trial(name) => format!("trial of {name}"),
            },
            state,
            restarts: seat.restarts,
            failed_starts: seat.failed_starts(),
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
