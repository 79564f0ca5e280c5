//! One version of a native function: its pool, carried out. Owns its processes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use abi::invocation_id::InvocationId;
use abi::sandbox::Begin;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::lambda::{self, NotStarted};
use super::lease::{Called, Lease, Lessor, ProcessId};
use super::output::Output;
use super::pool::{Action, Pool, PoolLimits, Ticket};
use super::prepared::{self, Awaited, Prepared, Role, Running};
use super::process::Farewell;
use super::{Loaded, millis};
use crate::run::failure::Failure;
use crate::run::{Call, IsEvent, Local, Runner, Spec};

/// What is added to the time limits of its parts until a call is given up in any case.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);
/// How many processes start at a time, for each core.
const STARTS_PER_CORE: usize = 2;

/// A version of a function, and its processes.
pub(super) struct NativeRunner {
    pub(super) loaded: Rc<Loaded>,
    pub(super) spec: Rc<Spec>,
    pool: RefCell<Pool>,
    waiting: RefCell<HashMap<Ticket, Waiter>>,
    processes: RefCell<HashMap<ProcessId, Rc<Running>>>,
    /// The sandbox that is kept ready for the next process, under the number that this will have.
    spares: RefCell<HashMap<ProcessId, Awaited>>,
    next_ticket: Cell<Ticket>,
    /// Why the last process that did not start did not.
    not_started: RefCell<Option<NotStarted>>,
    own: Weak<Self>,
}

/// A request that waits for a process.
struct Waiter {
    id: InvocationId,
    assigned: oneshot::Sender<Result<(Lease, Rc<Running>), String>>,
}

impl Lessor for NativeRunner {
    fn answered(&self, number: ProcessId) {
        self.pool.borrow_mut().answered(number, Instant::now());
    }

    fn released(&self, number: ProcessId) {
        self.pool(|pool, now| pool.released(number, now));
    }

    fn killed(&self, number: ProcessId) {
        self.processes.borrow_mut().remove(&number);
        self.pool(|pool, now| pool.exited(number, now));
    }
}

impl NativeRunner {
    pub(super) fn begin(loaded: Rc<Loaded>, spec: Rc<Spec>) -> Rc<dyn Runner> {
        let limits = &spec.limits;
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let pool_limits = PoolLimits {
            processes_min: count(limits.processes_min.min(limits.processes_max)),
            processes_max: count(limits.processes_max),
            starting_max: STARTS_PER_CORE * cores,
            requests_max: limits.process_requests(loaded.kind),
            idle: millis(limits.process_idle_ms),
        };
        let pool = Pool::new(pool_limits, Instant::now());
        Rc::new_cyclic(|own| Self {
            loaded,
            spec,
            pool: RefCell::new(pool),
            waiting: RefCell::default(),
            processes: RefCell::default(),
            spares: RefCell::default(),
            next_ticket: Cell::new(0),
            not_started: RefCell::default(),
            own: own.clone(),
        })
    }

    /// Lets the pool decide, and does what it says.
    fn pool(&self, decide: impl FnOnce(&mut Pool, Instant) -> Vec<Action>) {
        let actions = decide(&mut self.pool.borrow_mut(), Instant::now());
        for action in actions {
            match action {
                Action::Start(number) => self.start(number, None),
                Action::Prepare(number) => self.prepare_spare(number),
                Action::Execute(number) => {
                    let spare = self.spares.borrow_mut().remove(&number);
                    self.start(number, spare);
                }
                Action::Discard(number) => {
                    if let Some(spare) = self.spares.borrow_mut().remove(&number) {
                        prepared::discard(spare);
                    }
                }
                Action::Assign(ticket, number) => self.assign(ticket, number),
                Action::Fail(ticket, reason) => {
                    if let Some(waiter) = self.waiting.borrow_mut().remove(&ticket) {
                        let _ = waiter.assigned.send(Err(reason));
                    }
                }
                Action::End(number) => {
                    if let Some(running) = self.processes.borrow_mut().remove(&number) {
                        self.end_process(running);
                    }
                }
            }
        }
    }

    fn assign(&self, ticket: Ticket, number: ProcessId) {
        let Some(runner) = self.own.upgrade() else { return };
        let running = self.processes.borrow().get(&number).cloned();
        let waiter = self.waiting.borrow_mut().remove(&ticket);
        if let Some(running) = running {
            // From here on the lease gives the place back, also if nobody waits for it any more.
            let lease = Lease::new(runner, number, Rc::clone(&running.process));
            if let Some(waiter) = waiter {
                drop(waiter.assigned.send(Ok((lease, running))));
            }
        }
    }

