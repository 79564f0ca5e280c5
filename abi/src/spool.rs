//! The log as workers write it: segments of records, each with its length and checksum.
//!
//! The bytes of a segment are kept in the store for as long as logs are, and are read by later
//! builds. So this is no archive of this build's types but a format of its own, little-endian
//! throughout:
//!
//! ```text
//! segment    = "sockhop spool\n" version:u16 record*
//! record     = crc32:u32 length:u32 payload          the checksum is that of length and payload
//! payload    = 1 id:16 time_us:u64 stream:u8 function:name text             a line; its text is the rest
//!            | 2 id:16 started_us:u64 duration_us:u64 cpu_us:u64 memory_bytes:u64 status:u16
//!              received_bytes:u64 sent_bytes:u64 queue_us:u64 instantiate_us:u64 run_us:u64
//!              outcome:name function:name version:name field*                an invocation whose reply has left
//!            | 3 time_us:u64 records:u64 reason:name                         what was lost here
//!            | 4 id:16 time_us:u64 after_us:u64 cpu_us:u64 memory_bytes:u64
//!              outcome:name function:name field*                             what it did after its reply
//! name       = length:u8 bytes
//! field      = tag:u8 length:u8 bytes                                        1: accepted_us:u64 received_us:u64
//!                                                                            2: trace:16 parent:8 flags:u8 method:name path
//!                                                                            3: method:name prefix:name path
//!                                                                            4: number:u32 alias
//!                                                                            5: its guest goes on, a 4 follows
//! stream     = 0 stdout | 1 stderr | 2 what the node says of the invocation
//! ```
//!
//! Times of day count microseconds since 1970. A payload of another kind, and a field of another
//! tag, is passed over: later builds may add both. Method and path of a trace are from builds that
//! knew them of a trace only. What a crash has torn, or a disk has damaged, is skipped up to the
//! next record that is whole, and counted: [`Records`]. Pure; owns no fds.

mod read;
mod write;

pub use self::read::{Found, Records, read, record, skip_damage};
pub use self::write::append;

use crate::invocation_id::InvocationId;
use crate::outcome::Outcome;

/// What a segment begins with: its magic and the version of the format.
pub const HEADER: [u8; 16] = *b"sockhop spool\n\x01\x00";

/// Before a record's payload: its checksum and its length.
pub const FRAME_BYTES: usize = 8;

/// Which of an invocation's streams a line is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The guest's stdout.
    Stdout,
    /// The guest's stderr.
    Stderr,
    /// What the node says of the invocation.
    Node,
}

impl Stream {
    /// All of them, by their numbers.
    pub const ALL: [Self; 3] = [Self::Stdout, Self::Stderr, Self::Node];

    /// The one that is called so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| stream.name() == name)
    }

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Node => "node",
        }
    }
}

/// A line that a guest wrote, or the node about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Whose it is.
    pub id: InvocationId,
    /// When it was written.
    pub time_us: u64,
    /// To which stream.
    pub stream: Stream,
    /// The function that the invocation is of.
    pub function: &'a str,
    /// The line without its end, as the guest wrote it.
    pub text: &'a [u8],
}

/// How the first request of a connection has come to its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When a shard accepted the connection.
    pub accepted_us: u64,
    /// When the worker received it.
    pub received_us: u64,
}

/// Whose trace an invocation belongs to, as the W3C's Trace Context has it. Its own span is
/// [`InvocationId::span`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The trace.
    pub id: [u8; 16],
    /// The caller's span; none when the trace begins here.
    pub parent: Option<[u8; 8]>,
    /// It is to be recorded.
    pub sampled: bool,
}

/// What an invocation was asked, without the query, which may hold secrets.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// What of the path named the function; empty when the host did.
    pub prefix: &'a str,
    /// The path as the function saw it. One that does not fit ends in `...`.
    pub path: &'a str,
}

/// An invocation whose reply has left, or that ended without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invocation<'a> {
    /// Which.
    pub id: InvocationId,
    /// When the head of its request was there.
    pub started_us: u64,
    /// From there to the last byte of its reply.
    pub duration_us: u64,
    /// Processor time of its guest until then.
    pub cpu_us: u64,
    /// The most linear memory that its instance had.
    pub memory_bytes: u64,
    /// Of its reply; 0 when there was none.
    pub status: u16,
    /// Of its request's body.
    pub received_bytes: u64,
    /// Of its reply, with its head.
    pub sent_bytes: u64,
    /// How long it waited for its turn.
    pub queue_us: u64,
    /// How long it took to have an instance.
    pub instantiate_us: u64,
    /// From there to the guest's end, or to that of the reply when the guest goes on.
    pub run_us: u64,
    /// How it ended.
    pub outcome: Outcome<'a>,
    /// The function.
    pub function: &'a str,
    /// Its version's id.
    pub version: &'a str,
    /// Its version's number; 0 when the build that wrote it did not say.
    pub number: u32,
    /// The alias that it was called by; empty when it was called by its version.
    pub alias: &'a str,
    /// What was asked; empty when the build that wrote it did not say.
    pub request: Request<'a>,
    /// Its guest has not ended: an [`After`] follows when it has.
    pub goes_on: bool,
    /// None for one that did not begin its connection.
    pub arrival: Option<Arrival>,
    /// None for one that belongs to no trace.
    pub trace: Option<Trace>,
}

/// What a guest did after its reply had left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct After<'a> {
    /// Which invocation.
    pub id: InvocationId,
    /// When it ended.
    pub time_us: u64,
    /// From the end of its reply to there.
    pub after_us: u64,
    /// Processor time of the whole invocation.
    pub cpu_us: u64,
    /// The most linear memory that its instance had.
    pub memory_bytes: u64,
    /// How it ended: [`Outcome::Ok`], or why it failed.
    pub outcome: Outcome<'a>,
    /// The function.
    pub function: &'a str,
}

impl Invocation<'_> {
    /// When it was over.
    #[must_use]
    pub fn ended_us(&self) -> u64 {
        self.started_us.saturating_add(self.duration_us)
    }
}

/// What could not be written is missing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap<'a> {
    /// When that ended.
    pub time_us: u64,
    /// So many records.
    pub records: u64,
    /// Why.
    pub reason: &'a str,
}

/// What a segment consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// A line.
    Line(Line<'a>),
    /// An invocation whose reply has left.
    Invocation(Invocation<'a>),
    /// What it did after that.
    After(After<'a>),
    /// Missing records.
    Gap(Gap<'a>),
}

impl Record<'_> {
    /// Which invocation it is of.
    #[must_use]
    pub fn id(&self) -> Option<InvocationId> {
        match self {
            Self::Line(line) => Some(line.id),
            Self::Invocation(invocation) => Some(invocation.id),
            Self::After(after) => Some(after.id),
            Self::Gap(_) => None,
        }
    }

    /// When it was written.
    #[must_use]
    pub fn time_us(&self) -> u64 {
        match self {
            Self::Line(line) => line.time_us,
            Self::Invocation(invocation) => invocation.ended_us(),
            Self::After(after) => after.time_us,
            Self::Gap(gap) => gap.time_us,
        }
    }
}

const LINE: u8 = 1;
const INVOCATION: u8 = 2;
const GAP: u8 = 3;
const AFTER: u8 = 4;
const FIELD_ARRIVAL: u8 = 1;
const FIELD_TRACE: u8 = 2;
const FIELD_REQUEST: u8 = 3;
const FIELD_CALLED: u8 = 4;
const FIELD_GOES_ON: u8 = 5;
const SAMPLED: u8 = 1;

#[cfg(test)]
mod tests;
