//! Traces: sends what workers have logged of the invocations of sampled traces as OpenTelemetry's
//! spans, and those of what the node itself does.
//!
//! ```text
//! worker ──append──▶ segment of the log ──read on──▶ spans ──queue──▶ batches ──▶ the endpoint
//!                                         (tail, span)      (export)
//! ```
//! No request waits for any of it, and workers know of no endpoint. Each segment that the engine
//! gives to a worker is read as it grows. So an invocation's spans are sent once, also across a
//! take-over, where each engine reads the segments of its own workers. [`headers`] reads the
//! headers that an endpoint wants. Owns a file for each segment that is still written to.

mod export;
mod headers;
mod span;
mod tail;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use abi::limits::{TRACE_QUEUE_MAX, WORKERS_MAX};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use self::export::{Exporter, Piece};
pub use self::span::{Kind, NodeSpan};
use self::tail::Tail;

/// How often the growing segments are read.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Segments that wait to be read on. Workers get theirs seconds apart, and each is taken at once;
/// a thread that has let so many wait stands still, and is to keep no more files open.
const SEGMENTS_MAX: usize = 4 * WORKERS_MAX;
/// How long a node that stops waits until the endpoint has taken the last spans.
const LAST_EXPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    #[error(transparent)]
    Headers(#[from] headers::HeadersError),
    #[error(
        "there can be no HTTP client for --otlp-endpoint: {source}; are there certificates on this machine?"
    )]
    Client { source: reqwest::Error },
    #[error("this node cannot be described to --otlp-endpoint: {source}")]
    Json { source: serde_json::Error },
    #[error("no thread can be started to send spans: {source}; raise `ulimit -u`")]
    Thread { source: std::io::Error },
}

/// What became of spans.
#[derive(Debug, Default)]
struct Counts {
    /// The endpoint has taken them.
    exported: AtomicU64,
    /// The endpoint does not take them.
    refused: AtomicU64,
    /// The endpoint could not be reached at any try.
    unreachable: AtomicU64,
    /// Too many waited for the endpoint.
    overflowed: AtomicU64,
}

/// What became of spans so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct TracesReading {
    pub exported: u64,
    /// Spans that were lost, by the reason.
    pub dropped: [(&'static str, u64); 3],
}

/// The thread that sends spans.
#[derive(Debug)]
pub struct Traces {
    counts: Arc<Counts>,
    /// `None` when no more is taken.
    taken: Mutex<Option<Taken>>,
    ended: watch::Receiver<()>,
}

/// What the thread is given.
#[derive(Debug)]
struct Taken {
    /// Segments to be read.
    segments: Sender<File>,
    /// Spans to be sent.
    spans: Sender<Piece>,
}

impl Traces {
    /// Starts the thread that sends spans to `endpoint`. The headers are those of `headers_file`,
    /// or of the variable `OTEL_EXPORTER_OTLP_HEADERS` if there is none. `instance` names this
    /// node.
    ///
    /// # Errors
    /// Returns [`TracesError`] if the headers cannot be read, or there can be no client or thread.
    pub fn start(
        endpoint: &str,
        headers_file: Option<&Path>,
        instance: &str,
    ) -> Result<Self, TracesError> {
        let exporter = Exporter::new(endpoint, headers::read(headers_file)?, instance)?;
        let (counts, (segments, given)) = (Arc::<Counts>::default(), channel(SEGMENTS_MAX));
        let (spans, pieces) = channel(TRACE_QUEUE_MAX);
        let queue = spans.clone();
        let (running, ended) = watch::channel(());
        let failed = |source| TracesError::Thread { source };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let shared = Arc::clone(&counts);
        let work = move || {
            runtime.block_on(async {
                tokio::join!(read_on(given, queue, &shared), exporter.run(pieces, &shared));
            });
            drop(running);
        };
        std::thread::Builder::new().name("traces".into()).spawn(work).map_err(failed)?;
        Ok(Self { counts, taken: Mutex::new(Some(Taken { segments, spans })), ended })
    }

    /// Reads a segment from now on as it grows. Call it before a worker writes to it.
    pub fn follow(&self, segment: &Path) {
        match (File::open(segment), &*self.taken()) {
            (Ok(file), Some(Taken { segments, .. })) => {
                // The other end is only dropped after this one.
                if let Err(TrySendError::Full(_)) = segments.try_send(file) {
                    tracing::warn!(
                        "no spans of {segment:?} are sent: {SEGMENTS_MAX} segments wait to be read"
                    );
                }
            }
            (Ok(_), None) => {}
            (Err(error), _) => {
                tracing::warn!("no spans of {segment:?} are sent: it cannot be read: {error}")
            }
        }
    }

    /// Sends a span of what the node itself has done, unless its trace is not sampled.
    pub fn record(&self, span: &NodeSpan) {
        let piece = span.to_send().and_then(|span| Piece::new(&[span]));
        if let Some(Taken { spans, .. }) = &*self.taken() {
            put(spans, piece, &self.counts);
        }
    }

    /// Sends the last spans, and waits for that for a while. Call it when every worker has exited.
    pub async fn end(&self) {
        drop(self.taken().take());
        // The thread drops the other end when all is done.
        let mut ended = self.ended.clone();
        if tokio::time::timeout(LAST_EXPORT_TIMEOUT, ended.changed()).await.is_err() {
            tracing::warn!(
                "the last spans are lost: --otlp-endpoint has not taken them within {LAST_EXPORT_TIMEOUT:?}"
            );
        }
    }

    /// Returns the counters.
    pub fn reading(&self) -> TracesReading {
        let Counts { exported, refused, unreachable, overflowed } = &*self.counts;
        let dropped = [("refused", refused), ("unreachable", unreachable), ("queue", overflowed)];
        let dropped = dropped.map(|(reason, count)| (reason, count.load(Relaxed)));
        TracesReading { exported: exported.load(Relaxed), dropped }
    }

    fn taken(&self) -> MutexGuard<'_, Option<Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads segments as they grow until no more are given, and then once more.
async fn read_on(mut given: Receiver<File>, queue: Sender<Piece>, counts: &Counts) {
    let mut tails: Vec<Tail> = Vec::new();
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let ended = tokio::select! {
            file = given.recv() => match file {
                Some(file) => {
                    tails.push(Tail::new(file));
                    continue;
                }
                None => true,
            },
            _ = looks.tick() => false,
        };
        tails.retain_mut(|tail| {
            tail.read_on(|invocation| put(&queue, Piece::new(&span::spans(invocation)), counts))
        });
        if ended {
            return;
        }
    }
}

/// Queues the spans of an invocation, or counts that there was no room.
fn put(queue: &Sender<Piece>, piece: Option<Piece>, counts: &Counts) {
    let Some(piece) = piece else { return };
    if let Err(TrySendError::Full(piece) | TrySendError::Closed(piece)) = queue.try_send(piece) {
        counts.overflowed.fetch_add(piece.spans, Relaxed);
    }
}
