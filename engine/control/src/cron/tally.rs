//! Counts of runs, and of ticks that were not rung. Pure; owns no fds.

use std::collections::BTreeMap;

/// What came of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// The function has answered with less than 400.
    Ok,
    /// It has answered with more, or broken off its answer.
    Failed,
    /// The node or the function had no room for it.
    Refused,
    /// No answer came.
    Unreached,
}

impl Outcome {
    /// Returns its label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Unreached => "unreached",
        }
    }
}

/// Why a tick was not rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LeftOut {
    /// It passed while nobody could ring.
    Missed,
    /// A run before it was under way.
    Overlap,
    /// There is nothing that it rings.
    NoFunction,
}

impl LeftOut {
    /// Returns its label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Overlap => "overlap",
            Self::NoFunction => "no-function",
        }
    }
}

/// What was counted since the node started, by function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) runs: BTreeMap<(String, Outcome), u64>,
    pub(crate) left_out: BTreeMap<(String, LeftOut), u64>,
    /// How much later than they were due all runs together have begun.
    pub(crate) late_ms: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts a run.
    pub(super) fn ran(&mut self, function: &str, outcome: Outcome, late_ms: u64) {
        *self.runs.entry((function.to_owned(), outcome)).or_default() += 1;
        let late = self.late_ms.entry(function.to_owned()).or_default();
        *late = late.saturating_add(late_ms);
    }

    /// Counts ticks that are not rung.
    pub(super) fn left_out(&mut self, function: &str, why: LeftOut, count: u64) {
        if count > 0 {
            *self.left_out.entry((function.to_owned(), why)).or_default() += count;
        }
    }
}
