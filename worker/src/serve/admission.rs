//! Admission: how many invocations of a function run at a time, on all workers together, and who
//! waits for a turn.
//!
//! Each worker counts its own on the board and reads the others'. One that is about to begin counts
//! itself first and looks then, so two can never both take the last place; at worst neither does,
//! and both look again. Places of a worker that dies are free as soon as its row is cleared.
//!
//! Of a large limit a part is [`reserved`] for each worker, which then begins so many without a
//! look at the others.
//!
//! What one worker runs is limited, too, by what its pool of instances has. No function and no
//! client's address can have all of that. Owns no fds.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use abi::board::{Places, now_us};
use abi::limits::{
    INVOCATIONS_PER_ADDRESS_AND_WORKER_MAX, INVOCATIONS_PER_FUNCTION_AND_WORKER_MAX,
    INVOCATIONS_PER_WORKER_MAX,
};
use abi::outcome::Reason;
use abi::problem::Problem;
use tokio::time::{Instant, timeout, timeout_at};

use super::Pipeline;
use super::functions::Function;
use crate::facts::Facts;
use crate::run::Spec;

/// How often the first of those who wait looks whether another worker has a place to give; of
/// places of this one's it is told.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// The same where what frees a place is heard of, but for what a change has replaced.
const LOOK_INTERVAL_ALONE: Duration = Duration::from_millis(100);
/// How often two that stood in each other's way try again at once.
const TRIES: u32 = 3;
/// A function with a lower limit on its concurrency gets exactly that, on whichever workers its
/// requests are.
const RESERVED_CONCURRENCY_MIN: u32 = 256;
/// The part of a limit that is reserved: one in so many.
const RESERVED_PART: u32 = 8;
/// While a worker runs no more than this, it does not count whose clients have it.
const UNCOUNTED: u32 = INVOCATIONS_PER_WORKER_MAX / 4;

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The function has as many as its owner allows: 429.
    Function,
    /// The function has as many of this worker as one may have: 503.
    Share,
    /// The client's address has as many of this worker as one may have: 429, at once.
    Address,
    /// This worker runs as many as it can: 503.
    Worker,
}

/// What an invocation finds that is about to begin, with itself counted in. All but the first are
/// in this worker, and weighed ([`crate::run::Runner::weight`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    /// Invocations of its function on all workers.
    running: u32,
    in_worker: u32,
    of_function: u32,
    /// Of its client's address, those among them whose address was not counted.
    of_client: u32,
}

/// Whether it may begin: its function may have `concurrency_max` in all, and `share` of this
/// worker.
fn decide(found: Found, concurrency_max: u32, share: u32) -> Result<(), Full> {
    if found.in_worker > INVOCATIONS_PER_WORKER_MAX {
        Err(Full::Worker)
    } else if found.running > concurrency_max {
        Err(Full::Function)
    } else if found.of_function > share {
        Err(Full::Share)
    } else if found.of_client > INVOCATIONS_PER_ADDRESS_AND_WORKER_MAX {
        Err(Full::Address)
    } else {
        Ok(())
    }
}

/// How many of a function's invocations each of so many workers may begin without a look at the
/// others. Whoever begins more takes each of the others to have as many, so that all together never
/// have more than `concurrency_max`.
fn reserved(concurrency_max: u32, workers: usize) -> u32 {
    if concurrency_max < RESERVED_CONCURRENCY_MIN {
        return 0;
    }
    let workers = u32::try_from(workers).unwrap_or(u32::MAX).max(1);
    concurrency_max / RESERVED_PART / workers
}

