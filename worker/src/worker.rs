//! The parts of a running worker, whoever started it.
//!
//! [`Worker::assemble`] makes them of settings, a catalogue and a channel; the
//! [tasks](Worker::tasks) beside the requests keep them going. Owns no fds above those of its
//! parts.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use abi::board::Board;
use abi::catalogue::CatalogueView;
use abi::message::{Settings, ToEngine};
use anyhow::Context as _;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::counters::{BEAT_INTERVAL, Counters};
use crate::drain::Drain;
use crate::edge::h1::{Connections, SendBatch};
use crate::guest_log::{self, GuestLog};
use crate::link::Outbox;
use crate::log;
use crate::push::{Remote, WebSockets};
use crate::run::thread::GuestThread;
use crate::run::{Runtimes, Shared};
use crate::serve::{Functions, Pipeline, Routing};
use crate::spool;

/// What a worker is made of.
pub(crate) struct Parts {
    pub(crate) board: Board,
    pub(crate) row: usize,
    pub(crate) settings: Settings,
    pub(crate) catalogue: CatalogueView,
    pub(crate) routing: Routing,
    pub(crate) outbox: Outbox<ToEngine>,
}

/// All parts of a running worker.
pub(crate) struct Worker {
    pub(crate) pipeline: Rc<Pipeline>,
    pub(crate) connections: Rc<Connections>,
    pub(crate) counters: Rc<Counters>,
    pub(crate) drain: Rc<Drain>,
    pub(crate) outbox: Outbox<ToEngine>,
    pub(crate) websockets: Arc<WebSockets>,
    /// The pushes to other workers, until a task has them.
    pushes: Cell<Option<Remote>>,
    started: Instant,
}

impl Worker {
    /// Puts the parts of a worker together.
    ///
    /// # Errors
    /// If a thread cannot be started, or wasmtime refuses the settings.
    pub(crate) fn assemble(parts: Parts) -> anyhow::Result<Rc<Self>> {
        let Parts { board, row, settings, catalogue, routing, outbox } = parts;
        let (board, drain) = (Arc::new(board), Rc::<Drain>::default());
        let spool = settings.logs.then(|| spool::start(Arc::clone(&board), row)).transpose();
        let spool = spool.context("starting the spool's thread")?;
        let guest_log =
            guest_log::start(log::Format::from_environment(), settings.guest_stderr, spool);
        let guest_log = guest_log.context("starting the guest-log thread")?;
        let (counters, send_batch) =
            (Rc::new(Counters::new(board, row)), Rc::<SendBatch>::default());
        let (websockets, pushes) = WebSockets::new(row);
        let thread = GuestThread::new(Rc::clone(&counters), Rc::clone(&send_batch) as _);
        let shared = Rc::new(Shared {
            counters: Rc::clone(&counters),
            log: guest_log,
            thread,
            state: Arc::default(),
            websockets: Arc::clone(&websockets),
            native_sandbox: settings.native_sandbox,
            native_cores: settings.native_cores.clone(),
        });
        let runtimes = Runtimes::new(&shared, settings.only_function.is_none());
        let runtimes = runtimes.map_err(anyhow::Error::msg);
        let runtimes = runtimes
            .context("wasmtime refuses the worker's settings, or no thread can be started")?;
        let functions = Functions::new(Box::new(runtimes), outbox.clone(), catalogue);
        let pipeline = Pipeline::new(settings, routing, functions, shared, Rc::clone(&drain));
        let connections = Connections::new(
            Rc::clone(&pipeline),
            Rc::clone(&counters),
            Rc::clone(&drain),
            outbox.clone(),
            send_batch,
        );
        let (pushes, started) = (Cell::new(Some(pushes)), Instant::now());
        Ok(Rc::new(Self {
            pipeline,
            connections,
            counters,
            drain,
            outbox,
            websockets,
            pushes,
            started,
        }))
    }

    /// Starts the tasks that run beside requests.
    pub(crate) fn tasks(self: &Rc<Self>) -> [JoinHandle<()>; 4] {
        [
            tokio::task::spawn_local(beat(Rc::clone(self))),
            tokio::task::spawn_local({
                let connections = Rc::clone(&self.connections);
                async move { connections.send_batches().await }
            }),
            tokio::task::spawn_local({
                let pipeline = Rc::clone(&self.pipeline);
                async move { pipeline.stand_by().await }
            }),
            tokio::task::spawn_local(pass_pushes(Rc::clone(self))),
        ]
    }

    pub(crate) fn log(&self) -> &GuestLog {
        &self.pipeline.shared().log
    }

    /// Reports to the engine which catalogue this worker serves.
    pub(crate) fn report_applied(&self) {
        self.outbox
            .send(ToEngine::Applied { generation: self.pipeline.functions.generation() }, None);
        self.count_modules();
    }

    pub(crate) fn count_modules(&self) {
        self.counters.row().modules.store(self.pipeline.functions.module_count() as u64, Relaxed);
    }

    /// Resolves when nothing is left to do after a drain has begun, or when its deadline has come.
    pub(crate) async fn drained(&self) {
        let is_idle = || self.connections.open() == 0 && self.pipeline.in_flight() == 0;
        if !self.drain.over(is_idle).await {
            tracing::warn!(
                connections = self.connections.open(),
                "drain deadline: requests are cut off"
            );
        }
    }
}

/// Sends the engine what is pushed to connections of other workers.
async fn pass_pushes(worker: Rc<Worker>) {
    let Some(mut pushes) = worker.pushes.take() else { return };
    while let Some((row, socket)) = pushes.recv().await {
        worker.outbox.send(ToEngine::Push { row }, Some(socket));
    }
}

async fn beat(worker: Rc<Worker>) {
    let mut interval = tokio::time::interval(BEAT_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        interval.tick().await;
        let millis = u64::try_from(worker.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        worker.counters.row().heartbeat_ms.store(millis, Relaxed);
        worker.connections.beat();
        worker.pipeline.functions.expire();
        worker.pipeline.drop_retired();
    }
}
