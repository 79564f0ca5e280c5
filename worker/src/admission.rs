//! Admission: how many invocations of a function run at a time, on all workers together, and who waits for a turn.
//!
//! Each worker counts its own on the board and reads the others'. One that is about to begin counts itself first and looks
//! then, so two can never both take the last place; at worst neither does, and both look again. Places of a worker that dies are
//! free as soon as its row is cleared. Owns no fds.

use std::rc::Rc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use abi::board::{Reason, now_us};
use abi::limits::INVOCATIONS_PER_WORKER_MAX;
use tokio::time::{Instant, timeout_at};

use crate::facts::Facts;
use crate::functions::Function;
use crate::worker::{RunningInvocation, Worker};

/// How often those who wait look whether another worker has a place to give; places of this one's they are told of.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// How often two that stood in each other's way try again at once.
const TRIES: u32 = 3;

/// An invocation's place, and since when it has it, by [`now_us`].
pub(crate) type Admitted = (RunningInvocation, u64);

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The function has as many as its owner allows: 429.
    Function,
    /// This worker runs as many as it can: 503.
    Node,
}

/// Whether an invocation may begin, with itself counted in: `running` of its function on all workers, `in_worker` of all functions
/// in this one.
fn decide(running: u32, concurrency_max: u32, in_worker: u64) -> Result<(), Full> {
    if in_worker > u64::from(INVOCATIONS_PER_WORKER_MAX) {
        Err(Full::Node)
    } else if running > concurrency_max {
        Err(Full::Function)
    } else {
        Ok(())
    }
}

/// Counts an invocation that came at `now` in, at once or when its turn has come.
///
/// # Errors
/// What was full, when there is no room to wait either, or no turn came in time.
pub(crate) async fn admit(
    worker: &Rc<Worker>,
    function: &Rc<Function>,
    now: u64,
    facts: &Facts,
) -> Result<Admitted, Full> {
    let refused = |full: Full, queue| {
        let reason = full.reason(queue);
        worker.count_reason(function.place, reason);
        facts.reason.set(Some(reason));
        Err(full)
    };
    let others_wait = function.turns.waiting.get() > 0;
    let full = match try_now(worker, function) {
        // Those who came before go first.
        Ok(running) if !others_wait => return Ok((running, now)),
        Ok(_) => Full::Function,
        Err(full) => full,
    };
    let Some(_waiting) = Waiting::begin(worker, function) else {
        return refused(full, Reason::Queue);
    };
    let deadline = Instant::now() + Duration::from_millis(u64::from(function.limits.queue_timeout_ms));
    let mut full = full;
    while Instant::now() < deadline {
        let look = (Instant::now() + LOOK_INTERVAL).min(deadline);
        let _ = timeout_at(look, function.turns.free.notified()).await;
        match try_now(worker, function) {
            Ok(running) => return Ok((running, now_us())),
            Err(why) => full = why,
        }
    }
    refused(full, Reason::QueueTimeout)
}

impl Full {
    /// What is counted: the worker's limit, or that of the function's that its `queue` has run into.
    fn reason(self, queue: Reason) -> Reason {
        match self {
            Self::Function => queue,
            Self::Node => Reason::Worker,
        }
    }
}

fn try_now(worker: &Rc<Worker>, function: &Rc<Function>) -> Result<RunningInvocation, Full> {
    let mut full = Full::Function;
    for _ in 0..TRIES {
        // Counted in while it lives, so dropping it is what makes a refusal.
        let running = worker.count_invocation(function);
        match decide(worker.running_everywhere(function), function.limits.concurrency_max, running.in_worker()) {
            Ok(()) => return Ok(running.begun()),
            Err(why) => full = why,
        }
        drop(running);
        if full == Full::Node || worker.running_everywhere(function) >= function.limits.concurrency_max {
            break;
        }
    }
    Err(full)
}

/// A function's turns in this worker.
#[derive(Default)]
pub(crate) struct Turns {
    free: tokio::sync::Notify,
    waiting: std::cell::Cell<u32>,
}

impl Turns {
    /// An invocation has ended: whoever has waited longest may look.
    pub(crate) fn ended(&self) {
        if self.waiting.get() > 0 {
            self.free.notify_one();
        }
    }
}

/// A place in a function's queue.
struct Waiting<'a> {
    worker: &'a Worker,
    function: &'a Function,
}

impl<'a> Waiting<'a> {
    /// None when the queue is full, on all workers together.
    fn begin(worker: &'a Worker, function: &'a Function) -> Option<Self> {
        let slot = worker.slot(function)?;
        slot.queued.fetch_add(1, SeqCst);
        function.turns.waiting.set(function.turns.waiting.get() + 1);
        let waiting = Self { worker, function };
        (worker.queued_everywhere(function) <= function.limits.queue_max).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.worker.slot(self.function) {
            slot.queued.fetch_sub(1, SeqCst);
        }
        self.function.turns.waiting.set(self.function.turns.waiting.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_functions_own_limit_and_then_the_workers() {
        let all = u64::from(INVOCATIONS_PER_WORKER_MAX);
        assert_eq!(decide(1, 1, 1), Ok(()));
        assert_eq!(decide(2, 1, 2), Err(Full::Function));
        assert_eq!(decide(1, 0, 1), Err(Full::Function));
        assert_eq!(decide(1, 1, all), Ok(()));
        assert_eq!(decide(1, 1, all + 1), Err(Full::Node));
    }
}
