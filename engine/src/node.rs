//! A running node: takes the parts in the order in which they can fail, and apart again at the end.
//!
//! This is the main thread's story; it ends with the process, as workers rely on. Owns the lock, the shards and the
//! supervisor.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use abi::board::Board;
use abi::limits::WORKERS_MAX;
use abi::message::Settings;
use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::compile::cache::Cache;
use crate::control::api::{self, Control};
use crate::control::functions::Functions;
use crate::core::fleet;
use crate::dispatch::Snapshot;
use crate::dispatch::parking::parking;
use crate::host::{cores, lock, probe};
use crate::shard::{self, Shard, Shared, listen};
use crate::store::directory::Directory;
use crate::store::files;
use crate::workers::supervise::{Command, Plan, Supervisor};
use crate::workers::worker_binary;

/// Everything `sockhop serve` can be told.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) listen: Vec<String>,
    pub(crate) data: PathBuf,
    pub(crate) store: Option<PathBuf>,
    pub(crate) cores: Option<cores::CoreList>,
    pub(crate) workers_per_core: usize,
    pub(crate) own_worker_idle_timeout: Duration,
    pub(crate) domain: Option<String>,
    pub(crate) head_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) drain_timeout: Duration,
}

/// Runs a node until it is told to stop.
///
/// # Errors
/// Whatever kept it from starting, as a sentence for the terminal.
pub(crate) fn serve(config: &Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no tokio runtime")?;
    tokio::task::LocalSet::new().block_on(&runtime, run(config))
}

async fn run(config: &Config) -> anyhow::Result<()> {
    probe::diagnose(&probe::probe())?;
    let cores = cores::choose(config.cores.clone(), cores::allowed()?)?;
    let binary = worker_binary()?;
    files::create_folder(&config.data).with_context(|| format!("the data folder {:?} cannot be made", config.data))?;
    let _lock = lock::lock(&config.data)?;
    let (listeners, addresses) = listen::open(&config.listen, cores.len())?;

    let store = Directory::open(config.store.clone().unwrap_or_else(|| config.data.join("store")))?;
    let cache = Arc::new(Cache::open(config.data.join("cache"))?);
    let commands: (UnboundedSender<Command>, UnboundedReceiver<Command>) = unbounded_channel();
    let to_supervisor = commands.0.clone();
    let shared_workers: Vec<usize> =
        (0..config.workers_per_core).flat_map(|_| cores.iter().copied()).take(WORKERS_MAX).collect();
    let loaded = Functions::load(store, Arc::clone(&cache), to_supervisor.clone(), shared_workers.len()).await;
    let (functions, catalogue) = loaded?;

    let (parking, parked) = parking();
    let first = Snapshot { catalogue: Arc::clone(&catalogue.1), workers: HashMap::new() };
    let shared = Arc::new(Shared { snapshot: ArcSwap::from_pointee(first), domain: config.domain.clone(), parking });
    let (board, board_fd) = Board::create()?;
    let plan = Plan {
        binary,
        settings: settings(config, shared_workers.len()),
        fleet: fleet::Plan { shared: shared_workers, own_idle_timeout: config.own_worker_idle_timeout },
        drain_timeout: config.drain_timeout,
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
    let control = Control { functions, supervisor: to_supervisor, listeners, draining: Arc::clone(&draining) };
    start_control(api::bind(&socket)?, control)?;

    let urls: Vec<String> = addresses.iter().map(|address| format!("http://{address}")).collect();
    // Whoever started us may have closed stdout; that is no reason not to serve.
    let _ = writeln!(std::io::stdout(), "ready {}", urls.join(" "));
    let workers = cores.len() * config.workers_per_core;
    tracing::info!("{workers} workers on cores {cores:?} serve {}", urls.join(" "));

    supervisor.run_until(std::pin::pin!(stop.asked())).await;
    tracing::info!("stopping: requests in flight have {:?} to end", config.drain_timeout);
    draining.store(true, SeqCst);
    shards.into_iter().for_each(Shard::stop);
    supervisor.stop(stop.asked()).await;
    let _ = std::fs::remove_file(&socket);
    tracing::info!("stopped");
    Ok(())
}

fn settings(config: &Config, shared_workers: usize) -> Settings {
    let millis = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    Settings {
        only_function: None,
        shared_rows: u16::try_from(shared_workers).unwrap_or(u16::MAX),
        domain: config.domain.clone(),
        head_timeout_ms: millis(config.head_timeout),
        idle_timeout_ms: millis(config.idle_timeout),
        write_timeout_ms: millis(config.write_timeout),
    }
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
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
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
