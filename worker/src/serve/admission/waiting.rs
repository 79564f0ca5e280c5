//! The wait for a place, in a function's queue. Owns no fds.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use abi::board::{Places, now_us};
use abi::outcome::Reason;
use tokio::time::{Instant, timeout, timeout_at};

use super::places::{Admitted, try_take};
use super::{Full, Refusal};
use crate::serve::Pipeline;
use crate::serve::functions::Function;

/// How often the first in the queue looks whether another worker has freed a place. It is notified
/// of the places that this worker frees.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// The same if this worker is notified of every place, except for versions that a change has
/// replaced.
const LOOK_INTERVAL_ALONE: Duration = Duration::from_millis(100);

/// Waits for a place for an invocation for which `full` had none. Returns the place, and when it
/// was taken.
///
/// # Errors
/// The refusal, if there is no room in the queue, or no place became free in time.
pub(super) async fn wait(
    pipeline: &Rc<Pipeline>,
    function: &Rc<Function>,
    client: Option<Places>,
    full: Full,
) -> Result<(Admitted, u64), Refusal> {
    // An address that has its share may not fill the queue, too.
    if full == Full::Address {
        return Err(full.refusal(Reason::Worker));
    }
    let Some(_waiting) = Waiting::begin(pipeline, function) else {
        return Err(full.refusal(Reason::Queue));
    };
    let deadline =
        Instant::now() + Duration::from_millis(u64::from(function.spec.limits.queue_timeout_ms));
    let last = Cell::new(full);
    let place = async {
        // Only the first in the queue looks, so the cost of waiting does not grow with the number
        // of those who wait.
        let _first = function.queue.first().await;
        loop {
            match try_take(pipeline, function, client) {
                Ok(admitted) => return Ok((admitted, now_us())),
                Err(Full::Address) => return Err(Full::Address),
                Err(full) => last.set(full),
            }
            // An invocation that ends in this worker notifies the queue, unless it runs by a
            // version that a change has replaced, which may have another queue.
            let alone = last.get() == Full::Function && pipeline.runs_alone();
            let interval = if alone { LOOK_INTERVAL_ALONE } else { LOOK_INTERVAL };
            let _ = timeout(interval, function.queue.freed()).await;
        }
    };
    match timeout_at(deadline, place).await {
        Ok(Ok(admitted)) => Ok(admitted),
        Ok(Err(full)) => Err(full.refusal(Reason::Worker)),
        Err(_) => Err(last.get().refusal(Reason::QueueTimeout)),
    }
}

/// The entry of an invocation in its function's queue.
struct Waiting<'a> {
    pipeline: &'a Pipeline,
    function: &'a Function,
}

impl<'a> Waiting<'a> {
    /// Enters the queue. Returns `None` if it is full, on all workers together.
    fn begin(pipeline: &'a Pipeline, function: &'a Function) -> Option<Self> {
        let slot = pipeline.shared.counters.slot(function.spec.slot)?;
        // Counted before the others are read, as with places: two cannot both take the last room.
        slot.queued.fetch_add(1, SeqCst);
        function.queue.enter();
        let waiting = Self { pipeline, function };
        (pipeline.queued_everywhere(function) <= function.spec.limits.queue_max).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.pipeline.shared.counters.slot(self.function.spec.slot) {
            slot.queued.fetch_sub(1, SeqCst);
        }
        self.function.queue.leave();
    }
}

impl Pipeline {
    /// Returns the number of a function's requests that are queued, on all workers that may run it.
    fn queued_everywhere(&self, function: &Function) -> u32 {
        self.shared.counters.queued(self.rows(), function.spec.slot)
    }

    /// Returns whether no other worker runs the functions that this one runs.
    fn runs_alone(&self) -> bool {
        self.rows().len() == 1
    }
}
