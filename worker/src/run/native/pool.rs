//! Which processes of a function there are, and which of them gets a request. Pure: events and the
//! time go in, actions come out. Owns no fds.
//!
//! ```text
//! Start ─▶ Starting ─ ready ─▶ Serving ─ idle for long ─▶ End
//!              └ failed ─▶ a pause, and an error for those who wait
//! ```
//!
//! The least busy process gets a request. When all have as many as they may, another is started,
//! for as long as fewer start than requests wait, and as few at a time as the machine can start
//! side by side. A request that waits gets the first process that has room. One that has been
//! answered is about to leave its process, as soon as that asks for more: a client that sends one
//! request after another is to find that process, and not to have another one started.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

pub(super) use super::spare::ProcessId;
use super::spare::Spare;

/// The pause after a first failed start; it doubles with each failure in a row,
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// up to this.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long a request waits for one that has been answered to leave its process.
const LEAVING_WAIT: Duration = Duration::from_millis(20);

/// A request that waits.
pub(super) type Ticket = u64;

/// How many processes there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct PoolLimits {
    pub(super) processes_min: usize,
    pub(super) processes_max: usize,
    pub(super) starting_max: usize,
    /// Requests that one process has at a time.
    pub(super) requests_max: u32,
    pub(super) idle: Duration,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Start a process.
    Start(ProcessId),
    /// Make the sandbox of a process, and keep it ready.
    Prepare(ProcessId),
    /// Start a process in the sandbox that was prepared for it, or is being.
    Execute(ProcessId),
    /// End a sandbox that was prepared, or is being.
    Discard(ProcessId),
    /// The request runs in this process, which counts it from here on.
    Assign(Ticket, ProcessId),
    /// The request fails: processes do not start.
    Fail(Ticket, String),
    /// End a process that has no requests.
    End(ProcessId),
}

#[derive(Debug)]
enum State {
    Starting,
    Serving {
        requests: u32,
        idle_since: Instant,
        /// When those of its requests were answered that have not left, the first one first.
        answered: VecDeque<Instant>,
    },
}

/// A start that has failed.
#[derive(Debug)]
struct Failed {
    reason: String,
    in_a_row: u32,
    again_at: Instant,
}

/// The processes of one version of a function, run in one way.
#[derive(Debug)]
pub(super) struct Pool {
    limits: PoolLimits,
    processes: BTreeMap<ProcessId, State>,
    waiting: VecDeque<Ticket>,
    next_process: ProcessId,
    failed: Option<Failed>,
    spare: Spare,
    actions: Vec<Action>,
}

impl Pool {
    pub(super) fn new(limits: PoolLimits, now: Instant) -> Self {
        Self {
            limits,
            processes: BTreeMap::new(),
            waiting: VecDeque::new(),
            next_process: 0,
            failed: None,
            spare: Spare::new(now),
            actions: Vec::new(),
        }
    }

    /// Returns how many processes there are that start or serve.
    pub(super) fn len(&self) -> usize {
        self.processes.len()
    }

    /// Returns whether fewer processes are there than are kept in any case, or a request waits.
    pub(super) fn needs_more(&self) -> bool {
        self.len() < self.limits.processes_min
    }

    /// A request wants a process.
    pub(super) fn request(&mut self, ticket: Ticket, now: Instant) -> Vec<Action> {
        self.spare.called(now);
        self.waiting.push_back(ticket);
        self.decide(now)
    }

    /// A request that waits is given up.
    pub(super) fn cancel(&mut self, ticket: Ticket) {
        self.waiting.retain(|other| *other != ticket);
    }

    /// Starts what is kept in any case.
    pub(super) fn prepare(&mut self, now: Instant) -> Vec<Action> {
        while self.needs_more() && self.may_start(now) {
            self.start();
        }
        std::mem::take(&mut self.actions)
    }

    /// Keeps a sandbox ready for the next start, when nothing starts and nothing waits.
    pub(super) fn stand_by(&mut self, now: Instant) -> Vec<Action> {
        if let Some(process) = self.spare.take_unwanted(now) {
            self.actions.push(Action::Discard(process));
        }
        let is_quiet = self.starting() == 0 && self.waiting.is_empty();
        // What does not start needs none. With as many processes as there may be, it is for the
        // next one that comes for one that ends.
        if is_quiet && self.failed.is_none() && self.spare.is_due(now) {
            let process = self.number();
            self.spare.made(process);
            self.actions.push(Action::Prepare(process));
        }
        std::mem::take(&mut self.actions)
    }

    /// A sandbox that was prepared is gone, or could not be made, and nothing was executed in it.
    /// The process that was to be started in it, if any, is started anew.
    pub(super) fn spare_lost(&mut self, process: ProcessId, now: Instant) {
        self.spare.lost(process, now);
    }

    /// The version is not to be called any more.
    pub(super) fn retire(&mut self, now: Instant) -> Vec<Action> {
        self.spare.retire();
        self.stand_by(now)
    }

