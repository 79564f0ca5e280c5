//! The worker's part of the log: records are gathered in memory and appended to the segment that
//! the engine has opened.
//!
//! The guests' thread puts a record into a chunk of memory and goes on. Another thread writes
//! chunks when they are full or [`SPOOL_FLUSH_INTERVAL`] old: a slow disk delays that thread and no
//! request. Chunks that the disk has not taken wait, up to
//! [`SPOOL_CHUNKS_MAX`](abi::limits::SPOOL_CHUNKS_MAX) chunks; beyond that records are dropped,
//! counted on the board, and marked in the log where they are missing. [`queue`] decides all that
//! and is pure; [`segment`] is the file. The thread owns the segment's fd. The kernel's lock on it
//! shows the engine that somebody still writes there, and goes when the fd is closed.

mod queue;
mod segment;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use abi::board::{Board, LogCounts};
use abi::limits::SPOOL_FLUSH_INTERVAL;
use abi::spool::Record;
use tokio::sync::oneshot;

use self::queue::{Next, Queue};
use self::segment::{Segment, Written};

/// The pause before a disk that has failed is tried again.
const RETRY_INTERVAL: Duration = SPOOL_FLUSH_INTERVAL;

/// The spool. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Spool(Arc<Shared>);

struct Shared {
    board: Arc<Board>,
    row: usize,
    state: Mutex<State>,
    /// Notified when there is something to write, and when everything has been written.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: Queue,
    /// The next segment, until the thread takes it over.
    given: Option<File>,
    /// Whether the thread waits without a timeout, and so must be notified.
    idle: bool,
    ending: bool,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns this worker's counts. Only the thread that holds the state's lock counts, so each
    /// counter has one writer at a time.
    fn counts(&self) -> &LogCounts {
        &self.board.rows()[self.row].counts.log
    }
}

/// Returns the time of day in microseconds, as records have it.
pub(crate) fn time_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Starts the writing thread of the worker of `row`.
pub(crate) fn start(board: Arc<Board>, row: usize) -> std::io::Result<Spool> {
    let shared = Arc::new(Shared { board, row, state: Mutex::default(), changed: Condvar::new() });
    let writer = Arc::clone(&shared);
    std::thread::Builder::new().name("spool".into()).spawn(move || write(&writer))?;
    Ok(Spool(shared))
}

impl Spool {
    /// Logs a record. Never waits for a disk.
    pub(crate) fn put(&self, record: &Record<'_>) {
        let shared = &*self.0;
        let mut state = shared.lock();
        let counts = shared.counts();
        let put = state.queue.put(record, time_us, Instant::now);
        match (put.taken, record) {
            (false, _) => counts.dropped.add(1),
            (true, Record::Line(_)) => counts.lines.add(1),
            (true, _) => counts.records.add(1),
        }
        if put.wake && std::mem::take(&mut state.idle) {
            shared.changed.notify_all();
        }
    }

    /// Switches to `segment`: records from now on go there.
    pub(crate) fn switch(&self, segment: OwnedFd) {
        let mut state = self.0.lock();
        state.queue.begin_segment();
        // A segment that was given before and never written to is closed, and empty.
        state.given = Some(segment.into());
        state.idle = false;
        self.0.changed.notify_all();
    }

    /// Resolves when all records so far are written, or never will be.
    pub(crate) async fn written(&self) {
        let (written, is_written) = oneshot::channel();
        {
            let mut state = self.0.lock();
            if state.ended {
                return;
            }
            state.queue.write_now(written);
            state.idle = false;
        }
        self.0.changed.notify_all();
        // An error means that the thread has ended.
        let _ = is_written.await;
    }

    /// Waits until everything is written, for at most `limit`. Nothing may be logged afterwards.
    pub(crate) fn end(&self, limit: Duration) {
        let mut state = self.0.lock();
        (state.ending, state.idle) = (true, false);
        self.0.changed.notify_all();
        let ended = self.0.changed.wait_timeout_while(state, limit, |state| !state.ended);
        let (_state, waited) = ended.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            tracing::error!(
                "the end of this worker's log is lost: the disk did not take it in {limit:?}"
            );
        }
    }
}

/// The body of the writing thread.
fn write(shared: &Shared) {
    let mut segment: Option<Segment> = None;
    let mut reported = false;
    while let Some(mut chunk) = next(shared, &mut segment) {
        loop {
            let written = match &mut segment {
                Some(segment) => segment.write(&mut chunk),
                None => Written::NeedsSegment,
            };
            match written {
                Written::All { bytes } => {
                    reported = false;
                    let mut state = shared.lock();
                    shared.counts().written_bytes.add(bytes);
                    state.queue.give_back(chunk);
                    break;
                }
                // The engine watches the size of the file, and sends the next segment by itself.
                Written::NeedsSegment => {}
                Written::Failed(error) => {
                    if !std::mem::replace(&mut reported, true) {
                        tracing::error!(
                            "the log cannot be written: {error}; what waits too long is dropped and counted \
                             (free some space; the spool is in the node's --data)"
                        );
                    }
                }
            }
            // Another segment may be on a disk with room; without one the disk gets a moment.
            let mut state = shared.lock();
            if state.given.is_none() && !state.ending {
                let waited = shared.changed.wait_timeout(state, RETRY_INTERVAL);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            if let Some(given) = state.given.take() {
                segment = Some(Segment::new(given));
                chunk.begin_anew();
            } else if state.ending {
                let lost = chunk.records() + state.queue.records();
                shared.counts().dropped.add(lost);
                tracing::error!("the last {lost} records of this worker's log are lost with it");
                state.ended = true;
                shared.changed.notify_all();
                return;
            }
        }
    }
}

/// Waits for the next chunk, and takes over the segment that it is for. Returns `None` at the end.
fn next(shared: &Shared, segment: &mut Option<Segment>) -> Option<queue::Chunk> {
    let mut state = shared.lock();
    loop {
        let ending = state.ending;
        match state.queue.next(Instant::now(), ending) {
            Next::Chunk(chunk) => return Some(chunk),
            // The receiver may be gone.
            Next::Written(written) => drop(written.send(())),
            Next::Segment => {
                if let Some(given) = state.given.take() {
                    *segment = Some(Segment::new(given));
                }
            }
            Next::Wait(_) | Next::Nothing if ending => {
                state.ended = true;
                shared.changed.notify_all();
                return None;
            }
            Next::Wait(wait) => {
                let waited = shared.changed.wait_timeout(state, wait);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            Next::Nothing => {
                state.idle = true;
                state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}
