//! Instances of a function: made for a request, made ready before it comes, or with `reuse=N` kept for the next one.
//!
//! An instance that trapped, ran into a limit, or still holds something of its request is never kept. How many there are without
//! a request is bounded for the worker, and so is how long each stays. Owns no fds.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use abi::board::{Origin, Reuse};
use abi::invocation_id::InvocationId;
use abi::limits::{
    HOST_CALL_BYTES_MAX, KEPT_INSTANCE_TIMEOUT, KEPT_INSTANCES_PER_WORKER_MAX, STANDBY_BYTES_PER_WORKER_MAX,
    STANDBY_PAUSE_FACTOR, STANDBY_PAUSE_MIN, STANDBY_PER_FUNCTION_MAX, STANDBY_START_TIMEOUT,
};
use abi::spool::Stream;
use tokio::time::Instant;
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi_http::p2::bindings::Proxy;
use wasmtime_wasi_http::p3::bindings::Service;

use super::cpu_time::{self, Turn, TypicalTurn};
use super::engine::{Command, Module};
use super::host::Host;
use super::invocation::{FAILURE_BYTES_MAX, Failure, failure};
use super::let_others::LetOthers;
use super::limits::Refused;
use super::{command, start_code};
use crate::functions::Function;
use crate::guest_log::GuestLog;
use crate::worker::Worker;

/// The node holds more for the guest than it may.
#[derive(Debug, thiserror::Error)]
#[error("too much is held for it")]
struct HeldTooMuch;

/// What can be called of an instance.
pub(super) enum Exports {
    Http02(Proxy),
    Http03(Service),
}

/// A store, and the instance in it once that is made.
pub(super) struct Instance {
    pub(super) store: Store<Host>,
    pub(super) exports: Option<Exports>,
    served: u32,
    /// It still holds something of the last request: see `http03`. What its resources tell, `Host::end` sees.
    pub(super) leaks: bool,
}

impl Instance {
    /// A store for `function`, without an instance yet.
    pub(super) fn new(function: &Function, id: InvocationId, log: &GuestLog) -> Self {
        let mut store = Store::new(function.module.engine(), Host::new(function, id, log));
        store.limiter(|host| &mut host.limits);
        // A core module names a buffer as large as it likes to a call that fills or takes little of it; nothing is held of that.
        if !matches!(function.module, Module::Command(Command::Core(_))) {
            store.set_hostcall_fuel(HOST_CALL_BYTES_MAX);
        }
        let handles_max = store.data().handles_max();
        store.set_max_component_handles(handles_max);
        let limit = Duration::from_millis(u64::from(function.limits.cpu_time_ms));
        // Not less than its wall time is no limit.
        let limit = if limit < function.timeout { limit } else { Duration::MAX };
        store.epoch_deadline_callback(move |store| {
            if store.data().limits.refused() == Some(Refused::Held) {
                return Err(HeldTooMuch.into());
            }
            Ok(match cpu_time::at_epoch(limit)? {
                Turn::GoOn => UpdateDeadline::Continue(1),
                Turn::LetOthers => UpdateDeadline::YieldCustom(1, Box::pin(LetOthers::default())),
            })
        });
        Self { store, exports: None, served: 0, leaks: false }
    }

    /// Makes the instance in the store. What a command finds around it is its request's: without one, only its environment.
    pub(super) async fn instantiate(&mut self, function: &Function) -> wasmtime::Result<()> {
        let store = &mut self.store;
        self.exports = match &function.module {
            Module::Http02(pre) => Some(Exports::Http02(pre.instantiate_async(store).await?)),
            Module::Http03(pre) => Some(Exports::Http03(pre.instantiate_async(store).await?)),
            Module::Command(pre) => {
                command::instantiate(store, pre, function).await?;
                None
            }
        };
        Ok(())
    }

    /// Where it came from, for the invocation that has just taken it.
    pub(super) fn origin(&self) -> Origin {
        match (self.served, &self.exports) {
            (0 | 1, None) => Origin::New,
            (0 | 1, Some(_)) => Origin::Standby,
            _ => Origin::Reused,
        }
    }
}

/// So many that have served wait to be unmade: as many as a batch of replies, and some.
pub(super) const SPENT_INSTANCES_MAX: u32 = 64;

