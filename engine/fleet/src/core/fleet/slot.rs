//! A slot: the place of one worker. Pure; owns no fds.
//!
//! [`Phase`] is what the slot is doing, [`State`] how far the process in it has come.

use std::time::Instant;

use super::state::{Accepted, Dismissal, Outbox, Pulse, State};
use crate::core::Pool;
use crate::core::restart::RestartDelay;
use crate::core::starting::Starting;

/// What a slot is doing.
#[derive(Debug, Clone)]
pub enum Phase {
    /// It is empty, as nobody needs a worker of it: a function's own, before the first call and
    /// some time after the last.
    Dormant,
    /// It is empty, and the next process starts at `until`.
    Resting { until: Instant },
    /// It has a process.
    Running(Running),
}

/// The process of a slot.
#[derive(Debug, Clone)]
pub struct Running {
    /// When it was started.
    pub(super) since: Instant,
    pub(super) state: State,
}

/// One worker's place.
#[derive(Debug, Clone)]
pub struct WorkerSlot {
    pub pool: Pool,
    pub core: usize,
    /// The incarnation of its process, or of the last one.
    pub(super) incarnation: u64,
    pub restarts: u32,
    pub(super) restart_delay: RestartDelay,
    pub phase: Phase,
}

impl WorkerSlot {
    /// Makes a slot that has had no process.
    pub(super) fn new(pool: Pool, core: usize, phase: Phase) -> Self {
        let restart_delay = RestartDelay::default();
        Self { pool, core, incarnation: 0, restarts: 0, restart_delay, phase }
    }

    /// Returns whether the next process is to be started.
    pub(super) fn is_start_due(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Resting { until } if now >= until)
    }

    /// Notes that the process `incarnation` is started.
    pub(super) fn start(&mut self, incarnation: u64, now: Instant) {
        self.incarnation = incarnation;
        let state = State::Started(Starting::default());
        self.phase = Phase::Running(Running { since: now, state });
    }

    /// Notes that a connection or a trial waits for a worker of this slot.
    pub(super) fn need(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Dormant => self.phase = Phase::Resting { until: now },
            Phase::Resting { .. } => {}
            Phase::Running(running) => running.state.need_successor(),
        }
    }

    /// Returns the state of its process. Returns `None` if it has none.
    pub(super) fn state(&self) -> Option<&State> {
        match &self.phase {
            Phase::Running(running) => Some(&running.state),
            Phase::Dormant | Phase::Resting { .. } => None,
        }
    }

    fn accepted(&self) -> Option<&Accepted> {
        self.state().and_then(State::accepted)
    }

    /// Returns whether it has a process.
    pub(super) fn is_running(&self) -> bool {
        self.state().is_some()
    }

    /// Returns whether it is for a trial.
    pub(super) fn is_trial(&self) -> bool {
        matches!(self.pool, Pool::Trial(_))
    }

    /// Returns whether a catalogue is served here.
    pub(super) fn serves_catalogues(&self) -> bool {
        match self.pool {
            Pool::Shared | Pool::Function(_) => true,
            Pool::Edge | Pool::Trial(_) => false,
        }
    }

    /// Returns whether its function has gone, and the slot goes with its process.
    pub(super) fn is_removed(&self) -> bool {
        self.state().is_some_and(|state| state.dismissal() == Some(Dismissal::Removed))
    }

    /// Returns whether its worker is to be sent connections.
    pub fn takes_connections(&self) -> bool {
        self.state().is_some_and(State::takes_connections)
    }

    /// Returns whether its worker may yet begin a request by a catalogue before `generation`, or is
    /// to serve it and cannot yet.
    pub(super) fn is_behind(&self, generation: u64) -> bool {
        self.serves_catalogues()
            && match &self.phase {
                // Its next process begins with the newest catalogue.
                Phase::Dormant => false,
                Phase::Resting { .. } => self.pool == Pool::Shared,
                Phase::Running(running) => running.state.is_behind(generation),
            }
    }

    /// Returns whether messages to its worker are still on their way.
    pub(super) fn has_unsent(&self) -> bool {
        self.accepted().is_some_and(|worker| worker.outbox == Outbox::Waiting)
    }

    /// Returns whether it is to be sent new catalogues.
    pub(super) fn takes_catalogues(&self) -> bool {
        self.serves_catalogues()
            && match self.state() {
                Some(State::Accepted(_)) => true,
                Some(State::Draining { dismissal, .. }) => *dismissal != Dismissal::Removed,
                Some(State::Started(_) | State::Killed { .. }) | None => false,
            }
    }

    /// Returns whether its worker was sent its settings.
    pub fn is_accepted(&self) -> bool {
        self.accepted().is_some()
    }

    /// Returns whether its worker has come to serve.
    pub fn serves(&self) -> bool {
        self.accepted().is_some_and(|worker| worker.serving().is_some())
    }

    /// Returns how many processes in a row did not come to serve.
    pub fn failed_starts(&self) -> u32 {
        self.restart_delay.failed_starts()
    }

    /// Returns whether its process is on the way to serve, and not given up.
    pub fn is_starting(&self) -> bool {
        self.is_running() && !self.serves() && !matches!(self.state(), Some(State::Killed { .. }))
    }

    /// Returns whether its worker has stopped beating.
    pub fn is_silent(&self) -> bool {
        let serving = self.accepted().and_then(Accepted::serving);
        serving.is_some_and(|serving| serving.pulse == Pulse::Silent)
    }
}
