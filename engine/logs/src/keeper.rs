//! What runs the log: three loops on one thread, which only ever wait for each other at the end.
//! Owns segments' files until workers have them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::{oneshot, watch};

use super::rotate::{Rotation, backoff};
use super::ship::{self, ShipError};
use super::spool::{Sealed, Spool};
use super::{Logs, count};
use fleet::core::fleet::WorkerId;
use fleet::workers::WorkerChange;
use fleet::workers::supervise::Command;
use store::retention::RetentionError;
use store::retention::segments;
use store::segment;

/// How often segments are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How soon the store is looked through for what is too old when it could not be.
const RETAIN_RETRY_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Runs the log until it is told that nobody writes any more.
pub(super) async fn run(
    logs: &Logs,
    (mut changes, end): (UnboundedReceiver<WorkerChange>, EndReceiver),
    commands: &UnboundedSender<Command>,
) {
    let (finish, finishing) = watch::channel(false);
    let writing = async {
        let done = give(logs, &mut changes, end, commands).await;
        let _ = finish.send(true);
        done
    };
    let work = async { tokio::join!(writing, ship_all(logs, finishing)) };
    let done = tokio::select! {
        (done, ()) = work => done,
        never = retain_all(logs) => match never {},
    };
    let _ = done.map(|done| done.send(()));
}

/// Where whoever ends the log says whom to answer when everything is shipped.
type EndReceiver = oneshot::Receiver<oneshot::Sender<()>>;

/// The segment that a worker writes to.
struct Given {
    rotation: Rotation,
    /// None while there is none that could be made.
    path: Option<PathBuf>,
}

/// Gives workers their segments. Ends with whom to tell when all is done; none when nobody is left
/// to tell anything.
async fn give(
    logs: &Logs,
    changes: &mut UnboundedReceiver<WorkerChange>,
    mut end: EndReceiver,
    commands: &UnboundedSender<Command>,
) -> Option<oneshot::Sender<()>> {
    let mut given: HashMap<WorkerId, Given> = HashMap::new();
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failed = false;
    loop {
        tokio::select! {
            // Changes first: the end comes behind the last of them.
            biased;
            Some(change) = changes.recv() => match change {
                WorkerChange::Started(worker) if logs.plan.on => {
                    given.insert(worker, Given { rotation: Rotation::new(logs.plan.spool_bytes), path: None });
                    try_give(logs, &mut given, commands, &mut failed);
                }
                WorkerChange::Started(_) => {}
                WorkerChange::Exited(worker) => {
                    count(&logs.counts.sealed, u64::from(given.remove(&worker).is_some()));
                }
            },
            done = &mut end => return done.ok(),
            _ = look.tick() => {
                try_give(logs, &mut given, commands, &mut failed);
                bound(logs);
            }
        }
    }
}

/// Gives a new segment to each worker that has none, or for which another is due.
fn try_give(
    logs: &Logs,
    given: &mut HashMap<WorkerId, Given>,
    commands: &UnboundedSender<Command>,
    failed: &mut bool,
) {
    let (now, ships) = (Instant::now(), logs.ships.load(Relaxed));
    for (worker, Given { rotation, path }) in given {
        // One that is not there was sealed by a worker that has closed it, and shipped: it is to
        // have another.
        let bytes =
            path.as_ref().and_then(|path| path.metadata().ok()).map(|metadata| metadata.len());
        if bytes.is_some_and(|bytes| !rotation.is_due(bytes, now, ships)) {
            continue;
        }
        match logs.spool.create() {
            Ok((created, file)) => {
                count(&logs.counts.sealed, u64::from(path.is_some()));
                logs.traces.iter().for_each(|traces| traces.follow(&created));
                (*rotation, *path, *failed) =
                    (Rotation::new(logs.plan.spool_bytes), Some(created), false);
                let _ = commands.send(Command::Spool { worker: *worker, segment: Arc::new(file) });
            }
            Err(error) => {
                if !std::mem::replace(failed, true) {
                    let folder = logs.spool.path();
                    tracing::error!(
                        "no segment of the log can be made in {folder:?}: {error}; free some space there"
                    );
                }
            }
        }
    }
}