/// Admits an invocation that came at `now`, at once or when its turn has come, and returns since
/// when it has its place, by [`now_us`].
///
/// # Errors
/// What was full, when there is no room to wait either, or no turn came in time.
pub(super) async fn admit(
    pipeline: &Rc<Pipeline>,
    function: &Rc<Function>,
    now: u64,
    facts: &Facts,
) -> Result<(Admitted, u64), Full> {
    let refused = |full: Full, queue| {
        let reason = full.reason(queue);
        pipeline.shared().counters.count_reason(function.spec.slot, reason);
        facts.reason.set(Some(reason));
        Err(full)
    };
    // Those who came before go first.
    let full = match function.turns.waiting.get() {
        0 => match try_now(pipeline, function, facts.client.get()) {
            Ok(running) => return Ok((running, now)),
            Err(full) => full,
        },
        _ => Full::Function,
    };
    if full == Full::Address {
        return refused(full, Reason::Worker);
    }
    let Some(_waiting) = Waiting::begin(pipeline, function) else {
        return refused(full, Reason::Queue);
    };
    let deadline =
        Instant::now() + Duration::from_millis(u64::from(function.spec.limits.queue_timeout_ms));
    let last = Cell::new(full);
    let turn = async {
        // One of them looks, the one that has waited longest: what waiting costs does not grow with
        // how many wait.
        let _first = function.turns.first.acquire().await;
        loop {
            match try_now(pipeline, function, facts.client.get()) {
                Err(Full::Address) => return Err(Full::Address),
                Err(full) => last.set(full),
                Ok(running) => return Ok((running, now_us())),
            }
            let free = function.turns.free.notified();
            // What ends here wakes whoever waits, but for what runs by a version that a change has
            // replaced.
            let alone = last.get() == Full::Function && pipeline.runs_alone();
            let _ = timeout(if alone { LOOK_INTERVAL_ALONE } else { LOOK_INTERVAL }, free).await;
        }
    };
    match timeout_at(deadline, turn).await {
        Ok(Ok(admitted)) => Ok(admitted),
        Ok(Err(full)) => refused(full, Reason::Worker),
        Err(_) => refused(last.get(), Reason::QueueTimeout),
    }
}

impl Full {
    /// What its client is told.
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

    /// What is counted: the worker's limit, or that of the function's that its `queue` has run
    /// into.
    fn reason(self, queue: Reason) -> Reason {
        match self {
            Self::Function => queue,
            Self::Share | Self::Address | Self::Worker => Reason::Worker,
        }
    }
}

fn try_now(
    pipeline: &Rc<Pipeline>,
    function: &Rc<Function>,
    client: Option<Places>,
) -> Result<Admitted, Full> {
    let mut full = Full::Function;
    for _ in 0..TRIES {
        // Counted in while it lives, so dropping it is what makes a refusal.
        let counted = Admitted::count(pipeline, function, client);
        match decide(
            counted.found(),
            function.spec.limits.concurrency_max,
            pipeline.function_share(),
        ) {
            Ok(()) => return Ok(counted.begun()),
            Err(why) => full = why,
        }
        drop(counted);
        if full != Full::Function
            || pipeline.running_everywhere(function) >= function.spec.limits.concurrency_max
        {
            break;
        }
    }
    Err(full)
}

impl Pipeline {
    /// Invocations of a function on all workers that may run it, as far as they matter to whether
    /// this one may have as many as it has: those that are reserved for another worker count as
    /// that worker's.
    fn running_everywhere(&self, function: &Function) -> u32 {
        let rows = self.rows();
        let reserved = reserved(function.spec.limits.concurrency_max, rows.len());
        self.shared.counters.running(rows, function.spec.slot, reserved)
    }

    /// Requests of a function that wait for their turn, on all workers that may run it.
    fn queued_everywhere(&self, function: &Function) -> u32 {
        self.shared.counters.queued(self.rows(), function.spec.slot)
    }

    /// The most that one function can have of what this worker runs at a time: all of it, if the
    /// worker is its own.
    fn function_share(&self) -> u32 {
        match self.settings().only_function {
            Some(_) => INVOCATIONS_PER_WORKER_MAX,
            None => INVOCATIONS_PER_FUNCTION_AND_WORKER_MAX,
        }
    }

    /// No other worker runs the functions that this one runs.
    fn runs_alone(&self) -> bool {
        self.rows().len() == 1
    }

    /// The rows of the workers that run the same functions as this one.
    fn rows(&self) -> Range<usize> {
        let settings = self.settings();
        self.shared.counters.peers(settings.only_function.is_some(), settings.shared_rows)
    }
}

