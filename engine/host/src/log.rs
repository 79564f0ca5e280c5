//! The log on stderr, as text or JSON, and its filter, which can change while the node runs.
//!
//! Lines are written by a thread of their own: a stderr that nobody reads holds up nothing but
//! itself. There is one log a process, so this has the only global state of the engine. Workers get
//! theirs by environment and are told of changes by message. Owns no fds (stderr is the process's).

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

/// What is logged when nobody says.
pub const DEFAULT: &str = "info";
/// What tells workers, and commands other than `serve`.
const FILTER_VARIABLE: &str = "SOCKHOP_LOG";
const FORMAT_VARIABLE: &str = "SOCKHOP_LOG_FORMAT";

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Text,
    Json,
}

/// Whether and how each invocation is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Access {
    Off,
    Text,
    Json,
}

/// Whether invocations and their lines are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Logs {
    On,
    Off,
}

impl Logs {
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

/// Where else guests' lines go than to the log.
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

/// What is logged, in the words of [`EnvFilter`], which has understood them.
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

struct Log {
    format: Format,
    lines: NonBlocking,
    /// Writes what waits when it is dropped.
    writer: Mutex<Option<WorkerGuard>>,
    filter: Mutex<Filter>,
    handle: reload::Handle<EnvFilter, Registry>,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Starts the log of a command: as text, filtered as the environment says.
pub fn start_command() {
    let filter = std::env::var(FILTER_VARIABLE).ok().and_then(|text| text.parse().ok());
    start(Format::Text, filter.unwrap_or_else(|| Filter(DEFAULT.into())));
}

/// Starts the log. Once a process; what comes later changes nothing.
pub fn start(format: Format, filter: Filter) {
    let (layer, handle) = reload::Layer::new(EnvFilter::new(&filter.0));
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

/// Writes what another process has said as it is.
pub fn pass_on(bytes: &[u8]) {
    if let Some(log) = LOG.get() {
        // It never waits; what does not fit is dropped.
        let _ = log.lines.clone().write_all(bytes);
    }
}

/// Waits a moment for what is not written yet. Call it when the process ends; nothing is logged
/// afterwards.
pub fn end() {
    if let Some(log) = LOG.get() {
        drop(log.writer.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Filters by `filter` from now on.
pub fn change_filter(filter: &Filter) {
    let Some(log) = LOG.get() else { return };
    if let Err(error) = log.handle.reload(EnvFilter::new(&filter.0)) {
        tracing::error!("the log's filter cannot be changed: {error}");
    }
    *log.filter.lock().unwrap_or_else(PoisonError::into_inner) = filter.clone();
}

/// The environment by which a worker that starts now logs as this process does.
pub fn worker_environment() -> Vec<(&'static str, String)> {
    let Some(log) = LOG.get() else { return Vec::new() };
    let format = match log.format {
        Format::Text => "text",
        Format::Json => "json",
    };
    let filter = log.filter.lock().unwrap_or_else(PoisonError::into_inner).to_string();
    vec![(FILTER_VARIABLE, filter), (FORMAT_VARIABLE, format.to_owned())]
}

/// Why the process ends, as the last that is said.
pub fn say_failure(text: &str) {
    match LOG.get() {
        Some(Log { format: Format::Json, .. }) => tracing::error!("{text}"),
        _ => eprintln!("error: {text}"),
    }
}
