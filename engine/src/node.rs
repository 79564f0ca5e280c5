//! A running node: takes the parts in the order in which they can fail, and apart again at the end; or gets some from the
//! engine that it takes over from, and gives them to the one that takes over from it.
//!
//! This is the main thread's story; it ends with the process, as workers rely on. Owns the lock, the listening sockets, the
//! shards and the supervisor.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use abi::board::Board;
use abi::message::Settings;
use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::compile::cache::Cache;
use crate::control::api::{self, Control};
use crate::control::functions::Functions;
use crate::dispatch::Snapshot;
use crate::dispatch::parking::parking;
use crate::host::lock::{self, DataLock};
use crate::host::{cores, place, probe, systemd};
use crate::shard::{self, Backlog, Shard, Shared, listen};
use crate::store::directory::Directory;
use crate::store::files;
use crate::takeover::{self, Door, Giver, Successor};
use crate::workers::supervise::{Command, Plan, Supervisor};
use crate::workers::worker_binary;

/// Everything `sockhop serve` can be told.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) listen: Vec<String>,
    pub(crate) data: PathBuf,
    pub(crate) start: Start,
    pub(crate) store: Option<PathBuf>,
    pub(crate) cores: Option<cores::CoreList>,
    pub(crate) domain: Option<String>,
    pub(crate) head_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) drain_timeout: Duration,
}

/// How a node begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// By itself; an engine that runs on the same data folder is an error.
    Alone,
    /// By taking over from such an engine, if there is one.
    TakeOver,
}

/// Runs a node until it is told to stop, or another has taken over.
///
/// # Errors
/// Whatever kept it from starting, as a sentence for the terminal.
pub(crate) fn serve(config: &Config) -> anyhow::Result<()> {
    // Before anything else opens a file.
    let inherited = systemd::sockets().context("the sockets that this process was started with cannot be used")?;
    let inherited: Result<Vec<_>, _> = inherited.into_iter().map(listen::adopt).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no tokio runtime")?;
    tokio::task::LocalSet::new().block_on(&runtime, run(config, inherited?))
}

async fn run(config: &Config, inherited: Vec<TcpListener>) -> anyhow::Result<()> {
    let successor = Successor::remember().context("this process's own binary cannot be found")?;
    probe::diagnose(&probe::probe())?;
    let cores = cores::choose(config.cores.clone(), cores::allowed()?)?;
    files::create_folder(&config.data).with_context(|| format!("the data folder {:?} cannot be made", config.data))?;
    let mut stop = Stop::watch()?;
    // From here on the signal waits until this node can be taken over from.
    let mut upgrade = signal(SignalKind::user_defined2())?;
    let offered = match config.start {
        Start::Alone => None,
        Start::TakeOver => tokio::select! {
            offered = takeover::ask(&config.data) => offered?,
            () = stop.asked() => return Ok(()),
        },
    };
    let Some((mut predecessor, mut lock)) = offered else {
        let lock = lock::lock(&config.data)?;
        if config.start == Start::TakeOver {
            tracing::info!("no engine runs on {:?} to take over from: this one starts by itself", config.data);
        }
        let sockets = if inherited.is_empty() { listen::open(&config.listen, cores.len())? } else { inherited };
        let starting = Node::start(config, &cores, sockets);
        let node = tokio::select! {
            node = starting => node?,
            () = stop.asked() => return Ok(()),
        };
        node.functions.clear_unfinished()?;
        node.functions.clear_unused().await;
        return node.serve(config, lock, (&successor, &mut upgrade), &mut stop).await;
    };
    let sockets = std::mem::take(&mut predecessor.sockets);
    // From here on whatever fails ends this process, and the running engine goes on.
    let node = tokio::select! {
        node = predecessor.while_starting(Node::start(config, &cores, sockets)) => node??,
        () = stop.asked() => return Ok(()),
    };
    predecessor.claim().await?;
    if let Err(error) = lock.sign() {
        tracing::warn!("the lock still names the engine before this one: {error}");
    }
    let (functions, commands) = (Arc::clone(&node.functions), node.commands.clone());
    tokio::task::spawn_local(async move {
        predecessor.connections(|handed| drop(commands.send(Command::Take(handed)))).await;
        functions.clear_unused().await;
    });
    node.serve(config, lock, (&successor, &mut upgrade), &mut stop).await
}

/// A node that can serve, and does not yet. Its sockets in the data folder are beside their places.
struct Node {
    draining: Arc<AtomicBool>,
    door: Door,
    sockets: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    functions: Arc<Functions>,
    commands: UnboundedSender<Command>,
    supervisor: Supervisor,
    shards: Vec<Shard>,
}

