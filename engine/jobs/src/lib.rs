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

/// The id of a job. It has the form of an invocation's.
pub type JobId = InvocationId;

/// Returns an id for a new job, which nobody can guess.
#[must_use]
pub fn new_id() -> JobId {
    JobId::from_bytes(*uuid::Uuid::now_v7().as_bytes())
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
