//! What all connections of a worker share: settings, functions, its row on the board, and whether it is draining.
//!
//! One per process, behind an `Rc`: everything here runs on one thread. Owns the board's mapping.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use abi::board::{Addresses, Board, Counts, HOP_BOUNDS_US, Places, Reason, Reuse, Row, Slot, now_us, refused_index};
use abi::invocation_id::InvocationId;
use abi::limits::{INVOCATIONS_PER_FUNCTION_AND_WORKER_MAX, INVOCATIONS_PER_WORKER_MAX};
use abi::message::{Ending, Settings, ToEngine};
use abi::spool::{After, Record};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::admission::{self, Clients, Found};
use crate::connection::send_batch::SendBatch;
use crate::epoch::Counting;
use crate::facts::Facts;
use crate::functions::{Function, Functions, Place};
use crate::guest_log::GuestLog;
use crate::link::Outbox;
use crate::spool::time_us;
use crate::wasm::cpu_time::TypicalTurn;
use crate::wasm::instances::Spent;
use crate::wasm::standby::Standby;

pub(crate) struct Worker {
    /// Replaced when the engine says so; borrowed for a look only.
    pub(crate) settings: RefCell<Settings>,
    pub(crate) functions: Functions,
    pub(crate) outbox: Outbox,
    pub(crate) log: GuestLog,
    pub(crate) standby: Standby,
    pub(crate) spent: Spent,
    pub(crate) send_batch: SendBatch,
    board: Arc<Board>,
    row: usize,
    started: Instant,
    connections_open: Cell<u32>,
    clients: Clients,
    draining: Cell<Option<Ending>>,
    /// Told when draining begins, and when the last connection has gone.
    changed: Notify,
    drain_deadline: Cell<Option<Instant>>,
    /// The time of day as replies tell it (RFC 9110 6.6.1), as of the last beat.
    date: Cell<[u8; 29]>,
}

impl Worker {
    pub(crate) fn new(
        settings: Settings,
        functions: Functions,
        outbox: Outbox,
        log: GuestLog,
        board: Arc<Board>,
        row: usize,
    ) -> Rc<Self> {
        Rc::new(Self {
            settings: RefCell::new(settings),
            functions,
            outbox,
            log,
            standby: Standby::default(),
            spent: Spent::default(),
            send_batch: SendBatch::default(),
            board,
            row,
            started: Instant::now(),
            connections_open: Cell::new(0),
            clients: Clients::default(),
            draining: Cell::new(None),
            changed: Notify::new(),
            drain_deadline: Cell::new(None),
            date: Cell::new(date()),
        })
    }

    /// This worker's counters.
    pub(crate) fn row(&self) -> &Row {
        // `Start` was checked against WORKERS_MAX, the board's length.
        &self.board.rows()[self.row]
    }

    pub(crate) fn beat(&self) {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.row().heartbeat_ms.store(millis, Relaxed);
        self.date.set(date());
    }

    /// The value of a reply's Date, at most a beat old.
    pub(crate) fn date(&self) -> [u8; 29] {
        self.date.get()
    }

    pub(crate) fn count_modules(&self) {
        self.row().modules.store(self.functions.module_count() as u64, Relaxed);
    }

    pub(crate) fn report_applied(&self) {
        self.outbox.send(ToEngine::Applied { generation: self.functions.generation() }, None);
        self.count_modules();
    }

    /// How many of its connections are from which address.
    fn addresses(&self) -> Option<&Addresses> {
        self.board.addresses(self.row)
    }

    /// Counts a hop that has come to its first request.
    pub(crate) fn count_hop(&self, accepted_at_us: u64) {
        self.row().counts.hop.record(&HOP_BOUNDS_US, now_us().saturating_sub(accepted_at_us));
    }

    /// Counts a request that was refused before it was any function's.
    pub(crate) fn count_refused(&self, status: u16) {
        self.row().counts.refused.count(refused_index(status));
    }

    /// Counts why an invocation was refused or failed.
    pub(crate) fn count_reason(&self, place: Place, reason: Reason) {
        if let Some(counts) = self.counts(place) {
            counts.reasons.count(reason as usize);
        }
    }

    /// Counts what became of an instance that may serve several requests.
    pub(crate) fn count_reuse(&self, place: Place, reuse: Reuse) {
        if let Some(counts) = self.counts(place) {
            counts.reuses.count(reuse as usize);
        }
    }

    /// What is counted of a function in this worker; none when it is removed, and another has its slot.
    pub(crate) fn counts(&self, place: Place) -> Option<&Counts> {
        self.board.counts(self.row, place.slot, place.life)
    }

