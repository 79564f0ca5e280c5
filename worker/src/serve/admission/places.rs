//! The places of invocations: how many a function may have on all workers together, and how many
//! one function and one client's address may have of this worker.
//!
//! Each worker counts its own invocations on the board and reads the others' counts. An invocation
//! that is about to begin is counted before the others are read, so two can never both take the
//! last place. At worst neither takes it, and both look again. The places of a worker that dies are
//! free as soon as its row is cleared.
//!
//! A part of a large limit is [`reserved`] for each worker, which begins that many invocations
//! without reading the others' counts.
//!
//! A worker also has limits of its own, by its pool of instances. No function and no client's
//! address can have all of that. Owns no fds.

use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use abi::board::Places;
use abi::limits::{
    INVOCATIONS_PER_ADDRESS_AND_WORKER_MAX, INVOCATIONS_PER_FUNCTION_AND_WORKER_MAX,
    INVOCATIONS_PER_WORKER_MAX,
};

use super::Full;
use crate::serve::Pipeline;
use crate::serve::functions::Function;

/// How often two invocations that stood in each other's way try again at once.
const TRIES_MAX: u32 = 3;
/// A function with a lower limit on its concurrency gets exactly that, on whichever workers its
/// requests are.
const RESERVED_CONCURRENCY_MIN: u32 = 256;
/// The reserved part of a limit: one in this many.
const RESERVED_PART: u32 = 8;

/// What is in use, including the invocation that asks. All but the first are the weights in this
/// worker ([`crate::run::Runner::weight`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Usage {
    /// The function's invocations on all workers.
    running: u32,
    in_worker: u32,
    of_function: u32,
    /// Of the client's address. Includes the invocations whose address was not counted.
    of_client: u32,
}

/// Decides whether an invocation may begin. Its function may have `concurrency_max` in all, and
/// `share` of this worker.
fn decide(usage: Usage, concurrency_max: u32, share: u32) -> Result<(), Full> {
    if usage.in_worker > INVOCATIONS_PER_WORKER_MAX {
        Err(Full::Worker)
    } else if usage.running > concurrency_max {
        Err(Full::Function)
    } else if usage.of_function > share {
        Err(Full::Share)
    } else if usage.of_client > INVOCATIONS_PER_ADDRESS_AND_WORKER_MAX {
        Err(Full::Address)
    } else {
        Ok(())
    }
}

/// Returns how many of a function's invocations each of `workers` may begin without reading the
/// others' counts. A worker that begins more assumes that each of the others has this many, so that
/// all together never have more than `concurrency_max`.
fn reserved(concurrency_max: u32, workers: usize) -> u32 {
    if concurrency_max < RESERVED_CONCURRENCY_MIN {
        return 0;
    }
    let workers = u32::try_from(workers).unwrap_or(u32::MAX).max(1);
    concurrency_max / RESERVED_PART / workers
}

/// Takes a place for an invocation, without waiting.
///
/// # Errors
/// What is full.
pub(super) fn try_take(
    pipeline: &Rc<Pipeline>,
    function: &Rc<Function>,
    client: Option<Places>,
) -> Result<Admitted, Full> {
    let concurrency_max = function.spec.limits.concurrency_max;
    let mut full = Full::Function;
    for _ in 0..TRIES_MAX {
        // The invocation is counted while this lives; dropping it is the refusal.
        let counted = Admitted::count(pipeline, function, client);
        match decide(counted.usage(), concurrency_max, pipeline.function_share()) {
            Ok(()) => return Ok(counted.begin()),
            Err(why) => full = why,
        }
        drop(counted);
        // Without this invocation there is room: another one was counted at the same moment, and
        // may have given up as well.
        let collided =
            full == Full::Function && pipeline.running_everywhere(function) < concurrency_max;
        if !collided {
            break;
        }
    }
    Err(full)
}

impl Pipeline {
    /// Returns the number of a function's invocations on all workers that may run it, as far as it
    /// matters to whether this worker may have as many as it has: each other worker counts as
    /// having at least its reserved part.
    fn running_everywhere(&self, function: &Function) -> u32 {
        let rows = self.rows();
        let reserved = reserved(function.spec.limits.concurrency_max, rows.len());
        self.shared.counters.running(rows, function.spec.slot, reserved)
    }