    fn end_process(&self, running: Rc<Running>) {
        let farewell = self.farewell(&running);
        tokio::task::spawn_local(async move { running.process.end(&farewell).await });
    }

    fn farewell(&self, running: &Running) -> Farewell {
        match &running.role {
            Role::Lambda(lambda) => lambda.farewell(),
            Role::Server(_) => Farewell::after(millis(self.spec.limits.process_grace_ms)),
        }
    }

    /// Makes a sandbox and keeps it ready, in a task of its own, which ends with it.
    fn prepare_spare(&self, number: ProcessId) {
        let (own, (done, awaited)) = (self.own.clone(), oneshot::channel());
        self.spares.borrow_mut().insert(number, awaited);
        tokio::task::spawn_local(async move {
            let Some(runner) = own.upgrade() else { return };
            let output = runner.output(InvocationId::new());
            let (loaded, spec) = (Rc::clone(&runner.loaded), Rc::clone(&runner.spec));
            // It must not keep the version alive.
            drop(runner);
            let made = Prepared::make(&loaded, &spec, &output, Begin::WhenTold).await;
            drop(loaded);
            match made {
                Ok(prepared) => {
                    let process = Rc::clone(prepared.process());
                    match done.send(prepared) {
                        Ok(()) => process.gone().await,
                        Err(_) => process.kill(),
                    }
                }
                Err(NotStarted { reason, .. }) => {
                    tracing::debug!("a sandbox for function {:?}: {reason}", spec.name);
                }
            }
            // One that was taken is somebody else's to look after.
            if let Some(runner) = own.upgrade()
                && runner.spares.borrow_mut().remove(&number).is_some()
            {
                runner.pool.borrow_mut().spare_lost(number, Instant::now());
            }
        });
    }

    fn output(&self, id: InvocationId) -> Rc<Output> {
        let log = &self.loaded.runtime.shared.log;
        Output::new(log, &self.spec.name, id, self.spec.limits.log_bytes_max)
    }

    /// Starts a process, in a task of its own, and in a sandbox that was kept ready if there is
    /// one.
    fn start(&self, number: ProcessId, spare: Option<Awaited>) {
        let own = self.own.clone();
        // Its first lines are logged with the invocation that has waited for longest.
        let id = {
            let waiting = self.waiting.borrow();
            let oldest = waiting.iter().min_by_key(|(ticket, _)| **ticket);
            oldest.map_or_else(InvocationId::new, |(_, waiter)| waiter.id)
        };
        tokio::task::spawn_local(async move {
            let Some(runner) = own.upgrade() else {
                spare.into_iter().for_each(prepared::discard);
                return;
            };
            let started = runner.started(number, spare, id).await;
            match started {
                Ok(running) => {
                    let process = Rc::clone(&running.process);
                    runner.loaded.runtime.remember(&process, runner.farewell(&running));
                    runner.processes.borrow_mut().insert(number, Rc::new(running));
                    runner.pool(|pool, now| pool.ready(number, now));
                    // What follows waits for the process only, and must not keep the version alive.
                    drop(runner);
                    process.gone().await;
                    if let Some(runner) = own.upgrade()
                        && runner.processes.borrow_mut().remove(&number).is_some()
                    {
                        runner.pool(|pool, now| pool.exited(number, now));
                    }
                }
                Err(failed) => {
                    let reason = failed.reason.clone();
                    tracing::warn!("a process of function {:?}: {reason}", runner.spec.name);
                    runner.not_started.replace(Some(failed));
                    runner.pool(|pool, now| pool.start_failed(number, &reason, now));
                }
            }
        });
    }

    /// Returns a process that is ready for requests.
    async fn started(
        &self,
        number: ProcessId,
        spare: Option<Awaited>,
        id: InvocationId,
    ) -> Result<Running, NotStarted> {
        let (loaded, spec) = (&self.loaded, &self.spec);
        if let Some(spare) = spare {
            if let Ok(prepared) = spare.await {
                if loaded.runtime.ends.get() {
                    prepared.process().kill();
                    return Err("the worker ends".to_owned().into());
                }
                let process = Rc::clone(prepared.process());
                process.output.begin(id);
                let started = prepared.start(loaded, spec).await;
                if started.is_ok() || !process.was_lost() {
                    return started;
                }
            }
            // What has ended a sandbox before its program was executed is not the program's doing.
            self.pool.borrow_mut().spare_lost(number, Instant::now());
        }
        let output = self.output(id);
        Prepared::make(loaded, spec, &output, Begin::AtOnce).await?.start(loaded, spec).await
    }

