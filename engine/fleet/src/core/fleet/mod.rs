//! The fleet: which workers there are, which there should be, and by which catalogue each serves.
//! Pure; owns no fds.
//!
//! A *slot* is a place for a worker. There are some on each core for shared functions, one for each
//! function with `isolation = "process"`, and one for each trial under way of such a function's
//! version. The processes that have a slot one after another are its *incarnations*.
//!
//! The supervisor passes each [`Event`] to the fleet and performs the [`Action`]s that it returns,
//! in their order. The fleet never looks at anything itself. This file has the events and what
//! follows from each. [`slot`] is one worker's place, [`state`] is how far its process has come,
//! and [`publish`] changes what is served.

mod publish;
mod slot;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use abi::limits::WORKERS_MAX;

pub use self::publish::PublishError;
use self::publish::Publishing;
use self::slot::Running;
pub use self::slot::{Phase, WorkerSlot};
use self::state::{Accepted, Dismissal, Dismissed, Outbox, Progress, Pulse, Serving, State};
use super::Pool;
use super::starting::START_TIMEOUT;
use super::watch::{Health, LOOK_INTERVAL, Seen};

/// One worker process: its slot, which is also its row on the board, and which of the processes
/// that had this slot it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId {
    pub slot: usize,
    pub incarnation: u64,
}

/// Identifies a caller that waits for a change to be served everywhere.
pub type Ticket = u64;

/// What is seen of a worker at one look.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    pub seen: Seen,
    /// Whether it has connections, requests or trials.
    pub busy: bool,
}

/// Something that has happened, or that somebody asks of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The worker's process could not be started.
    NotStarted(WorkerId),
    /// The worker has said hello. `same_build` is whether it is of the engine's build.
    Hello { worker: WorkerId, same_build: bool },
    /// The worker serves by the catalogue of this generation.
    Applied { worker: WorkerId, generation: u64 },
    /// The worker begins no more requests.
    Draining(WorkerId),
    /// Every message for the worker has left.
    Flushed(WorkerId),
    /// The worker has broken the protocol.
    ProtocolError { worker: WorkerId, why: String },
    /// The worker's process has exited.
    Exited(WorkerId),
    /// A connection or a trial waits for a worker of this pool.
    Needed(Pool),
    /// A worker that was started for trials has none left.
    TrialsDone(WorkerId),
    /// Serve by the catalogue of this generation. The functions in `own` have workers of their own.
    Publish { generation: u64, own: Vec<String>, ticket: Ticket },
    /// Have every worker finish what it has and exit.
    Drain,
    /// Kill every worker.
    Kill,
}

/// Something that the supervisor is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start the worker's process.
    Start { worker: WorkerId, core: usize },
    /// Send the worker its settings and the newest catalogue.
    Accept { worker: WorkerId, pool: Pool },
    /// Send the worker the newest catalogue.
    SendCatalogue(WorkerId),
    /// Tell the worker to finish what it has and exit.
    SendDrain(WorkerId),
    /// Kill the worker's process.
    Kill { worker: WorkerId, why: String },
    /// Report that the worker has died, and that the next one starts after `delay`. It was the
    /// `failed_starts`th in a row that had not come to serve; 0 if it had.
    ReportDeath { worker: WorkerId, delay: Duration, failed_starts: u32 },
    /// Forget the worker, whose process has exited: its row is free, and what it never received
    /// goes to others.
    Reap(WorkerId),
    /// Give connections to these workers from now on, and route by the catalogue of this
    /// generation.
    Serve { generation: u64, ready: Vec<(Pool, WorkerId)> },
    /// Answer a caller that waits.
    Answer { ticket: Ticket, outcome: Result<(), PublishError> },
}

/// What the fleet is made of. It does not change while the node runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The core of each shared worker.
    pub shared: Vec<usize>,
    /// How long a function's own worker may have nothing to do before it is stopped.
    pub own_idle_timeout: Duration,
}

/// All slots, and by which catalogue they serve.
#[derive(Debug)]
pub struct Fleet {
    plan: Plan,
    slots: BTreeMap<usize, WorkerSlot>,
    /// The newest incarnation of each row. A row's next slot counts on, so that what is still under
    /// way from or to a process of the slot before it is not taken for the new one's.
    incarnations: BTreeMap<usize, u64>,
    /// The pools of the functions that should have a worker of their own.
    own: BTreeSet<Pool>,
    /// The generation of the newest catalogue.
    generation: u64,
    /// The generation that connections are routed by: the newest once every worker was sent it.
    serving: u64,
    publishing: Vec<Publishing>,
    next_look: Instant,
    draining: bool,
    actions: Vec<Action>,
}