    /// Counts a connection in until the guard is dropped.
    pub(crate) fn connection_taken(self: &Rc<Self>, peer: Option<IpAddr>) -> OpenConnection {
        self.row().connections_taken.fetch_add(1, Relaxed);
        self.connections_open.set(self.connections_open.get() + 1);
        let places = peer.map(|peer| Places::of(peer, self.settings.borrow().address_seed));
        self.addresses().zip(places).into_iter().for_each(|(addresses, places)| addresses.add(places));
        OpenConnection { worker: Rc::clone(self), places }
    }

    /// Counts an invocation of a client's in until the guard is dropped; whether it may run is [`crate::admission`]'s to say.
    pub(crate) fn count_invocation(
        self: &Rc<Self>,
        function: &Rc<Function>,
        client: Option<Places>,
    ) -> RunningInvocation {
        let client = self.clients.add(client, function.weight);
        function.turns.add(function.weight);
        self.row().in_flight.fetch_add(1, Relaxed);
        if let Some(slot) = self.slot(function) {
            slot.in_flight.fetch_add(1, SeqCst);
        }
        let epochs = self.functions.engines().ticker().count();
        let (worker, function) = (Rc::clone(self), Rc::clone(function));
        RunningInvocation { worker, function, client, begun: false, _epochs: epochs }
    }

    /// A guest gets the thread, for `typical` as a rule: replies that would wait too long for it leave first. Tells the engine
    /// until when the guest may have it.
    pub(crate) fn guest_has_thread_until(&self, deadline_ms: u64, typical: &TypicalTurn) {
        self.send_batch.guest_begins(typical.get());
        self.row().guest_deadline_ms.store(deadline_ms, Relaxed);
    }

    /// A guest has had the thread for `turn`.
    pub(crate) fn guest_left_thread(&self, turn: Duration, typical: &TypicalTurn) {
        self.row().guest_deadline_ms.store(0, Relaxed);
        self.send_batch.guest_ran(turn);
        typical.add(turn);
    }

    /// A function's counters in this worker that admission goes by.
    pub(crate) fn slot(&self, function: &Function) -> Option<&Slot> {
        self.board.slots(self.row).get(function.place.slot)
    }

    /// Invocations of a function on all workers that may run it, as far as they matter to whether this one may have as many
    /// as it has: those that are reserved for another worker count as that worker's, and while this one has no more than are
    /// reserved for it, the others are not looked at.
    pub(crate) fn running_everywhere(&self, function: &Function) -> u32 {
        let rows = self.rows();
        let own = self.slot(function).map_or(0, |slot| slot.in_flight.load(SeqCst));
        let reserved = admission::reserved(function.limits.concurrency_max, rows.len());
        if own <= reserved { own } else { self.board.in_flight(rows, function.place.slot, reserved) }
    }

    /// Requests of a function that wait for their turn, on all workers that may run it.
    pub(crate) fn queued_everywhere(&self, function: &Function) -> u32 {
        self.board.sum(self.rows(), function.place.slot).1
    }

    /// The most that one function can have of what this worker runs at a time: all of it, if the worker is its own.
    pub(crate) fn function_share(&self) -> u32 {
        match self.settings.borrow().only_function {
            Some(_) => INVOCATIONS_PER_WORKER_MAX,
            None => INVOCATIONS_PER_FUNCTION_AND_WORKER_MAX,
        }
    }

    /// No other worker runs the functions that this one runs.
    pub(crate) fn runs_alone(&self) -> bool {
        self.rows().len() == 1
    }

    /// The rows of the workers that run the same functions as this one.
    fn rows(&self) -> Range<usize> {
        let settings = self.settings.borrow();
        match settings.only_function {
            Some(_) => self.row..self.row + 1,
            None => 0..usize::from(settings.shared_rows),
        }
    }

    /// How long a request's head may take.
    pub(crate) fn head_timeout(&self) -> Duration {
        millis(self.settings.borrow().head_timeout_ms)
    }

    /// How long a connection may be idle between requests.
    pub(crate) fn idle_timeout(&self) -> Duration {
        millis(self.settings.borrow().idle_timeout_ms)
    }

    /// How long a client may take none of its reply.
    pub(crate) fn write_timeout(&self) -> Duration {
        millis(self.settings.borrow().write_timeout_ms)
    }

    /// Whether this worker drains, and what then becomes of connections.
    pub(crate) fn draining(&self) -> Option<Ending> {
        self.draining.get()
    }

