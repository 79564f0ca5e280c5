//! A slot: the place of one worker, and how far the process in it has come. Pure; owns no fds.

use std::time::Instant;

use crate::core::Pool;
use crate::core::restart::BackOff;
use crate::core::starting::Starting;
use crate::core::watch::Watch;

/// What a slot is doing.
#[derive(Debug, Clone)]
pub enum Phase {
    /// Nobody needs it: a function's own worker, before its first call and after the last one for a
    /// while.
    Dormant,
    /// The next process starts then.
    Resting { until: Instant },
    /// A process runs.
    Running(Running),
}

/// A process in its slot.
#[derive(Debug, Clone)]
pub struct Running {
    pub(super) since: Instant,
    /// Until it serves: what was seen of it since its start, or its first word.
    pub(super) starting: Starting,
    pub(super) said_hello: bool,
    /// The generation that it serves by; none before it serves.
    pub(super) applied: Option<u64>,
    /// Every message for it has left.
    pub(super) flushed: bool,
    /// It has stopped beating.
    pub(super) silent: bool,
    /// Its end has been asked of the kernel.
    pub(super) killed: bool,
    /// It has been told to leave its slot for now.
    pub(super) leaving: bool,
    /// It has said that it begins no more requests.
    pub(super) begins_no_more: bool,
    pub(super) idle_since: Option<Instant>,
    pub(super) watch: Watch,
}

/// One worker's place.
#[derive(Debug, Clone)]
pub struct WorkerSlot {
    pub pool: Pool,
    pub core: usize,
    /// Counts the processes that have had it.
    pub(super) incarnation: u64,
    pub restarts: u32,
    pub(super) back_off: BackOff,
    pub phase: Phase,
    /// Its function has gone: it drains, and is not filled again.
    pub(super) retiring: bool,
    /// Somebody waits for it since it was told to leave.
    pub(super) wanted: bool,
}

impl WorkerSlot {
    pub(super) fn new(pool: Pool, core: usize, phase: Phase) -> Self {
        let back_off = BackOff::default();
        Self {
            pool,
            core,
            incarnation: 0,
            restarts: 0,
            back_off,
            phase,
            retiring: false,
            wanted: false,
        }
    }

    /// The next process has this incarnation; none when it is not to be started now.
    pub(super) fn start_if_due(&mut self, now: Instant) -> Option<u64> {
        let Phase::Resting { until } = self.phase else { return None };
        if now < until {
            return None;
        }
        self.incarnation += 1;
        self.wanted = false;
        self.phase = Phase::Running(Running {
            since: now,
            starting: Starting::default(),
            said_hello: false,
            applied: None,
            flushed: true,
            silent: false,
            killed: false,
            leaving: false,
            begins_no_more: false,
            idle_since: None,
            watch: Watch::default(),
        });
        Some(self.incarnation)
    }

    /// Whether it is for a trial: no catalogue is served here.
    pub(super) fn is_trial(&self) -> bool {
        matches!(self.pool, Pool::Trial(_))
    }

    /// Whether it is to be sent connections.
    pub fn takes_connections(&self) -> bool {
        let fit = |running: &Running| {
            running.applied.is_some() && !running.silent && !running.killed && !running.leaving
        };
        !self.retiring && matches!(&self.phase, Phase::Running(running) if fit(running))
    }

    /// Whether it may yet begin a request by a catalogue before `generation`, or is to serve it and
    /// cannot yet.
    pub(super) fn is_behind(&self, generation: u64) -> bool {
        if self.is_trial() {
            return false;
        }
        match &self.phase {
            // Its next process begins with the newest.
            Phase::Dormant => false,
            Phase::Resting { .. } => self.pool == Pool::Shared && !self.retiring,
            Phase::Running(running) if self.retiring || running.leaving => {
                running.applied.is_some_and(|applied| applied < generation)
                    && !running.begins_no_more
            }
            Phase::Running(running) => running.applied.is_none_or(|applied| applied < generation),
        }
    }

    /// Whether messages to it are still on their way.
    pub(super) fn has_unsent(&self) -> bool {
        matches!(&self.phase, Phase::Running(running) if !running.flushed)
    }

    /// Whether it has been told its settings.
    pub fn is_accepted(&self) -> bool {
        matches!(&self.phase, Phase::Running(running) if running.said_hello)
    }

    pub fn serves(&self) -> bool {
        matches!(&self.phase, Phase::Running(running) if running.applied.is_some())
    }

    /// Processes in a row that did not come to serve.
    pub fn failed_starts(&self) -> u32 {
        self.back_off.failed_starts()
    }

    /// Whether its process is on the way to serve, and not given up.
    pub fn is_starting(&self) -> bool {
        matches!(&self.phase, Phase::Running(running) if running.applied.is_none() && !running.killed)
    }

    pub fn is_silent(&self) -> bool {
        matches!(&self.phase, Phase::Running(running) if running.silent)
    }
}
