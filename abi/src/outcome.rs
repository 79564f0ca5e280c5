//! What became of an invocation: one type for the board's counters, the log's records, the access
//! log and spans. Pure; owns no fds.

use std::fmt;

/// How an invocation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Its reply has left whole.
    Ok,
    /// Its reply has begun, and not all of it has left.
    Cut,
    /// There was no reply: its client had gone.
    ClientGone,
    /// It was refused, or failed.
    Failed(Reason),
    /// Another build of the node has recorded it, with a name that this one does not know.
    Unknown(&'a str),
}

impl<'a> Outcome<'a> {
    /// How an invocation ended with `reply`, that failed for `reason` if it did.
    #[must_use]
    pub fn new(reply: ReplyEnd, reason: Option<Reason>) -> Self {
        match (reply, reason) {
            (_, Some(reason)) => Self::Failed(reason),
            (ReplyEnd::Whole(_), None) => Self::Ok,
            (ReplyEnd::Cut(_), None) => Self::Cut,
            (ReplyEnd::None, None) => Self::ClientGone,
        }
    }

    /// Its name, in the log and wherever people read it.
    #[must_use]
    pub fn name(self) -> &'a str {
        match self {
            Self::Ok => "ok",
            Self::Cut => "cut",
            Self::ClientGone => "client-gone",
            Self::Failed(reason) => reason.name(),
            Self::Unknown(name) => name,
        }
    }

    /// The outcome of this name.
    #[must_use]
    pub fn of_name(name: &'a str) -> Self {
        let known = [Self::Ok, Self::Cut, Self::ClientGone]
            .into_iter()
            .chain(Reason::ALL.into_iter().map(Self::Failed));
        known.into_iter().find(|outcome| outcome.name() == name).unwrap_or(Self::Unknown(name))
    }
}

impl fmt::Display for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why an invocation was refused or failed. The first are limits, see [`Reason::is_limit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// Its wall time.
    Timeout,
    /// Its processor time.
    CpuTime,
    /// Its memory.
    Memory,
    /// Its table elements.
    TableElements,
    /// The request's body was larger than may be.
    RequestBody,
    /// As many ran and waited as may.
    Queue,
    /// It waited for its turn for as long as it may.
    QueueTimeout,
    /// The worker ran as many as it can.
    Worker,
    /// The guest trapped.
    Trap,
    /// A command ended with another exit code than 0.
    Exit,
    /// It made no reply, or none that can be sent.
    Reply,
    /// Its module could not be loaded.
    Module,
    /// A native program did not start, or was not ready in time.
    Start,
    /// The function reported an error.
    Error,
}

impl Reason {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Self; 14] = [
        Self::Timeout,
        Self::CpuTime,
        Self::Memory,
        Self::TableElements,
        Self::RequestBody,
        Self::Queue,
        Self::QueueTimeout,
        Self::Worker,
        Self::Trap,
        Self::Exit,
        Self::Reply,
        Self::Module,
        Self::Start,
        Self::Error,
    ];

    /// Whether a limit was reached; else something failed.
    #[must_use]
    pub fn is_limit(self) -> bool {
        (self as u8) <= Self::Worker as u8
    }

    /// What it is called: for a function's limit, the option that sets it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::CpuTime => "cpu-time",
            Self::Memory => "memory",
            Self::TableElements => "table-elements",
            Self::RequestBody => "request-body",
            Self::Queue => "queue",
            Self::QueueTimeout => "queue-timeout",
            Self::Worker => "worker",
            Self::Trap => "trap",
            Self::Exit => "exit",
            Self::Reply => "reply",
            Self::Module => "module",
            Self::Start => "start",
            Self::Error => "error",
        }
    }
}

/// What became of an invocation's reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyEnd {
    /// It has left whole, with this status.
    Whole(u16),
    /// It had this status, and not all of it has left.
    Cut(u16),
    /// There was none: the client had gone.
    None,
}

/// What [`ReplyEnd::class`] counts, by name.
pub const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

impl ReplyEnd {
    /// Its status.
    #[must_use]
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Whole(status) | Self::Cut(status) => Some(status),
            Self::None => None,
        }
    }

    /// The place of its status's class in [`CLASSES`]; what is none of HTTP's five is in the fifth.
    #[must_use]
    pub fn class(self) -> usize {
        self.status().map_or(5, |status| usize::from((status / 100).clamp(1, 5)) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_what_it_was_made_of() {
        let outcomes = Reason::ALL.into_iter().map(Outcome::Failed);
        for outcome in outcomes.chain([
            Outcome::Ok,
            Outcome::Cut,
            Outcome::ClientGone,
            Outcome::Unknown("later"),
        ]) {
            assert_eq!(Outcome::of_name(outcome.name()), outcome);
        }
    }

    #[test]
    fn a_reason_counts_for_more_than_what_became_of_the_reply() {
        let reason = Some(Reason::Trap);
        for reply in [ReplyEnd::Whole(500), ReplyEnd::Cut(200), ReplyEnd::None] {
            assert_eq!(Outcome::new(reply, reason), Outcome::Failed(Reason::Trap));
        }
        assert_eq!(Outcome::new(ReplyEnd::Cut(200), None).name(), "cut");
        assert_eq!(Outcome::new(ReplyEnd::None, None).name(), "client-gone");
    }

    #[test]
    fn replies_are_counted_by_class() {
        let class = |reply: ReplyEnd| CLASSES[reply.class()];
        let classes = [0, 100, 204, 404, 599, 777].map(|status| class(ReplyEnd::Whole(status)));
        assert_eq!(classes, ["1xx", "1xx", "2xx", "4xx", "5xx", "5xx"]);
        assert_eq!((class(ReplyEnd::Cut(302)), class(ReplyEnd::None)), ("3xx", "none"));
    }

    #[test]
    fn every_reason_has_its_place() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "{reason:?}");
        }
        assert_eq!(Reason::ALL.iter().filter(|reason| reason.is_limit()).count(), 8);
    }
}