impl Fleet {
    /// Makes a fleet with slots for the shared workers, and without processes. It serves by the
    /// catalogue of `generation`.
    pub fn new(plan: Plan, generation: u64, now: Instant) -> Self {
        let slots = plan.shared.iter().enumerate();
        let slots = slots
            .map(|(row, core)| {
                (row, WorkerSlot::new(Pool::Shared, *core, Phase::Resting { until: now }))
            })
            .collect();
        Self {
            plan,
            slots,
            incarnations: BTreeMap::new(),
            own: BTreeSet::new(),
            generation,
            serving: generation,
            publishing: Vec::new(),
            next_look: now,
            draining: false,
            actions: Vec::new(),
        }
    }

    /// Notes an event. Returns what is to be done.
    #[must_use]
    pub fn on(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::NotStarted(worker) => self.on_not_started(worker, now),
            Event::Hello { worker, same_build } => self.on_hello(worker, same_build),
            Event::Applied { worker, generation } => self.on_applied(worker, generation),
            Event::Draining(worker) => self.on_draining(worker),
            Event::Flushed(worker) => {
                if let Some(accepted) = self.state(worker).and_then(State::accepted_mut) {
                    accepted.outbox = Outbox::Empty;
                }
            }
            Event::ProtocolError { worker, why } => self.kill(worker, why),
            Event::Exited(worker) => self.on_exited(worker, now),
            Event::Needed(pool) => self.on_needed(&pool, now),
            Event::TrialsDone(worker) => self.leave(worker),
            Event::Publish { generation, own, ticket } => {
                self.publish(generation, own, ticket, now)
            }
            Event::Drain => self.drain(),
            Event::Kill => self.kill_all("the time to finish is over"),
        }
        self.move_on(now)
    }

    /// Notes that time has passed. Returns what is to be done.
    #[must_use]
    pub fn move_on(&mut self, now: Instant) -> Vec<Action> {
        for (row, slot) in &mut self.slots {
            if slot.is_start_due(now) {
                let incarnation = self.incarnations.entry(*row).or_default();
                *incarnation += 1;
                slot.start(*incarnation, now);
                self.actions.push(Action::Start {
                    worker: WorkerId { slot: *row, incarnation: *incarnation },
                    core: slot.core,
                });
            }
        }
        self.serve_newest(now);
        self.answer_publishing(now);
        std::mem::take(&mut self.actions)
    }

    /// Returns whether workers are to be looked at now. The caller then calls [`Self::look`] for
    /// each of them.
    pub fn is_look_due(&mut self, now: Instant) -> bool {
        let due = now >= self.next_look;
        if due {
            self.next_look = now + LOOK_INTERVAL;
        }
        due
    }

    /// Looks at a worker's row as it is `now`. `now_ms` is the same by the board's clock.
    pub fn look(&mut self, worker: WorkerId, look: Look, now_ms: u64, now: Instant) {
        let idle_timeout = self.plan.own_idle_timeout;
        let Some(slot) = self.slot(worker) else { return };
        let own = slot.pool != Pool::Shared;
        let Phase::Running(running) = &mut slot.phase else { return };
        let accepted = match &mut running.state {
            State::Started(starting) => {
                if starting.look(look.seen.process) {
                    self.give_up_start(worker, "it has not said hello");
                }
                return;
            }
            State::Accepted(accepted) => accepted,
            State::Draining { last, .. } => &mut last.worker,
            // Its end is on its way.
            State::Killed { .. } => return,
        };
        let serving = match &mut accepted.progress {
            Progress::Loading(starting) => {
                if starting.look(look.seen.process) {
                    self.give_up_start(worker, "it does not come to serve");
                }
                return;
            }
            Progress::Serving(serving) => serving,
        };
        if look.busy {
            serving.idle_since = None;
        }
        let idle = now - *serving.idle_since.get_or_insert(now);
        let health = serving.watch.look(look.seen, now_ms);
        let pulse = if health == Health::Well { Pulse::Beats } else { Pulse::Silent };
        let pulse_changed = std::mem::replace(&mut serving.pulse, pulse) != pulse;
        match health {
            Health::Stuck(over) => {
                self.kill(worker, format!("it is stuck: its guest should have ended {over:?} ago"))
            }
            Health::GivenUp => self.kill(worker, "it has not moved for too long".to_owned()),
            Health::Well | Health::Silent if pulse_changed => self.serve(),
            Health::Well if own && !look.busy && idle >= idle_timeout => self.leave(worker),
            Health::Well | Health::Silent => {}
        }
    }

    /// Returns when [`Self::move_on`] is to be called if nothing happens before.
    pub fn next_wake(&self) -> Option<Instant> {
        let of_slots = self.slots.values().filter_map(|slot| match &slot.phase {
            Phase::Dormant => None,
            Phase::Resting { until } => Some(*until),
            Phase::Running(_) => Some(self.next_look),
        });
        of_slots.chain(self.publishing.iter().map(Publishing::deadline)).min()
    }

    /// Returns every worker that has a process.
    pub fn running_workers(&self) -> Vec<WorkerId> {
        self.workers(|_| true)
    }

    /// Returns the generation of the newest catalogue.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns whether the worker has come to serve, and so may ask for modules and give
    /// connections back.
    pub fn serves(&self, worker: WorkerId) -> bool {
        self.slots
            .get(&worker.slot)
            .is_some_and(|slot| slot.incarnation == worker.incarnation && slot.serves())
    }

    /// Returns every slot with its row.
    pub fn slots(&self) -> impl Iterator<Item = (usize, &WorkerSlot)> {
        self.slots.iter().map(|(row, slot)| (*row, slot))
    }

    /// Returns whether [`Event::Drain`] has come.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// Returns whether no slot is left. That is so when all workers have exited after
    /// [`Event::Drain`].
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn on_not_started(&mut self, worker: WorkerId, now: Instant) {
        if let Some(slot) = self.slot(worker) {
            let delay = slot.back_off.did_not_start(Duration::ZERO);
            slot.phase = Phase::Resting { until: now + delay };
            let failed_starts = slot.back_off.failed_starts();
            self.actions.push(Action::ReportDeath { worker, delay, failed_starts });
            // Whoever needs the trial asks again.
            self.slots.retain(|_, slot| !slot.is_trial() || slot.is_running());
        }
    }

    fn on_hello(&mut self, worker: WorkerId, same_build: bool) {
        let Some(slot) = self.slot(worker) else { return };
        let pool = slot.pool.clone();
        let Phase::Running(running) = &mut slot.phase else { return };
        match running.state {
            State::Started(_) if same_build => {
                running.state = State::Accepted(Accepted::new());
                self.actions.push(Action::Accept { worker, pool });
            }
            State::Started(_) => self.kill(
                worker,
                format!(
                    "it is not of the engine's build, {}; install both from one",
                    abi::BUILD_ID
                ),
            ),
            State::Accepted(_) | State::Draining { .. } | State::Killed { .. } => {
                self.kill(worker, "it said hello twice".to_owned())
            }
        }
    }

    fn on_applied(&mut self, worker: WorkerId, generation: u64) {
        let newest = self.generation;
        let Some(state) = self.state(worker) else { return };
        let accepted = state.accepted_mut().filter(|accepted| {
            generation <= newest && accepted.generation().is_none_or(|own| own <= generation)
        });
        let Some(accepted) = accepted else {
            return self.kill(
                worker,
                format!("it says that it serves generation {generation}, which it was not sent"),
            );
        };
        match &mut accepted.progress {
            Progress::Serving(serving) => serving.generation = generation,
            Progress::Loading(_) => {
                accepted.progress = Progress::Serving(Serving::new(generation));
                self.serve();
                self.slots.entry(worker.slot).and_modify(|slot| slot.back_off.served());
            }
        }
    }

    fn on_draining(&mut self, worker: WorkerId) {
        match self.state(worker) {
            Some(State::Draining { last, .. } | State::Killed { last: Some(last), .. }) => {
                last.begins_no_more = true;
            }
            _ => self.kill(worker, "it leaves, and was not told to".to_owned()),
        }
    }

    fn on_exited(&mut self, worker: WorkerId, now: Instant) {
        let Some(slot) = self.slot(worker) else { return };
        let Phase::Running(running) = &slot.phase else { return };
        let (ran, served) = (now - running.since, slot.serves());
        match running.state.dismissal() {
            // Whoever needs the trial asks again.
            _ if slot.is_trial() => self.remove_slot(worker),
            Some(Dismissal::Removed | Dismissal::Stopping) => self.remove_slot(worker),
            Some(Dismissal::Idle { needed_again: true }) => {
                slot.phase = Phase::Resting { until: now }
            }
            Some(Dismissal::Idle { needed_again: false }) => slot.phase = Phase::Dormant,
            None => {
                let delay = if served {
                    slot.back_off.exited(ran)
                } else {
                    slot.back_off.did_not_start(ran)
                };
                slot.restarts += 1;
                slot.phase = Phase::Resting { until: now + delay };
                let failed_starts = slot.back_off.failed_starts();
                self.actions.push(Action::ReportDeath { worker, delay, failed_starts });
            }
        }
        // First nobody sends to it any more. What is in its queue then is all there will be, and is
        // taken out when it is reaped.
        self.serve();
        self.actions.push(Action::Reap(worker));
    }

    fn remove_slot(&mut self, worker: WorkerId) {
        self.slots.remove(&worker.slot);
        if !self.draining {
            // Somebody may have waited for its row.
            self.arrange_slots();
        }
    }

    fn on_needed(&mut self, pool: &Pool, now: Instant) {
        if self.draining {
            return;
        }
        let of_pool = self.slots.values_mut().filter(|slot| slot.pool == *pool);
        of_pool.for_each(|slot| slot.need(now));
        if let Pool::Trial(_) = pool
            && self.slots.values().all(|slot| slot.pool != *pool)
            && let Some(row) = self.free_row()
        {
            let core = self.plan.shared[row % self.plan.shared.len()];
            self.slots
                .insert(row, WorkerSlot::new(pool.clone(), core, Phase::Resting { until: now }));
        }
    }

    fn drain(&mut self) {
        self.draining = true;
        self.own.clear();
        self.slots.retain(|_, slot| slot.is_running());
        for worker in self.running_workers() {
            self.dismiss(worker, Dismissal::Stopping);
        }
        for publishing in std::mem::take(&mut self.publishing) {
            self.actions.push(publishing.answer(Err(PublishError::Stopping)));
        }
    }

    fn kill_all(&mut self, why: &str) {
        for worker in self.running_workers() {
            self.kill(worker, why.to_owned());
        }
    }

    /// Gives up a worker that has had its time to start.
    fn give_up_start(&mut self, worker: WorkerId, what: &str) {
        self.kill(worker, format!("{what} in {START_TIMEOUT:?} that the machine gave it"));
    }

    /// Kills a worker: it gets no more connections, and ends as soon as the kernel sees to it.
    fn kill(&mut self, worker: WorkerId, why: String) {
        let Some(state) = self.state(worker) else { return };
        if state.kill() {
            self.serve();
            self.actions.push(Action::Kill { worker, why });
        }
    }

    /// Has a worker finish what it has and go. One that has nothing yet goes at once.
    fn dismiss(&mut self, worker: WorkerId, dismissal: Dismissal) {
        let Some(state) = self.state(worker) else { return };
        match state.dismiss(dismissal) {
            Dismissed::Drains => {
                self.serve();
                self.actions.push(Action::SendDrain(worker));
            }
            Dismissed::IsKilled => {
                self.serve();
                let why = "it is not needed any more".to_owned();
                self.actions.push(Action::Kill { worker, why });
            }
            Dismissed::Ends => {}
        }
    }

    /// Has a worker go that has nothing to do, unless it is on its way already.
    fn leave(&mut self, worker: WorkerId) {
        if let Some(State::Accepted(_)) = self.state(worker) {
            self.dismiss(worker, Dismissal::Idle { needed_again: false });
        }
    }

    /// Returns the workers that are to get connections, with their pools.
    pub(super) fn ready(&self) -> Vec<(Pool, WorkerId)> {
        let ready =
            self.slots.iter().filter(|(_, slot)| slot.takes_connections() && !slot.is_trial());
        ready
            .map(|(row, slot)| {
                (slot.pool.clone(), WorkerId { slot: *row, incarnation: slot.incarnation })
            })
            .collect()
    }

    /// Makes what [`Self::ready`] returns known. To be called whenever that changes.
    fn serve(&mut self) {
        let ready = self.ready();
        // Of several in a row only the last one matters.
        if let Some(Action::Serve { .. }) = self.actions.last() {
            self.actions.pop();
        }
        self.actions.push(Action::Serve { generation: self.serving, ready });
    }

    /// Returns the slot of a worker. Returns `None` if the slot has another process by now.
    fn slot(&mut self, worker: WorkerId) -> Option<&mut WorkerSlot> {
        self.slots.get_mut(&worker.slot).filter(|slot| slot.incarnation == worker.incarnation)
    }

    /// Returns the state of a worker. Returns `None` if its process has exited.
    fn state(&mut self, worker: WorkerId) -> Option<&mut State> {
        match &mut self.slot(worker)?.phase {
            Phase::Running(Running { state, .. }) => Some(state),
            Phase::Dormant | Phase::Resting { .. } => None,
        }
    }

    /// Returns the workers in the slots that fit.
    fn workers(&self, fits: impl Fn(&WorkerSlot) -> bool) -> Vec<WorkerId> {
        let running = self.slots.iter().filter(|(_, slot)| slot.is_running() && fits(slot));
        running.map(|(row, slot)| WorkerId { slot: *row, incarnation: slot.incarnation }).collect()
    }

    /// Returns the lowest free row. Workers look for each other's counters in the first rows.
    fn free_row(&self) -> Option<usize> {
        (self.plan.shared.len()..WORKERS_MAX).find(|row| !self.slots.contains_key(row))
    }
}