/// Keeps the spool within its bound.
fn bound(logs: &Logs) {
    match logs.spool.bound(logs.plan.spool_bytes) {
        Ok(gone) if gone.is_empty() => {}
        Ok(gone) => {
            count(&logs.counts.lost, gone.len() as u64);
            let bytes: u64 = gone.iter().map(|segment| segment.bytes).sum();
            tracing::error!(
                "{} of the oldest segments of the log, {bytes} bytes, are dropped: the spool is full (--spool-size {}), and the \
                 store {} does not take them",
                gone.len(),
                logs.plan.spool_bytes,
                logs.store.name(),
            );
        }
        Err(error) => {
            tracing::warn!("the log's spool {:?} cannot be looked at: {error}", logs.spool.path())
        }
    }
}

/// Ships what is sealed, until it is to finish and there is no more.
async fn ship_all(logs: &Logs, mut finishing: watch::Receiver<bool>) {
    let mut failures = 0;
    loop {
        let last = *finishing.borrow_and_update();
        let wait = match ship_sealed(logs).await {
            Ok(()) => {
                if failures > 0 {
                    tracing::info!("the store {} takes the log again", logs.store.name());
                }
                failures = 0;
                LOOK_INTERVAL
            }
            Err(error) => {
                count(&logs.counts.failures, 1);
                if failures == 0 {
                    tracing::warn!(
                        "{error}; it is tried again, and the log waits in {:?}",
                        logs.spool.path()
                    );
                }
                failures += 1;
                backoff(failures)
            }
        };
        logs.ships.store(failures == 0, Relaxed);
        if last {
            return;
        }
        let _ = tokio::time::timeout(wait, finishing.changed()).await;
    }
}

/// Ships every segment that nobody writes to.
async fn ship_sealed(logs: &Logs) -> Result<(), ShipError> {
    for segment in logs.spool.segments().map_err(ShipError::Read)? {
        let Some(sealed) = Spool::seal(&segment).map_err(ShipError::Read)? else { continue };
        match ship::ship(sealed, &logs.node, &*logs.store).await {
            Ok(shipped) => {
                let counts = &logs.counts;
                count(&counts.shipped, u64::from(shipped.key.is_some()));
                count(&counts.shipped_bytes, shipped.packed_bytes);
                count(&counts.damaged, shipped.damaged);
                if shipped.damaged > 0 {
                    tracing::warn!(
                        "a segment of the log had {} places where a record was torn or damaged; the others are shipped",
                        shipped.damaged
                    );
                }
                tracing::debug!("a segment of the log is shipped: {shipped:?}");
            }
            Err(ShipError::Read(error)) if error.kind() == io::ErrorKind::InvalidData => {
                let aside = Sealed::set_aside(&segment.path).map_err(ShipError::Read)?;
                tracing::error!(
                    "{:?} in the log's spool: {error}; it is left as {aside:?}",
                    segment.path
                );
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes what this node keeps anew, and deletes what is too old, again and again.
async fn retain_all(logs: &Logs) -> Infallible {
    let (interval, refresh_interval) =
        (logs.retention.interval(), logs.retention.refresh_interval());
    let mut retained: Option<Instant> = None;
    loop {
        let is_due = retained.is_none_or(|retained| retained.elapsed() >= interval);
        let done = match is_due {
            true => retain_once(logs).await,
            false => logs.retention.look().await.map(|_| 0),
        };
        let wait = match done {
            Ok(deleted) => {
                if deleted > 0 {
                    tracing::info!(
                        "{deleted} segments of the log were deleted: --logs-kept-for and --logs-kept-size \
                         of all nodes say so"
                    );
                }
                retained = if is_due { Some(Instant::now()) } else { retained };
                refresh_interval
            }
            Err(error) => {
                tracing::debug!(
                    "the log in the store cannot be looked through for what is too old: {error}"
                );
                refresh_interval.min(RETAIN_RETRY_INTERVAL)
            }
        };
        tokio::time::sleep(wait).await;
    }
}

async fn retain_once(logs: &Logs) -> Result<usize, RetentionError> {
    let listed = logs.store.list(segment::PREFIX, "").await?;
    // What other nodes keep is read last, right before it counts.
    let gone = segments::to_remove(listed, &logs.retention.look().await?);
    for key in &gone {
        logs.store.delete(key).await?;
    }
    Ok(gone.len())
}
