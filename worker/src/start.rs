//! A worker's life: hello, start, first catalogue, ready, serve until drained. A process that is to
//! end TLS parts from it at the start ([`crate::edge::tls`]).
//!
//! The order matters: everything that can fail does so before the engine learns that this worker is
//! ready. Owns the runtime; the channel goes to the link.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use abi::board::Board;
use abi::catalogue::CatalogueView;
use abi::channel::{Channel, ReceiveError, Received};
use abi::limits::TRIAL_REASON_BYTES_MAX;
use abi::message::{Awaits, Settings, ToEngine, ToWorker};
use anyhow::{Context as _, bail};
use tokio::task::LocalSet;

use crate::serve::Routing;
use crate::worker::{Parts, Worker};
use crate::{edge, link, log, push};

/// The longest wait for the end of the log to be written, when the worker has nothing else to do.
const SPOOL_END_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the worker until it has drained or the engine is gone.
pub(crate) fn run(channel: Channel, filter: log::Filter) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no tokio runtime")?;
    let local = LocalSet::new();
    local.block_on(&runtime, serve(channel, filter))?;
    // What is left now was cut off by the drain's deadline. The kernel takes it down faster than
    // destructors would, and destructors would run outside the runtime that they rely on.
    log::end();
    std::process::exit(0)
}

async fn serve(channel: Channel, filter: log::Filter) -> anyhow::Result<()> {
    // Hello goes first, so that the engine can refuse a worker of another build.
    let (mut inbox, outbox) = link::open(channel).context("watching the channel")?;
    outbox
        .send(ToEngine::Hello { version: abi::VERSION, build_id: abi::BUILD_ID.to_owned() }, None);
    let (row, settings, board) = match started(inbox.next().await.context("waiting for Start")?)? {
        Role::Worker(row, settings, board) => (row, settings, board),
        Role::Edge(parts) => return edge::tls::serve(inbox, outbox, parts, &filter).await,
    };
    let catalogue = first_catalogue(inbox.next().await.context("waiting for the catalogue")?)?;

    let routing = Routing::ByName;
    let worker = Worker::assemble(Parts { board, row, settings, catalogue, routing, outbox })?;

    // Everything that can fail has succeeded. `Applied` tells the engine that this worker serves;
    // what it writes to stderr from here on is no longer the reason of a failed start.
    log::own_stderr();
    worker.report_applied();
    load_kept(&worker);
    let tasks = worker.tasks();
    loop {
        tokio::select! {
            received = inbox.next() => match received {
                Ok(received) => handle(&worker, &filter, received)?,
                Err(error @ ReceiveError::FdLost) => tracing::error!("a connection is lost: {error}"),
                // The engine has gone, and nobody else can send more.
                Err(_) => break,
            },
            () = worker.drained() => {
                // The connections that were given back last may still wait for room in the channel.
                worker.outbox.flushed().await;
                break;
            }
        }
    }
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    worker.pipeline.functions.runtime().end().await;
    if let Some(spool) = worker.log().spool() {
        spool.end(SPOOL_END_TIMEOUT);
    }
    Ok(())
}

/// What this process is for.
enum Role {
    Worker(usize, Settings, Board),
    Edge(edge::tls::Parts),
}

fn started(received: Received<ToWorker>) -> anyhow::Result<Role> {
    match (received.message, received.fd) {
        (ToWorker::Start { row, settings }, Some(fd)) => {
            Ok(Role::Worker(usize::from(row), settings, Board::map(fd)?))
        }
        (ToWorker::StartEdge { row, settings }, Some(fd)) => {
            let (row, board) = (usize::from(row), Board::map(fd)?);
            Ok(Role::Edge(edge::tls::Parts { row, settings, board }))
        }
        (other, _) => bail!("expected Start from the engine, got {other:?}"),
    }
}

