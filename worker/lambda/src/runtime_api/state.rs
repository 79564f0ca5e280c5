//! The states of a runtime and of its invocations (Runtime API, and what the Lambda Runtime
//! Interface Emulator does). Pure: time is an argument. Owns no fds.
//!
//! ```text
//! Started ──init/error──▶ InitError
//!    │ next
//!    ▼
//!  Ready ──begin──▶ queued ──next──▶ Running ──response, error──▶ answering ──▶ ResponseSent
//!    ▲                                  │ next: the same event again                  │
//!    └──────────────────────────────────────────── next ─────────────────────────────┘
//! ```
//!
//! With a concurrency above 1, several invocations are at different places of the lower row, told
//! apart by their ids; `next` then never repeats an event, and an invocation is complete as soon as
//! its response is, since the next `next` may be meant for any of them.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use super::invocation::Id;

/// What the runtime posts about an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PostKind {
    Response,
    Error,
}

/// Why a request of the runtime is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No invocation has this id: status 400.
    UnknownId,
    /// The state does not allow it: status 403. The names are the emulator's.
    Transition { from: &'static str, to: &'static str },
}

/// What a `next` of the runtime gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// This event, which no `next` has had before.
    Deliver(Id),
    /// This event again, because it has not been answered.
    Repeat(Id),
    /// Nothing yet.
    Wait,
}

/// An invocation that is complete, and how long it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Completed {
    pub(crate) id: Id,
    pub(crate) duration: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No `next` has had it.
    Queued,
    Running,
    Answering(PostKind),
    ResponseSent,
}

#[derive(Debug)]
struct Entry {
    id: Id,
    phase: Phase,
    /// When it was delivered; before that, when it was begun.
    since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Init {
    Started,
    Failed,
    Done,
}

/// The state of one runtime.
#[derive(Debug)]
pub(crate) struct State {
    concurrency: NonZeroUsize,
    init: Init,
    /// In the order in which they were begun.
    entries: Vec<Entry>,
    /// How many requests for `next` wait.
    waiting: usize,
}

impl State {
    /// Returns the state of a runtime that has just been started.
    pub(crate) fn new(concurrency: NonZeroUsize) -> Self {
        Self { concurrency, init: Init::Started, entries: Vec::new(), waiting: 0 }
    }

    fn is_serial(&self) -> bool {
        self.concurrency.get() == 1
    }

    /// Returns whether the runtime has made its first request for an event.
    pub(crate) fn is_initialized(&self) -> bool {
        self.init == Init::Done
    }

    /// Returns whether the runtime has nothing to do and does not ask for it: it has broken off its
    /// request for an event. One that runs several at a time may have others in the making.
    pub(crate) fn has_stopped_asking(&self) -> bool {
        self.is_serial() && self.is_initialized() && self.waiting == 0 && self.entries.is_empty()
    }

    /// Returns whether an invocation that began now would be delivered at once.
    pub(crate) fn can_begin(&self) -> bool {
        let queued = self.entries.iter().filter(|entry| entry.phase == Phase::Queued).count();
        self.waiting > queued && self.entries.len() < self.concurrency.get()
    }

    /// Queues an invocation. Returns false, and does nothing, if [`can_begin`](Self::can_begin)
    /// says no or the id is taken.
    pub(crate) fn begin(&mut self, id: &Id, now: Instant) -> bool {
        let is_taken = self.entries.iter().any(|entry| entry.id == *id);
        if is_taken || !self.can_begin() {
            return false;
        }
        self.entries.push(Entry { id: id.clone(), phase: Phase::Queued, since: now });
        true
    }

