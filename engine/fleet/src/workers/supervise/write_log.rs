//! Has workers write what they have logged, and answers when they have. Owns no fds.

use std::collections::{HashMap, HashSet};

use abi::message::ToWorker;
use tokio::sync::oneshot;

use super::{Supervisor, WorkerId};
use crate::core::Pool;
use crate::core::fleet::WorkerSlot;

/// Answers the caller that waits.
pub(super) type WriteReply = oneshot::Sender<()>;

/// The requests under way.
#[derive(Debug, Default)]
pub(super) struct LogWrites {
    /// By the ticket of each request: the workers that have not answered, and the caller.
    pending: HashMap<u64, (HashSet<WorkerId>, WriteReply)>,
    last_ticket: u64,
}

impl LogWrites {
    /// Notes that these workers are asked. Returns the ticket that they answer with. If there are
    /// none, the caller is answered at once.
    fn begin(&mut self, workers: HashSet<WorkerId>, written: WriteReply) -> u64 {
        self.last_ticket += 1;
        self.pending.insert(self.last_ticket, (workers, written));
        self.reply_where_done();
        self.last_ticket
    }

    /// Notes that a worker has answered. Returns `false` if it was not asked.
    pub(super) fn answered(&mut self, worker: WorkerId, ticket: u64) -> bool {
        let was_asked =
            self.pending.get_mut(&ticket).is_some_and(|(workers, _)| workers.remove(&worker));
        self.reply_where_done();
        was_asked
    }

    /// Notes that a worker has exited. What it had not written is lost.
    pub(super) fn reap(&mut self, worker: WorkerId) {
        for (workers, _) in self.pending.values_mut() {
            workers.remove(&worker);
        }
        self.reply_where_done();
    }

    fn reply_where_done(&mut self) {
        for (_, (_, written)) in self.pending.extract_if(|_, (workers, _)| workers.is_empty()) {
            // The caller may have given up.
            let _ = written.send(());
        }
    }
}

impl Supervisor {
    /// Has every worker write what it has logged by now.
    pub(super) fn write_log(&mut self, written: WriteReply) {
        // Edges run no functions, and log nothing.
        let logs = |slot: &WorkerSlot| slot.is_accepted() && slot.pool != Pool::Edge;
        let accepted: HashSet<usize> =
            self.fleet.slots().filter(|(_, slot)| logs(slot)).map(|(row, _)| row).collect();
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
        writes.reap(worker(2));
        assert!(is_written.try_recv().is_err(), "one has neither answered nor ended");
        assert!(writes.answered(worker(1), ticket));
        assert_eq!(is_written.try_recv(), Ok(()));
        let (written, mut is_written) = oneshot::channel();
        writes.begin(HashSet::new(), written);
        assert_eq!(is_written.try_recv(), Ok(()), "nobody is to be asked");
    }
}