/// Instances that have served. Unmaking one takes longer than sending a small reply, so the reply goes first, unless another
/// invocation begins before.
#[derive(Default)]
pub(crate) struct Spent(RefCell<Vec<Instance>>);

impl Spent {
    /// Keeps one until [`Self::unmake`], if there is room; else it is unmade here.
    fn put(&self, instance: Instance) {
        if self.0.borrow().len() < SPENT_INSTANCES_MAX as usize {
            self.0.borrow_mut().push(instance);
        }
    }

    /// Unmakes them.
    pub(crate) fn unmake(&self) {
        // Each on its own: what a guest holds is dropped with it, and must find the list free.
        while let Some(instance) = self.pop() {
            drop(instance);
        }
    }

    fn pop(&self) -> Option<Instance> {
        self.0.borrow_mut().pop()
    }
}

/// What instances without a request take, in the whole worker.
#[derive(Clone, Default)]
pub(crate) struct Budget(Rc<Taken>);

#[derive(Default)]
struct Taken {
    /// Each as many as it weighs.
    instances: Cell<u32>,
    /// Linear memory of those made ready; the kernel has given as much of it as was written.
    standby_bytes: Cell<usize>,
}

/// A function's instances without a request, each list with the one used or made last on top: its memory is the warmest.
pub(crate) struct Kept {
    requests_per_instance_max: u32,
    budget: Budget,
    /// What each instance counts as, see [`Module::weight`].
    weight: u32,
    /// Have served, and may serve again.
    used: RefCell<Vec<(Instant, Instance)>>,
    /// Have been made ready and have not served.
    standby: RefCell<Vec<(Instant, Instance)>>,
    /// So many of those are worth having: as many as it was called lately.
    wanted: Cell<usize>,
    /// It is a command: what it is given is the request's.
    never_standby: Cell<bool>,
    /// Making one ready has failed: none is made before this.
    standby_from: Cell<Option<Instant>>,
    /// How long making one ready has the thread at a time.
    pub(super) typical_start: TypicalTurn,
    /// One that had served still held its request.
    held: Cell<bool>,
}

impl Kept {
    pub(crate) fn new(requests_per_instance_max: u32, budget: Budget, weight: u32) -> Self {
        let (used, standby, wanted) = (RefCell::default(), RefCell::default(), Cell::new(0));
        Self {
            requests_per_instance_max,
            budget,
            weight,
            used,
            standby,
            wanted,
            never_standby: Cell::new(false),
            standby_from: Cell::new(None),
            typical_start: TypicalTurn::default(),
            held: Cell::new(false),
        }
    }

    /// An instance for the invocation `id`: a used one, one made ready, or a new one.
    pub(super) fn take(&self, function: &Function, id: InvocationId, log: &GuestLog) -> Instance {
        self.wanted.set((self.wanted.get() + 1).min(STANDBY_PER_FUNCTION_MAX));
        let used = self.used.borrow_mut().pop();
        let ready = if used.is_some() { None } else { self.standby.borrow_mut().pop() };
        if let Some((_, instance)) = &ready {
            self.count_standby(-1, instance);
        }
        let mut instance = match used.or(ready) {
            Some((_, mut instance)) => {
                self.count(-1);
                instance.store.data_mut().begin(id);
                instance
            }
            None => Instance::new(function, id, log),
        };
        instance.store.set_epoch_deadline(1);
        instance.served += 1;
        instance
    }

    /// An invocation has ended well: its instance is kept, if it may serve another, or goes to `spent`. Says which, and why,
    /// unless each instance is to serve one request.
    pub(super) fn give_back(&self, mut instance: Instance, spent: &Spent) -> Option<Reuse> {
        let reuse = match () {
            () if instance.served >= self.requests_per_instance_max => Reuse::Served,
            () if !self.has_room() => Reuse::Room,
            () if instance.leaks => Reuse::Request,
            () => instance.store.data_mut().end(),
        };
        if reuse == Reuse::Kept {
            self.count(1);
            self.used.borrow_mut().push((Instant::now(), instance));
        } else if self.weight == 1 {
            spent.put(instance);
        }
        (self.requests_per_instance_max > 1).then_some(reuse)
    }

    /// Whether it is the first time here that an instance still held its request.
    pub(super) fn is_first_to_hold(&self) -> bool {
        !self.held.replace(true)
    }