/// An invocation that is counted in, and its place until it is dropped.
pub(super) struct Admitted {
    pipeline: Rc<Pipeline>,
    function: Rc<Function>,
    /// Its client's address, where that is counted.
    client: Option<Places>,
    begun: bool,
}

impl Admitted {
    /// Counts one in; whether it may run is [`decide`]'s to say.
    fn count(pipeline: &Rc<Pipeline>, function: &Rc<Function>, client: Option<Places>) -> Self {
        let client = pipeline.clients.add(client, function.weight);
        function.turns.add(function.weight);
        let counters = &pipeline.shared.counters;
        counters.row().in_flight.fetch_add(1, Relaxed);
        if let Some(slot) = counters.slot(function.spec.slot) {
            slot.in_flight.fetch_add(1, SeqCst);
        }
        Self { pipeline: Rc::clone(pipeline), function: Rc::clone(function), client, begun: false }
    }

    /// What is counted in, this one included.
    fn found(&self) -> Found {
        Found {
            running: self.pipeline.running_everywhere(&self.function),
            in_worker: self.pipeline.clients.all(),
            of_function: self.function.turns.running(),
            of_client: self.pipeline.clients.of(self.client),
        }
    }

    /// It does run.
    fn begun(mut self) -> Self {
        self.pipeline.shared.counters.row().requests.fetch_add(1, Relaxed);
        self.begun = true;
        self
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let (pipeline, function) = (&self.pipeline, &self.function);
        let counters = &pipeline.shared.counters;
        counters.row().in_flight.fetch_sub(1, Relaxed);
        pipeline.clients.remove(self.client, function.weight);
        function.turns.remove(function.weight);
        if let Some(slot) = counters.slot(function.spec.slot) {
            slot.in_flight.fetch_sub(1, SeqCst);
        }
        if self.begun {
            function.turns.ended();
        }
        pipeline.drain.one_ended();
    }
}

/// What runs in a worker, weighed, and of which clients' addresses.
#[derive(Default)]
pub(super) struct Clients {
    all: Cell<u32>,
    /// What began while no more than [`UNCOUNTED`] ran: it may be anybody's.
    uncounted: Cell<u32>,
    /// What began later.
    counted: RefCell<HashMap<Places, u32>>,
}

impl Clients {
    /// Counts one in, and returns where to count it out again.
    pub(super) fn add(&self, client: Option<Places>, weight: u32) -> Option<Places> {
        self.all.set(self.all.get().saturating_add(weight));
        let Some(client) = client.filter(|_| self.all.get() > UNCOUNTED) else {
            self.uncounted.set(self.uncounted.get().saturating_add(weight));
            return None;
        };
        *self.counted.borrow_mut().entry(client).or_default() += weight;
        Some(client)
    }

    pub(super) fn remove(&self, client: Option<Places>, weight: u32) {
        self.all.set(self.all.get().saturating_sub(weight));
        let Some(client) = client else {
            return self.uncounted.set(self.uncounted.get().saturating_sub(weight));
        };
        let mut counted = self.counted.borrow_mut();
        if let Some(count) = counted.get_mut(&client) {
            *count = count.saturating_sub(weight);
            if *count == 0 {
                counted.remove(&client);
            }
        }
    }

    pub(super) fn all(&self) -> u32 {
        self.all.get()
    }

    /// The most that a client can have of it.
    pub(super) fn of(&self, client: Option<Places>) -> u32 {
        let counted = client.and_then(|client| self.counted.borrow().get(&client).copied());
        counted.unwrap_or(0).saturating_add(self.uncounted.get())
    }
}

/// A place in a function's queue.
struct Waiting<'a> {
    pipeline: &'a Pipeline,
    function: &'a Function,
}

