//! Writes, many in one batch. Owns no fds.
//!
//! All that waits goes into one atomic batch of NATS, which takes effect if every job of it is still
//! as this node knows it. If one is not, none of it is done: each half is tried by itself, with
//! the jobs as they are read now.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::StreamExt as _;
use nats::{BATCH_MESSAGES_MAX, Failure};

use super::keys::{self, Kept};
use super::ledger::Own;
use super::plan::{Current, Place, Planned, Work, Write, plan};
use super::{Shared, damaged, unavailable};
use crate::JobId;
use crate::store::{Answer, Done, Task};

/// The most tasks of a batch,
const TASKS_MAX: usize = 300;
/// and the most bytes of requests, if there are several.
const BYTES_MAX: u64 = 1024 * 1024;
/// As many jobs are read at a time.
const READS_AT_A_TIME: usize = 64;
/// As often a job is read again that somebody else has changed,
const ATTEMPTS: u32 = 8;
/// and after so long.
const PAUSE: Duration = Duration::from_millis(10);

/// What is to be written, and who waits for that.
pub(super) struct Waiting {
    pub(super) work: Work,
    pub(super) done: Done,
}

/// What waits.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    /// Whether there is a task that writes.
    is_running: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl Queue {
    /// Takes what waits, as much as fits into a batch.
    fn take(&mut self) -> Vec<Waiting> {
        let (mut taken, mut bytes) = (Vec::new(), 0_u64);
        while let Some(next) = self.waiting.front() {
            bytes = bytes.saturating_add(request_bytes(&next.work));
            if !taken.is_empty() && (taken.len() == TASKS_MAX || bytes > BYTES_MAX) {
                break;
            }
            taken.extend(self.waiting.pop_front());
        }
        taken
    }
}

fn request_bytes(work: &Work) -> u64 {
    match work {
        Work::Task(Task::Enqueue(new, _)) => new.record.bytes,
        Work::Task(Task::Update(.., then) | Task::Finish { then, .. }) => {
            then.iter().map(|then| then.new.record.bytes).sum()
        }
        _ => 0,
    }
}

/// What could not be written, as a job was not as it was known.
struct Conflicting(Vec<Waiting>);

impl Shared {
    /// Writes, and passes the answer to `done`.
    pub(super) fn write(self: &Arc<Self>, work: Work, done: Done) {
        let mut queue = self.lock_queue();
        queue.waiting.push_back(Waiting { work, done });
        if std::mem::replace(&mut queue.is_running, true) {
            return;
        }
        drop(queue);
        let shared = Arc::clone(self);
        self.nats.spawn(async move { shared.write_all().await });
    }

    async fn write_all(&self) {
        loop {
            let batch = {
                let mut queue = self.lock_queue();
                let batch = queue.take();
                queue.is_running = !batch.is_empty();
                batch
            };
            if batch.is_empty() {
                return;
            }
            if let Err(Conflicting(batch)) = self.try_write(batch, false).await {
                self.write_apart(batch, 1).await;
            }
        }
    }