    /// Whether another is to be made ready: there are not as many as this function wants, nor as there may be in this worker.
    pub(super) fn wants_standby(&self) -> bool {
        !self.never_standby.get()
            && self.standby_from.get().is_none_or(|from| from <= Instant::now())
            && self.used.borrow().is_empty()
            && self.standby.borrow().len() < self.wanted.get()
            && self.has_room()
            && self.budget.0.standby_bytes.get() < STANDBY_BYTES_PER_WORKER_MAX
    }

    /// Makes an instance ready. When that fails, whoever needs one sees why, and the next is tried after a pause.
    pub(super) async fn make_standby(&self, function: &Function, worker: &Worker) {
        if let Module::Command(_) = &function.module {
            return self.never_standby.set(true);
        }
        let (id, began) = (InvocationId::new(), Instant::now());
        let mut instance = Instance::new(function, id, &worker.log);
        let timeout = function.timeout.min(STANDBY_START_TIMEOUT);
        let ended = start_code::run(worker, function, &mut instance, timeout).await;
        let failure = failure(function, &instance, ended);
        // A program that exits when it starts has not failed, and is not ready either.
        if failure.is_none() && instance.exports.is_some() {
            self.standby_from.set(None);
            if self.wants_standby() {
                self.count(1);
                self.count_standby(1, &instance);
                self.standby.borrow_mut().push((Instant::now(), instance));
            }
            return;
        }
        let pause = pause(began.elapsed());
        self.standby_from.set(Some(Instant::now() + pause));
        // The pool is full for the moment; any other failure is the guest's.
        if let Some(failure) = failure.filter(|failure| !matches!(failure, Failure::NodeFull)) {
            worker.count_reason(function.place, (&failure).into());
            let why = failure.logged();
            let why = &why[..why.floor_char_boundary(FAILURE_BYTES_MAX)];
            let line = format!("[no instance could be made ready for the next request: {why}; none is for {pause:?}]");
            worker.log.line(&function.name, id, Stream::Node, line.as_bytes());
        }
    }

    /// Unmakes those that have not been used lately.
    pub(crate) fn expire(&self, now: Instant) {
        let lately = |(used, _): &(Instant, Instance)| now.duration_since(*used) < KEPT_INSTANCE_TIMEOUT;
        let gone: Vec<_> = self.used.borrow_mut().extract_if(.., |kept| !lately(kept)).collect();
        let unused: Vec<_> = self.standby.borrow_mut().extract_if(.., |kept| !lately(kept)).collect();
        unused.iter().for_each(|(_, instance)| self.count_standby(-1, instance));
        if !unused.is_empty() {
            self.wanted.set(self.standby.borrow().len());
        }
        self.count(-i32::try_from(gone.len() + unused.len()).unwrap_or(i32::MAX));
    }

    fn has_room(&self) -> bool {
        self.budget.0.instances.get() + self.weight <= KEPT_INSTANCES_PER_WORKER_MAX
    }

    fn count(&self, change: i32) {
        let instances = &self.budget.0.instances;
        let change = change.saturating_mul(self.weight.cast_signed());
        instances.set(instances.get().saturating_add_signed(change));
    }

    fn count_standby(&self, change: isize, instance: &Instance) {
        let change = change.saturating_mul(instance.store.data().limits.memory_bytes().cast_signed());
        let bytes = &self.budget.0.standby_bytes;
        bytes.set(bytes.get().saturating_add_signed(change));
    }
}

/// How long no instance is made ready after one could not be, for which `took` was spent: a small part of the time at most.
fn pause(took: Duration) -> Duration {
    took.saturating_mul(STANDBY_PAUSE_FACTOR).max(STANDBY_PAUSE_MIN)
}

impl Drop for Kept {
    fn drop(&mut self) {
        let (used, standby) = (std::mem::take(self.used.get_mut()), std::mem::take(self.standby.get_mut()));
        standby.iter().for_each(|(_, instance)| self.count_standby(-1, instance));
        self.count(-i32::try_from(used.len() + standby.len()).unwrap_or(i32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_made_ready_takes_a_small_part_of_the_time() {
        assert_eq!(pause(Duration::ZERO), STANDBY_PAUSE_MIN);
        assert!(pause(STANDBY_START_TIMEOUT) >= 10 * STANDBY_START_TIMEOUT);
        assert!(pause(Duration::MAX) >= STANDBY_PAUSE_MIN, "it does not overflow");
    }
}
