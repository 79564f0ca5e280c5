//! Why a function failed to answer a request: the text for its client, and the text for its log,
//! where [`report`] writes it. Owns no fds.

use std::time::Duration;

use abi::invocation_id::InvocationId;
use abi::outcome::Reason;
use abi::problem::Problem;
use abi::spool::Stream;

use super::{Shared, Spec};
use crate::facts::Facts;

/// The most bytes of a failure's text in the log.
const LOGGED_BYTES_MAX: usize = 4 * 1024;

/// Why an invocation failed. It decides the status while the reply's head has not left; after that
/// the reply is cut.
///
/// Its `Display` text is for the public client, so nothing that the guest wrote is in it.
/// [`Failure::logged`] has that.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("function {function:?} ran into its time limit of {limit:?}")]
    TimedOut { function: String, limit: Duration },
    #[error("function {function:?} used up its processor time of {limit:?}")]
    OutOfCpuTime { function: String, limit: Duration },
    #[error("function {function:?} ran into its memory limit of {limit_bytes} bytes")]
    OutOfMemory { function: String, limit_bytes: u64 },
    #[error("function {function:?} ran into its limit of {limit} table elements")]
    OutOfTable { function: String, limit: u32 },
    #[error(
        "function {function:?} ran into its limit of {limit_bytes} bytes held for it: \
         headers, requests, bodies and other resources that it does not let go of"
    )]
    OutOfHeld { function: String, limit_bytes: usize },
    #[error(
        "function {function:?} ended with exit code {code}; its log has what it wrote to stderr"
    )]
    Exited { function: String, code: i32 },
    #[error("function {function:?} trapped; its log has the reason")]
    Trapped { function: String, reason: String, frames: Vec<String> },
    #[error("function {function:?} ended without a reply")]
    NoReply { function: String },
    #[error("function {function:?} answered with an error; its log has it")]
    Refused { function: String, code: String },
    #[error("function {function:?} made a reply that HTTP does not allow; its log has the reason")]
    BadReply { function: String, reason: String },
    #[error(
        "the body that function {function:?} made broke off, or is not as long as its head says; \
         its log has the reason"
    )]
    BrokenBody { function: String, reason: String },
    #[error("function {function:?} does not start; its log has the reason")]
    NotStarted { function: String, reason: String },
    #[error("the process of function {function:?} ended before it had answered; its log has more")]
    ProcessEnded { function: String, how: String },
    #[error(
        "the process of function {function:?} ran into its memory limit of {limit_bytes} bytes"
    )]
    ProcessOutOfMemory { function: String, limit_bytes: u64 },
    #[error("function {function:?} does not answer; its log has the reason")]
    NoAnswer { function: String, reason: String },
    #[error("function {function:?} failed; its log has the error")]
    FunctionError { function: String, error: String },
    #[error(
        "the event that this request makes is larger than the {limit_bytes} bytes that a lambda function may get"
    )]
    EventTooLarge { limit_bytes: usize },
    #[error("a file of the site cannot be read; its log has the reason")]
    FileUnread { reason: String },
    #[error("this worker runs as many invocations as it can; try again")]
    WorkerFull,
}

impl Failure {
    /// Returns the text for the function's log and for the user who deploys it, with what the guest
    /// said, and no longer than a line of the log may be.
    pub(crate) fn logged(&self) -> String {
        let mut text = match self {
            Self::Trapped { reason, .. } => format!("trap: {reason}"),
            Self::Refused { function, code: reason } => {
                format!("function {function:?} answered with an error: {reason}")
            }
            Self::BadReply { function, reason } => {
                format!("function {function:?} made a reply that HTTP does not allow: {reason}")
            }
            Self::BrokenBody { function, reason } => format!(
                "the body that function {function:?} made broke off, or is not as long as its head says: {reason}"
            ),
            Self::NotStarted { function, reason } => {
                format!("function {function:?} does not start: {reason}")
            }
            Self::ProcessEnded { function, how } => {
                format!("the process of function {function:?} ended before it had answered: {how}")
            }
            Self::NoAnswer { function, reason } => {
                format!("function {function:?} does not answer: {reason}")
            }
            Self::FunctionError { error, .. } => format!("error: {error}"),
            Self::FileUnread { reason } => format!(
                "a file of the site cannot be read: {reason}; look at the disk of the node's data folder"
            ),
            other => other.to_string(),
        };
        // The guest may have written all of it, and of any length.
        text.truncate(text.floor_char_boundary(LOGGED_BYTES_MAX));
        text
    }
}

impl From<&Failure> for Reason {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::TimedOut { .. } => Self::Timeout,
            Failure::OutOfCpuTime { .. } => Self::CpuTime,
            Failure::OutOfMemory { .. }
            | Failure::OutOfHeld { .. }
            | Failure::ProcessOutOfMemory { .. } => Self::Memory,
            Failure::OutOfTable { .. } => Self::TableElements,
            Failure::Exited { .. } | Failure::ProcessEnded { .. } => Self::Exit,
            Failure::NotStarted { .. } => Self::Start,
            Failure::FunctionError { .. } => Self::Error,
            Failure::EventTooLarge { .. } => Self::RequestBody,
            Failure::Trapped { .. } => Self::Trap,
            Failure::NoReply { .. }
            | Failure::Refused { .. }
            | Failure::BadReply { .. }
            | Failure::NoAnswer { .. }
            | Failure::FileUnread { .. }
            | Failure::BrokenBody { .. } => Self::Reply,
            Failure::WorkerFull => Self::Worker,
        }
    }
}

impl From<&Failure> for Problem {
    fn from(failure: &Failure) -> Self {
        let status = match failure {
            Failure::TimedOut { .. } | Failure::OutOfCpuTime { .. } => 504,
            Failure::WorkerFull => 503,
            Failure::EventTooLarge { .. } => 413,
            // Between the client and a program that serves for itself, the node is a gateway.
            Failure::NotStarted { .. }
            | Failure::ProcessEnded { .. }
            | Failure::ProcessOutOfMemory { .. }
            | Failure::NoAnswer { .. }
            | Failure::FunctionError { .. } => 502,
            _ => 500,
        };
        Self::new(status, failure.to_string())
    }
}

/// Counts the reason of a failure, and writes it to the function's log.
pub(crate) fn report(
    shared: &Shared,
    spec: &Spec,
    id: InvocationId,
    failure: &Failure,
    facts: &Facts,
) {
    shared.counters.count_reason(spec.slot, failure.into());
    facts.reason.set(Some(failure.into()));
    let line = |text: &str| shared.log.line(&spec.name, id, Stream::Node, text.as_bytes());
    line(&format!("[{}]", failure.logged()));
    if let Failure::Trapped { frames, .. } = failure {
        frames.iter().for_each(|frame| line(frame));
    }
}
