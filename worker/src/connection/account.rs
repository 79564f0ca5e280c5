//! The account of one invocation: what is counted and told of it when it is over. Owns no fds.

use std::time::Duration;

use abi::board::{LATENCY_BOUNDS_US, Outcome, now_us};
use abi::invocation_id::InvocationId;
use abi::message::AccessLog;

use super::access::{self, Access};
use super::service::{Destination, Routed};
use super::wire::SharedWire;
use crate::functions::Place;
use crate::worker::Worker;

/// One request from its head to the last byte of its reply.
pub(super) struct Account {
    pub(super) id: InvocationId,
    /// When its head was there, by [`now_us`].
    pub(super) begun_us: u64,
    /// Where its function is counted; none when there is no such function.
    pub(super) place: Option<Place>,
    /// For its line in the access log, if there is one.
    access: Option<Box<Access>>,
}

/// What became of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It has left whole, with this status.
    Whole(u16),
    /// It had this status, and not all of it has left.
    Cut(u16),
    /// There was none: the client had gone.
    Nothing,
}

impl Account {
    /// Opens the account of a request that has just come.
    pub(super) fn open(worker: &Worker, routed: &Routed, wire: &SharedWire) -> Self {
        let function = match &routed.destination {
            Destination::Function { catalogue, index } => catalogue.function(*index),
            Destination::Problem(_) => None,
        };
        let place = function.map(Place::from);
        // From here on the engine sees it in flight.
        let _ = place.and_then(|place| worker.counts(place));
        let access = function.filter(|_| worker.settings.borrow().access_log != AccessLog::Off).map(|function| {
            let client = wire.lock().socket().peer_addr().ok();
            Box::new(Access::note(function, &routed.message.request, client))
        });
        Self { id: InvocationId::new(), begun_us: now_us(), place, access }
    }

    /// Closes it: the last of `sent_bytes` has left, or nothing more will.
    pub(super) fn close(self, worker: &Worker, sent: Sent, sent_bytes: u64) {
        let Some(place) = self.place else { return };
        let duration_us = now_us().saturating_sub(self.begun_us);
        let (outcome, status) = match sent {
            Sent::Whole(status) | Sent::Cut(status) => (Outcome::Status(status), Some(status)),
            Sent::Nothing => (Outcome::NoReply, None),
        };
        if let Some(counts) = worker.counts(place) {
            counts.outcomes.count(outcome.index());
            counts.latency.record(&LATENCY_BOUNDS_US, duration_us);
            counts.sent_bytes.add(sent_bytes);
        }
        if let Some(access) = self.access {
            let (cut, duration) = (!matches!(sent, Sent::Whole(_)), Duration::from_micros(duration_us));
            let end = access::End { status, cut, sent_bytes, duration };
            access
                .line(worker.settings.borrow().access_log, self.id, &end)
                .into_iter()
                .for_each(|line| worker.log.put(line));
        }
    }
}
