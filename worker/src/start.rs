//! A worker's life: hello, start, first catalogue, ready, serve until drained.
//!
//! Order matters: everything that can fail does so before the engine is told that this worker is ready. Owns the
//! runtime; the channel goes to the link.

use std::rc::Rc;
use std::time::Duration;

use abi::board::Board;
use abi::catalogue::CatalogueView;
use abi::channel::{Channel, Received};
use abi::message::{Settings, ToEngine, ToWorker};
use anyhow::{Context as _, bail};
use tokio::task::LocalSet;

use crate::functions::Functions;
use crate::worker::Worker;
use crate::{connection, epoch, guest_log, link, wasm};

/// How often the worker shows the engine that it lives.
const BEAT_INTERVAL: Duration = Duration::from_millis(100);

/// Runs the worker until it is told to drain or the engine is gone.
pub(crate) fn run(channel: Channel) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no tokio runtime")?;
    let local = LocalSet::new();
    local.block_on(&runtime, serve(channel))?;
    // What is left now was cut off by the drain's deadline. The kernel takes it down faster than destructors would, and
    // those would run outside the runtime they rely on.
    std::process::exit(0)
}

async fn serve(channel: Channel) -> anyhow::Result<()> {
    let (mut inbox, outbox) = link::open(channel).context("watching the channel")?;
    outbox.send(ToEngine::Hello { version: abi::VERSION, build_id: abi::BUILD_ID.to_owned() }, None);
    let (row, settings, board) = started(inbox.next().await.context("waiting for Start")?)?;
    let catalogue = first_catalogue(inbox.next().await.context("waiting for the catalogue")?)?;

    let ticker = epoch::Ticker::start().context("starting the epoch thread")?;
    let engines = wasm::engine::Engines::new(ticker);
    let engines = engines.map_err(anyhow::Error::from).context("wasmtime refuses the worker's settings")?;
    let log = guest_log::start().context("starting the guest-log thread")?;
    let functions = Functions::new(engines, outbox.clone(), catalogue);
    let worker = Worker::new(settings, functions, outbox, log, board, row);

    worker.report_applied();
    let beats = tokio::task::spawn_local(beat(Rc::clone(&worker)));
    let standing_by = Rc::clone(&worker);
    let standby = tokio::task::spawn_local(async move { standing_by.standby.run(&standing_by.log).await });
    loop {
        tokio::select! {
            received = inbox.next() => match received {
                Ok(received) => handle(&worker, received)?,
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
    Ok(())
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

fn handle(worker: &Rc<Worker>, received: Received<ToWorker>) -> anyhow::Result<()> {
    match (received.message, received.fd) {
        (ToWorker::Connection { read, awaits }, Some(fd)) => connection::take(worker, fd, read, awaits),
        (ToWorker::Catalogue, Some(fd)) => {
            worker.functions.replace(CatalogueView::new(fd)?);
            worker.report_applied();
        }
        (ToWorker::Module { key }, Some(fd)) => {
            worker.functions.module_arrived(key, fd);
            worker.count_modules();
        }
        (ToWorker::ModuleMissing { key, reason }, None) => worker.functions.module_missing(key, &reason),
        (ToWorker::Drain { ending, deadline_ms }, None) => {
            worker.drain(ending, Duration::from_millis(u64::from(deadline_ms)));
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
