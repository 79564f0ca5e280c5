//! A running node: takes the parts in the order in which they can fail, and apart again at the end.
//!
//! This is the main thread's story; it ends with the process, as workers rely on. Owns the lock, the shards and the
//! supervisor.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use abi::board::Board;
use anyhow::Context as _;
use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::compile::cache::Cache;
use crate::control::api::{self, Control};
use crate::control::functions::Functions;
use crate::dispatch::Snapshot;
use crate::dispatch::parking::parking;
use crate::host::{cores, lock, probe};
use crate::reconfigure;
use crate::settings::{Resolved, Sources};
use crate::shard::{self, Shard, Shared, listen};
use crate::store::directory::Directory;
use crate::store::files;
use crate::workers::supervise::{Command, Plan, Supervisor};
use crate::workers::worker_binary;

/// Runs a node until it is told to stop.
///
/// # Errors
/// Whatever kept it from starting, as a sentence for the terminal.
pub(crate) fn serve(resolved: Resolved, sources: Sources) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no tokio runtime")?;
    tokio::task::LocalSet::new().block_on(&runtime, run(resolved, sources))
}

async fn run(resolved: Resolved, sources: Sources) -> anyhow::Result<()> {
    // First of all: from here on this signal does not end the process.
    let hangup = signal(SignalKind::hangup()).context("SIGHUP cannot be watched")?;
    let config = resolved.settings.clone();
    probe::diagnose(&probe::probe())?;
    let cores = cores::choose(config.cores.clone(), cores::allowed()?).with_context(|| resolved.whence("cores"))?;
    let binary = worker_binary()?;
    files::create_folder(&config.data)
        .with_context(|| format!("{}: the data folder {:?} cannot be made", resolved.whence("data"), config.data))?;
    let _lock = lock::lock(&config.data)?;
    let (listeners, addresses) =
        listen::open(&config.listen, cores.len()).with_context(|| resolved.whence("listen"))?;

    let store = Directory::open(config.store.clone().unwrap_or_else(|| config.data.join("store")))?;
    let cache = Arc::new(Cache::open(config.data.join("cache"))?);
    let commands: (UnboundedSender<Command>, UnboundedReceiver<Command>) = unbounded_channel();
    let to_supervisor = commands.0.clone();
    let loaded = Functions::load(store, Arc::clone(&cache), to_supervisor.clone(), cores.len()).await;
    let (functions, catalogue) = loaded?;

    let (parking, parked) = parking();
    let first = Snapshot { catalogue: Arc::clone(&catalogue.1), workers: HashMap::new() };
    let domain = ArcSwapOption::new(config.domain.clone().map(Arc::new));
    let shared = Arc::new(Shared { snapshot: ArcSwap::from_pointee(first), domain, parking });
    let (board, board_fd) = Board::create()?;
    let plan = Plan {
        binary,
        cores: cores.clone(),
        settings: reconfigure::of_workers(&config, cores.len()),
        drain_timeout: *config.drain_timeout,
    };
    let board = (Arc::new(board), board_fd);
    let mut supervisor = Supervisor::new(plan, Arc::clone(&shared), cache, board, catalogue, parked, commands);
    // Workers before shards: a shard has threads of its own, and nothing is accepted that nobody can serve.
    let mut stop = Stop::watch()?;
    tokio::select! {
        started = supervisor.start() => started.context("the workers did not start; what they said is above")?,
        () = stop.asked() => return Ok(()),
    }
    let shards = start_shards(&cores, listeners, &shared)?;

    let draining = Arc::new(AtomicBool::new(false));
    let socket = config.data.join("control.sock");
    let listeners = addresses.clone();
    let control = Control { functions, supervisor: to_supervisor.clone(), listeners, draining: Arc::clone(&draining) };
    start_control(api::bind(&socket)?, control)?;

    let urls: Vec<String> = addresses.iter().map(|address| format!("http://{address}")).collect();
    // Whoever started us may have closed stdout; that is no reason not to serve.
    let _ = writeln!(std::io::stdout(), "ready {}", urls.join(" "));
    tracing::info!("{} workers on cores {cores:?} serve {}", cores.len(), urls.join(" "));

    tokio::task::spawn_local(reconfigure::at_each(hangup, sources, resolved, cores.len(), to_supervisor));
    supervisor.run_until(std::pin::pin!(stop.asked())).await;
    tracing::info!("stopping: requests in flight have {:?} to end", supervisor.drain_timeout());
    draining.store(true, SeqCst);
    shards.into_iter().for_each(Shard::stop);
    supervisor.stop(stop.asked()).await;
    let _ = std::fs::remove_file(&socket);
    tracing::info!("stopped");
    Ok(())
}

fn start_shards(
    cores: &[usize],
    listeners: Vec<listen::Listeners>,
    shared: &Arc<Shared>,
) -> anyhow::Result<Vec<Shard>> {
    let start = |(core, listeners): (&usize, _)| {
        shard::start(*core, listeners, Arc::clone(shared))
            .map_err(|error| anyhow::anyhow!("the shard on core {core} cannot be started: {error}"))
    };
    cores.iter().zip(listeners).map(start).collect()
}

/// Starts the control API on a thread and runtime of its own. It ends with the process.
fn start_control(listener: std::os::unix::net::UnixListener, control: Control) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("control".into()).spawn(move || {
        runtime.block_on(async move {
            match tokio::net::UnixListener::from_std(listener) {
                Ok(listener) => api::serve(listener, Arc::new(control)).await,
                Err(error) => tracing::error!("the control API cannot start: {error}"),
            }
        });
    })?;
    Ok(())
}

/// The signals that ask a node to stop.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn watch() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Resolves at the next such signal.
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
