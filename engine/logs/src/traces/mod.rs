//! Traces: what workers have recorded of invocations that belong to a sampled trace, sent on as
//! OpenTelemetry's spans.
//!
//! ```text
//! worker ──append──▶ segment of the log ──read on──▶ spans ──queue──▶ batches ──▶ the endpoint
//!                                         (tail, span)      (export)
//! ```
//! No request waits for any of it, and workers know of no endpoint. Each segment that the engine
//! gives to a worker is read as it grows, so an invocation's spans are sent once, also across a
//! take-over, where each engine reads those of its own workers. [`headers`] reads what an endpoint
//! wants to be shown. Owns a file for each segment that is still written to.

mod export;
mod headers;
mod span;
mod tail;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use abi::limits::TRACE_QUEUE_MAX;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use self::export::{Exporter, Piece};
use self::tail::Tail;

/// How often segments are read on.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How long a node that stops waits for the endpoint to take the last spans.
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
    /// It will not.
    refused: AtomicU64,
    /// It could not be reached, again and again.
    unreachable: AtomicU64,
    /// Too many waited for it.
    overflowed: AtomicU64,
}

/// What these stand at.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct TracesReading {
    pub exported: u64,
    /// Those that were lost, by why.
    pub dropped: [(&'static str, u64); 3],
}

/// The spans' way out.
#[derive(Debug)]
pub struct Traces {
    counts: Arc<Counts>,
    /// None once no more are to be read.
    segments: Mutex<Option<UnboundedSender<File>>>,
    ended: watch::Receiver<()>,
}

impl Traces {
    /// Starts the thread that sends spans to `endpoint`, with the headers of this file, or those
    /// that the variable `OTEL_EXPORTER_OTLP_HEADERS` has. `instance` names this node.
    ///
    /// # Errors
    /// [`TracesError`] naming what is in the way.
    pub fn start(
        endpoint: &str,
        headers_file: Option<&Path>,
        instance: &str,
    ) -> Result<Self, TracesError> {
        let exporter = Exporter::new(endpoint, headers::read(headers_file)?, instance)?;
        let (counts, (segments, given)) = (Arc::<Counts>::default(), unbounded_channel());
        let (running, ended) = watch::channel(());
        let failed = |source| TracesError::Thread { source };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let shared = Arc::clone(&counts);
        let work = move || {
            runtime.block_on(async {
                let (queue, pieces) = channel(TRACE_QUEUE_MAX);
                tokio::join!(read_on(given, queue, &shared), exporter.run(pieces, &shared));
            });
            drop(running);
        };
        std::thread::Builder::new().name("traces".into()).spawn(work).map_err(failed)?;
        Ok(Self { counts, segments: Mutex::new(Some(segments)), ended })
    }

    /// Has the segment that a worker is about to write to read as it grows.
    pub fn follow(&self, segment: &Path) {
        match (File::open(segment), &*self.segments()) {
            // Its other end goes after this one.
            (Ok(file), Some(segments)) => drop(segments.send(file)),
            (Ok(_), None) => {}
            (Err(error), _) => {
                tracing::warn!("no spans of {segment:?} are sent: it cannot be read: {error}")
            }
        }
    }

    /// Sends what there is, for a while. Call it when every worker has ended.
    pub async fn end(&self) {
        drop(self.segments().take());
        // Its other end is dropped when all is done.
        let mut ended = self.ended.clone();
        if tokio::time::timeout(LAST_EXPORT_TIMEOUT, ended.changed()).await.is_err() {
            tracing::warn!(
                "the last spans are lost: --otlp-endpoint has not taken them within {LAST_EXPORT_TIMEOUT:?}"
            );
        }
    }

    /// What is counted now.
    pub fn reading(&self) -> TracesReading {
        let Counts { exported, refused, unreachable, overflowed } = &*self.counts;
        let dropped = [("refused", refused), ("unreachable", unreachable), ("queue", overflowed)];
        let dropped = dropped.map(|(reason, count)| (reason, count.load(Relaxed)));
        TracesReading { exported: exported.load(Relaxed), dropped }
    }

    fn segments(&self) -> MutexGuard<'_, Option<UnboundedSender<File>>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads segments on until no more are given, and then once more.
async fn read_on(mut given: UnboundedReceiver<File>, queue: Sender<Piece>, counts: &Counts) {
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

fn put(queue: &Sender<Piece>, piece: Option<Piece>, counts: &Counts) {
    let Some(piece) = piece else { return };
    if let Err(TrySendError::Full(piece) | TrySendError::Closed(piece)) = queue.try_send(piece) {
        counts.overflowed.fetch_add(piece.spans, Relaxed);
    }
}
