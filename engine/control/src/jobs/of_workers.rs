//! Jobs as workers submit them for the clients of functions, and ask about them. Owns no fds.

use std::sync::Arc;

use abi::job::{JobId, Refused};
use jobs::record::Target;
use state::server::{LookedUp, Submitted};

use super::{JobError, Jobs, Submission};

/// The node's jobs, for workers.
#[derive(Debug, Clone)]
pub struct OfWorkers(pub Arc<Jobs>);

impl state::server::Jobs for OfWorkers {
    fn submit(&self, function: &str, request: abi::job::Submission, done: Submitted) {
        let submission = Submission { target: Target::Function, callback: None, request };
        self.0.submit(function, submission, Box::new(|kept| done(kept.map_err(refused))));
    }

    fn look_up(&self, function: &str, job: JobId, done: LookedUp) {
        self.0.look_up(function, job, done);
    }
}

/// Returns what a worker is told of an error.
fn refused(error: JobError) -> Refused {
    match error {
        JobError::Full(_) => Refused::Full(error.to_string()),
        JobError::Function(_) => Refused::Denied,
        _ => Refused::Unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_is_told_from_one_that_cannot_be_used() {
        assert!(matches!(refused(JobError::Full("1".to_owned())), Refused::Full(_)));
        for error in [JobError::NotHere, JobError::Unavailable("the disk is full".to_owned())] {
            assert!(matches!(refused(error), Refused::Unavailable(_)));
        }
    }
}
