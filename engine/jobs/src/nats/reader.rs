//! Reads: a job, a list, and all that this node is to run. Owns no fds.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use nats::{Entry, Failure};
use tokio::sync::oneshot;

use super::keys::{self, Kept};
use super::ledger::Own;
use super::plan::Work;
use super::{Shared, damaged};
use crate::JobId;
use crate::record::{self, Finished};
use crate::store::{Answer, Filter, Found, Indexed};

/// How often a list that is older than it may be is asked for again,
const ATTEMPTS: u32 = 20;
/// and after how long.
const PAUSE: Duration = Duration::from_millis(100);

impl Shared {
    /// Returns a job with its request, if it is this node's.
    pub(super) async fn load(&self, id: JobId) -> Result<Answer, Failure> {
        let (job, first) = (keys::job(id), keys::part(id, 0));
        let (job, first) = tokio::join!(self.nats.get(&job), self.nats.get(&first));
        let Some(Entry { revision, value }) = job? else {
            self.lock_ledger().remove(id);
            return Ok(Answer::Unknown);
        };
        let Ok(Kept { owner, parts, record }) = Kept::decode(&value) else {
            return Ok(Answer::Unavailable(damaged(id)));
        };
        if owner != self.node {
            self.lock_ledger().remove(id);
            return Ok(Answer::Unknown);
        }
        self.lock_ledger().wrote(id, revision);
        let mut found = vec![first?];
        found.extend(self.nats.get_many(keys::parts(id, parts).skip(1).collect()).await?);
        let found: Option<Vec<Bytes>> =
            found.into_iter().map(|part| part.map(|entry| entry.value)).collect();
        match found.map(|parts| keys::join(&parts)) {
            Some(Ok(request)) => Ok(Answer::Loaded(Box::new((record, request)))),
            _ => {
                tracing::error!("the request of the job {id} is damaged, and left alone");
                Ok(Answer::Unknown)
            }
        }
    }

    /// Returns what is known of a job, whichever node has it.
    pub(super) async fn show(&self, id: JobId) -> Result<Answer, Failure> {
        let (job, done) = (keys::job(id), keys::done(id));
        let (job, done) = tokio::join!(self.nats.get(&job), self.nats.get(&done));
        let found = match (job?, done?) {
            (Some(job), _) => Kept::decode(&job.value).map(|kept| Found::Kept(kept.record)),
            (None, Some(done)) => record::decode(&done.value).map(Found::Finished),
            (None, None) => return Ok(Answer::Unknown),
        };
        Ok(match found {
            Ok(found) => Answer::Shown(Box::new(found)),
            Err(_) => Answer::Unavailable(damaged(id)),
        })
    }

    /// Returns the newest jobs of all nodes.
    pub(super) async fn list(&self, filter: &Filter) -> Result<Answer, Failure> {
        let Filter { function, with_queued, with_dead, with_done, limit } = filter;
        let patterns = [(keys::JOBS, *with_queued || *with_dead), (keys::DONE, *with_done)];
        let patterns: Vec<&str> =
            patterns.iter().filter(|(_, wanted)| *wanted).map(|(pattern, _)| *pattern).collect();
        let is_wanted = |found: &Found| {
            let (of, wanted) = match found {
                Found::Kept(record) if record.death.is_some() => (&record.function, *with_dead),
                Found::Kept(record) => (&record.function, *with_queued),
                Found::Finished(finished) => (&finished.function, *with_done),
            };
            wanted && function.as_ref().is_none_or(|function| function == of)
        };
        let mut listed = Vec::new();
        if patterns.is_empty() {
            return Ok(Answer::Listed(listed));
        }
        for (key, Entry { value, .. }) in self.nats.entries(&patterns).await? {
            let Some(id) = keys::id(&key) else { continue };
            let found = match key.starts_with("done.") {
                true => whole::<Finished>(id, record::decode(&value)).map(Found::Finished),
                false => whole(id, Kept::decode(&value)).map(|kept| Found::Kept(kept.record)),
            };
            listed.extend(found.filter(is_wanted).map(|found| (id, found)));
        }
        listed.sort_by_key(|(id, _)| *id);
        // One that ended meanwhile is there as both: the later one is what became of it.
        listed.dedup_by_key(|(id, _)| *id);
        Ok(Answer::Listed(listed.split_off(listed.len().saturating_sub(*limit))))
    }

