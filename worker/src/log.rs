//! The worker's log on stderr. Its format and filter come from the environment, and a new filter
//! comes by message. A thread of its own writes the lines: a stderr that nobody reads delays no
//! request. Owns no fds.

use std::sync::{Mutex, PoisonError};

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

/// Writes the waiting lines when it is dropped.
static WRITER: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// The filter if the engine sets none.
const FILTER_DEFAULT: &str = "info";

/// The format of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

impl Format {
    /// Returns the format that the engine has set.
    pub(crate) fn from_environment() -> Self {
        match std::env::var("SOCKHOP_LOG_FORMAT").as_deref() {
            Ok("json") => Self::Json,
            _ => Self::Text,
        }
    }
}

/// A handle that changes the filter.
#[derive(Debug, Clone)]
pub(crate) struct Filter(reload::Handle<EnvFilter, Registry>);

impl Filter {
    /// Replaces the filter by `filter`. The engine has parsed it before, by the same rules.
    pub(crate) fn change(&self, filter: &str) {
        let parsed = EnvFilter::builder().parse(filter).map_err(|error| error.to_string());
        if let Err(error) =
            parsed.and_then(|filter| self.0.reload(filter).map_err(|error| error.to_string()))
        {
            tracing::error!("the log's filter cannot be changed to {filter:?}: {error}");
        }
    }
}

/// Starts the log. Returns the handle on its filter.
pub(crate) fn start() -> Filter {
    let filter = EnvFilter::try_from_env("SOCKHOP_LOG").unwrap_or_else(|_| FILTER_DEFAULT.into());
    let (layer, handle) = reload::Layer::new(filter);
    let (stderr, writer) = tracing_appender::non_blocking(std::io::stderr());
    *WRITER.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
    let lines = fmt::layer().with_writer(stderr).with_ansi(false);
    let lines = match Format::from_environment() {
        Format::Text => lines.boxed(),
        Format::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    tracing_subscriber::registry().with(layer).with(lines).init();
    Filter(handle)
}

/// Waits a moment until the waiting lines are written. Call this when the process ends; nothing is
/// logged afterwards.
pub(crate) fn end() {
    drop(WRITER.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// Replaces the pipe on stderr, to which the engine listens while a worker starts, by the engine's
/// own stderr. A failure here is no reason not to serve, so it is ignored.
pub(crate) fn own_stderr() {
    // SAFETY: the engine put its stderr at this number before `exec`, only for this function, which
    // runs once; a number that is not open only makes both calls fail.
    unsafe {
        libc::dup2(abi::WORKER_STDERR_FD, libc::STDERR_FILENO);
        libc::close(abi::WORKER_STDERR_FD);
    }
}