    /// Returns the most that one function can have of what this worker runs at a time: all of it,
    /// if the worker is its own.
    fn function_share(&self) -> u32 {
        match self.settings().only_function {
            Some(_) => INVOCATIONS_PER_WORKER_MAX,
            None => INVOCATIONS_PER_FUNCTION_AND_WORKER_MAX,
        }
    }

    /// Returns the rows of the workers that run the same functions as this one.
    pub(super) fn rows(&self) -> Range<usize> {
        let settings = self.settings();
        self.shared.counters.peers(settings.only_function.is_some(), settings.shared_rows)
    }
}

/// An invocation that is counted, and has its place until this is dropped.
pub(in crate::serve) struct Admitted {
    pipeline: Rc<Pipeline>,
    function: Rc<Function>,
    /// Its client's address, if that is counted.
    client: Option<Places>,
    begun: bool,
}

impl Admitted {
    /// Counts an invocation; [`decide`] then decides whether it may run.
    fn count(pipeline: &Rc<Pipeline>, function: &Rc<Function>, client: Option<Places>) -> Self {
        let client = pipeline.clients.add(client, function.weight);
        function.queue.add(function.weight);
        let counters = &pipeline.shared.counters;
        counters.row().in_flight.fetch_add(1, Relaxed);
        if let Some(slot) = counters.slot(function.spec.slot) {
            slot.in_flight.fetch_add(1, SeqCst);
        }
        Self { pipeline: Rc::clone(pipeline), function: Rc::clone(function), client, begun: false }
    }

    /// Returns what is in use, including this invocation.
    fn usage(&self) -> Usage {
        Usage {
            running: self.pipeline.running_everywhere(&self.function),
            in_worker: self.pipeline.clients.all(),
            of_function: self.function.queue.running(),
            of_client: self.pipeline.clients.of(self.client),
        }
    }

    /// Counts the invocation as one that runs.
    fn begin(mut self) -> Self {
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
        function.queue.remove(function.weight);
        if let Some(slot) = counters.slot(function.spec.slot) {
            slot.in_flight.fetch_sub(1, SeqCst);
        }
        // Only after the place is free, or the first in the queue would look in vain. A refusal
        // frees no place that anybody had.
        if self.begun {
            function.queue.ended();
        }
        pipeline.drain.one_ended();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Clients;
    use super::*;
    use std::net::Ipv4Addr;

    const ALL: u32 = INVOCATIONS_PER_WORKER_MAX;

    #[test]
    fn a_place_is_a_functions_own_limit_its_share_the_clients_and_the_workers() {
        let usage = Usage { running: 1, in_worker: 1, of_function: 1, of_client: 1 };
        assert_eq!(decide(usage, 1, ALL), Ok(()));
        assert_eq!(decide(Usage { running: 2, ..usage }, 1, ALL), Err(Full::Function));
        assert_eq!(decide(usage, 0, ALL), Err(Full::Function));
        assert_eq!(decide(Usage { in_worker: ALL, ..usage }, 1, ALL), Ok(()));
        assert_eq!(decide(Usage { in_worker: ALL + 1, ..usage }, 1, ALL), Err(Full::Worker));
        assert_eq!(decide(Usage { of_function: 750, ..usage }, 1, 750), Ok(()));
        assert_eq!(decide(Usage { of_function: 751, ..usage }, 1, 750), Err(Full::Share));
        assert_eq!(decide(Usage { of_client: ALL, ..usage }, 1, ALL), Err(Full::Address));
    }

    #[test]
    fn one_address_cannot_have_all_of_a_worker_and_others_are_not_counted_with_it() {
        let clients = Clients::default();
        let [one, other] =
            [1, 2].map(|last| Some(Places::of(Ipv4Addr::new(10, 0, 0, last).into(), 7)));
        let mut held = Vec::new();
        let begins = |client| {
            let counted = clients.add(client, 1);
            let usage = Usage {
                running: 1,
                in_worker: clients.all(),
                of_function: 1,
                of_client: clients.of(counted),
            };
            decide(usage, ALL, ALL).map(|()| counted).inspect_err(|_| clients.remove(counted, 1))
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
        assert!(clients.is_empty());
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