    /// Writes one half, and then the other one.
    fn write_apart(
        &self,
        mut batch: Vec<Waiting>,
        attempt: u32,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let (is_one, rest) = (batch.len() == 1, batch.split_off(batch.len().div_ceil(2)));
            if is_one && attempt > 1 {
                tokio::time::sleep(PAUSE).await;
            }
            for half in [batch, rest].into_iter().filter(|half| !half.is_empty()) {
                match self.try_write(half, true).await {
                    Ok(()) => {}
                    Err(Conflicting(half)) if is_one && attempt == ATTEMPTS => {
                        let why = "another one changes this job all the time";
                        fail(half, why);
                    }
                    Err(Conflicting(half)) => {
                        self.write_apart(half, if is_one { attempt + 1 } else { 1 }).await;
                    }
                }
            }
        })
    }

    /// Writes all of a batch, and answers.
    ///
    /// # Errors
    /// What is in the batch, if a job was not as it was known. Then nothing is written.
    async fn try_write(&self, batch: Vec<Waiting>, fresh: bool) -> Result<(), Conflicting> {
        let known = batch.iter().map(|waiting| self.known(&waiting.work, fresh)).collect();
        let current = self.read_current(known).await;
        let place = Place { node: &self.node, messages: self.messages.load(Relaxed) };
        let (mut changes, mut writes) = (Vec::new(), Vec::new());
        let mut batch = VecDeque::from(batch);
        let mut current = current.into_iter();
        while let Some(Waiting { work, done }) = batch.pop_front() {
            let planned = match (current.next().unwrap_or(Ok(None)), &work) {
                (Err(why), _) => Planned::Answer(Answer::Unavailable(why)),
                (Ok(None), Work::Adopt { .. }) if fresh => Planned::Answer(Answer::Unknown),
                (Ok(current), _) => plan(&work, current, &mut self.lock_ledger(), place),
            };
            match planned {
                Planned::Answer(answer) => done(answer),
                Planned::TakenOver { by } => {
                    let (id, by) = (work.job().map(|id| id.to_string()), self.name_of(&by));
                    tracing::warn!(
                        "an attempt at the job {} was in vain: {by} has taken it over meanwhile",
                        id.unwrap_or_default()
                    );
                    done(Answer::Unknown);
                }
                Planned::Write(mut write) => {
                    if changes.len() + write.changes.len() > BATCH_MESSAGES_MAX {
                        self.forget_new(&write);
                        batch.push_front(Waiting { work, done });
                        break;
                    }
                    let start = changes.len();
                    changes.append(&mut write.changes);
                    writes.push((start, write, Waiting { work, done }));
                }
            }
        }
        // What was too much goes first the next time.
        if !batch.is_empty() {
            let mut queue = self.lock_queue();
            batch.into_iter().rev().for_each(|waiting| queue.waiting.push_front(waiting));
        }
        if changes.is_empty() {
            return Ok(());
        }
        let count = changes.len() as u64;
        match self.nats.write(changes).await {
            Ok(last) => {
                let first = (last + 1).saturating_sub(count);
                for (start, write, waiting) in writes {
                    self.wrote(first + start as u64, &write).await;
                    (waiting.done)(Answer::Done);
                }
                Ok(())
            }
            Err(failure) => {
                writes.iter().for_each(|(_, write, _)| self.forget_new(write));
                let batch = writes.into_iter().map(|(.., waiting)| waiting).collect();
                if failure == Failure::Conflict {
                    return Err(Conflicting(batch));
                }
                if matches!(failure, Failure::Unanswered(_)) {
                    self.is_doubtful.store(true, Relaxed);
                }
                fail(batch, &failure.to_string());
                Ok(())
            }
        }
    }

    /// Returns the job that is to be changed, if that must be there, and what is known of it.
    fn known(&self, work: &Work, fresh: bool) -> (Option<JobId>, Option<Own>) {
        let id = work.job().filter(|_| fresh || !work.needs_nothing());
        let known = id.filter(|_| !fresh && !work.needs_record());
        (id, known.and_then(|id| self.lock_ledger().get(id).cloned()))
    }

    /// Returns each job as it is known, or as it is if that is not enough.
    async fn read_current(
        &self,
        known: Vec<(Option<JobId>, Option<Own>)>,
    ) -> Vec<Result<Option<Current>, String>> {
        let one = |(id, known): (Option<JobId>, Option<Own>)| async move {
            match (id, known) {
                (_, Some(Own { revision, parts, .. })) => {
                    Ok(Some(Current { revision, parts, kept: None }))
                }
                (Some(id), None) => self.read_kept(id).await,
                (None, None) => Ok(None),
            }
        };
        futures_util::stream::iter(known).map(one).buffered(READS_AT_A_TIME).collect().await
    }

    async fn read_kept(&self, id: JobId) -> Result<Option<Current>, String> {
        let found = self.nats.get(&keys::job(id)).await.map_err(|failure| failure.to_string())?;
        let Some(entry) = found else {
            self.lock_ledger().remove(id);
            return Ok(None);
        };
        let kept = Kept::decode(&entry.value).map_err(|_| damaged(id))?;
        Ok(Some(Current { revision: entry.revision, parts: kept.parts, kept: Some(kept) }))
    }

    /// Notes what was written, whose first message has the revision `first`.
    async fn wrote(&self, first: u64, write: &Write) {
        {
            let mut ledger = self.lock_ledger();
            for (id, at) in &write.records {
                ledger.wrote(*id, first + *at as u64);
            }
            if let Some(id) = write.gone {
                ledger.remove(id);
            }
        }
        if let Some((id, node)) = &write.of_another {
            self.nats.tell(node, id.to_string()).await;
        }
    }

    /// Has nothing in the ledger that was not written.
    fn forget_new(&self, write: &Write) {
        let mut ledger = self.lock_ledger();
        write.new.iter().for_each(|id| ledger.remove(*id));
    }
}

fn fail(batch: Vec<Waiting>, why: &str) {
    batch.into_iter().for_each(|waiting| (waiting.done)(unavailable(why)));
}
