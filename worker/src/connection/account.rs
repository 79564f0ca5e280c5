//! The account of one invocation: what is counted of it when it is over. Owns no fds.

use abi::board::{LATENCY_BOUNDS_US, Outcome, now_us};
use abi::invocation_id::InvocationId;

use super::service::{Destination, Routed};
use crate::functions::Place;
use crate::worker::Worker;

/// One request from its head to the last byte of its reply.
pub(super) struct Account {
    pub(super) id: InvocationId,
    /// When its head was there, by [`now_us`].
    pub(super) begun_us: u64,
    /// Where its function is counted; none when there is no such function.
    pub(super) place: Option<Place>,
}

impl Account {
    /// Opens the account of a request that has just come.
    pub(super) fn open(worker: &Worker, routed: &Routed) -> Self {
        let place = match &routed.destination {
            Destination::Function { catalogue, index } => catalogue.function(*index).map(Place::from),
            Destination::Problem(_) => None,
        };
        // From here on the engine sees it in flight.
        let _ = place.and_then(|place| worker.counts(place));
        Self { id: InvocationId::new(), begun_us: now_us(), place }
    }

    /// Closes it: the last of `sent_bytes` has left, or nothing more will.
    pub(super) fn close(self, worker: &Worker, outcome: Outcome, sent_bytes: u64) {
        if let Some(counts) = self.place.and_then(|place| worker.counts(place)) {
            counts.outcomes.count(outcome.index());
            counts.latency.record(&LATENCY_BOUNDS_US, now_us().saturating_sub(self.begun_us));
            counts.sent_bytes.add(sent_bytes);
        }
    }
}
