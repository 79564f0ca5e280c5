//! What functions have logged: `GET /v1/logs` and `GET /v1/invocations/ID`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Entries in one answer at most, and if nothing else is asked for.
pub const LIMIT_MAX: usize = 10_000;
/// The event of a live stream that comes first: the time it begins at.
pub const FROM_EVENT: &str = "from";
/// The event of a live stream that says how many entries were left out.
pub const MISSED_EVENT: &str = "missed";
/// The event of a live stream that says what could not be read.
pub const NOTE_EVENT: &str = "note";

/// Which entries are asked for. Times are RFC 3339, or how long ago: `10m`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogsQuery {
    /// Only entries of this function, or of several: `a,b`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Only lines of this stream: `stdout`, `stderr`, or `node`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Only lines with this text in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Only entries from this time on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Only entries up to this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Only invocations that ended so: `500`, `5xx`, or `none` for those without a reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// At most so many entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Only what follows: the `next` of the answer before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The newest entries, if there are more than the limit.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub newest: bool,
    /// Entries as they come, as Server-Sent Events.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub follow: bool,
}

/// A page of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entries {
    /// The entries, the oldest first.
    pub entries: Vec<Entry>,
    /// Where the next page begins. Null if this is the last.
    pub next: Option<String>,
    /// What could not be read.
    pub notes: Vec<String>,
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Entry {
    /// A line that a guest wrote, or the node about it.
    Line(Line),
    /// The end of an invocation.
    Invocation(Box<Invocation>),
    /// What a guest did after its reply.
    After(After),
    /// Entries that are missing.
    Gap {
        /// When they were lost.
        time: String,
        /// How many they are.
        records: u64,
        /// Why they were lost.
        reason: String,
    },
}

/// A line of an invocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// When it was written.
    pub time: String,
    /// The function.
    pub function: String,
    /// The invocation's id.
    pub invocation: String,
    /// `stdout`, `stderr`, or `node` for what the node says of it.
    pub stream: String,
    /// The line, without its end.
    pub text: String,
}

/// What a guest did after its reply had left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct After {
    /// When it ended.
    pub time: String,
    /// The function.
    pub function: String,
    /// The invocation's id.
    pub invocation: String,
    /// `ok`, or why it failed.
    pub outcome: String,
    /// How long it went on after the reply.
    pub after_us: u64,
    /// Processor time of the whole invocation.
    pub cpu_us: u64,
    /// Memory of the whole invocation.
    pub memory_bytes: u64,
}

/// An invocation whose reply has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invocation {
    /// When the reply had left.
    pub time: String,
    /// The function.
    pub function: String,
    /// The version's id.
    pub version: String,
    /// The version's number. Absent in what an earlier build wrote, as all that may be absent here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// The alias that it was called by. Absent if it was called by its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The request's method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The request's path as its client had it, without the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The invocation's id.
    pub invocation: String,
    /// The reply's status. Null if there was no reply.
    pub status: Option<u16>,
    /// `ok`, `cut`, `client-gone`, or why it failed.
    pub outcome: String,
    /// When it began.
    pub started: String,
    /// How long it took, from the request's head to the last byte of the reply.
    pub duration_us: u64,
    /// Processor time.
    pub cpu_us: u64,
    /// The most memory that its instance had.
    pub memory_bytes: u64,
    /// The size of the request's body.
    pub received_bytes: u64,
    /// The size of the reply.
    pub sent_bytes: u64,
    /// When its connection was accepted. Absent if it was not the first on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<String>,
    /// When the worker received that connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<String>,
    /// How long it waited for its turn.
    pub queue_us: u64,
    /// How long it took to make its instance.
    pub instantiate_us: u64,
    /// How long its guest ran.
    pub run_us: u64,
    /// Present and true if its guest had not ended: an entry of the kind `after` follows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub goes_on: bool,
}

/// All there is of one invocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OneInvocation {
    /// The invocation's id.
    pub id: String,
    /// How it ended. Null while it runs, or if its worker died over it.
    pub record: Option<Invocation>,
    /// What it did after its reply. Absent if it did nothing, or is not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<After>,
    /// What it has logged.
    pub lines: Vec<Line>,
    /// What could not be read.
    pub notes: Vec<String>,
}
