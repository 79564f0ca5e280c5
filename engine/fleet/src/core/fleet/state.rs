//! The state of a worker's process. Pure; owns no fds.
//!
//! ```text
//!   slot Resting ──▶ Started ───── hello ─────▶ Accepted: Loading ──── applied ────▶ Serving
//!                       │                          │                                    │
//!                       │        dismissed: Idle, Removed or Stopping                   │
//!                       │                          ▼                                    │
//!                       │                       Draining (Loading or Serving still) ◀───┤
//!                       │                          │                                    │
//!                       └── killed, dismissed ─────┴────────▶ Killed ◀───── killed ─────┘
//! ```
//! A process may end in any state. What becomes of its slot then follows from its [`Dismissal`]:
//!
//! | dismissal | the slot |
//! |---|---|
//! | none: the process has died | rests, ever longer, and is filled again |
//! | `Idle` | is filled again when its worker is needed, which may be at once |
//! | `Removed`, `Stopping` | goes |
//!
//! The slot of a trial goes in any case.

use std::time::Instant;

use crate::core::starting::Starting;
use crate::core::watch::Watch;

/// How far a process has come.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// It has said nothing yet.
    Started(Starting),
    /// It has said hello, and is sent its settings and the newest catalogue.
    Accepted(Accepted),
    /// It was told to finish what it has and to end.
    Draining { last: Last, dismissal: Dismissal },
    /// The kernel was asked to end it. `last` is `None` if it had not said hello, and `dismissal`
    /// is `None` if it is killed for what it did.
    Killed { last: Option<Last>, dismissal: Option<Dismissal> },
}

/// A process that has said hello.
#[derive(Debug, Clone)]
pub(super) struct Accepted {
    pub(super) progress: Progress,
    pub(super) outbox: Outbox,
}

/// Whether a process serves yet.
#[derive(Debug, Clone)]
pub(super) enum Progress {
    /// It takes over its first catalogue.
    Loading(Starting),
    /// It runs functions.
    Serving(Serving),
}

/// A process that runs functions.
#[derive(Debug, Clone)]
pub(super) struct Serving {
    /// The generation of the catalogue that it serves by.
    pub(super) generation: u64,
    pub(super) watch: Watch,
    pub(super) pulse: Pulse,
    /// Since when it has had nothing to do, as far as that was looked at.
    pub(super) idle_since: Option<Instant>,
}

/// Whether a process was seen to beat lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pulse {
    Beats,
    Silent,
}

/// The messages to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outbox {
    /// All have left.
    Empty,
    /// Some are still on their way.
    Waiting,
}

/// What a process was when its end began.
#[derive(Debug, Clone)]
pub(super) struct Last {
    pub(super) worker: Accepted,
    /// It has said that it begins no more requests.
    pub(super) begins_no_more: bool,
}

/// Why a process is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dismissal {
    /// It has nothing to do. Its slot stays. `needed_again` is whether a connection waits for its
    /// successor already.
    Idle { needed_again: bool },
    /// Its function has gone, and so does its slot.
    Removed,
    /// The node stops. Until it has ended, it still gets connections that wait.
    Stopping,
}

impl Dismissal {
    /// Returns what holds when a process that was dismissed for `self` is dismissed again. A slot
    /// that was to stay goes; in no case do connections come back to it.
    fn again(self) -> Self {
        match self {
            Self::Idle { .. } => Self::Removed,
            Self::Removed | Self::Stopping => self,
        }
    }
}

/// What is to be done about a process that was dismissed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dismissed {
    /// Tell it to drain.
    Drains,
    /// Have the kernel end it: it has nothing to finish, and counts as killed.
    IsKilled,
    /// Nothing: it is being ended already.
    Ends,
}

impl Accepted {
    /// Returns a process that has just said hello: its settings and a catalogue are on their way.
    pub(super) fn new() -> Self {
        Self { progress: Progress::Loading(Starting::default()), outbox: Outbox::Waiting }
    }

    /// Returns the generation that the process serves by. Returns `None` before it serves.
    pub(super) fn generation(&self) -> Option<u64> {
        self.serving().map(|serving| serving.generation)
    }

    /// Returns what is known of the process since it serves. Returns `None` before.
    pub(super) fn serving(&self) -> Option<&Serving> {
        match &self.progress {
            Progress::Loading(_) => None,
            Progress::Serving(serving) => Some(serving),
        }
    }

    fn is_well(&self) -> bool {
        self.serving().is_some_and(|serving| serving.pulse == Pulse::Beats)
    }
}

impl Serving {
    /// Returns a process that has just come to serve.
    pub(super) fn new(generation: u64) -> Self {
        Self { generation, watch: Watch::default(), pulse: Pulse::Beats, idle_since: None }
    }
}

