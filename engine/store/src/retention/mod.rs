//! How long logs and old versions are kept in a store that nodes share: as long as any node wants
//! to keep them.
//!
//! ```text
//! retention/<host>-<uuid>      what one node keeps (a checked object): see [`policy`]
//! ```
//! A node writes its own policy every quarter of an hour, and applies the most generous of all that
//! count ([`records`]), so the strictest node deletes nothing that another one keeps. The store's
//! clock says how old an object is: the time when it was written, against the time when the node's
//! policy was just written. That clock is trusted while it runs evenly ([`clock`]). A policy that
//! cannot be read keeps everything. [`segments`] says which logs are deleted, and [`versions`]
//! which versions. Owns no fds.

mod clock;
#[cfg(test)]
mod memory;
mod policy;
mod records;
pub mod segments;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
pub mod versions;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};
use tokio::sync::Mutex;

use self::clock::{Clock, Pace, Reading};
pub use self::policy::Policy;
use self::policy::{FOLDER, key};
use self::records::{COUNTS_FOR, Records};
use super::error::StoreError;
use super::format::{FORMAT, FORMAT_BYTES_MAX, FORMAT_KEY};
use super::objects::{Objects, checked};
use host::fault::Fault;
use host::node_id;

/// The longest time between two writes of a node's policy.
const REFRESH_INTERVAL_MAX: Duration = Duration::from_secs(15 * 60);
const POLICY_BYTES_MAX: usize = 64 * 1024;

/// Why the node cannot say now what to delete.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the store {0} is not of today's format yet")]
    NotYet(String),
    #[error("the store {store} does not list {key:?}, which was just written there")]
    NotListed { store: String, key: String },
    #[error("the policy {key:?} cannot be written down: {source}")]
    Json { key: String, source: serde_json::Error },
    #[error("another engine has taken over")]
    TakenOver,
}

impl RetentionError {
    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            Self::NotYet(_) => Fault::STORE_AWAY,
            Self::NotListed { .. } => Fault::STORE_BROKEN,
            Self::Json { .. } => Fault::NODE_BROKEN,
            Self::TakenOver => Fault::UNAVAILABLE.soon(),
        }
    }
}

/// What decides what is deleted.
#[derive(Debug, Clone, Copy)]
pub struct Verdict {
    /// The most generous policy of all nodes.
    pub policy: Policy,
    /// The time by the store's clock, if that is trusted.
    pub now: Option<SystemTime>,
}

impl Verdict {
    /// Returns whether an object that was `written` then, by the store's clock, is certainly older
    /// than `age_ms`. Any object is older than no time at all.
    pub fn is_older(&self, written: SystemTime, age_ms: u64) -> bool {
        let older = |now: SystemTime| {
            let age = now.duration_since(written).unwrap_or_default();
            age.as_millis() > u128::from(age_ms)
        };
        age_ms == 0 || self.now.is_some_and(older)
    }
}

/// The retention of a store, as one node enforces it.
#[derive(Debug)]
pub struct Retention {
    objects: Arc<dyn Objects>,
    /// The key of the node's own policy.
    key: String,
    own: Policy,
    /// How often to search for what is to be deleted.
    interval: Duration,
    /// Whether another engine has taken over, with the same key.
    taken_over: AtomicBool,
    state: Mutex<State>,
    /// The result of the last look, for callers that do not wait for the store.
    last: std::sync::Mutex<Option<Verdict>>,
}

#[derive(Debug)]
struct State {
    clock: Clock,
    records: Records,
}

impl Retention {
    /// Returns the retention of a store, for the node with the data folder `data` on the machine
    /// `host`. Its own policy is `own`, and it searches every `interval` for what is to be deleted.
    ///
    /// # Errors
    /// When the data folder cannot be written to.
    pub fn new(
        objects: Arc<dyn Objects>,
        (data, host): (&Path, &str),
        own: Policy,
        interval: Duration,
    ) -> Result<Self, StoreError> {
        let id = node_id::get_or_make(data);
        let key = key(host, &id.map_err(StoreError::io("write", &node_id::path(data)))?);
        // A search begins a little sooner than an interval after the one before.
        let clock = Clock::new(interval - interval / 12);
        let state = Mutex::new(State { clock, records: Records::default() });
        let (taken_over, last) = (AtomicBool::new(false), std::sync::Mutex::default());
        Ok(Self { objects, key, own, interval, taken_over, state, last })
    }

    /// Returns how often to search for what is to be deleted.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Returns how often to [look](Self::look), which writes the node's policy.
    pub fn refresh_interval(&self) -> Duration {
        (self.interval / 4).min(REFRESH_INTERVAL_MAX)
    }

