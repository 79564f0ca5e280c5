//! A worker's life: hello, start, first catalogue, ready, serve until drained.
//!
//! Order matters: everything that can fail does so before the engine is told that this worker is ready. Owns the
//! runtime; the channel goes to the link.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use abi::board::Board;
use abi::catalogue::CatalogueView;
use abi::channel::{Channel, ReceiveError, Received};
use abi::message::{Settings, ToEngine, ToWorker};
use anyhow::{Context as _, bail};
use tokio::task::LocalSet;

use crate::functions::Functions;
use crate::worker::Worker;
use crate::{connection, epoch, guest_log, link, log, spool, wasm};

/// How often the worker shows the engine that it lives.
const BEAT_INTERVAL: Duration = Duration::from_millis(100);

/// How long the end of the log may take to be written when the worker has nothing else to do.
const SPOOL_END_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the worker until it is told to drain or the engine is gone.
pub(crate) fn run(channel: Channel, filter: log::Filter) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no tokio runtime")?;
    let local = LocalSet::new();
    local.block_on(&runtime, serve(channel, filter))?;
    // What is left now was cut off by the drain's deadline. The kernel takes it down faster than destructors would, and
    // those would run outside the runtime they rely on.
    log::end();
    std::process::exit(0)
}

async fn serve(channel: Channel, filter: log::Filter) -> anyhow::Result<()> {
    let (mut inbox, outbox) = link::open(channel).context("watching the channel")?;
    outbox.send(ToEngine::Hello { version: abi::VERSION, build_id: abi::BUILD_ID.to_owned() }, None);
    let (row, settings, board) = started(inbox.next().await.context("waiting for Start")?)?;
    let catalogue = first_catalogue(inbox.next().await.context("waiting for the catalogue")?)?;

    let ticker = epoch::Ticker::start().context("starting the epoch thread")?;
    let engines = wasm::engine::Engines::new(ticker);
    let engines = engines.map_err(anyhow::Error::from).context("wasmtime refuses the worker's settings")?;
    let board = Arc::new(board);
    let spool = settings.logs.then(|| spool::start(Arc::clone(&board), row)).transpose();
    let spool = spool.context("starting the spool's thread")?;
    let log_of_guests = guest_log::start(log::Format::from_environment(), settings.guest_stderr, spool);
    let log_of_guests = log_of_guests.context("starting the guest-log thread")?;
    let functions = Functions::new(engines, outbox.clone(), catalogue);
    let worker = Worker::new(settings, functions, outbox, log_of_guests, board, row);

    own_stderr();
    worker.report_applied();
    let beats = tokio::task::spawn_local(beat(Rc::clone(&worker)));
    let sending = Rc::clone(&worker);
    let sender = tokio::task::spawn_local(async move { sending.send_batch.run().await });
    let standing_by = Rc::clone(&worker);
    let standby = tokio::task::spawn_local(async move { standing_by.standby.run(&standing_by).await });
    loop {
        tokio::select! {
            received = inbox.next() => match received {
                Ok(received) => handle(&worker, &filter, received)?,
                Err(error @ ReceiveError::FdLost) => tracing::error!("a connection is lost: {error}"),
                // The engine has gone, and with it whoever could send more.
                Err(_) => break,
            },
            () = worker.drained() => {
                // What was given back last may still wait for room in the channel.
                worker.outbox.flushed().await;
                break;
            }
        }
    }
    beats.abort();
    standby.abort();
    sender.abort();
    if let Some(spool) = worker.log.spool() {
        spool.end(SPOOL_END_TIMEOUT);
    }
    Ok(())
}

/// From here on what this worker says is its own affair: its stderr becomes the engine's, instead of the pipe that the engine
/// has listened to. Whatever stands in the way of that is no reason not to serve.
fn own_stderr() {
    // SAFETY: the engine put its stderr at this number before `exec`, for nobody but this function, which runs once; a number
    // that is not open only makes both calls fail.
    unsafe {
        libc::dup2(abi::WORKER_STDERR_FD, libc::STDERR_FILENO);
        libc::close(abi::WORKER_STDERR_FD);
    }
}

fn started(received: Received<ToWorker>) -> anyhow::Result<(usize, Settings, Board)> {
    match (received.message, received.fd) {
        (ToWorker::Start { row, settings }, Some(fd)) => Ok((usize::from(row), settings, Board::map(fd)?)),
        (other, _) => bail!("expected Start from the engine, got {other:?}"),
    }
}

fn first_catalogue(received: Received<ToWorker>) -> anyhow::Result<CatalogueView> {
    match (received.message, received.fd) {
        (ToWorker::Catalogue, Some(fd)) => Ok(CatalogueView::new(fd)?),
        (other, _) => bail!("expected a catalogue from the engine, got {other:?}"),
    }
}

fn handle(worker: &Rc<Worker>, filter: &log::Filter, received: Received<ToWorker>) -> anyhow::Result<()> {
    match (received.message, received.fd) {
        (ToWorker::Connection { read, awaits, accepted_at_us }, Some(fd)) => {
            connection::take(worker, fd, read, awaits, accepted_at_us);
        }
        (ToWorker::Settings { settings }, None) => {
            filter.change(&settings.log_filter);
            worker.log.tell_stderr(settings.guest_stderr);
            *worker.settings.borrow_mut() = settings;
            tracing::debug!("the node's new settings are taken over");
        }
        (ToWorker::Catalogue, Some(fd)) => {
            worker.functions.replace(CatalogueView::new(fd)?);
            worker.report_applied();
        }
        (ToWorker::Try { ticket }, Some(fd)) => {
            tokio::task::spawn_local(wasm::trial::run(Rc::clone(worker), ticket, CatalogueView::new(fd)?));
        }
        (ToWorker::Spool, Some(segment)) => {
            if let Some(spool) = worker.log.spool() {
                spool.switch(segment);
            }
        }
        (ToWorker::WriteLog { ticket }, None) => {
            let worker = Rc::clone(worker);
            // Behind all tasks that are ready to run: what they log of replies that have left is to be written, too.
            tokio::task::spawn_local(async move {
                if let Some(spool) = worker.log.spool() {
                    spool.written().await;
                }
                worker.outbox.send(ToEngine::LogWritten { ticket }, None);
            });
        }
        (ToWorker::Module { key }, Some(fd)) => {
            if worker.functions.module_arrived(key, fd) {
                worker.row().counts.cold_loads.add(1);
            }
            worker.count_modules();
        }
        (ToWorker::ModuleMissing { key, reason }, None) => worker.functions.module_missing(key, &reason),
        (ToWorker::Secrets { function }, Some(fd)) => worker.functions.secrets_arrived(&function, &fd),
        (ToWorker::SecretsMissing { function, reason }, None) => worker.functions.secrets_missing(&function, reason),
        (ToWorker::Drain { ending, deadline_ms }, None) => {
            worker.drain(ending, Duration::from_millis(u64::from(deadline_ms)));
            worker.outbox.send(ToEngine::Draining, None);
        }
        (other, _) => bail!("the engine sent {other:?} to a running worker"),
    }
    Ok(())
}

async fn beat(worker: Rc<Worker>) {
    let mut interval = tokio::time::interval(BEAT_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        interval.tick().await;
        worker.beat();
        worker.functions.expire_instances();
        worker.spent.unmake();
    }
}
