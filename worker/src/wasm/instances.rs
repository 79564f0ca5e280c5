//! Instances of a function: made for a request, and with `reuse=N` kept for the next ones.
//!
//! An instance that trapped, ran into a limit, or still holds something of its request is never kept. How many are kept is
//! bounded for the worker, and how long for each. Owns no fds.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use abi::invocation_id::InvocationId;
use abi::limits::{KEPT_INSTANCE_TIMEOUT, KEPT_INSTANCES_PER_WORKER_MAX};
use tokio::time::Instant;
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi_http::p2::bindings::Proxy;

use super::host::Host;
use crate::functions::Function;
use crate::guest_log::GuestLog;

/// A store, and the instance in it once that is made.
pub(crate) struct Instance {
    pub(crate) store: Store<Host>,
    pub(crate) proxy: Option<Proxy>,
    served: u32,
}

impl Instance {
    /// A store for `function`, without an instance yet.
    fn new(function: &Function, id: InvocationId, log: &GuestLog) -> Self {
        let mut store = Store::new(function.module.engine(), Host::new(function, id, log));
        store.limiter(|host| &mut host.limits);
        // tokio's own yield lets it look at sockets and timers too, the time limit's among them; a bare one would not.
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))));
        Self { store, proxy: None, served: 0 }
    }
}

/// How many instances the whole worker keeps.
#[derive(Clone, Default)]
pub(crate) struct Budget(Rc<Cell<u32>>);

/// A function's kept instances, the one used last on top: its memory is the warmest.
pub(crate) struct Kept {
    requests_per_instance_max: u32,
    budget: Budget,
    instances: RefCell<Vec<(Instant, Instance)>>,
}

impl Kept {
    pub(crate) fn new(requests_per_instance_max: u32, budget: Budget) -> Self {
        Self { requests_per_instance_max, budget, instances: RefCell::default() }
    }

    /// An instance for the invocation `id`: a kept one, or a new one.
    pub(crate) fn take(&self, function: &Function, id: InvocationId, log: &GuestLog) -> Instance {
        let mut instance = match self.instances.borrow_mut().pop() {
            Some((_, mut instance)) => {
                self.budget.0.set(self.budget.0.get() - 1);
                instance.store.data_mut().begin(id);
                instance
            }
            None => Instance::new(function, id, log),
        };
        instance.store.set_epoch_deadline(1);
        instance.served += 1;
        instance
    }

    /// An invocation has ended well: keep its instance, if it may serve another.
    pub(crate) fn give_back(&self, mut instance: Instance) {
        let fits =
            instance.served < self.requests_per_instance_max && self.budget.0.get() < KEPT_INSTANCES_PER_WORKER_MAX;
        if fits && instance.store.data_mut().end() {
            self.budget.0.set(self.budget.0.get() + 1);
            self.instances.borrow_mut().push((Instant::now(), instance));
        }
    }

    /// Unmakes those that have not been used lately.
    pub(crate) fn expire(&self, now: Instant) {
        let mut instances = self.instances.borrow_mut();
        let before = instances.len();
        instances.retain(|(used, _)| now.duration_since(*used) < KEPT_INSTANCE_TIMEOUT);
        let gone = u32::try_from(before - instances.len()).unwrap_or(u32::MAX);
        self.budget.0.set(self.budget.0.get().saturating_sub(gone));
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let kept = u32::try_from(self.instances.get_mut().len()).unwrap_or(u32::MAX);
        self.budget.0.set(self.budget.0.get().saturating_sub(kept));
    }
}
