//! The log: what workers write of each invocation, on its way from this node's disk to the store,
//! and from there to those who ask for it.
//!
//! ```text
//! worker ──append──▶ segment in the spool ──sealed──▶ packed, put, read back ──▶ the store
//!                      │ (spool, reader)              (ship, index, bloom)        │
//!                      └────────── query, follow ◀────────────────────────────────┘
//! ```
//!
//! [`keeper`] runs it on a thread of its own. It gives every worker a segment, and the next one
//! when [`rotate`] says so. It ships the segments that no worker writes to any more, keeps the
//! spool within its bound, and deletes what is too old. No request waits for any of this. If the
//! store is away, segments wait.
//!
//! Whatever dies at whatever moment, a segment is in one of three states: a worker writes to it
//! (and it is locked, see [`spool`]), it waits in the spool, or it is in the store. Between the
//! last two it is in both places, under one id.
//!
//! Owns the spool's folder, and segments' files until workers have them.

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
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc::Sender;
use tokio::sync::{Semaphore, oneshot, watch};

use self::spool::Spool;
use crate::traces::Traces;
use fleet::workers::Roster;
use fleet::workers::supervise::Command;
use store::objects::Objects;
use store::retention::Retention;

/// How long a node that stops waits until the store has taken the rest of its log.
const LAST_SHIPMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// How many callers may follow the log of a node at a time.
const FOLLOWERS_MAX: usize = 32;

/// The settings of the log.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Whether workers log at all. If not, what was logged before can still be read.
    pub on: bool,
    /// What the spool may take on the disk.
    pub spool_bytes: u64,
}

/// The log's counters. Those of workers are on the board.
#[derive(Debug, Default)]
struct Counts {
    /// Segments that a worker has stopped to write to, because it got another or has exited.
    sealed: AtomicU64,
    shipped: AtomicU64,
    shipped_bytes: AtomicU64,
    /// Times that shipping has failed.
    failures: AtomicU64,
    /// Segments that were dropped because the spool was full.
    lost: AtomicU64,
    /// Places in segments where a record should have been.
    damaged: AtomicU64,
}

/// Adds to a counter.
fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Relaxed);
}

/// The log's counters at one moment, and what waits.
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

/// What is in the spool, including what is still written to.
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
    /// The name of this node in the names of segments.
    node: String,
    /// Makes spans of every segment that this engine gives to a worker.
    pub traces: Option<Traces>,
    /// Whether the store has taken the last segment that it was given.
    ships: AtomicBool,
    counts: Counts,
    /// Places for callers that follow the log.
    pub followers: Arc<Semaphore>,
}

/// The thread that runs the log.
#[derive(Debug)]
pub struct Keeper {
    /// Ends the thread. What is sent is used to report the end.
    end: oneshot::Sender<oneshot::Sender<()>>,
}

impl Keeper {
    /// Ships the rest of the log, and waits for that for a while. Call it when every worker has
    /// exited.
    pub async fn end(self) {
        let (done, ended) = oneshot::channel();
        // If the thread has ended before, there is nothing left to ship, and `ended` resolves at
        // once.
        let _ = self.end.send(done);
        if tokio::time::timeout(LAST_SHIPMENT_TIMEOUT, ended).await.is_err() {
            tracing::warn!(
                "the end of the log waits in the spool for the next start: the store has not taken it in time"
            );
        }
    }
}

/// Starts the thread that runs the log. It asks the supervisor behind `commands` to give the
/// workers of `roster` their segments.
///
/// # Errors
/// Returns an error if the spool in `folder` cannot be made or read, or there can be no thread.
pub fn start(
    plan: Plan,
    folder: PathBuf,
    (store, retention): (Arc<dyn Objects>, Arc<Retention>),
    traces: Option<Traces>,
    roster: watch::Receiver<Roster>,
    commands: Sender<Command>,
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
        .spawn(move || runtime.block_on(keeper::run(&kept, (roster, ended), &commands)))?;
    Ok((logs, Keeper { end }))
}

impl Logs {
    /// Returns how long logs are kept in the store. The node that keeps them longest decides.
    pub fn kept_for(&self) -> Duration {
        Duration::from_millis(self.retention.policy().logs_kept_for_ms)
    }

    /// Returns the counters.
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

    /// Removes what a crash has left of unfinished segments. Do not call it while another engine
    /// runs on the folder.
    pub fn clear_unfinished(&self) {
        if let Err(error) = self.spool.clear_unfinished() {
            tracing::warn!("the log's spool {:?} cannot be cleared: {error}", self.spool.path());
        }
    }
}

/// Returns this machine's host name in a form that may be part of a key.
pub fn node_name() -> String {
    store::segment::node(&std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default())
}
