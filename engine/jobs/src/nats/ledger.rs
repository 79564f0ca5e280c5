//! What this node has in NATS: which jobs are its own, at which revision, and how many. Pure; owns
//! no fds.
//!
//! NATS has the truth, of which this may lag behind: a write by a revision that is not the job's any
//! more is refused there.

use std::collections::HashMap;

use crate::JobId;
use crate::record::Record;
use crate::store::Bounds;
use crate::usage::{self, Usage};

/// A job of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Own {
    /// That of its record; 0 while it is about to be written for the first time.
    pub(super) revision: u64,
    pub(super) parts: u32,
    function: String,
    bytes: u64,
}

impl Own {
    pub(super) fn new(revision: u64, parts: u32, record: &Record) -> Self {
        let (function, bytes) = (record.function.clone(), usage::bytes(record));
        Self { revision, parts, function, bytes }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    jobs: HashMap<JobId, Own>,
    all: Usage,
    of_functions: HashMap<String, Usage>,
}

impl Ledger {
    /// Returns a job that was written.
    pub(super) fn get(&self, id: JobId) -> Option<&Own> {
        self.jobs.get(&id).filter(|own| own.revision > 0)
    }

    /// Adds a job, if there is room.
    ///
    /// # Errors
    /// What there is too much of.
    pub(super) fn reserve(&mut self, id: JobId, own: Own, bounds: Bounds) -> Result<(), String> {
        let of_function = self.of_functions.get(&own.function).copied().unwrap_or_default();
        let (all, of_function) = (self.all.with(own.bytes), of_function.with(own.bytes));
        match usage::exceeded(all, of_function, &own.function, bounds) {
            Some(why) => Err(why),
            None => {
                self.insert(id, own);
                Ok(())
            }
        }
    }

    /// Adds a job, over what was known of it.
    pub(super) fn insert(&mut self, id: JobId, own: Own) {
        self.remove(id);
        self.all = self.all.with(own.bytes);
        let of_function = self.of_functions.entry(own.function.clone()).or_default();
        *of_function = of_function.with(own.bytes);
        self.jobs.insert(id, own);
    }

    /// Notes at which revision a job is that is known.
    pub(super) fn wrote(&mut self, id: JobId, revision: u64) {
        if let Some(own) = self.jobs.get_mut(&id) {
            own.revision = own.revision.max(revision);
        }
    }

    /// Removes a job.
    pub(super) fn remove(&mut self, id: JobId) {
        let Some(own) = self.jobs.remove(&id) else { return };
        self.all = self.all.without(own.bytes);
        if let Some(of_function) = self.of_functions.get_mut(&own.function) {
            *of_function = of_function.without(own.bytes);
            if of_function.jobs == 0 {
                self.of_functions.remove(&own.function);
            }
        }
    }

    /// Has all be as it was found when `revision` was the bucket's, but for what was written since.
    /// Returns how many jobs are not this node's any more.
    pub(super) fn replace(&mut self, found: Vec<(JobId, Own)>, revision: u64) -> usize {
        let before = std::mem::take(&mut self.jobs);
        (self.all, self.of_functions) = (Usage::default(), HashMap::new());
        found.into_iter().for_each(|(id, own)| self.insert(id, own));
        let mut lost = 0;
        for (id, own) in before {
            let is_newer = own.revision == 0 || own.revision > revision;
            match self.jobs.contains_key(&id) {
                true => self.wrote(id, own.revision),
                false if is_newer => self.insert(id, own),
                false => lost += 1,
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::new_id;

    const BOUNDS: Bounds = Bounds { jobs_max: 4, bytes_max: 1 << 20 };

    fn own(revision: u64, function: &str) -> Own {
        Own { revision, parts: 1, function: function.to_owned(), bytes: 1 }
    }

    #[test]
    fn there_is_room_again_for_what_has_gone() {
        let (mut ledger, ids) = (Ledger::default(), [new_id(), new_id(), new_id()]);
        for id in [ids[0], ids[1]] {
            assert_eq!(ledger.reserve(id, own(0, "a"), BOUNDS), Ok(()));
        }
        assert!(ledger.reserve(ids[2], own(0, "a"), BOUNDS).unwrap_err().contains("half"));
        assert_eq!(ledger.get(ids[0]), None, "it is not written");
        ledger.wrote(ids[0], 7);
        assert_eq!(ledger.get(ids[0]), Some(&own(7, "a")));
        ledger.remove(ids[0]);
        ledger.remove(ids[0]);
        assert_eq!(ledger.reserve(ids[2], own(0, "a"), BOUNDS), Ok(()));
    }

    #[test]
    fn what_was_written_after_a_scan_began_is_kept() {
        let ids: Vec<JobId> = (0..5).map(|_| new_id()).collect();
        let mut ledger = Ledger::default();
        for (at, revision) in [(0, 3), (1, 12), (2, 0), (3, 14)] {
            ledger.insert(ids[at], own(revision, "a"));
        }
        let found = vec![(ids[3], own(4, "a")), (ids[4], own(5, "b"))];
        assert_eq!(ledger.replace(found, 10), 1);
        let revision = |at: usize| ledger.jobs.get(&ids[at]).map(|own| own.revision);
        let all: Vec<_> = (0..5).map(revision).collect();
        assert_eq!(all, [None, Some(12), Some(0), Some(14), Some(5)]);
        assert_eq!((ledger.all.jobs, ledger.of_functions["a"].jobs), (4, 3));
    }
}
