//! The queue of compilations: one for each module, few at a time, and a pause after a module that
//! did not compile.
//!
//! A request for a module that is being compiled waits for that compilation. A rollback has a place
//! of its own, which no deploy can take. Owns no fds.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use abi::message::Digest;
use host::backoff::Backoff;
use tokio::sync::{OwnedMutexGuard, Semaphore, SemaphorePermit};

/// How many compilers run at a time, besides the one for rollbacks.
const COMPILERS_MAX: usize = 2;
/// How long a module that did not compile is left alone.
const BACKOFF: Backoff =
    Backoff { first: Duration::from_secs(60), max: Duration::from_secs(60 * 60) };

/// Why a module is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A rollback, or another change of an alias, which does not wait for others.
    Rollback,
    /// A deploy, or a call by the control API.
    Deploy,
    /// A synchronisation with the store, or a call. A module that did not compile lately is not
    /// tried again.
    Serving,
}

/// The step that a compilation is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It waits. [`ahead`](super::cache::Cache::ahead) says how many are before this number.
    Waiting { number: u64 },
    /// The compiler runs.
    Compiling,
}

/// The compilations that wait or run, by increasing numbers.
#[derive(Debug, Default)]
struct Line {
    next: u64,
    numbers: BTreeSet<u64>,
}

/// A number in the line, which is removed when this is dropped.
pub(super) struct Ticket<'a> {
    queue: &'a Queue,
    pub(super) number: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        lock(&self.queue.line).numbers.remove(&self.number);
    }
}

/// A module that did not compile.
#[derive(Debug)]
struct Failed {
    reason: String,
    /// How many times in a row.
    times: u32,
    at: Instant,
    /// When it may be compiled again.
    until: Instant,
    /// Whether the reason was read.
    read: bool,
}

/// The queue of compilations.
#[derive(Debug)]
pub(super) struct Queue {
    /// The locks of modules that are being compiled or waited for.
    turns: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    failed: Mutex<HashMap<Digest, Failed>>,
    line: Mutex<Line>,
    places: Semaphore,
    rollback_place: Semaphore,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            turns: Mutex::default(),
            failed: Mutex::default(),
            line: Mutex::default(),
            places: Semaphore::new(COMPILERS_MAX),
            rollback_place: Semaphore::new(1),
        }
    }
}

