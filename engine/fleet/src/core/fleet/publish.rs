//! How another catalogue comes to be served. Pure; owns no fds.
//!
//! First the slots change, then every worker is sent the catalogue, and then connections are routed
//! by it. In this order, no worker gets a connection that was routed by a catalogue that the worker
//! was not sent before. Callers are answered when every worker serves by it.

use std::time::Instant;

use abi::limits::WORKERS_MAX;

use super::event::PUBLISH_TIMEOUT;
use super::slot::{Phase, WorkerSlot};
use super::state::{Dismissal, Outbox, State};
use super::{Action, Fleet, LOOK_INTERVAL, PublishError, Ticket, WorkerId};
use crate::core::Pool;

/// A caller that waits for a catalogue to be served everywhere.
#[derive(Debug)]
pub(super) struct Publishing {
    generation: u64,
    deadline: Instant,
    ticket: Ticket,
}

impl Publishing {
    /// Returns when the caller is answered at the latest, unless workers start.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns the answer to the caller.
    pub(super) fn answer(self, outcome: Result<(), PublishError>) -> Action {
        Action::Answer { ticket: self.ticket, outcome }
    }
}

impl Fleet {
    /// Begins to serve by another catalogue. The functions in `own` have workers of their own.
    pub(super) fn publish(
        &mut self,
        generation: u64,
        own: Vec<String>,
        ticket: Ticket,
        now: Instant,
    ) {
        let publishing = Publishing { generation, deadline: now + PUBLISH_TIMEOUT, ticket };
        if self.draining {
            return self.actions.push(publishing.answer(Err(PublishError::Stopping)));
        }
        let wanted = self.plan.shared.len() + self.plan.edges.len() + own.len();
        if wanted > WORKERS_MAX {
            return self
                .actions
                .push(publishing.answer(Err(PublishError::TooManyWorkers { wanted })));
        }
        self.own = own.into_iter().map(Pool::Function).collect();
        self.arrange_slots();
        self.generation = generation;
        for worker in self.workers(WorkerSlot::takes_catalogues) {
            if let Some(accepted) = self.state(worker).and_then(State::accepted_mut) {
                accepted.outbox = Outbox::Waiting;
                self.actions.push(Action::SendCatalogue(worker));
            }
        }
        self.publishing.push(publishing);
    }

    /// Makes a slot for each function that should have one, and dismisses the workers of others.
    pub(super) fn arrange_slots(&mut self) {
        let mut missing = self.own.clone();
        let mut removed = Vec::new();
        for (row, slot) in &self.slots {
            if matches!(slot.pool, Pool::Function(_))
                && !slot.is_removed()
                && !missing.remove(&slot.pool)
            {
                removed.push(WorkerId { slot: *row, incarnation: slot.incarnation });
            }
        }
        for worker in removed {
            if self.slots.get(&worker.slot).is_some_and(WorkerSlot::is_running) {
                self.dismiss(worker, Dismissal::Removed);
            } else {
                self.slots.remove(&worker.slot);
            }
        }
        for pool in missing {
            // Workers that were dismissed keep their rows until they have exited.
            let Some(row) = self.free_row() else { break };
            let core = self.plan.shared[row % self.plan.shared.len()];
            self.slots.insert(row, WorkerSlot::new(pool, core, Phase::Dormant));
        }
    }

    /// Routes by the newest catalogue once every worker was sent it. Kills the workers that do not
    /// read their messages in time.
    pub(super) fn serve_newest(&mut self, now: Instant) {
        if self.serving == self.generation {
            return;
        }
        let overdue = self.publishing.iter().any(|publishing| now >= publishing.deadline);
        let unsent = self
            .workers(|slot| !slot.is_removed() && slot.serves_catalogues() && slot.has_unsent());
        if unsent.is_empty() {
            self.serving = self.generation;
            self.serve();
        } else if overdue {
            unsent
                .into_iter()
                .for_each(|worker| self.kill(worker, "it reads no messages any more".to_owned()));
        }
    }

    /// Returns whether only workers that start keep the catalogue from being served everywhere. The
    /// machine may be slow; [`Fleet::look`] decides when they are given up.
    fn waits_for_starts_alone(&self, generation: u64) -> bool {
        self.serving >= generation
            && self
                .slots
                .values()
                .filter(|slot| slot.is_behind(generation))
                .all(WorkerSlot::is_starting)
    }

    /// Answers the callers whose catalogue every worker serves by now, and those that have waited
    /// too long.
    pub(super) fn answer_publishing(&mut self, now: Instant) {
        for publishing in std::mem::take(&mut self.publishing) {
            let generation = publishing.generation;
            let behind = self.serving < generation
                || self.slots.values().any(|slot| slot.is_behind(generation));
            if !behind {
                self.actions.push(publishing.answer(Ok(())));
            } else if now >= publishing.deadline && self.waits_for_starts_alone(generation) {
                self.publishing.push(Publishing { deadline: now + LOOK_INTERVAL, ..publishing });
            } else if now >= publishing.deadline {
                self.actions.push(publishing.answer(Err(PublishError::Slow)));
                for worker in self.workers(|slot| slot.is_accepted() && slot.is_behind(generation))
                {
                    self.kill(worker, "it does not take over the node's change".to_owned());
                }
            } else {
                self.publishing.push(publishing);
            }
        }
    }
}