    /// Writes the node's policy, and reads those of all others and the store's clock.
    ///
    /// # Errors
    /// When the node cannot say now what to delete.
    pub async fn look(&self) -> Result<Verdict, RetentionError> {
        self.look_by(since_boot).await
    }

    /// Returns the result of the last look. It only serves to see whether another look is worth it.
    pub fn last(&self) -> Option<Verdict> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the most generous policy of all nodes, as far as they are known.
    pub fn policy(&self) -> Policy {
        self.last().map_or(self.own, |last| last.policy)
    }

    /// Stops all looks, as another engine does them from now on.
    pub fn hand_over(&self) {
        self.taken_over.store(true, SeqCst);
    }

    async fn look_by(&self, monotonic: impl Fn() -> Duration) -> Result<Verdict, RetentionError> {
        let mut state = self.state.lock().await;
        if self.taken_over.load(SeqCst) {
            return Err(RetentionError::TakenOver);
        }
        self.objects.verify().await?;
        if self.objects.get(FORMAT_KEY, FORMAT_BYTES_MAX).await?.as_deref()
            != Some(FORMAT.as_bytes())
        {
            return Err(RetentionError::NotYet(self.objects.name()));
        }
        // The own policy first: others see what this node keeps before it deletes anything, and the
        // time of this write is what the store's clock says now.
        let failed = |source| RetentionError::Json { key: self.key.clone(), source };
        self.objects.put(&self.key, self.own.seal().map_err(failed)?).await?;
        let now = monotonic();
        let listed = self.objects.list(FOLDER, "").await?;
        let own = listed.iter().find(|listed| listed.key == self.key);
        let own = own.ok_or_else(|| {
            let (store, key) = (self.objects.name(), self.key.clone());
            RetentionError::NotListed { store, key }
        })?;
        let store = self.trusted_time(&mut state.clock, now, own.modified);
        let unread = state.records.list(&listed, &self.key, now);
        for key in store.map(|store| state.records.expire(now, store)).unwrap_or_default() {
            tracing::info!(
                "the policy {key:?} counts no longer: its node has not written it for {}",
                humantime::format_duration(COUNTS_FOR)
            );
            self.objects.delete(&key).await?;
        }
        for key in unread {
            if let Some(policy) = self.read(&key).await? {
                state.records.read(&key, policy);
            }
        }
        let verdict = Verdict { policy: state.records.most_generous(self.own), now: store };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
        Ok(verdict)
    }

    /// Returns the store's time, if its clock is trusted.
    fn trusted_time(
        &self,
        clock: &mut Clock,
        monotonic: Duration,
        store: SystemTime,
    ) -> Option<SystemTime> {
        match clock.read(Reading { monotonic, store }) {
            Pace::Even => Some(store),
            Pace::Unknown => None,
            Pace::Jumped { monotonic, from, to } => {
                tracing::warn!(
                    "the clock of the store {} went from {} to {} while {} passed on this machine: it \
                     was set, or stood still. Nothing is deleted for its age until it has gone evenly \
                     for {}; see that NTP keeps the time on the machine that has the store",
                    self.objects.name(),
                    humantime::format_rfc3339_seconds(to_show(from)),
                    humantime::format_rfc3339_seconds(to_show(to)),
                    humantime::format_duration(Duration::from_secs(monotonic.as_secs())),
                    humantime::format_duration(self.interval),
                );
                None
            }
        }
    }

    /// Reads the policy of another node. Returns `None` if it was removed meanwhile. A policy that
    /// cannot be parsed is logged, and keeps everything.
    async fn read(&self, key: &str) -> Result<Option<Policy>, StoreError> {
        let read = match checked::get(&*self.objects, key, POLICY_BYTES_MAX).await {
            Ok(None) => return Ok(None),
            Ok(Some(object)) => Policy::open(key, object),
            Err(StoreError::Damaged { reason, .. }) => Err(reason),
            Err(error) => return Err(error),
        };
        Ok(Some(read.unwrap_or_else(|reason| {
            tracing::warn!(
                "the policy {key:?} in the store {} cannot be read: {reason}. No log and no old version \
                 is deleted while it is there; delete it if its node is gone, or give all nodes one build",
                self.objects.name()
            );
            Policy::EVERYTHING
        })))
    }
}

/// Returns `time`, or the nearest one that has a year of four digits.
fn to_show(time: SystemTime) -> SystemTime {
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    time.clamp(SystemTime::UNIX_EPOCH, last)
}

/// Returns how long this machine has run, including the time that it has slept (clock_gettime(2)).
fn since_boot() -> Duration {
    // Every Linux has this clock. Without it time stands still, and the store's clock is never
    // trusted.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}
