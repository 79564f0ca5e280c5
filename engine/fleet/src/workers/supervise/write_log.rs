//! Workers that have been asked to write what they have logged, and who waits for that. Owns no
//! fds.

use std::collections::{HashMap, HashSet};

use abi::message::ToWorker;
use tokio::sync::oneshot;

use super::{Supervisor, WorkerId};

/// Who waits.
pub(super) type Written = oneshot::Sender<()>;

/// Questions under way, by their tickets: the workers that have not answered.
#[derive(Debug, Default)]
pub(super) struct LogWrites {
    pending: HashMap<u64, (HashSet<WorkerId>, Written)>,
    last: u64,
}

impl LogWrites {
    /// Asks these workers. Without any, everything is written.
    fn begin(&mut self, workers: HashSet<WorkerId>, written: Written) -> u64 {
        self.last += 1;
        self.pending.insert(self.last, (workers, written));
        self.end_those_answered();
        self.last
    }

    /// A worker has answered; false when it was not asked.
    pub(super) fn answered(&mut self, worker: WorkerId, ticket: u64) -> bool {
        let was_asked =
            self.pending.get_mut(&ticket).is_some_and(|(workers, _)| workers.remove(&worker));
        self.end_those_answered();
        was_asked
    }

    /// A worker has ended. What it had not written is lost.
    pub(super) fn ended(&mut self, worker: WorkerId) {
        for (workers, _) in self.pending.values_mut() {
            workers.remove(&worker);
        }
        self.end_those_answered();
    }

    fn end_those_answered(&mut self) {
        for (_, (_, written)) in self.pending.extract_if(|_, (workers, _)| workers.is_empty()) {
            // Whoever waited may have given up.
            let _ = written.send(());
        }
    }
}

impl Supervisor {
    /// Has every worker write what it has logged by now.
    pub(super) fn write_log(&mut self, written: Written) {
        let accepted: HashSet<usize> =
            self.fleet.slots().filter(|(_, slot)| slot.is_accepted()).map(|(row, _)| row).collect();
        let workers = self
            .fleet
            .running_workers()
            .into_iter()
            .filter(|worker| accepted.contains(&worker.slot));
        let workers: HashSet<WorkerId> = workers.collect();
        let ticket = self.log_writes.begin(workers.clone(), written);
        for worker in workers {
            if let Some(event) = self.send(worker, ToWorker::WriteLog { ticket }, None) {
                self.on(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_when_every_worker_has_answered_or_ended() {
        let worker = |slot| WorkerId { slot, incarnation: 1 };
        let mut writes = LogWrites::default();
        let (written, mut is_written) = oneshot::channel();
        let ticket = writes.begin([0, 1, 2].map(worker).into(), written);
        assert!(writes.answered(worker(0), ticket));
        assert!(!writes.answered(worker(0), ticket), "it has answered already");
        assert!(!writes.answered(worker(1), ticket + 1) && !writes.answered(worker(3), ticket));
        writes.ended(worker(2));
        assert!(is_written.try_recv().is_err(), "one has neither answered nor ended");
        assert!(writes.answered(worker(1), ticket));
        assert_eq!(is_written.try_recv(), Ok(()));
        let (written, mut is_written) = oneshot::channel();
        writes.begin(HashSet::new(), written);
        assert_eq!(is_written.try_recv(), Ok(()), "nobody is to be asked");
    }
}
