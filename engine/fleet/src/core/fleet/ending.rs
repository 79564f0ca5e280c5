//! How workers end: they are drained, killed, or die, and their slots are emptied, filled again or
//! removed. Pure; owns no fds.

use std::time::Instant;

use super::state::{Dismissal, Dismissed, State};
use super::{Action, Fleet, Phase, PublishError, START_TIMEOUT, WorkerId};
use crate::core::Pool;

impl Fleet {
    /// Notes that a worker begins no more requests. One that was not told to drain is killed.
    pub(super) fn on_draining(&mut self, worker: WorkerId) {
        match self.state(worker) {
            Some(State::Draining { last, .. } | State::Killed { last: Some(last), .. }) => {
                last.begins_no_more = true;
            }
            _ => self.kill(worker, "it leaves, and was not told to".to_owned()),
        }
    }

    /// Notes that an edge goes on without this engine, as it does when another has taken over. One
    /// that was not told to is killed, and so is what is no edge.
    pub(super) fn on_detached(&mut self, worker: WorkerId) {
        let is_edge = self.slot(worker).is_some_and(|slot| slot.pool == Pool::Edge);
        match self.state(worker).map(|state| state.dismissal()) {
            Some(Some(Dismissal::Stopping)) if is_edge => {
                self.remove_slot(worker);
                self.actions.push(Action::Release(worker));
            }
            _ => self.kill(worker, "it leaves, and was not told to".to_owned()),
        }
    }

    /// Notes that a worker's process has exited, and decides what becomes of its slot.
    pub(super) fn on_exited(&mut self, worker: WorkerId, now: Instant) {
        let Some(slot) = self.slot(worker) else { return };
        let Phase::Running(running) = &slot.phase else { return };
        let (ran, served) = (now - running.since, slot.serves());
        match running.state.dismissal() {
            // The caller asks for its trial again.
            _ if slot.is_trial() => self.remove_slot(worker),
            Some(Dismissal::Removed | Dismissal::Stopping) => self.remove_slot(worker),
            Some(Dismissal::Idle { needed_again: true }) => {
                slot.phase = Phase::Resting { until: now }
            }
            Some(Dismissal::Idle { needed_again: false }) => slot.phase = Phase::Dormant,
            None => {
                let delay = if served {
                    slot.restart_delay.exited(ran)
                } else {
                    slot.restart_delay.did_not_start(ran)
                };
                slot.restarts += 1;
                slot.phase = Phase::Resting { until: now + delay };
                let failed_starts = slot.restart_delay.failed_starts();
                self.actions.push(Action::ReportDeath { worker, delay, failed_starts });
            }
        }
        // First nobody sends to it any more. What is in its queue then is all there will be, and is
        // taken out when it is reaped.
        self.serve();
        self.actions.push(Action::Reap(worker));
    }

    pub(super) fn remove_slot(&mut self, worker: WorkerId) {
        self.slots.remove(&worker.slot);
        if !self.draining {
            // Somebody may have waited for its row.
            self.arrange_slots();
        }
    }

    /// Has every worker finish and exit. No process is started any more.
    pub(super) fn drain(&mut self) {
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

    /// Kills every worker.
    pub(super) fn kill_all(&mut self, why: &str) {
        for worker in self.running_workers() {
            self.kill(worker, why.to_owned());
        }
    }

    /// Gives up a worker that has had its time to start.
    pub(super) fn give_up_start(&mut self, worker: WorkerId, what: &str) {
        self.kill(worker, format!("{what} in {START_TIMEOUT:?} that the machine gave it"));
    }

    /// Kills a worker: it gets no more connections, and ends as soon as the kernel sees to it.
    pub(super) fn kill(&mut self, worker: WorkerId, why: String) {
        let Some(state) = self.state(worker) else { return };
        if state.kill() {
            self.serve();
            self.actions.push(Action::Kill { worker, why });
        }
    }

    /// Has a worker finish what it has and go. One that has nothing yet goes at once.
    pub(super) fn dismiss(&mut self, worker: WorkerId, dismissal: Dismissal) {
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
    pub(super) fn leave(&mut self, worker: WorkerId) {
        if let Some(State::Accepted(_)) = self.state(worker) {
            self.dismiss(worker, Dismissal::Idle { needed_again: false });
        }
    }
}