    /// Ends a call that gets no process. Callers of the Invoke API are told what the program's
    /// failure was, as on AWS.
    fn refuse(&self, call: Call, reason: String) -> Result<(), Failure> {
        let last = self.not_started.borrow();
        let last = last.as_ref().filter(|last| last.reason == reason);
        let failure = Failure::NotStarted { function: self.spec.name.to_string(), reason };
        match last.and_then(|last| Some((last.failure.as_ref()?, &last.log))) {
            Some((told, log)) if call.request.extensions().get::<IsEvent>().is_some() => {
                let shared = &self.loaded.runtime.shared;
                lambda::not_started((told, log), &failure, (&self.spec, shared), call);
                Ok(())
            }
            _ => Err(failure),
        }
    }

    /// Waits for a process that has room.
    async fn lease(self: &Rc<Self>, id: InvocationId) -> Result<(Lease, Rc<Running>), String> {
        let (ticket, (assigned, lease)) = (self.next_ticket.get(), oneshot::channel());
        self.next_ticket.set(ticket + 1);
        self.waiting.borrow_mut().insert(ticket, Waiter { id, assigned });
        let given_up = GivenUp { runner: self, ticket };
        self.pool(|pool, now| pool.request(ticket, now));
        let leased = lease.await;
        drop(given_up);
        leased.unwrap_or_else(|_| Err("the version was removed".to_owned()))
    }
}

/// Takes a request out of the pool's queue, if its client has left.
struct GivenUp<'a> {
    runner: &'a NativeRunner,
    ticket: Ticket,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if self.runner.waiting.borrow_mut().remove(&self.ticket).is_some() {
            self.runner.pool.borrow_mut().cancel(self.ticket);
        }
    }
}

impl Drop for NativeRunner {
    fn drop(&mut self) {
        // No request has a process any more: each lease keeps the version.
        for (_, running) in self.processes.take() {
            self.end_process(running);
        }
        self.spares.take().into_values().for_each(prepared::discard);
    }
}

impl Runner for NativeRunner {
    fn call(self: Rc<Self>, call: Box<Call>) -> Local<'static, Result<(), Failure>> {
        Box::pin(async move {
            let mut call = call;
            loop {
                let (lease, running) = match self.lease(call.id).await {
                    Ok(leased) => leased,
                    Err(reason) => return self.refuse(*call, reason),
                };
                call.facts.ready();
                lease.process.output.begin(call.id);
                let shared = &self.loaded.runtime.shared;
                let called = match &running.role {
                    Role::Lambda(lambda) => lambda.call((shared, &self.spec), *call, lease).await,
                    Role::Server(server) => server.call(&self.spec, *call, lease).await,
                };
                match called {
                    Called::Ended(ended) => return ended,
                    // The process had ended before it got anything of the request. Another one
                    // gets it; the pool takes no two requests to one that is gone.
                    Called::NotBegun(unsent) => call = unsent,
                }
            }
        })
    }

    fn try_start(&self) -> Local<'_, Result<(), String>> {
        Box::pin(async {
            let runner = self.own.upgrade().ok_or_else(|| "it was removed".to_owned())?;
            runner.lease(InvocationId::new()).await.map(drop)
        })
    }

    fn time_limit(&self) -> Duration {
        self.spec.timeout + millis(self.spec.limits.init_timeout_ms) + GIVE_UP_AFTER
    }

    fn weight(&self) -> u32 {
        1
    }

    fn needs_preparing(&self) -> bool {
        // What is kept in any case is started at each beat.
        false
    }

    fn prepare(&self) -> Local<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn expire(&self, _: Instant) {
        self.pool(Pool::prepare);
        self.pool(Pool::expire);
        self.pool(Pool::stand_by);
    }

    fn retire(&self) {
        self.pool(Pool::retire);
    }

    fn may_redirect(&self) -> bool {
        false
    }

    fn needs_local_address(&self) -> bool {
        false
    }
}