    /// A process is ready for requests.
    pub(super) fn ready(&mut self, process: ProcessId, now: Instant) -> Vec<Action> {
        if let Some(state @ State::Starting) = self.processes.get_mut(&process) {
            *state = State::Serving { requests: 0, idle_since: now, answered: VecDeque::new() };
            self.failed = None;
            self.spare.ready(process);
        }
        self.decide(now)
    }

    /// A process did not start, and is gone.
    pub(super) fn start_failed(
        &mut self,
        process: ProcessId,
        reason: &str,
        now: Instant,
    ) -> Vec<Action> {
        self.processes.remove(&process);
        let in_a_row = self.failed.as_ref().map_or(1, |failed| failed.in_a_row.saturating_add(1));
        let pause = PAUSE_FIRST.saturating_mul(1 << (in_a_row - 1).min(16)).min(PAUSE_MAX);
        let reason = reason.to_owned();
        self.failed = Some(Failed { reason, in_a_row, again_at: now + pause });
        self.decide(now)
    }

    /// A request has been answered. It leaves its process later.
    pub(super) fn answered(&mut self, process: ProcessId, now: Instant) {
        if let Some(State::Serving { answered, .. }) = self.processes.get_mut(&process) {
            answered.push_back(now);
        }
    }

    /// A request has left its process.
    pub(super) fn released(&mut self, process: ProcessId, now: Instant) -> Vec<Action> {
        match self.processes.get_mut(&process) {
            Some(State::Serving { requests, idle_since, answered }) => {
                *requests = requests.saturating_sub(1);
                *idle_since = now;
                answered.pop_front();
            }
            Some(State::Starting) | None => {}
        }
        self.decide(now)
    }

    /// A process is gone, or is being killed.
    pub(super) fn exited(&mut self, process: ProcessId, now: Instant) -> Vec<Action> {
        self.processes.remove(&process);
        self.decide(now)
    }

    /// Time has passed: processes that have had no request for long end, the youngest first, as
    /// those in the lower numbers get what there is.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Action> {
        let mut spare = self.len().saturating_sub(self.limits.processes_min);
        let limit = self.limits.idle;
        let idle = self.processes.iter().rev().filter(|(_, state)| match state {
            State::Serving { requests: 0, idle_since, .. } => now >= *idle_since + limit,
            _ => false,
        });
        let idle: Vec<ProcessId> = idle.map(|(process, _)| *process).collect();
        for process in idle {
            if spare == 0 {
                break;
            }
            spare -= 1;
            self.processes.remove(&process);
            self.actions.push(Action::End(process));
        }
        self.decide(now)
    }

    fn decide(&mut self, now: Instant) -> Vec<Action> {
        while let Some(ticket) = self.waiting.front().copied() {
            let Some(process) = self.least_busy() else { break };
            if let Some(State::Serving { requests, .. }) = self.processes.get_mut(&process) {
                *requests += 1;
            }
            self.waiting.pop_front();
            self.actions.push(Action::Assign(ticket, process));
        }
        // One start serves as many waiting requests as a process may have.
        let per_process = usize::try_from(self.limits.requests_max).unwrap_or(usize::MAX).max(1);
        let leaving = self.leaving(now);
        while self.starting() * per_process + leaving < self.waiting.len() && self.may_start(now) {
            self.start();
        }
        // Nothing starts and nothing serves: those who wait would wait for nothing.
        if self.len() == 0
            && let Some(failed) = &self.failed
        {
            let failed = self.waiting.drain(..).map(|it| Action::Fail(it, failed.reason.clone()));
            self.actions.extend(failed);
        }
        std::mem::take(&mut self.actions)
    }

    fn least_busy(&self) -> Option<ProcessId> {
        let serving = self.processes.iter().filter_map(|(process, state)| match state {
            State::Serving { requests, .. } => Some((*requests, *process)),
            _ => None,
        });
        let (requests, process) = serving.min()?;
        (requests < self.limits.requests_max).then_some(process)
    }

    /// Returns how many requests are about to leave their processes. One that stays for longer than
    /// others wait for it is not: time passes at each beat, and then another process is started.
    fn leaving(&self, now: Instant) -> usize {
        let of_process = |state: &State| match state {
            State::Serving { answered, .. } => {
                answered.iter().filter(|since| now < **since + LEAVING_WAIT).count()
            }
            State::Starting => 0,
        };
        self.processes.values().map(of_process).sum()
    }

    fn starting(&self) -> usize {
        self.processes.values().filter(|state| matches!(state, State::Starting)).count()
    }

    fn may_start(&self, now: Instant) -> bool {
        self.len() < self.limits.processes_max
            && self.starting() < self.limits.starting_max
            && self.failed.as_ref().is_none_or(|failed| now >= failed.again_at)
    }

    fn start(&mut self) {
        let (process, action) = match self.spare.take() {
            Some(process) => (process, Action::Execute(process)),
            None => {
                let process = self.number();
                (process, Action::Start(process))
            }
        };
        self.processes.insert(process, State::Starting);
        self.actions.push(action);
    }

    fn number(&mut self) -> ProcessId {
        let process = self.next_process;
        self.next_process += 1;
        process
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
