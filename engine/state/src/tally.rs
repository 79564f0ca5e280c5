//! Counts of what was asked of functions' state, and of why it was not done. Owns no fds.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use abi::state::{Answer, Failure};
use database::Counted;

use crate::{Bucket, Usage};

/// What was asked since the node has started.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    reads: AtomicU64,
    writes: AtomicU64,
    denied: AtomicU64,
    refused: AtomicU64,
    full: AtomicU64,
    unavailable: AtomicU64,
}

/// What was asked so far, and what there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Operations that change nothing.
    pub reads: u64,
    /// Operations that may.
    pub writes: u64,
    /// Operations that were not done, by why.
    pub failures: [(&'static str, u64); 4],
    /// What the database of this node has done. `None` if the state is not in one.
    pub database: Option<Counted>,
    /// Every bucket that has something in it, where that can be told at once.
    pub buckets: Vec<(Bucket, Usage)>,
}

impl Tally {
    /// Counts what came of an operation.
    pub(crate) fn count(&self, is_write: bool, answer: &Answer) {
        let add = |count: &AtomicU64| {
            count.fetch_add(1, Relaxed);
        };
        add(if is_write { &self.writes } else { &self.reads });
        if let Answer::Failed(why) = answer {
            add(match why {
                Failure::Denied => &self.denied,
                Failure::Refused(_) => &self.refused,
                Failure::Full(_) => &self.full,
                Failure::Unavailable(_) => &self.unavailable,
            });
        }
    }

    /// Returns what was counted so far.
    pub(crate) fn read(&self) -> Reading {
        let failures = [
            ("denied", &self.denied),
            ("invalid", &self.refused),
            ("quota", &self.full),
            ("unavailable", &self.unavailable),
        ];
        Reading {
            reads: self.reads.load(Relaxed),
            writes: self.writes.load(Relaxed),
            failures: failures.map(|(why, count)| (why, count.load(Relaxed))),
            ..Reading::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_done_is_counted_by_why() {
        let tally = Tally::default();
        tally.count(true, &Answer::Done);
        tally.count(true, &Answer::Failed(Failure::Full(String::new())));
        tally.count(false, &Answer::Failed(Failure::Denied));
        let Reading { reads, writes, failures, .. } = tally.read();
        assert_eq!((reads, writes), (1, 2));
        assert_eq!(failures.map(|(_, count)| count), [1, 0, 1, 0]);
    }
}
