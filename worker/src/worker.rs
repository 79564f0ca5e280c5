//! What all connections of a worker share: settings, functions, its row on the board, and whether it is draining.
//!
//! One per process, behind an `Rc`: everything here runs on one thread. Owns the board's mapping.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use abi::board::{Board, Row};
use abi::message::{Settings, ToEngine};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::epoch::Ticker;
use crate::functions::Functions;
use crate::guest_log::GuestLog;
use crate::link::Outbox;

pub(crate) struct Worker {
    pub(crate) settings: Settings,
    pub(crate) functions: Functions,
    pub(crate) outbox: Outbox,
    pub(crate) ticker: Ticker,
    pub(crate) log: GuestLog,
    board: Board,
    row: usize,
    started: Instant,
    connections_open: Cell<u32>,
    draining: Cell<bool>,
    /// Told when draining begins, and when the last connection has gone.
    changed: Notify,
    drain_deadline: Cell<Option<Instant>>,
}

impl Worker {
    pub(crate) fn new(
        settings: Settings,
        functions: Functions,
        outbox: Outbox,
        ticker: Ticker,
        log: GuestLog,
        board: Board,
        row: usize,
    ) -> Rc<Self> {
        Rc::new(Self {
            settings,
            functions,
            outbox,
            ticker,
            log,
            board,
            row,
            started: Instant::now(),
            connections_open: Cell::new(0),
            draining: Cell::new(false),
            changed: Notify::new(),
            drain_deadline: Cell::new(None),
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
    }

    pub(crate) fn count_modules(&self) {
        self.row().modules.store(self.functions.module_count() as u64, Relaxed);
    }

    pub(crate) fn report_applied(&self) {
        self.outbox.send(ToEngine::Applied { generation: self.functions.generation() }, None);
        self.count_modules();
    }

    /// Counts a connection in until the guard is dropped.
    pub(crate) fn connection_taken(self: &Rc<Self>) -> OpenConnection {
        self.row().connections_taken.fetch_add(1, Relaxed);
        self.connections_open.set(self.connections_open.get() + 1);
        OpenConnection(Rc::clone(self))
    }

    /// Counts an invocation in until the guard is dropped; none when the worker is full.
    pub(crate) fn invocation_begun(self: &Rc<Self>) -> Option<RunningInvocation> {
        let row = self.row();
        if row.in_flight.load(Relaxed) >= u64::from(abi::limits::INVOCATIONS_PER_WORKER_MAX) {
            return None;
        }
        row.requests.fetch_add(1, Relaxed);
        row.in_flight.fetch_add(1, Relaxed);
        self.ticker.begin();
        Some(RunningInvocation(Rc::clone(self)))
    }

    pub(crate) fn draining(&self) -> bool {
        self.draining.get()
    }

    /// Begins to drain: connections end after the request they are on.
    pub(crate) fn drain(&self, within: Duration) {
        self.drain_deadline.set(Some(Instant::now() + within));
        self.draining.set(true);
        self.changed.notify_waiters();
    }

    /// Resolves when draining begins.
    pub(crate) async fn drain_begun(&self) {
        loop {
            let changed = self.changed.notified();
            if self.draining() {
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

/// A connection that this worker owns.
pub(crate) struct OpenConnection(Rc<Worker>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let worker = &self.0;
        worker.row().connections_done.fetch_add(1, Relaxed);
        worker.connections_open.set(worker.connections_open.get() - 1);
        if worker.draining() {
            worker.changed.notify_waiters();
        }
    }
}

/// An invocation that is being run.
pub(crate) struct RunningInvocation(Rc<Worker>);

impl Drop for RunningInvocation {
    fn drop(&mut self) {
        let worker = &self.0;
        worker.row().in_flight.fetch_sub(1, Relaxed);
        worker.ticker.end();
        if worker.draining() {
            worker.changed.notify_waiters();
        }
    }
}
