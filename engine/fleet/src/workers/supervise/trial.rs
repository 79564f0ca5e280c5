//! Trials: has a worker instantiate a version, and answers with what came of it. Owns no fds.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::message::ToWorker;
use host::fault::Fault;
use tokio::sync::oneshot;

use super::{Supervisor, WorkerId};
use crate::core::Pool;
use crate::core::fleet::Event;

/// Why a version was not instantiated.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    #[error("the version cannot be instantiated: {0}")]
    Failed(String),
    #[error("the workers that were to instantiate the version died; the node's log says how")]
    Died,
    #[error("no worker serves at the moment to instantiate the version; try again in a moment")]
    NoWorker,
    #[error(
        "no worker has instantiated the version in {0:?}; try again when the node has less to do"
    )]
    Slow(std::time::Duration),
}

impl TrialError {
    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Failed(_) | Self::Died => Fault::UNFIT,
            Self::NoWorker | Self::Slow(_) => Fault::UNAVAILABLE,
        }
    }
}

/// Answers the caller that waits.
pub(super) type TrialReply = oneshot::Sender<Result<(), TrialError>>;

/// The trials under way.
#[derive(Debug, Default)]
pub(super) struct Trials {
    /// By the ticket of each trial: the worker, and the caller.
    pending: HashMap<u64, (WorkerId, TrialReply)>,
    last_ticket: u64,
}

impl Trials {
    /// Notes that a worker is asked. Returns the ticket that it answers with.
    fn begin(&mut self, worker: WorkerId, tried: TrialReply) -> u64 {
        self.last_ticket += 1;
        self.pending.insert(self.last_ticket, (worker, tried));
        self.last_ticket
    }

    /// Notes that a worker has answered. Returns `false` if it was not asked.
    pub(super) fn answered(
        &mut self,
        worker: WorkerId,
        ticket: u64,
        failure: Option<String>,
    ) -> bool {
        match self.pending.remove(&ticket) {
            Some((asked, tried)) if asked == worker => {
                // The caller may have given up.
                let _ =
                    tried.send(failure.map_or(Ok(()), |reason| Err(TrialError::Failed(reason))));
                true
            }
            _ => false,
        }
    }

    /// Returns whether a worker has trials to answer.
    pub(super) fn has(&self, worker: WorkerId) -> bool {
        self.pending.values().any(|(asked, _)| *asked == worker)
    }

    /// Notes that a worker has exited.
    pub(super) fn reap(&mut self, worker: WorkerId) {
        for (_, (_, tried)) in self.pending.extract_if(|_, (asked, _)| *asked == worker) {
            let _ = tried.send(Err(TrialError::Died));
        }
    }
}

impl Supervisor {
    /// Has a worker of `pool` instantiate the one version of `catalogue`. If no worker of the pool
    /// serves, one is started, and the caller has to ask again.
    pub(super) fn start_trial(&mut self, catalogue: Arc<OwnedFd>, pool: Pool, tried: TrialReply) {
        let workers = self.fleet.running_workers();
        let mut slots = self.fleet.slots();
        let serves = slots.find(|(_, slot)| slot.pool == pool && slot.takes_connections());
        let serving =
            serves.and_then(|(row, _)| workers.into_iter().find(|worker| worker.slot == row));
        drop(slots);
        let Some(worker) = serving else {
            let _ = tried.send(Err(TrialError::NoWorker));
            return self.on(Event::Needed(pool));
        };
        let ticket = self.trials.begin(worker, tried);
        if let Some(event) = self.send(worker, ToWorker::Try { ticket }, Some(catalogue)) {
            self.on(event);
        }
    }

    /// Returns whether a worker was started for trials.
    pub(super) fn is_for_trials(&self, worker: WorkerId) -> bool {
        let mut slots = self.fleet.slots();
        slots.any(|(row, slot)| row == worker.slot && matches!(slot.pool, Pool::Trial(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_is_answered_by_its_worker_or_by_its_end() {
        let mut trials = Trials::default();
        let worker = |slot| WorkerId { slot, incarnation: 1 };
        let (done, mut failed) = oneshot::channel();
        let ticket = trials.begin(worker(0), done);
        assert!(!trials.answered(worker(0), ticket + 1, None));
        assert!(trials.answered(worker(0), ticket, Some("why".to_owned())));
        assert!(matches!(failed.try_recv(), Ok(Err(TrialError::Failed(why))) if why == "why"));
        assert!(!trials.answered(worker(0), ticket, None));
        let (done, mut died) = oneshot::channel();
        trials.begin(worker(1), done);
        trials.reap(worker(0));
        assert!(died.try_recv().is_err());
        trials.reap(worker(1));
        assert!(matches!(died.try_recv(), Ok(Err(TrialError::Died))));
    }
}