fn first_catalogue(received: Received<ToWorker>) -> anyhow::Result<CatalogueView> {
    match (received.message, received.fd) {
        (ToWorker::Catalogue, Some(fd)) => Ok(CatalogueView::new(fd)?),
        (other, _) => bail!("expected a catalogue from the engine, got {other:?}"),
    }
}

fn handle(
    worker: &Rc<Worker>,
    filter: &log::Filter,
    received: Received<ToWorker>,
) -> anyhow::Result<()> {
    match (received.message, received.fd) {
        (
            ToWorker::Connection { read, awaits: Awaits::Streams, origin: Some(origin), .. },
            Some(fd),
        ) => edge::h2::leg::take(&worker.connections, fd, &read, origin),
        (ToWorker::Connection { read, awaits, accepted_at_us, origin }, Some(fd)) => {
            worker.connections.take(fd, read, awaits, accepted_at_us, origin);
        }
        (ToWorker::Settings { settings }, None) => {
            filter.change(&settings.log_filter);
            worker.log().set_stderr(settings.guest_stderr);
            worker.pipeline.set_settings(settings);
            tracing::debug!("the node's new settings are taken over");
        }
        (ToWorker::Catalogue, Some(fd)) => {
            worker.pipeline.functions.replace(CatalogueView::new(fd)?);
            worker.report_applied();
            load_kept(worker);
        }
        (ToWorker::Try { ticket }, Some(fd)) => {
            tokio::task::spawn_local(try_start(Rc::clone(worker), ticket, CatalogueView::new(fd)?));
        }
        (ToWorker::Spool, Some(segment)) => {
            if let Some(spool) = worker.log().spool() {
                spool.switch(segment);
            }
        }
        (ToWorker::State, Some(fd)) => worker.pipeline.shared().state.connect(fd)?,
        (ToWorker::WriteLog { ticket }, None) => {
            let worker = Rc::clone(worker);
            // A task of its own runs behind all tasks that are ready now: what they log about
            // replies that have left must be written, too.
            tokio::task::spawn_local(async move {
                if let Some(spool) = worker.log().spool() {
                    spool.written().await;
                }
                worker.outbox.send(ToEngine::LogWritten { ticket }, None);
            });
        }
        (ToWorker::Module { key }, Some(fd)) => {
            if worker.pipeline.functions.module_arrived(key, fd) {
                worker.counters.row().counts.cold_loads.add(1);
            }
            worker.count_modules();
        }
        (ToWorker::ModuleMissing { key, reason }, None) => {
            worker.pipeline.functions.module_missing(key, &reason)
        }
        (ToWorker::Secrets { function }, Some(fd)) => {
            worker.pipeline.functions.secrets_arrived(&function, &fd)
        }
        (ToWorker::SecretsMissing { function, reason }, None) => {
            worker.pipeline.functions.secrets_missing(&function, reason)
        }
        (ToWorker::Push, Some(fd)) => {
            let websockets = Arc::clone(&worker.websockets);
            tokio::task::spawn_local(push::remote::receive(websockets, fd));
        }
        (ToWorker::Drain { ending, deadline_ms }, None) => {
            worker.drain.begin(ending, Duration::from_millis(u64::from(deadline_ms)));
            worker.outbox.send(ToEngine::Draining, None);
        }
        (other, _) => bail!("the engine sent {other:?} to a running worker"),
    }
    Ok(())
}

/// Loads what is to be ready before it is called, in a task of its own: it waits for the engine.
fn load_kept(worker: &Rc<Worker>) {
    let pipeline = Rc::clone(&worker.pipeline);
    tokio::task::spawn_local(async move { pipeline.load_kept().await });
}

/// Starts the only version in `catalogue`, and reports the result to the engine.
async fn try_start(worker: Rc<Worker>, ticket: u64, catalogue: CatalogueView) {
    let failure = worker.pipeline.try_start(catalogue).await.err().map(|mut reason| {
        reason.truncate(reason.floor_char_boundary(TRIAL_REASON_BYTES_MAX));
        reason
    });
    worker.outbox.send(ToEngine::Tried { ticket, failure }, None);
}
