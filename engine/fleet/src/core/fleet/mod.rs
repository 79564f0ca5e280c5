//! The fleet: which workers there are, which there should be, and by which catalogue each serves.
//! Pure; owns no fds.
//!
//! A *slot* is a place for a worker. There are some on each core for shared functions, one on each
//! core for an edge, one for each function with `isolation = "process"`, and one for each trial
//! under way of such a function's version. The processes that have a slot one after another are its *incarnations*.
//!
//! The supervisor passes each [`Event`] to the fleet and performs the [`Action`]s that it returns,
//! in their order. The fleet never looks at anything itself.
//!
//! This file has what follows from events, [`event`] names them and what the fleet answers, and
//! [`ending`] is how workers end. [`slot`] is one worker's place, [`state`] is how far its process
//! has come, and [`publish`] changes what is served.

mod ending;
mod event;
mod publish;
mod slot;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use abi::limits::WORKERS_MAX;

pub use self::event::{Action, Event, Look, PublishError, Ticket, WorkerId};
use self::publish::Publishing;
use self::slot::Running;
pub use self::slot::{Phase, WorkerSlot};
use self::state::{Accepted, Outbox, Progress, Pulse, Serving, State};
use super::Pool;
use super::starting::START_TIMEOUT;
use super::watch::{Health, LOOK_INTERVAL};

/// What the fleet is made of. It does not change while the node runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The core of each shared worker.
    pub shared: Vec<usize>,
    /// The core of each edge.
    pub edges: Vec<usize>,
    /// Whether there is TLS to end. Otherwise edges are started by the first connection of HTTP/2.
    pub ends_tls: bool,
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
    /// Makes a fleet with slots for the shared workers and the edges, and without processes. It serves by the
    /// catalogue of `generation`.
    pub fn new(plan: Plan, generation: u64, now: Instant) -> Self {
        let shared = plan.shared.iter().map(|core| (Pool::Shared, *core));
        let edges = if plan.ends_tls { &plan.edges[..] } else { &[] };
        let edges = edges.iter().map(|core| (Pool::Edge, *core));
        let slots = shared.chain(edges).enumerate();
        let slots = slots
            .map(|(row, (pool, core))| {
                (row, WorkerSlot::new(pool, core, Phase::Resting { until: now }))
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
            Event::Detached(worker) => self.on_detached(worker),
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
        let may_idle = matches!(slot.pool, Pool::Function(_) | Pool::Trial(_));
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
            Health::Well if may_idle && !look.busy && idle >= idle_timeout => self.leave(worker),
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

    /// Returns whether TLS is ended here.
    pub fn ends_tls(&self) -> bool {
        self.plan.ends_tls
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

    /// Notes that a worker's process could not be started. It is tried again later.
    fn on_not_started(&mut self, worker: WorkerId, now: Instant) {
        if let Some(slot) = self.slot(worker) {
            let delay = slot.restart_delay.did_not_start(Duration::ZERO);
            slot.phase = Phase::Resting { until: now + delay };
            let failed_starts = slot.restart_delay.failed_starts();
            self.actions.push(Action::ReportDeath { worker, delay, failed_starts });
            // The caller asks for its trial again.
            self.slots.retain(|_, slot| !slot.is_trial() || slot.is_running());
        }
    }

    /// Notes a worker's hello, after which it is sent its settings and the newest catalogue.
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

    /// Notes that a worker serves by a catalogue. With the first one it comes to serve.
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
                self.slots.entry(worker.slot).and_modify(|slot| slot.restart_delay.served());
            }
        }
    }

    /// Has a worker of `pool` started, unless one runs or is about to start.
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
        // Without TLS to end there are none until a client speaks HTTP/2.
        if *pool == Pool::Edge && self.slots.values().all(|slot| slot.pool != Pool::Edge) {
            for core in self.plan.edges.clone() {
                let Some(row) = self.free_row() else { return };
                self.slots
                    .insert(row, WorkerSlot::new(Pool::Edge, core, Phase::Resting { until: now }));
            }
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
