//! A seat: the place of one worker, and the process in it. Owns that process's link.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use abi::board::Board;
use abi::message::{Ending, ToWorker};

use crate::control::status::{WorkerState, WorkerStatus};
use crate::dispatch::Pool;
use crate::workers::link::Link;
use crate::workers::restart::BackOff;
use crate::workers::stuck::Watch;

pub(super) enum State {
    /// A process runs; it serves once `applied` has a generation.
    Running { link: Link, since: Instant, said_hello: bool, applied: Option<u64> },
    /// The next process starts then.
    Resting { until: Instant },
}

pub(super) struct Seat {
    pub(super) pool: Pool,
    pub(super) core: usize,
    pub(super) row: usize,
    pub(super) life: u64,
    pub(super) restarts: u32,
    pub(super) back_off: BackOff,
    pub(super) watch: Watch,
    pub(super) state: State,
    /// Its function has gone: it drains, and is not filled again.
    pub(super) retiring: bool,
}

impl Seat {
    /// Whether the next process is to start.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        matches!(self.state, State::Resting { until } if now >= until)
    }

    /// Kills the worker should its guest have outlived its time, and whatever was to end it in the worker.
    pub(super) fn kill_if_stuck(&mut self, board: &Board, now_ms: u64) {
        let State::Running { link, .. } = &mut self.state else { return };
        let deadline_ms = board.rows()[self.row].guest_deadline_ms.load(Relaxed);
        if let Some(over) = self.watch.look(deadline_ms, now_ms) {
            let (pid, core) = (link.pid, self.core);
            tracing::error!(
                "worker {pid} on core {core} is stuck: its guest should have ended {over:?} ago; it is killed"
            );
            link.kill();
        }
    }

    /// Ends the process at once; its end is told as an event.
    pub(super) fn kill(&mut self) {
        if let State::Running { link, .. } = &mut self.state {
            link.kill();
        }
    }

    /// Lets the worker finish what it has; the seat goes with it.
    pub(super) fn retire(&mut self, within: Duration) {
        self.retiring = true;
        self.drain(Ending::Close, within);
    }

    /// Tells the worker to finish and leave.
    pub(super) fn drain(&self, ending: Ending, within: Duration) {
        if let State::Running { link, .. } = &self.state {
            let deadline_ms = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
            link.send(ToWorker::Drain { ending, deadline_ms }, None);
        }
    }

    /// What `sockhop status` tells of it.
    pub(super) fn status(&self, board: &Board) -> WorkerStatus {
        let row = &board.rows()[self.row];
        let (pid, state) = match &self.state {
            State::Running { link, applied: Some(_), .. } => (Some(link.pid), WorkerState::Ready),
            State::Running { link, .. } => (Some(link.pid), WorkerState::Starting),
            State::Resting { .. } => (None, WorkerState::Restarting),
        };
        WorkerStatus {
            index: self.row,
            pid,
            core: self.core,
            pool: match &self.pool {
                Pool::Shared => "shared".to_owned(),
                Pool::Function(name) => name.clone(),
            },
            state,
            restarts: self.restarts,
            connections_taken: row.connections_taken.load(Relaxed),
            connections_open: row.connections_open(),
            requests: row.requests.load(Relaxed),
            in_flight: row.in_flight.load(Relaxed),
            returns: row.returns.load(Relaxed),
            modules: row.modules.load(Relaxed),
        }
    }
}
