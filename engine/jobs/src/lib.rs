//! Asynchronous invocations.
//!
//! A *job* is an invocation that the node keeps until it is done. An *attempt* is one invocation
//! for it. A *dead letter* is a job that is tried no more. [`record`] is what is kept of each,
//! [`store`] what keeps it: [`local`], a database in the data folder, or [`nats`](mod@nats), where
//! other nodes take over from one that has gone. What to do next is decided by pure code: [`queue`] knows which job is tried next, [`plan`] what becomes of a job after an
//! attempt. Who makes the attempts stands above. Owns the database's file.

pub mod local;
pub mod nats;
pub mod plan;
pub mod queue;
#[cfg(test)]
mod queue_tests;
pub mod record;
pub mod store;
mod usage;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use abi::invocation_id::InvocationId;
use uuid::{Builder, Uuid};

/// What an id has between its time and its random bits (RFC 9562 5.7, `rand_a`).
const COUNT_BITS: u32 = 12;

/// The id of a job. It has the form of an invocation's.
pub type JobId = InvocationId;

/// Returns an id for a new job. It sorts behind all that this process has returned before, and nobody
/// can guess it: 62 of its bits are the kernel's random ones.
#[must_use]
pub fn new_id() -> JobId {
    /// Milliseconds since 1970, and in the last bits how many ids there were in that one.
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = host::clock::unix_ms() << COUNT_BITS;
    let next = |last: u64| now.max(last + 1);
    let last = LAST.fetch_update(Relaxed, Relaxed, |last| Some(next(last))).unwrap_or_default();
    let stamp = next(last);
    let [.., high, low] = (stamp & ((1 << COUNT_BITS) - 1)).to_be_bytes();
    let [.., a, b, c, d, e, f, g, h] = Uuid::new_v4().into_bytes();
    let behind = [high, low, a, b, c, d, e, f, g, h];
    let id = Builder::from_unix_timestamp_millis(stamp >> COUNT_BITS, &behind).into_uuid();
    JobId::from_bytes(id.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_those_of_invocations_are() {
        let ids: Vec<JobId> = (0..10_000).map(|_| new_id()).collect();
        assert!(ids.is_sorted_by(|one, next| one < next));
        for id in ids {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }
}
