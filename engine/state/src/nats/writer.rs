//! Writes, a bucket at a time. Owns no fds.
//!
//! All writes that wait for a bucket go into one batch: what they touch is read, they are applied to
//! that one after another, and what has changed is written if the bucket's usage is still the one
//! that was read before. Every write writes that, so no other node has written meanwhile; if one
//! has, all is done again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use abi::state::{Answer, Entry, Failure, Operation};
use nats::Change;

use super::plan::{self, View};
use super::{as_answer, keys, read_usage, write_usage};
use crate::{Bucket, Done, Request, Usage};

/// The most keys of a batch, beside the usage.
pub(super) const BATCH_KEYS_MAX: usize = nats::BATCH_MESSAGES_MAX - 1;
/// The most bytes of values that are put into a batch of several writes.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// How long it is tried to write what others write all the time.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest pause before it is tried again.
const PAUSE_MS_MAX: u64 = 64;

/// The writes of this node.
#[derive(Debug)]
pub(super) struct Writer {
    nats: nats::Bucket,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What waits, by bucket. For each there is a task.
    queues: HashMap<Bucket, VecDeque<Waiting>>,
    /// The usage of each bucket as this node has written it last, with its revision.
    known: HashMap<Bucket, (u64, Usage)>,
}

struct Waiting {
    request: Request,
    done: Done,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.request.fmt(f)
    }
}

impl Writer {
    pub(super) fn new(nats: nats::Bucket) -> Arc<Self> {
        Arc::new(Self { nats, state: Mutex::default() })
    }

    /// Writes, and passes the answer to `done`.
    pub(super) fn submit(self: &Arc<Self>, request: Request, done: Done) {
        let (first, rest) = split(request);
        let done: Done = match rest {
            None => done,
            Some(rest) => {
                let writer = Arc::clone(self);
                Box::new(move |answer| match answer {
                    Answer::Done => writer.submit(rest, done),
                    failed => done(failed),
                })
            }
        };
        let bucket = first.bucket.clone();
        let mut state = self.lock();
        let is_new = !state.queues.contains_key(&bucket);
        let waiting = Waiting { request: first, done };
        state.queues.entry(bucket.clone()).or_default().push_back(waiting);
        drop(state);
        if is_new {
            let writer = Arc::clone(self);
            self.nats.spawn(async move { writer.run(bucket).await });
        }
    }

    /// Forgets what is known of a bucket.
    pub(super) fn forget(&self, bucket: &Bucket) {
        self.lock().known.remove(bucket);
    }

    async fn run(&self, bucket: Bucket) {
        while let Some(batch) = self.take(&bucket) {
            let (requests, dones): (Vec<_>, Vec<_>) =
                batch.into_iter().map(|of| (of.request, of.done)).unzip();
            match self.write(&bucket, &requests).await {
                Ok(answers) => dones.into_iter().zip(answers).for_each(|(done, of)| done(of)),
                Err(failure) => dones.into_iter().for_each(|done| done(as_answer(&failure))),
            }
        }
    }

    /// Takes what waits for a bucket, as much as fits into a batch. If nothing does, the task is to
    /// end.
    fn take(&self, bucket: &Bucket) -> Option<Vec<Waiting>> {
        let mut state = self.lock();
        let queue = state.queues.get_mut(bucket)?;
        let (mut taken, mut keys, mut bytes) = (Vec::new(), 0, 0);
        while let Some(next) = queue.front() {
            keys += plan::keys(&next.request.operation).len();
            bytes += next.request.operation.bytes();
            if !taken.is_empty() && (keys > BATCH_KEYS_MAX || bytes > BATCH_BYTES_MAX) {
                break;
            }
            taken.extend(queue.pop_front());
        }
        if taken.is_empty() {
            state.queues.remove(bucket);
            return None;
        }
        Some(taken)
    }

    /// Does all of this in one batch.
    async fn write(
        &self,
        bucket: &Bucket,
        requests: &[Request],
    ) -> Result<Vec<Answer>, nats::Failure> {
        let until = Instant::now() + WRITE_TIMEOUT;
        let mut pause_ms = 1;
        loop {
            let known = self.lock().known.get(bucket).copied();
            // Before the keys: so they are not older.
            let (revision, usage) = match known {
                Some(known) => known,
                None => read_usage(&self.nats, bucket).await?.unwrap_or_default(),
            };
            let mut view = View::new(usage, self.read(bucket, requests).await?);
            let answers: Vec<Answer> = requests.iter().map(|request| view.apply(request)).collect();
            let is_full =
                answers.iter().any(|answer| matches!(answer, Answer::Failed(Failure::Full(_))));
            if is_full && known.is_some() {
                // Another node may have made room.
                self.forget(bucket);
                continue;
            }
            let (changes, usage) = view.changes();
            if changes.is_empty() {
                return Ok(answers);
            }
            let change = |(key, value): (String, Option<Vec<u8>>)| match value {
                Some(value) => Change::set(keys::entry(bucket, &key), value),
                None => Change::remove(keys::entry(bucket, &key)),
            };
            let mut changes: Vec<Change> = changes.into_iter().map(change).collect();
            changes.push(Change::set(keys::usage(bucket), write_usage(usage)).if_still(revision));
            match self.nats.write(changes).await {
                Ok(revision) => {
                    self.lock().known.insert(bucket.clone(), (revision, usage));
                    return Ok(answers);
                }
                Err(nats::Failure::Conflict) => {
                    self.forget(bucket);
                    if Instant::now() >= until {
                        return Err(nats::Failure::Away(format!(
                            "other nodes have written to {bucket} for {WRITE_TIMEOUT:?} without a pause"
                        )));
                    }
                    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..=pause_ms))).await;
                    pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX);
                }
                Err(failure) => {
                    self.forget(bucket);
                    return Err(failure);
                }
            }
        }
    }

    /// Returns what the keys have that are touched.
    async fn read(
        &self,
        bucket: &Bucket,
        requests: &[Request],
    ) -> Result<BTreeMap<String, Option<Entry>>, nats::Failure> {
        let touched = requests.iter().flat_map(|request| plan::keys(&request.operation));
        let touched: std::collections::BTreeSet<&str> = touched.collect();
        let names = touched.iter().map(|key| keys::entry(bucket, key)).collect();
        let found = self.nats.get_many(names).await?;
        let entry = |of: nats::Entry| Entry { revision: of.revision, value: of.value.to_vec() };
        let found = found.into_iter().map(|found| found.map(entry));
        Ok(touched.into_iter().map(str::to_owned).zip(found).collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Splits what is too much for a batch.
fn split(mut request: Request) -> (Request, Option<Request>) {
    let rest = match &mut request.operation {
        Operation::SetMany { entries } if entries.len() > BATCH_KEYS_MAX => {
            Operation::SetMany { entries: entries.split_off(BATCH_KEYS_MAX) }
        }
        Operation::DeleteMany { keys } if keys.len() > BATCH_KEYS_MAX => {
            Operation::DeleteMany { keys: keys.split_off(BATCH_KEYS_MAX) }
        }
        _ => return (request, None),
    };
    let rest = Request { bucket: request.bucket.clone(), quota: request.quota, operation: rest };
    (request, Some(rest))
}