impl State {
    /// Returns what the process is besides its end. Returns `None` before its hello.
    pub(super) fn accepted(&self) -> Option<&Accepted> {
        match self {
            Self::Started(_) => None,
            Self::Accepted(worker) => Some(worker),
            Self::Draining { last, .. } => Some(&last.worker),
            Self::Killed { last, .. } => last.as_ref().map(|last| &last.worker),
        }
    }

    /// Returns the same as [`Self::accepted`], to be changed.
    pub(super) fn accepted_mut(&mut self) -> Option<&mut Accepted> {
        match self {
            Self::Started(_) => None,
            Self::Accepted(worker) => Some(worker),
            Self::Draining { last, .. } => Some(&mut last.worker),
            Self::Killed { last, .. } => last.as_mut().map(|last| &mut last.worker),
        }
    }

    /// Returns why the process is to end. Returns `None` if it is not, or is killed for what it
    /// did.
    pub(super) fn dismissal(&self) -> Option<Dismissal> {
        match self {
            Self::Started(_) | Self::Accepted(_) => None,
            Self::Draining { dismissal, .. } => Some(*dismissal),
            Self::Killed { dismissal, .. } => *dismissal,
        }
    }

    /// Marks the process as killed. Returns whether it was not before.
    pub(super) fn kill(&mut self) -> bool {
        let last = |worker| Last { worker, begins_no_more: false };
        let killed = |last, dismissal| Self::Killed { last, dismissal };
        let mut is_new = true;
        self.replace(|state| match state {
            Self::Started(_) => killed(None, None),
            Self::Accepted(worker) => killed(Some(last(worker)), None),
            Self::Draining { last, dismissal } => killed(Some(last), Some(dismissal)),
            Self::Killed { .. } => {
                is_new = false;
                state
            }
        });
        is_new
    }

    /// Dismisses the process: from now on it is to end. Returns what is to be done about it.
    pub(super) fn dismiss(&mut self, dismissal: Dismissal) -> Dismissed {
        let mut outcome = Dismissed::Drains;
        self.replace(|state| match state {
            Self::Started(_) => {
                outcome = Dismissed::IsKilled;
                Self::Killed { last: None, dismissal: Some(dismissal) }
            }
            Self::Accepted(worker) => {
                Self::Draining { last: Last { worker, begins_no_more: false }, dismissal }
            }
            // It is told again, as how connections end may have changed with the reason.
            Self::Draining { last, dismissal: first } => {
                Self::Draining { last, dismissal: first.again() }
            }
            Self::Killed { last, dismissal: first } => {
                outcome = Dismissed::Ends;
                let dismissal = first.map_or(dismissal, Dismissal::again);
                Self::Killed { last, dismissal: Some(dismissal) }
            }
        });
        outcome
    }

    /// Notes that the successor of the process is needed, if the slot stays.
    pub(super) fn need_successor(&mut self) {
        if let Self::Draining { dismissal: Dismissal::Idle { needed_again }, .. }
        | Self::Killed { dismissal: Some(Dismissal::Idle { needed_again }), .. } = self
        {
            *needed_again = true;
        }
    }

    fn replace(&mut self, change: impl FnOnce(Self) -> Self) {
        let state = std::mem::replace(self, Self::Killed { last: None, dismissal: None });
        *self = change(state);
    }

    /// Returns whether the process is to be sent connections.
    pub(super) fn takes_connections(&self) -> bool {
        match self {
            Self::Accepted(worker) => worker.is_well(),
            Self::Draining { last, dismissal: Dismissal::Stopping } => last.worker.is_well(),
            Self::Started(_) | Self::Draining { .. } | Self::Killed { .. } => false,
        }
    }

    /// Returns whether the process may yet begin a request by a catalogue before `generation`, or
    /// is to serve it and cannot yet.
    pub(super) fn is_behind(&self, generation: u64) -> bool {
        let before = |last: &Last| last.worker.generation().is_some_and(|own| own < generation);
        match self {
            Self::Started(_) => true,
            Self::Accepted(worker) => worker.generation().is_none_or(|own| own < generation),
            Self::Draining { last, .. } | Self::Killed { last: Some(last), dismissal: Some(_) } => {
                before(last) && !last.begins_no_more
            }
            Self::Killed { last: None, dismissal: Some(_) } => false,
            // The one after it is to serve.
            Self::Killed { last: Some(last), dismissal: None } => {
                last.worker.generation().is_none_or(|own| own < generation)
            }
            Self::Killed { last: None, dismissal: None } => true,
        }
    }
}