    /// Returns the jobs of this node, after it has taken over those of nodes that have gone.
    pub(super) async fn scan(self: &Arc<Self>) -> Result<Answer, Failure> {
        let revision = self.renew().await?;
        let found = self.entries_since(revision).await?;
        let (mut own, mut orphans, now) = (Vec::new(), Vec::new(), Instant::now());
        let takes_all = self.takes_all.swap(false, Relaxed);
        {
            let mut nodes = self.lock_nodes();
            for (key, Entry { revision, value }) in found {
                let Some(id) = keys::id(&key) else { continue };
                let Some(kept) = whole(id, Kept::decode(&value)) else { continue };
                if kept.owner == self.node {
                    own.push((id, revision, kept));
                    continue;
                }
                nodes.name(&kept.owner, now);
                if nodes.has_gone(&kept.owner, now) {
                    match takes_all || nodes.is_mine(id, now) {
                        true => orphans.push((id, revision, kept)),
                        // It is looked again whether another one has really taken it over.
                        false => self.is_left_over.store(true, Relaxed),
                    }
                }
            }
        }
        let indexed = |(id, _, Kept { record, .. }): &(JobId, u64, Kept)| Indexed {
            id: *id,
            function: record.function.clone(),
            due_ms: record.due_ms,
            is_dead: record.death.is_some(),
        };
        let mut scanned: Vec<Indexed> = own.iter().map(indexed).collect();
        let of_ledger = |(id, revision, kept): (JobId, u64, Kept)| {
            (id, Own::new(revision, kept.parts, &kept.record))
        };
        let lost = self.lock_ledger().replace(own.into_iter().map(of_ledger).collect(), revision);
        if lost > 0 {
            tracing::warn!("{lost} asynchronous invocations are this node's no more");
        }
        scanned.extend(self.adopt(orphans, indexed).await);
        Ok(Answer::Scanned(scanned))
    }

    /// Returns all jobs, as they were when the bucket was at `revision`, or later.
    async fn entries_since(&self, revision: u64) -> Result<Vec<(String, Entry)>, Failure> {
        let own_sign = keys::node(&self.node);
        for _ in 0..ATTEMPTS {
            let found = self.nats.entries(&[keys::JOBS, &own_sign]).await?;
            let seen = found.iter().find(|(key, _)| *key == own_sign);
            if seen.is_some_and(|(_, seen)| seen.revision >= revision) {
                return Ok(found);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(Failure::Away("the server that lists jobs lags behind".to_owned()))
    }

    /// Makes these jobs this node's. Returns those that have become so.
    async fn adopt(
        self: &Arc<Self>,
        orphans: Vec<(JobId, u64, Kept)>,
        indexed: impl Fn(&(JobId, u64, Kept)) -> Indexed,
    ) -> Vec<Indexed> {
        let adopt = |orphan: (JobId, u64, Kept)| {
            let index = indexed(&orphan);
            let (id, revision, kept) = orphan;
            let (done, answer) = oneshot::channel();
            let work = Work::Adopt { id, revision, kept };
            self.write(work, Box::new(move |answer| drop(done.send(answer))));
            async move { (answer.await == Ok(Answer::Done)).then_some(index) }
        };
        let count = orphans.len();
        let adopted: Vec<Indexed> =
            join_all(orphans.into_iter().map(adopt)).await.into_iter().flatten().collect();
        if count > 0 {
            tracing::info!(
                "this node has taken over {} asynchronous invocations of nodes that have gone",
                adopted.len()
            );
        }
        if adopted.len() < count {
            self.is_left_over.store(true, Relaxed);
        }
        adopted
    }
}

/// Returns a value that is as it was written.
fn whole<T>(id: JobId, decoded: Result<T, record::Damaged>) -> Option<T> {
    if decoded.is_err() {
        tracing::error!("the job {id} in NATS is damaged, and left alone");
    }
    decoded.ok()
}
