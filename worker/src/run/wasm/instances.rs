//! Instances of a function: new for a request, prepared before it arrives, or with `reuse=N` kept
//! for the next one.
//!
//! An instance that trapped, ran into a limit, or still holds something of its request is never
//! kept. The number of instances without a request is limited for the worker, and so is their age.
//! Owns no fds.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use abi::board::{Origin, Reuse};
use abi::invocation_id::InvocationId;
use abi::limits::{
    HOST_CALL_BYTES_MAX, KEPT_INSTANCE_TIMEOUT, KEPT_INSTANCES_PER_WORKER_MAX,
    STANDBY_BYTES_PER_WORKER_MAX, STANDBY_PER_FUNCTION_MAX,
};
use tokio::time::Instant;
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi_http::p2::bindings::Proxy;
use wasmtime_wasi_http::p3::bindings::Service;

use super::engine::{Command, Module, RETIRED_INSTANCES_MAX};
use super::host::Host;
use super::limits::Refused;
use super::{WasmRunner, command};
use crate::run::cpu_time::{self, EpochAction};
use crate::run::thread::TypicalTurn;
use crate::run::yield_round::YieldRound;

/// The node holds more for the guest than it may.
#[derive(Debug, thiserror::Error)]
#[error("too much is held for it")]
struct HeldTooMuch;

/// The exports of an instance that can be called.
pub(super) enum Exports {
    Http02(Proxy),
    Http03(Service),
}

/// A store, and the instance in it once that is made.
pub(super) struct Instance {
    pub(super) store: Store<Host>,
    pub(super) exports: Option<Exports>,
    served: u32,
    /// Whether it still holds something of the last request that is not among its resources: see
    /// `http03`. `Host::end` looks at the resources.
    pub(super) leaks: bool,
}

impl Instance {
    /// Returns a store for the invocation `id` of a function, without an instance yet.
    pub(super) fn new(runner: &WasmRunner, id: InvocationId) -> Self {
        let mut store = Store::new(runner.module.engine(), Host::new(runner, id));
        store.limiter(|host| &mut host.limits);
        // A core module may name a buffer of any size to a call that fills or takes little of it;
        // none of that is held.
        if !matches!(runner.module, Module::Command(Command::Core(_))) {
            store.set_hostcall_fuel(HOST_CALL_BYTES_MAX);
        }
        let handles_max = store.data().handles_max();
        store.set_max_component_handles(handles_max);
        let limit = Duration::from_millis(u64::from(runner.spec.limits.cpu_time_ms));
        // A limit that is not below the time limit is none.
        let limit = if limit < runner.spec.timeout { limit } else { Duration::MAX };
        store.epoch_deadline_callback(move |store| {
            if store.data().limits.refused() == Some(Refused::Held) {
                return Err(HeldTooMuch.into());
            }
            Ok(match cpu_time::at_epoch(limit)? {
                EpochAction::Continue => UpdateDeadline::Continue(1),
                EpochAction::Yield => {
                    UpdateDeadline::YieldCustom(1, Box::pin(YieldRound::default()))
                }
            })
        });
        Self { store, exports: None, served: 0, leaks: false }
    }

    /// Makes the instance in the store. A command's environment belongs to its request: without one
    /// it only has its function's variables.
    pub(super) async fn instantiate(&mut self, runner: &WasmRunner) -> wasmtime::Result<()> {
        let store = &mut self.store;
        self.exports = match &runner.module {
            Module::Http02(pre) => Some(Exports::Http02(pre.instantiate_async(store).await?)),
            Module::Http03(pre) => Some(Exports::Http03(pre.instantiate_async(store).await?)),
            Module::Command(pre) => {
                command::instantiate(store, pre, &runner.spec).await?;
                None
            }
        };
        Ok(())
    }

    /// Returns where the instance came from, for the invocation that has just taken it.
    pub(super) fn origin(&self) -> Origin {
        match (self.served, &self.exports) {
            (0 | 1, None) => Origin::New,
            (0 | 1, Some(_)) => Origin::Standby,
            _ => Origin::Reused,
        }
    }
}

/// Instances that have served. Dropping one takes longer than sending a small reply, so the reply
/// is sent first, unless another invocation begins before.
#[derive(Default)]
pub(super) struct Retired(RefCell<Vec<Instance>>);

impl Retired {
    /// Keeps an instance until [`Self::clear`] if there is room, and drops it otherwise.
    fn put(&self, instance: Instance) {
        if self.0.borrow().len() < RETIRED_INSTANCES_MAX as usize {
            self.0.borrow_mut().push(instance);
        }
    }

    /// Drops the instances.
    pub(super) fn clear(&self) {
        // Each is taken out before it is dropped: dropping what a guest holds may come back here,
        // and must find the list not borrowed.
        while let Some(instance) = self.pop() {
            drop(instance);
        }
    }

    fn pop(&self) -> Option<Instance> {
        self.0.borrow_mut().pop()
    }
}

/// What the instances without a request take, in the whole worker.
#[derive(Clone, Default)]
pub(super) struct Budget(Rc<BudgetUse>);

