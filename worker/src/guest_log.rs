//! The log of guests' lines: to the [spool](crate::spool), and also to the node's
//! stderr if the settings say so. The access log goes to stderr the same way.
//!
//! Lines on stderr have the format of the rest of the log, text or JSON. A thread of its own writes
//! them, from a bounded queue: a stderr that nobody reads must not delay requests. Lines that do
//! not fit are dropped and counted. Owns that thread and no fds (stderr is the process's).

mod notes;
mod stream;

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

pub(crate) use self::stream::GuestStream;
use crate::log::Format;
use crate::spool::{Spool, time_us};
use abi::invocation_id::InvocationId;
use abi::spool::{Line, Record, Stream};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

/// The most lines that wait for stderr.
const QUEUE_LINES: usize = 4096;

/// Lines are written together up to this many bytes: a write of that size to a pipe is never mixed
/// with another worker's (PIPE_BUF, pipe(7)).
const WRITE_BYTES: usize = 4096;

/// The log of guests' lines. Cheap to clone.
#[derive(Clone)]
pub(crate) struct GuestLog(Arc<Shared>);

struct Shared {
    format: Format,
    /// `None` if nothing is logged.
    spool: Option<Spool>,
    /// Whether guests' lines also go to stderr.
    stderr: AtomicBool,
    lines: SyncSender<String>,
    dropped: AtomicU64,
}

/// Starts the thread that writes to stderr.
pub(crate) fn start(
    format: Format,
    guest_stderr: bool,
    spool: Option<Spool>,
) -> std::io::Result<GuestLog> {
    let (log, queue) = GuestLog::new(format, guest_stderr, spool);
    let writer = log.clone();
    std::thread::Builder::new()
        .name("guest-log".into())
        .spawn(move || write(&queue, &writer.0.dropped))?;
    Ok(log)
}

fn write(queue: &Receiver<String>, dropped: &AtomicU64) {
    let mut next = queue.recv().ok();
    while let Some(mut text) = next.take() {
        while let Ok(line) = queue.try_recv() {
            if text.len() + line.len() > WRITE_BYTES {
                next = Some(line);
                break;
            }
            text.push_str(&line);
        }
        // If stderr itself fails, there is nowhere left to report that.
        let _ = std::io::stderr().write_all(text.as_bytes());
        let lost = dropped.swap(0, Relaxed);
        if lost > 0 {
            tracing::warn!(
                "guest log: {lost} lines were dropped because stderr was not read in time"
            );
        }
        next = next.or_else(|| queue.recv().ok());
    }
}

impl GuestLog {
    /// Returns the log, and the receiver of its lines for stderr.
    fn new(format: Format, guest_stderr: bool, spool: Option<Spool>) -> (Self, Receiver<String>) {
        let (lines, queue) = sync_channel(QUEUE_LINES);
        let stderr = AtomicBool::new(guest_stderr);
        (Self(Arc::new(Shared { format, spool, stderr, lines, dropped: AtomicU64::new(0) })), queue)
    }

    /// Sets whether guests' lines also go to stderr from now on.
    pub(crate) fn set_stderr(&self, guest_stderr: bool) {
        self.0.stderr.store(guest_stderr, Relaxed);
    }

    /// Returns the spool. Returns `None` if nothing is logged.
    pub(crate) fn spool(&self) -> Option<&Spool> {
        self.0.spool.as_ref()
    }

    /// Writes one line about an invocation.
    pub(crate) fn line(&self, function: &str, id: InvocationId, stream: Stream, text: &[u8]) {
        if let Some(spool) = &self.0.spool {
            spool.put(&Record::Line(Line { id, time_us: time_us(), stream, function, text }));
        }
        if self.0.stderr.load(Relaxed) {
            let text = String::from_utf8_lossy(text);
            self.put(match self.0.format {
                Format::Text => {
                    let (stream, text) = (stream.name(), printable(&text));
                    format!("function={function} invocation={id} stream={stream} {text}\n")
                }
                Format::Json => json(function, id, stream, &text),
            });
        }
    }

    /// Writes `line` to stderr. It must end in a newline and have no other.
    pub(crate) fn put(&self, line: String) {
        if self.0.lines.try_send(line).is_err() {
            self.0.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// Escapes control characters: a guest's text must neither move the cursor of someone who reads the
/// log nor forge a second line.
fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c.is_control() && c != '\t') {
        return text.into();
    }
    text.chars()
        .map(
            |c| if c.is_control() && c != '\t' { c.escape_default().to_string() } else { c.into() },
        )
        .collect()
}

/// Returns a line with the fields of the node's own lines, and those of the invocation.
fn json(function: &str, id: InvocationId, stream: Stream, text: &str) -> String {
    let mut timestamp = String::new();
    // Writing to a String cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    let line = serde_json::json!({
        "timestamp": timestamp,
        "level": "INFO",
        "target": "guest",
        "function": function,
        "invocation": id.to_string(),
        "stream": stream.name(),
        "message": text,
    });
    format!("{line}\n")
}