impl Node {
    /// Takes the parts that can fail.
    async fn start(config: &Config, cores: &[usize], sockets: Vec<TcpListener>) -> anyhow::Result<Self> {
        let binary = worker_binary()?;
        let store = Directory::open(config.store.clone().unwrap_or_else(|| config.data.join("store")))?;
        let cache = Arc::new(Cache::open(config.data.join("cache"))?);
        let (commands, received): (UnboundedSender<Command>, UnboundedReceiver<Command>) = unbounded_channel();
        let loaded = Functions::load(store, Arc::clone(&cache), commands.clone(), cores.len()).await;
        let (functions, catalogue) = loaded?;

        let (parking, parked) = parking();
        let first = Snapshot { catalogue: Arc::clone(&catalogue.1), workers: HashMap::new() };
        let shared =
            Arc::new(Shared { snapshot: ArcSwap::from_pointee(first), domain: config.domain.clone(), parking });
        let (board, board_fd) = Board::create()?;
        let plan = Plan {
            binary,
            cores: cores.to_vec(),
            settings: settings(config, cores.len()),
            drain_timeout: config.drain_timeout,
        };
        let board = (Arc::new(board), board_fd);
        let to_itself = (commands.clone(), received);
        let mut supervisor = Supervisor::new(plan, Arc::clone(&shared), cache, board, catalogue, parked, to_itself);
        // Workers before shards: nothing is accepted that nobody can serve.
        supervisor.start().await.context("the workers did not start; what they said is above")?;
        let shards = start_shards(cores, listen::distribute(&sockets, cores.len())?, &shared)?;
        let addresses = listen::addresses(&sockets)?;
        let (functions, draining) = (Arc::new(functions), Arc::new(AtomicBool::new(false)));
        let [control, take_over] = places(config);
        let door = Door::open(&take_over).with_context(|| format!("the socket {take_over:?} cannot be opened"))?;
        let api = Control {
            functions: Arc::clone(&functions),
            supervisor: commands.clone(),
            listeners: addresses.clone(),
            draining: Arc::clone(&draining),
        };
        start_control(api::bind(&control)?, api)?;
        Ok(Self { draining, door, sockets, addresses, functions, commands, supervisor, shards })
    }

    /// Serves to the end.
    async fn serve(
        self,
        config: &Config,
        lock: DataLock,
        (successor, upgrade): (&Successor, &mut Signal),
        stop: &mut Stop,
    ) -> anyhow::Result<()> {
        let Self { draining, door, sockets, addresses, functions, commands, mut supervisor, shards } = self;
        shards.iter().for_each(Shard::accept);
        for place in places(config) {
            // Clients are served already, and must not suffer from it.
            if let Err(error) = place::publish(&place) {
                tracing::error!("the socket {place:?} cannot be put in its place: {error}; commands do not find it");
            }
        }
        let giver = Giver::new(door, sockets, lock, functions);

        let urls: Vec<String> = addresses.iter().map(|address| format!("http://{address}")).collect();
        // Whoever started us may have closed stdout; that is no reason not to serve.
        let _ = writeln!(std::io::stdout(), "ready {}", urls.join(" "));
        tracing::info!("{} shards serve {}", shards.len(), urls.join(" "));
        systemd::serving();
        if let Some(interval) = systemd::watchdog_interval() {
            tokio::task::spawn_local(show_life(interval, commands));
        }

        let until = async {
            tokio::select! {
                () = stop.asked() => None,
                given = giver.given() => Some(given),
                never = successor.start_at(upgrade) => match never {},
            }
        };
        let given = supervisor.run_until(std::pin::pin!(until)).await;
        draining.store(true, SeqCst);
        if let Some(given) = given {
            let (connections, forwarded) = given.forward();
            supervisor.hand_over_to(connections);
            shards.into_iter().for_each(|shard| shard.stop(Backlog::Leave));
            supervisor.stop(stop.asked()).await;
            drop(supervisor);
            forwarded.await.context("the connections' task has ended badly")?;
            tracing::info!("another engine has taken over; this one has ended");
            return Ok(());
        }
        tracing::info!("stopping: requests in flight have {:?} to end", config.drain_timeout);
        systemd::stopping();
        let _lock = giver.end();
        shards.into_iter().for_each(|shard| shard.stop(Backlog::Take));
        supervisor.stop(stop.asked()).await;
        for place in places(config) {
            let _ = std::fs::remove_file(place);
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// Tells the init system that the supervisor's loop turns, as often as it wants to hear it.
async fn show_life(interval: Duration, commands: UnboundedSender<Command>) {
    loop {
        let (turned, told) = tokio::sync::oneshot::channel();
        if commands.send(Command::Turn { turned }).is_err() || told.await.is_err() {
            return;
        }
        systemd::alive();
        tokio::time::sleep(interval).await;
    }
}

/// Where a node's own sockets are found: that of the control API, and that of take-overs.
fn places(config: &Config) -> [PathBuf; 2] {
    [config.data.join("control.sock"), config.data.join(takeover::SOCKET)]
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
