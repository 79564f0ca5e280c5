//! Asynchronous invocations.
//!
//! A *job* is an invocation that the node keeps until it is done. An *attempt* is one invocation
//! for it. A *dead letter* is a job that is tried no more. [`record`] is what is kept of each;
//! [`local`] keeps that in a database of the data folder. What to do next is decided by pure code:
//! [`queue`] knows which job is tried next, [`plan`] what becomes of a job after an attempt. Who
//! makes the attempts stands above. Owns the database's file.

pub mod local;
pub mod plan;
pub mod queue;
#[cfg(test)]
mod queue_tests;
pub mod record;

use abi::invocation_id::InvocationId;
use uuid::{Builder, Uuid};

/// The id of a job. It has the form of an invocation's.
pub type JobId = InvocationId;

/// Returns an id for a new job, which nobody can guess: not from its time, and not from the ids that
/// came before it.
#[must_use]
pub fn new_id() -> JobId {
    let mut random = [0; 10];
    random.copy_from_slice(
        &[&Uuid::new_v4().as_bytes()[..6], &Uuid::new_v4().as_bytes()[..4]].concat(),
    );
    let id = Builder::from_unix_timestamp_millis(host::clock::unix_ms(), &random).into_uuid();
    JobId::from_bytes(*id.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_those_of_invocations_are() {
        let ids: std::collections::BTreeSet<JobId> = (0..1000).map(|_| new_id()).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }
}
