//! Counts of attempts and of what became of jobs. Pure; owns no fds.

use std::collections::BTreeMap;

use api::jobs::JobsStatus;
use database::Counted;
use jobs::plan::Next;

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// The job is done.
    Ok,
    /// The function has failed, or the attempt was lost.
    Failed,
    /// The node or the function had no room for it.
    PutOff,
}

impl Outcome {
    /// Returns its label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::PutOff => "put-off",
        }
    }
}

/// Why a job is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    /// There are as many as may be.
    Full,
    /// The database cannot be used.
    Unavailable,
}

impl Refusal {
    /// Returns its label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What was counted since the node started, by function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) submitted: BTreeMap<String, u64>,
    pub(crate) refused: BTreeMap<(String, Refusal), u64>,
    pub(crate) attempts: BTreeMap<(String, Outcome), u64>,
    /// Attempts that were not the first.
    pub(crate) retries: BTreeMap<String, u64>,
    pub(crate) dead: BTreeMap<String, u64>,
    /// How long jobs have waited for their first attempts, all together.
    pub(crate) waited_ms: BTreeMap<String, u64>,
}

/// What is counted, and what there is now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    pub(crate) tally: Tally,
    pub(crate) depths: BTreeMap<String, JobsStatus>,
    /// What the database of jobs has done. `None` if they are not in one.
    pub(crate) database: Option<Counted>,
    /// How old the oldest job is that is no dead letter.
    pub(crate) oldest_ms: u64,
}

impl Tally {
    /// Counts a job that is kept.
    pub(super) fn submitted(&mut self, function: &str) {
        *count(&mut self.submitted, function) += 1;
    }

    /// Counts a job that is not kept.
    pub(super) fn refused(&mut self, function: &str, why: Refusal) {
        *self.refused.entry((function.to_owned(), why)).or_default() += 1;
    }

    /// Counts the begin of an attempt.
    pub(super) fn began(&mut self, function: &str, is_first: bool, waited_ms: u64) {
        if is_first {
            let waited = count(&mut self.waited_ms, function);
            *waited = waited.saturating_add(waited_ms);
        } else {
            *count(&mut self.retries, function) += 1;
        }
    }

    /// Counts what came of an attempt.
    pub(super) fn ended(&mut self, function: &str, next: Next) {
        let outcome = match next {
            Next::Done => Outcome::Ok,
            Next::Retry { .. } | Next::Dead(_) => Outcome::Failed,
            Next::PutOff { .. } => Outcome::PutOff,
        };
        *self.attempts.entry((function.to_owned(), outcome)).or_default() += 1;
        if let Next::Dead(_) = next {
            *count(&mut self.dead, function) += 1;
        }
    }
}

fn count<'a>(counts: &'a mut BTreeMap<String, u64>, function: &str) -> &'a mut u64 {
    counts.entry(function.to_owned()).or_default()
}