impl Queue {
    /// Returns the next number in the line.
    pub(super) fn ticket(&self) -> Ticket<'_> {
        let mut line = lock(&self.line);
        let number = line.next;
        line.next += 1;
        line.numbers.insert(number);
        Ticket { queue: self, number }
    }

    /// Returns how many compilations before `number` wait or run.
    pub(super) fn ahead(&self, number: u64) -> usize {
        lock(&self.line).numbers.range(..number).count()
    }

    /// Waits until nobody else compiles this module.
    pub(super) async fn turn(&self, key: &Digest) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = lock(&self.turns);
            // Locks that nobody holds any more are dropped.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(*key).or_default())
        };
        turn.lock_owned().await
    }

    /// Waits for a compiler's place. `None` never happens, as the semaphores are not closed.
    pub(super) async fn place(&self, purpose: Purpose) -> Option<SemaphorePermit<'_>> {
        let places = if purpose == Purpose::Rollback { &self.rollback_place } else { &self.places };
        places.acquire().await.ok()
    }

    /// Returns why this module is not to be compiled now: it has failed since `since`, or lately if
    /// the purpose is only to serve. Returns `None` if it may be compiled.
    pub(super) fn failure(
        &self,
        key: &Digest,
        purpose: Purpose,
        since: Instant,
        now: Instant,
    ) -> Option<String> {
        let failed = lock(&self.failed);
        let failed = failed.get(key)?;
        let left_alone = purpose == Purpose::Serving && now < failed.until;
        (left_alone || failed.at >= since).then(|| failed.reason.clone())
    }

    /// Records that a module did not compile. `lasting` says whether the file is the reason, so
    /// that the next time would fail, too.
    pub(super) fn failed(&self, key: &Digest, reason: String, lasting: bool, now: Instant) {
        let mut failed = lock(&self.failed);
        let times = failed.get(key).map_or(0, |failed| failed.times) + u32::from(lasting);
        let until = if lasting { now + BACKOFF.after(times) } else { now };
        failed.insert(*key, Failed { reason, times, at: now, until, read: false });
    }

    /// Records that a module was compiled.
    pub(super) fn compiled(&self, key: &Digest) {
        lock(&self.failed).remove(key);
    }

    /// Returns why a module did not compile, and whether this is the first time that the reason is
    /// read.
    pub(super) fn reason(&self, key: &Digest) -> Option<(String, bool)> {
        let mut failed = lock(&self.failed);
        let failed = failed.get_mut(key)?;
        Some((failed.reason.clone(), !std::mem::replace(&mut failed.read, true)))
    }

    /// Forgets the failures of all modules except those that are `kept`.
    pub(super) fn retain(&self, kept: impl Fn(&Digest) -> bool) {
        lock(&self.failed).retain(|key, _| kept(key));
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Digest = [1; 32];

    #[test]
    fn what_does_not_compile_is_left_alone_longer_each_time_and_tried_when_somebody_insists() {
        let (queue, start) = (Queue::default(), Instant::now());
        let later = start + Duration::from_secs(1);
        queue.failed(&KEY, "one".to_owned(), true, start);
        assert_eq!(queue.failure(&KEY, Purpose::Serving, later, later), Some("one".to_owned()));
        for insists in [Purpose::Deploy, Purpose::Rollback] {
            assert_eq!(queue.failure(&KEY, insists, later, later), None);
            assert_eq!(
                queue.failure(&KEY, insists, start, later),
                Some("one".to_owned()),
                "it waited for that one"
            );
        }
        assert_eq!(queue.failure(&KEY, Purpose::Serving, later, start + BACKOFF.first), None);
        queue.failed(&KEY, "two".to_owned(), true, later);
        assert!(
            queue
                .failure(&KEY, Purpose::Serving, later + BACKOFF.first, later + BACKOFF.first)
                .is_some()
        );
        for _ in 0..40 {
            queue.failed(&KEY, "more".to_owned(), true, later);
        }
        assert!(
            queue
                .failure(&KEY, Purpose::Serving, later + BACKOFF.max, later + BACKOFF.max)
                .is_none()
        );
        assert_eq!(queue.reason(&KEY), Some(("more".to_owned(), true)));
        assert_eq!(queue.reason(&KEY), Some(("more".to_owned(), false)));
        queue.compiled(&KEY);
        assert_eq!(queue.reason(&KEY), None);
    }

    #[test]
    fn a_disk_that_fails_once_is_no_reason_to_wait() {
        let (queue, now) = (Queue::default(), Instant::now());
        queue.failed(&KEY, "the disk".to_owned(), false, now);
        let later = now + Duration::from_millis(1);
        assert_eq!(queue.failure(&KEY, Purpose::Serving, later, later), None);
    }

    #[test]
    fn who_comes_later_counts_those_before() {
        let queue = Queue::default();
        let (first, second, third) = (queue.ticket(), queue.ticket(), queue.ticket());
        assert_eq!([&first, &second, &third].map(|ticket| queue.ahead(ticket.number)), [0, 1, 2]);
        drop(second);
        assert_eq!(queue.ahead(third.number), 1);
        drop((first, third));
        assert!(lock(&queue.line).numbers.is_empty(), "nothing is left behind");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_way_back_finds_a_place_when_deploys_have_all_others() {
        let queue = Queue::default();
        let _deploys = (queue.place(Purpose::Deploy).await, queue.place(Purpose::Serving).await);
        assert_eq!(queue.places.available_permits(), 0);
        assert!(queue.place(Purpose::Rollback).await.is_some());
        let first = queue.turn(&KEY).await;
        assert!(tokio::time::timeout(Duration::from_millis(1), queue.turn(&KEY)).await.is_err());
        let _other = queue.turn(&[2; 32]).await;
        drop(first);
        let _second = queue.turn(&KEY).await;
    }
}
