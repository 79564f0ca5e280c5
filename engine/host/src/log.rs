//! The log on stderr, as text or JSON, and its filter, which can change while the node runs.
//!
//! Lines are written by a thread of their own: a stderr that nobody reads blocks only that thread.
//! A process has one log, so this module has the only global state of the engine. Workers read
//! their filter and form from the environment, and the engine sends them changes as messages. Owns
//! no fds (stderr is the process's).

use std::fmt;
use std::io::Write as _;
use std::str::FromStr;
use std::sync::{Mutex, OnceLock, PoisonError};

use abi::limits::LOG_FILTER_BYTES_MAX;
use abi::message::AccessLog;
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt as form, reload};

use crate::printable;

/// The filter by default.
pub const DEFAULT: &str = "info";
/// The client of NATS logs what the node says of it, too, and at `debug` what functions keep. A filter
/// that names it has the last word.
const QUIET: &str = "async_nats=warn";
/// The environment variables by which workers, and commands other than `serve`, know filter and
/// form.
const FILTER_VARIABLE: &str = "SOCKHOP_LOG";
const FORMAT_VARIABLE: &str = "SOCKHOP_LOG_FORMAT";

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Text,
    Json,
}

/// The form of the access log: a line for each invocation, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Access {
    Off,
    Text,
    Json,
}

/// Whether the node logs invocations and their output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Logs {
    On,
    Off,
}

impl Logs {
    /// Returns whether invocations are logged.
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

/// Where the output of guests goes besides the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Guest {
    Off,
    Stderr,
}

impl From<Access> for AccessLog {
    fn from(access: Access) -> Self {
        match access {
            Access::Off => Self::Off,
            Access::Text => Self::Text,
            Access::Json => Self::Json,
        }
    }
}

/// A filter of the log, as text that [`EnvFilter`] has parsed before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(String);

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > LOG_FILTER_BYTES_MAX {
            return Err(format!("at most {LOG_FILTER_BYTES_MAX} bytes are possible"));
        }
        EnvFilter::builder()
            .parse(text)
            .map(|_| Self(text.to_owned()))
            .map_err(|error| error.to_string())
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Filter {
    fn to_layer(&self) -> EnvFilter {
        EnvFilter::new(format!("{QUIET},{}", self.0))
    }
}

struct Log {
    format: Format,
    lines: NonBlocking,
    /// Writes the waiting lines when it is dropped.
    writer: Mutex<Option<WorkerGuard>>,
    filter: Mutex<Filter>,
    handle: reload::Handle<EnvFilter, Registry>,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Starts the log of a command: as text, with the filter of the environment.
pub fn start_command() {
    let filter = std::env::var(FILTER_VARIABLE).ok().and_then(|text| text.parse().ok());
    start(Format::Text, filter.unwrap_or_else(|| Filter(DEFAULT.into())));
}

/// Starts the log. Later calls in the same process change nothing.
pub fn start(format: Format, filter: Filter) {
    let (layer, handle) = reload::Layer::new(filter.to_layer());
    let (stderr, writer) = tracing_appender::non_blocking(std::io::stderr());
    let lines = form::layer().with_writer(stderr.clone()).with_ansi(false);
    let lines = match format {
        Format::Text => lines.boxed(),
        Format::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    if tracing_subscriber::registry().with(layer).with(lines).try_init().is_err() {
        return;
    }
    if format == Format::Json {
        std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    }
    let writer = Mutex::new(Some(writer));
    let _ = LOG.set(Log { format, lines: stderr, writer, filter: Mutex::new(filter), handle });
}

/// Writes the output of another process without a change.
pub fn pass_on(bytes: &[u8]) {
    if let Some(log) = LOG.get() {
        // This never blocks; what does not fit into the queue is dropped.
        let _ = log.lines.clone().write_all(bytes);
    }
}

/// Waits a moment until the waiting lines are written. Nothing is logged afterwards, so this is
/// called when the process ends.
pub fn end() {
    if let Some(log) = LOG.get() {
        drop(log.writer.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Replaces the filter.
pub fn change_filter(filter: &Filter) {
    let Some(log) = LOG.get() else { return };
    if let Err(error) = log.handle.reload(filter.to_layer()) {
        tracing::error!("the log's filter cannot be changed: {error}");
    }
    *log.filter.lock().unwrap_or_else(PoisonError::into_inner) = filter.clone();
}

/// Returns the environment variables with which a new worker logs as this process does.
pub fn worker_environment() -> Vec<(&'static str, String)> {
    let Some(log) = LOG.get() else { return Vec::new() };
    let format = match log.format {
        Format::Text => "text",
        Format::Json => "json",
    };
    let filter = log.filter.lock().unwrap_or_else(PoisonError::into_inner).to_string();
    vec![(FILTER_VARIABLE, filter), (FORMAT_VARIABLE, format.to_owned())]
}

/// Logs why the process fails, as its last line.
pub fn say_failure(text: &str) {
    match LOG.get() {
        Some(Log { format: Format::Json, .. }) => tracing::error!("{text}"),
        // A node, or a guest, may have said a part of it.
        _ => eprintln!("error: {}", printable::lines(text)),
    }
}