    /// Begins to drain: connections end, in the way that is said, after the request they are on.
    pub(crate) fn drain(&self, ending: Ending, within: Duration) {
        self.drain_deadline.set(Some(Instant::now() + within));
        self.draining.set(Some(ending));
        self.changed.notify_waiters();
    }

    /// Resolves when draining begins.
    pub(crate) async fn drain_begun(&self) {
        loop {
            let changed = self.changed.notified();
            if self.draining().is_some() {
                return;
            }
            changed.await;
        }
    }

    /// Resolves when nothing is left to do after [`Self::drain`], or its deadline has come.
    pub(crate) async fn drained(&self) {
        self.drain_begun().await;
        let deadline = self.drain_deadline.get().unwrap_or_else(Instant::now);
        let idle = async {
            loop {
                let changed = self.changed.notified();
                if self.connections_open.get() == 0 && self.row().in_flight.load(Relaxed) == 0 {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout_at(deadline, idle).await.is_err() {
            tracing::warn!(connections = self.connections_open.get(), "drain deadline: requests are cut off");
        }
    }
}

fn millis(millis: u32) -> Duration {
    Duration::from_millis(u64::from(millis))
}

fn date() -> [u8; 29] {
    let text = httpdate::fmt_http_date(std::time::SystemTime::now());
    text.as_bytes().try_into().unwrap_or(*b"Thu, 01 Jan 1970 00:00:00 GMT")
}

/// A connection that this worker owns.
pub(crate) struct OpenConnection {
    worker: Rc<Worker>,
    /// Where its client's address is counted.
    places: Option<Places>,
}

impl OpenConnection {
    /// Where its client's address is counted.
    pub(crate) fn client(&self) -> Option<Places> {
        self.places
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let worker = &self.worker;
        worker.row().connections_done.fetch_add(1, Relaxed);
        worker.addresses().zip(self.places).into_iter().for_each(|(addresses, places)| addresses.remove(places));
        worker.connections_open.set(worker.connections_open.get() - 1);
        if worker.draining().is_some() {
            worker.changed.notify_waiters();
        }
    }
}

/// An invocation that is counted in, and its place until it is dropped.
pub(crate) struct RunningInvocation {
    worker: Rc<Worker>,
    function: Rc<Function>,
    /// Its client's address, where that is counted.
    client: Option<Places>,
    begun: bool,
    _epochs: Counting,
}

impl RunningInvocation {
    /// What is counted in, this one included.
    pub(crate) fn found(&self) -> Found {
        Found {
            running: self.worker.running_everywhere(&self.function),
            in_worker: self.worker.clients.all(),
            of_function: self.function.turns.running(),
            of_client: self.worker.clients.of(self.client),
        }
    }

    /// It does run.
    pub(crate) fn begun(mut self) -> Self {
        self.worker.row().requests.fetch_add(1, Relaxed);
        self.begun = true;
        self
    }

    /// Its guest gets the thread.
    pub(crate) fn guest_has_thread_until(&self, deadline_ms: u64) {
        self.worker.guest_has_thread_until(deadline_ms, &self.function.typical_turn);
    }

    /// Its guest has ended. What it did after the invocation was recorded is a record of its own.
    pub(crate) fn log_after(&self, id: InvocationId, facts: &Facts) {
        let (Some(after_us), Some(spool)) = (facts.went_on(now_us()), self.worker.log.spool()) else { return };
        spool.put(&Record::After(After {
            id,
            time_us: time_us(),
            after_us,
            cpu_us: u64::try_from(facts.cpu.get().as_micros()).unwrap_or(u64::MAX),
            memory_bytes: facts.memory_bytes.get() as u64,
            outcome: facts.reason.get().map_or("ok", Reason::name),
            function: &self.function.name,
        }));
    }

    /// Its guest has had the thread for `turn`.
    pub(crate) fn guest_left_thread(&self, turn: Duration) {
        self.worker.guest_left_thread(turn, &self.function.typical_turn);
    }
}

impl Drop for RunningInvocation {
    fn drop(&mut self) {
        let worker = &self.worker;
        worker.row().in_flight.fetch_sub(1, Relaxed);
        worker.clients.remove(self.client, self.function.weight);
        self.function.turns.remove(self.function.weight);
        if let Some(slot) = worker.slot(&self.function) {
            slot.in_flight.fetch_sub(1, SeqCst);
        }
        if self.begun {
            self.function.turns.ended();
        }
        if worker.draining().is_some() {
            worker.changed.notify_waiters();
        }
    }
}
