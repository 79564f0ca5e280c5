//! What jobs are called in NATS, and how they stand there. Pure; owns no fds.
//!
//! | key | value |
//! |---|---|
//! | `job.ID` | a record, the node that runs the job, and in how many parts its request is |
//! | `request.ID.N` | a part of its request |
//! | `done.ID` | what came of a job; it passes after a while |
//! | `node.ID` | a sign of life of a node, which it renews |
//!
//! A job's record and its request are written and removed together. Only the record changes in
//! between.

use bytes::Bytes;
use nats::Change;
use serde::{Deserialize, Serialize};

use crate::JobId;
use crate::record::{self, Damaged, Record, Request};

/// What the keys of all jobs match,
pub(super) const JOBS: &str = "job.*";
/// of all that are done,
pub(super) const DONE: &str = "done.*";
/// and of all nodes.
pub(super) const NODES: &str = "node.*";

/// How large a part of a request is at most: with its headers a message that servers take by
/// default.
const PART_BYTES: usize = 768 * 1024;
/// As many parts are read at most.
const PARTS_MAX: u32 = 16;

/// A job, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The id of the node that runs it.
    pub(super) owner: String,
    /// In how many parts its request is.
    pub(super) parts: u32,
    pub(super) record: Record,
}

/// A node's sign of life.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sign {
    /// Where it runs.
    pub(super) host: String,
    /// Whether it runs no more, and others may have its jobs at once.
    pub(super) has_left: bool,
}

pub(super) fn job(id: JobId) -> String {
    format!("job.{id}")
}

pub(super) fn done(id: JobId) -> String {
    format!("done.{id}")
}

pub(super) fn node(id: &str) -> String {
    format!("node.{id}")
}

pub(super) fn part(id: JobId, number: u32) -> String {
    format!("request.{id}.{number}")
}

/// Returns the keys of a request's parts.
pub(super) fn parts(id: JobId, count: u32) -> impl Iterator<Item = String> {
    (0..count).map(move |number| part(id, number))
}

/// Returns which job the key of one, or of one that is done, is for.
pub(super) fn id(key: &str) -> Option<JobId> {
    key.strip_prefix("job.").or_else(|| key.strip_prefix("done."))?.parse().ok()
}

/// Returns the id of the node that a sign of life is of.
pub(super) fn node_of(key: &str) -> Option<&str> {
    key.strip_prefix("node.")
}

impl Kept {
    pub(super) fn decode(value: &[u8]) -> Result<Self, Damaged> {
        let kept: Self = record::decode(value)?;
        if kept.parts > PARTS_MAX { Err(Damaged) } else { Ok(kept) }
    }

    /// Returns what writes it.
    pub(super) fn change(&self, id: JobId, revision: u64) -> Change {
        Change::set(job(id), record::encode(self)).if_still(revision)
    }
}

/// Returns what writes a request, in its parts.
pub(super) fn request(id: JobId, request: &Request) -> Vec<Change> {
    let bytes = Bytes::from(record::encode_request(request));
    let starts = (0..bytes.len()).step_by(PART_BYTES);
    let values = starts.map(|at| bytes.slice(at..bytes.len().min(at + PART_BYTES)));
    (0..).zip(values).map(|(number, value)| Change::set(part(id, number), value)).collect()
}

/// Returns the request of these parts.
pub(super) fn join(parts: &[Bytes]) -> Result<Request, Damaged> {
    match parts {
        [whole] => record::decode_request(whole),
        parts => record::decode_request(&parts.concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::new_id;
    use crate::record::Head;

    #[test]
    fn a_request_is_in_parts_that_servers_take_and_whole_again() {
        for bytes in [0, 1, PART_BYTES, 3 * PART_BYTES] {
            let written = Request { head: Head::default(), body: vec![7; bytes] };
            let changes = request(new_id(), &written);
            assert!(changes.iter().all(|change| change.bytes() < 1_000_000));
            let whole = record::encode_request(&written);
            let parts: Vec<Bytes> = whole.chunks(PART_BYTES).map(Bytes::copy_from_slice).collect();
            assert_eq!((join(&parts), changes.len()), (Ok(written), parts.len()));
            if bytes > PART_BYTES {
                assert_eq!(join(&parts[1..]), Err(Damaged));
            }
        }
        assert_eq!(join(&[]), Err(Damaged));
    }

    #[test]
    fn keys_say_what_they_are_of() {
        let written = new_id();
        assert_eq!((id(&job(written)), id(&done(written))), (Some(written), Some(written)));
        assert_eq!(node_of(&node("a")), Some("a"));
        for other in ["job.", "job.x", "jobs.a", "request.x.0", ""] {
            assert_eq!((id(other), node_of(other)), (None, None), "{other}");
        }
    }

    #[test]
    fn what_nobody_has_written_so_is_damaged() {
        assert_eq!(Kept::decode(b"x"), Err(Damaged));
        assert_eq!(Kept::decode(&record::encode(&"x")), Err(Damaged));
    }
}