impl<'a> Waiting<'a> {
    /// None when the queue is full, on all workers together.
    fn begin(pipeline: &'a Pipeline, function: &'a Function) -> Option<Self> {
        let slot = pipeline.shared.counters.slot(function.spec.slot)?;
        slot.queued.fetch_add(1, SeqCst);
        function.turns.waiting.set(function.turns.waiting.get() + 1);
        let waiting = Self { pipeline, function };
        (pipeline.queued_everywhere(function) <= function.spec.limits.queue_max).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.pipeline.shared.counters.slot(self.function.spec.slot) {
            slot.queued.fetch_sub(1, SeqCst);
        }
        self.function.turns.waiting.set(self.function.turns.waiting.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const ALL: u32 = INVOCATIONS_PER_WORKER_MAX;

    #[test]
    fn a_place_is_a_functions_own_limit_its_share_the_clients_and_the_workers() {
        let found = Found { running: 1, in_worker: 1, of_function: 1, of_client: 1 };
        assert_eq!(decide(found, 1, ALL), Ok(()));
        assert_eq!(decide(Found { running: 2, ..found }, 1, ALL), Err(Full::Function));
        assert_eq!(decide(found, 0, ALL), Err(Full::Function));
        assert_eq!(decide(Found { in_worker: ALL, ..found }, 1, ALL), Ok(()));
        assert_eq!(decide(Found { in_worker: ALL + 1, ..found }, 1, ALL), Err(Full::Worker));
        assert_eq!(decide(Found { of_function: 750, ..found }, 1, 750), Ok(()));
        assert_eq!(decide(Found { of_function: 751, ..found }, 1, 750), Err(Full::Share));
        assert_eq!(decide(Found { of_client: ALL, ..found }, 1, ALL), Err(Full::Address));
    }

    #[test]
    fn one_address_cannot_have_all_of_a_worker_and_others_are_not_counted_with_it() {
        let clients = Clients::default();
        let [one, other] =
            [1, 2].map(|last| Some(Places::of(Ipv4Addr::new(10, 0, 0, last).into(), 7)));
        let mut held = Vec::new();
        let begins = |client| {
            let counted = clients.add(client, 1);
            let found = Found {
                running: 1,
                in_worker: clients.all(),
                of_function: 1,
                of_client: clients.of(counted),
            };
            decide(found, ALL, ALL).map(|()| counted).inspect_err(|_| clients.remove(counted, 1))
        };
        let full = loop {
            match begins(one) {
                Ok(counted) => held.push(counted),
                Err(full) => break full,
            }
        };
        assert_eq!((full, clients.all()), (Full::Address, INVOCATIONS_PER_ADDRESS_AND_WORKER_MAX));
        let others = begins(other).unwrap();
        clients.remove(others, 1);
        // Nor does it matter how long the first of them have gone.
        held.drain(..200).for_each(|counted| clients.remove(counted, 1));
        held.extend((0..200).map(|_| begins(one).unwrap()));
        assert_eq!(begins(one), Err(Full::Address));
        held.into_iter().for_each(|counted| clients.remove(counted, 1));
        assert!(clients.all() == 0 && clients.counted.borrow().is_empty());
    }

    /// However many workers begin, and in whichever order, all together never have more than may
    /// be.
    #[test]
    fn what_is_reserved_never_lets_more_begin_than_may() {
        for (limit, workers) in
            [(1000u32, 1usize), (1000, 2), (300, 3), (257, 64), (3, 2), (100_000, 256)]
        {
            let reserved = reserved(limit, workers);
            let mut running = vec![0u32; workers];
            let mut order = 1u64;
            for _ in 0..3 * limit.min(3000) {
                order = order.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Mostly the first: the others' part is what it must leave.
                let at = if order >> 62 == 0 { (order >> 33) as usize % workers } else { 0 };
                let own = running[at] + 1;
                let taken: u32 = running
                    .iter()
                    .enumerate()
                    .map(|(row, other)| if row == at { own } else { *other }.max(reserved))
                    .sum();
                if own <= reserved || taken <= limit {
                    running[at] = own;
                }
            }
            assert!(running.iter().sum::<u32>() <= limit, "{limit} on {workers}");
        }
        assert_eq!(reserved(3, 2), 0, "a small limit is exact");
        assert_eq!(reserved(1000, 64), 1);
    }
}