    /// The runtime asks for the next event. Returns what it gets, and the invocation that this
    /// completes. After [`Next::Wait`] the request counts as waiting, until
    /// [`deliver_to_waiting`](Self::deliver_to_waiting) gives it an event or
    /// [`waiting_ended`](Self::waiting_ended) says that it has gone.
    pub(crate) fn next(&mut self, now: Instant) -> Result<(Next, Option<Completed>), Refused> {
        let to = "Ready";
        match self.init {
            Init::Failed => return Err(Refused::Transition { from: "InitError", to }),
            Init::Started | Init::Done => self.init = Init::Done,
        }
        let mut completed = None;
        if self.is_serial()
            && let Some(entry) = self.entries.first()
        {
            match entry.phase {
                Phase::Running => return Ok((Next::Repeat(entry.id.clone()), None)),
                Phase::Answering(kind) => {
                    return Err(Refused::Transition { from: kind.state_name(), to });
                }
                Phase::ResponseSent => completed = self.remove(&entry.id.clone(), now),
                Phase::Queued => {}
            }
        }
        match self.deliver(now) {
            Some(id) => Ok((Next::Deliver(id), completed)),
            None => {
                self.waiting += 1;
                Ok((Next::Wait, completed))
            }
        }
    }

    /// A waiting `next` takes the oldest queued event. Returns `None`, and changes nothing, if
    /// there is none.
    pub(crate) fn deliver_to_waiting(&mut self, now: Instant) -> Option<Id> {
        let id = self.deliver(now)?;
        self.waiting_ended();
        Some(id)
    }

    /// A waiting `next` is not there any more.
    pub(crate) fn waiting_ended(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    fn deliver(&mut self, now: Instant) -> Option<Id> {
        let entry = self.entries.iter_mut().find(|entry| entry.phase == Phase::Queued)?;
        entry.phase = Phase::Running;
        entry.since = now;
        Some(entry.id.clone())
    }

    /// The runtime begins to post a response or error. The id is looked at before the state.
    pub(crate) fn post(&mut self, id: &str, kind: PostKind) -> Result<(), Refused> {
        let Some(entry) = self.entries.iter_mut().find(|entry| *entry.id == *id) else {
            return Err(Refused::UnknownId);
        };
        let from = match entry.phase {
            Phase::Running => {
                entry.phase = Phase::Answering(kind);
                return Ok(());
            }
            Phase::Queued => "Ready",
            Phase::Answering(kind) => kind.state_name(),
            Phase::ResponseSent => "RuntimeResponseSentState",
        };
        Err(Refused::Transition { from, to: kind.state_name() })
    }

    /// What the runtime posted has come to its end. Returns the invocation that this completes.
    /// Refuses it if the invocation has been given up in the meantime.
    pub(crate) fn posted(&mut self, id: &str, now: Instant) -> Result<Option<Completed>, Refused> {
        let is_serial = self.is_serial();
        let Some(entry) = self.entries.iter_mut().find(|entry| *entry.id == *id) else {
            return Err(Refused::UnknownId);
        };
        entry.phase = Phase::ResponseSent;
        Ok(if is_serial { None } else { self.remove(id, now) })
    }

    /// The runtime reports that it cannot be initialized.
    pub(crate) fn init_error(&mut self) -> Result<(), Refused> {
        let from = match self.init {
            Init::Started => {
                self.init = Init::Failed;
                return Ok(());
            }
            Init::Failed => "InitError",
            Init::Done => match self.entries.first().map(|entry| entry.phase) {
                None | Some(Phase::Queued) => "Ready",
                Some(Phase::Running) => "Running",
                Some(Phase::Answering(kind)) => kind.state_name(),
                Some(Phase::ResponseSent) => "RuntimeResponseSentState",
            },
        };
        Err(Refused::Transition { from, to: "InitError" })
    }

    /// Forgets an invocation, so that later posts about it are refused. Returns `None` if there is
    /// none with this id.
    pub(crate) fn remove(&mut self, id: &str, now: Instant) -> Option<Completed> {
        let at = self.entries.iter().position(|entry| *entry.id == *id)?;
        let entry = self.entries.remove(at);
        let duration = now.saturating_duration_since(entry.since);
        Some(Completed { id: entry.id, duration })
    }
}

impl PostKind {
    fn state_name(self) -> &'static str {
        match self {
            Self::Response => "InvocationResponse",
            Self::Error => "InvocationErrorResponse",
        }
    }
}

#[cfg(test)]
mod tests;