#[derive(Default)]
struct BudgetUse {
    /// The sum of their weights.
    instances: Cell<u32>,
    /// The linear memory of the prepared ones. The kernel has only given as much of it as was
    /// written.
    standby_bytes: Cell<usize>,
}

/// A function's instances without a request. The last one used or prepared is on top of each list,
/// because its memory is the warmest.
pub(super) struct IdleInstances {
    requests_per_instance_max: u32,
    budget: Budget,
    /// The weight of each instance, see [`Module::weight`].
    weight: u32,
    /// Instances that have served, and may serve again.
    used: RefCell<Vec<(Instant, Instance)>>,
    /// Instances that were prepared and have not served.
    standby: RefCell<Vec<(Instant, Instance)>>,
    /// How many prepared instances are worth having: as many as the function was called lately.
    wanted: Cell<usize>,
    /// Whether none is ever prepared: a command's environment is the request's.
    never_standby: Cell<bool>,
    /// Set after preparing one has failed: none is prepared before this.
    standby_from: Cell<Option<Instant>>,
    /// The usual length of a turn on the thread while one is prepared.
    pub(super) typical_start: TypicalTurn,
    /// Whether one that had served still held its request.
    held: Cell<bool>,
    /// The time of the last [`Self::expire`]: exact enough for the age of an idle instance, and
    /// spares each request a look at the clock.
    now: Cell<Instant>,
}

impl IdleInstances {
    pub(super) fn new(requests_per_instance_max: u32, budget: Budget, weight: u32) -> Self {
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
            now: Cell::new(Instant::now()),
        }
    }

    /// Returns an instance for the invocation `id`: a used one, a prepared one, or a new one.
    pub(super) fn take(&self, runner: &WasmRunner, id: InvocationId) -> Instance {
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
            None => Instance::new(runner, id),
        };
        instance.store.set_epoch_deadline(1);
        instance.served += 1;
        instance
    }

    /// Takes back the instance of an invocation that has ended well: it is kept if it may serve
    /// another, or goes to `retired`. Returns which, and why. Returns `None` if each instance
    /// serves one request anyway.
    pub(super) fn give_back(&self, mut instance: Instance, retired: &Retired) -> Option<Reuse> {
        let reuse = if instance.served >= self.requests_per_instance_max {
            Reuse::Served
        } else if !self.has_room() {
            Reuse::Room
        } else if instance.leaks {
            Reuse::Request
        } else {
            instance.store.data_mut().end()
        };
        if reuse == Reuse::Kept {
            self.count(1);
            self.used.borrow_mut().push((self.now.get(), instance));
        } else if self.weight == 1 {
            retired.put(instance);
        }
        (self.requests_per_instance_max > 1).then_some(reuse)
    }

    /// Returns whether this is the first time that an instance still held its request.
    pub(super) fn is_first_to_hold(&self) -> bool {
        !self.held.replace(true)
    }

    /// Returns whether another instance should be prepared: there are fewer than this function
    /// wants, and than this worker may have.
    pub(super) fn needs_standby(&self) -> bool {
        !self.never_standby.get()
            && self.standby_from.get().is_none_or(|from| from <= Instant::now())
            && self.used.borrow().is_empty()
            && self.standby.borrow().len() < self.wanted.get()
            && self.has_room()
            && self.budget.0.standby_bytes.get() < STANDBY_BYTES_PER_WORKER_MAX
    }

    /// Keeps a prepared instance, if it is still wanted.
    pub(super) fn put_standby(&self, instance: Instance) {
        self.standby_from.set(None);
        if self.needs_standby() {
            self.count(1);
            self.count_standby(1, &instance);
            self.standby.borrow_mut().push((self.now.get(), instance));
        }
    }

    /// Prevents that an instance is prepared before `pause` has passed.
    pub(super) fn pause_standby(&self, pause: Duration) {
        self.standby_from.set(Some(Instant::now() + pause));
    }

    /// Prevents that an instance is ever prepared.
    pub(super) fn disable_standby(&self) {
        self.never_standby.set(true);
    }

    /// Drops the instances that have not been used lately.
    pub(super) fn expire(&self, now: Instant) {
        self.now.set(now);
        let lately =
            |(used, _): &(Instant, Instance)| now.duration_since(*used) < KEPT_INSTANCE_TIMEOUT;
        let gone: Vec<_> = self.used.borrow_mut().extract_if(.., |kept| !lately(kept)).collect();
        let unused: Vec<_> =
            self.standby.borrow_mut().extract_if(.., |kept| !lately(kept)).collect();
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
        let change =
            change.saturating_mul(instance.store.data().limits.memory_bytes().cast_signed());
        let bytes = &self.budget.0.standby_bytes;
        bytes.set(bytes.get().saturating_add_signed(change));
    }
}

impl Drop for IdleInstances {
    fn drop(&mut self) {
        let (used, standby) =
            (std::mem::take(self.used.get_mut()), std::mem::take(self.standby.get_mut()));
        standby.iter().for_each(|(_, instance)| self.count_standby(-1, instance));
        self.count(-i32::try_from(used.len() + standby.len()).unwrap_or(i32::MAX));
    }
}
