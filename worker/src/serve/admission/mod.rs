//! Admission: how many invocations of a function run at a time, on all workers together, and who
//! waits for a place.
//!
//! [`places`] takes a place at once or says what is full, with [`clients`] for the shares of client
//! addresses; [`waiting`] waits in the function's queue. Owns no fds.

mod clients;
mod places;
mod waiting;

use std::rc::Rc;

use abi::outcome::Reason;
use abi::problem::Problem;

use super::Pipeline;
use super::functions::Function;
use crate::facts::Facts;
use crate::run::Spec;

pub(super) use self::clients::Clients;
pub(super) use self::places::Admitted;

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The function has as many as its owner allows: 429.
    Function,
    /// The function has as many of this worker as one function may have: 503.
    Share,
    /// The client's address has as many of this worker as one address may have: 429, at once.
    Address,
    /// This worker runs as many as it can: 503.
    Worker,
}

/// An invocation that is refused: what is full, and the reason to count.
struct Refusal {
    full: Full,
    reason: Reason,
}

/// Admits an invocation that arrived at `now`, at once or after a wait in the queue. Returns its
/// place, and since when it has it, by [`now_us`](abi::board::now_us).
///
/// # Errors
/// What is full, if there is no room in the queue either, or no place became free in time.
pub(super) async fn admit(
    pipeline: &Rc<Pipeline>,
    function: &Rc<Function>,
    now: u64,
    facts: &Facts,
) -> Result<(Admitted, u64), Full> {
    let client = facts.client_places.get();
    // Those who wait already go first, so a place is only looked for if nobody waits.
    let full = if function.queue.is_empty() {
        match places::try_take(pipeline, function, client) {
            Ok(admitted) => return Ok((admitted, now)),
            Err(full) => full,
        }
    } else {
        Full::Function
    };
    waiting::wait(pipeline, function, client, full).await.map_err(|Refusal { full, reason }| {
        pipeline.shared().counters.count_reason(function.spec.slot, reason);
        facts.reason.set(Some(reason));
        full
    })
}

impl Full {
    /// Returns the problem for the client.
    pub(super) fn problem(self, spec: &Spec) -> Problem {
        let (name, limit) = (&spec.name, spec.limits.concurrency_max);
        match self {
            Self::Function => Problem::new(
                429,
                format!(
                    "function {name:?} runs {limit} requests at a time, and no more wait; try again"
                ),
            ),
            Self::Share => Problem::new(
                503,
                format!(
                    "function {name:?} runs as many requests on this worker as one function may; try again"
                ),
            ),
            Self::Address => Problem::new(
                429,
                "this worker runs as many requests of your address as one address may have; try again",
            ),
            Self::Worker => {
                Problem::new(503, "this worker runs as many invocations as it can; try again")
            }
        }
    }

    /// Returns the refusal. `queue` is the reason if the function's own limit has caused it; any
    /// other limit is the worker's.
    fn refusal(self, queue: Reason) -> Refusal {
        let reason = match self {
            Self::Function => queue,
            Self::Share | Self::Address | Self::Worker => Reason::Worker,
        };
        Refusal { full: self, reason }
    }
}
