//! Runs the log: three loops on one thread, which give segments, ship them, and delete what is too
//! old. They wait for each other only at the end. Owns segments' files until workers have them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;
use tokio::sync::{oneshot, watch};

use super::rotate::{Rotation, SHIP_BACKOFF};
use super::ship::{self, ShipError};
use super::spool::{Sealed, Spool};
use super::{Logs, count};
use fleet::core::fleet::WorkerId;
use fleet::workers::Roster;
use fleet::workers::supervise::Command;
use store::retention::RetentionError;
use store::retention::segments;
use store::segment;

/// How often the loops look at segments.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// When the store is looked through again if that has failed.
const RETAIN_RETRY_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Runs the log until it is told that no worker writes any more.
pub(super) async fn run(
    logs: &Logs,
    (mut roster, end): (watch::Receiver<Roster>, EndReceiver),
    commands: &Sender<Command>,
) {
    let (finish, finishing) = watch::channel(false);
    let writing = async {
        let done = give(logs, &mut roster, end, commands).await;
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

/// Where the end comes in, with whom to answer when everything is shipped.
type EndReceiver = oneshot::Receiver<oneshot::Sender<()>>;

/// The segment that a worker writes to.
struct Given {
    rotation: Rotation,
    /// `None` until one could be made.
    path: Option<PathBuf>,
}

/// Gives workers their segments until the end. Returns whom to answer when everything is shipped.
/// Returns `None` if nobody waits for that.
async fn give(
    logs: &Logs,
    roster: &mut watch::Receiver<Roster>,
    mut end: EndReceiver,
    commands: &Sender<Command>,
) -> Option<oneshot::Sender<()>> {
    let mut given: HashMap<WorkerId, Given> = HashMap::new();
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failed = false;
    loop {
        tokio::select! {
            // The roster first: the end comes when nobody is left in it.
            biased;
            Ok(()) = roster.changed() => {
                let workers = roster.borrow_and_update().clone();
                let before = given.len();
                given.retain(|worker, _| workers.contains(worker));
                count(&logs.counts.sealed, (before - given.len()) as u64);
                if logs.plan.on {
                    for worker in workers {
                        given.entry(worker).or_insert_with(|| Given {
                            rotation: Rotation::new(logs.plan.spool_bytes),
                            path: None,
                        });
                    }
                    try_give(logs, &mut given, commands, &mut failed).await;
                }
            }
            done = &mut end => return done.ok(),
            _ = look.tick() => {
                try_give(logs, &mut given, commands, &mut failed).await;
                bound(logs);
            }
        }
    }
}

/// Gives a new segment to each worker that has none, or for which another is due. May wait for the
/// supervisor, which never waits for this thread.
async fn try_give(
    logs: &Logs,
    given: &mut HashMap<WorkerId, Given>,
    commands: &Sender<Command>,
    failed: &mut bool,
) {
    let (now, ships) = (Instant::now(), logs.ships.load(Relaxed));
    for (worker, Given { rotation, path }) in given {
        // A segment that is not there any more was closed by its worker and shipped. The worker is
        // to have another.
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
                let segment = Arc::new(file);
                let _ = commands.send(Command::Spool { worker: *worker, segment }).await;
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

/// Drops the oldest segments until the spool is within its bound.
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

/// Ships segments as they are sealed. When `finishing` is set, ships the rest and ends.
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
                SHIP_BACKOFF.after(failures)
            }
        };
        logs.ships.store(failures == 0, Relaxed);
        if last {
            return;
        }
        let _ = tokio::time::timeout(wait, finishing.changed()).await;
    }
}

/// Ships every segment that no worker writes to.
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

/// Deletes what is too old from the store, and refreshes there what this node keeps, again and
/// again.
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

/// Deletes what is too old. Returns how many segments that were.
async fn retain_once(logs: &Logs) -> Result<usize, RetentionError> {
    let listed = logs.store.list(segment::PREFIX, "").await?;
    // What other nodes keep is read last, as it may change meanwhile.
    let gone = segments::to_remove(listed, &logs.retention.look().await?);
    for key in &gone {
        logs.store.delete(key).await?;
    }
    Ok(gone.len())
}
