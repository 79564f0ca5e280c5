//! The log: what workers write of each invocation, from this node's disk to the store, and back to
//! whoever asks.
//!
//! ```text
//! worker ──append──▶ segment in the spool ──sealed──▶ packed, put, read back ──▶ logs/... in the store
//!                      │ (spool, reader)              (ship, index, bloom)        │ (name, retain)
//!                      └────────── query, follow ◀────────────────────────────────┘
//! ```
//!
//! [`keeper`] runs it, on a thread of its own: it gives every worker a segment and, when [`rotate`]
//! says so, the next; ships those that nobody writes to any more; keeps the spool within its bound
//! and deletes what is too old. No request waits for any of it. A store that is away only makes
//! segments wait. Whatever dies whenever it likes, a segment is in one of three states: written to
//! (and locked, see [`spool`]), waiting in the spool, or in the store; and between the last two in
//! both, under one id.
//!
//! Owns the spool's folder and, through it, segments' files until workers have them.

#![expect(
    missing_docs,
    reason = "names of fields say what they are, and each variant of an error has its sentence"
)]

mod bloom;
pub mod entry;
mod index;
mod keeper;
pub mod query;
pub mod reader;
mod rotate;
mod ship;
mod spool;
#[cfg(test)]
mod tests;
pub mod traces;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::{Semaphore, oneshot};

use self::spool::Spool;
use crate::traces::Traces;
use fleet::workers::WorkerChange;
use fleet::workers::supervise::Command;
use store::objects::Objects;
use store::retention::Retention;

/// How long a node that stops waits for the store to take the rest of its log.
const LAST_SHIPMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// How many may follow the log of a node at a time.
const FOLLOWERS_MAX: usize = 32;

/// What is chosen of it.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Whether workers log at all. What there is can be read all the same.
    pub on: bool,
    pub spool_bytes: u64,
}

/// What is counted of it. What workers count is on the board.
#[derive(Debug, Default)]
struct Counts {
    /// Segments that workers were told to write no more to, or died over.
    sealed: AtomicU64,
    shipped: AtomicU64,
    shipped_bytes: AtomicU64,
    /// Tries that did not.
    failures: AtomicU64,
    /// Segments that were dropped because the spool was full.
    lost: AtomicU64,
    /// Places in segments where a record should have been.
    damaged: AtomicU64,
}

fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Relaxed);
}

/// What [`Counts`] stand at, and what waits.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct LogsReading {
    pub sealed: u64,
    pub shipped: u64,
    pub shipped_bytes: u64,
    pub failures: u64,
    pub lost: u64,
    pub damaged: u64,
    pub waiting: Waiting,
}

/// What is in the spool, with what is still being written.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    pub segments: u64,
    pub bytes: u64,
}

/// The log of a node.
#[derive(Debug)]
pub struct Logs {
    plan: Plan,
    spool: Spool,
    store: Arc<dyn Objects>,
    retention: Arc<Retention>,
    /// This node in segments' names.
    node: String,
    /// What reads on in every segment that this engine makes.
    pub traces: Option<Traces>,
    /// The store has taken the last segment that it was given.
    ships: AtomicBool,
    counts: Counts,
    /// Places for those who follow it.
    pub followers: Arc<Semaphore>,
}

/// The thread that runs the log, for whoever ends it.
#[derive(Debug)]
pub struct Keeper {
    /// Sent where the end is to be reported.
    end: oneshot::Sender<oneshot::Sender<()>>,
}

impl Keeper {
    /// Ships what there is, for a while. Call it when every worker has exited.
    pub async fn end(self) {
        let (done, ended) = oneshot::channel();
        // A thread that has gone has nothing left to ship: `ended` resolves at once.
        let _ = self.end.send(done);
        if tokio::time::timeout(LAST_SHIPMENT_TIMEOUT, ended).await.is_err() {
            tracing::warn!(
                "the end of the log waits in the spool for the next start: the store has not taken it in time"
            );
        }
    }
}

/// Starts the thread that runs the log. It asks the supervisor behind `commands` to give workers
/// their segments.
///
/// # Errors
/// When the spool in `folder` cannot be made or read.
pub fn start(
    plan: Plan,
    folder: PathBuf,
    (store, retention): (Arc<dyn Objects>, Arc<Retention>),
    traces: Option<Traces>,
    changes: UnboundedReceiver<WorkerChange>,
    commands: UnboundedSender<Command>,
) -> anyhow::Result<(Arc<Logs>, Keeper)> {
    let spool = Spool::open(folder.clone())
        .with_context(|| format!("the log's spool {folder:?} cannot be made"))?;
    let (ships, counts) = (AtomicBool::new(true), Counts::default());
    let logs = Arc::new(Logs {
        plan,
        spool,
        store,
        retention,
        node: node_name(),
        traces,
        ships,
        counts,
        followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
    });
    let (end, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let kept = Arc::clone(&logs);
    std::thread::Builder::new()
        .name("logs".into())
        .spawn(move || runtime.block_on(keeper::run(&kept, (changes, ended), &commands)))?;
    Ok((logs, Keeper { end }))
}

impl Logs {
    /// How long logs are kept in the store, by the node that keeps them longest.
    pub fn kept_for(&self) -> Duration {
        Duration::from_millis(self.retention.policy().logs_kept_for_ms)
    }

    /// What is counted now.
    pub fn reading(&self) -> LogsReading {
        let segments = self.spool.segments().unwrap_or_default();
        let bytes = segments.iter().map(|segment| segment.bytes).sum();
        let counts = &self.counts;
        LogsReading {
            sealed: counts.sealed.load(Relaxed),
            shipped: counts.shipped.load(Relaxed),
            shipped_bytes: counts.shipped_bytes.load(Relaxed),
            failures: counts.failures.load(Relaxed),
            lost: counts.lost.load(Relaxed),
            damaged: counts.damaged.load(Relaxed),
            waiting: Waiting { segments: segments.len() as u64, bytes },
        }
    }

    /// Removes what a crash left of segments being made. Not while another engine runs on the
    /// folder.
    pub fn clear_unfinished(&self) {
        if let Err(error) = self.spool.clear_unfinished() {
            tracing::warn!("the log's spool {:?} cannot be cleared: {error}", self.spool.path());
        }
    }
}

/// This machine's host name, as it can stand in a key.
pub fn node_name() -> String {
    store::segment::node(&std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default())
}

/// The time of day in milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
