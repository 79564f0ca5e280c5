//! A running node: takes the parts in the order in which they can fail, and apart again at the end;
//! or gets some from the engine that it takes over from, and gives them to the one that takes over
//! from it.
//!
//! This is the main thread's story; it ends with the process, as workers rely on. Owns the lock,
//! the listening sockets, the shards and the supervisor.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use abi::board::Board;
use abi::certificates::Certificates;
use abi::limits::WORKERS_MAX;
use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;

use crate::kept_state::KeptState;
use crate::reconfigure::{self, Fixed};
use crate::tls;
use abi::sandbox::Level;
use compile::cache::Cache;
use control::cron::{self, Cron};
use control::functions::{Functions, Loaded, Memory, Surroundings};
use control::jobs::{self, Bounds, Jobs, OfWorkers};
use control::server::Remote;
use control::tcp::Admin;
use control::token::{self, Token};
use control::{Control, Life, server, sync};
use fleet::core::fleet::Plan as FleetPlan;
use fleet::dispatch::parking::parking;
use fleet::dispatch::{Shared, Snapshot};
use fleet::metrics::Metrics;
use fleet::shard::{self, Backlog, Shard};
use fleet::workers::grants::CatalogueGrants;
use fleet::workers::supervise::{self, Command, Plan, Supervisor};
use fleet::workers::{Binary, Roster};
use host::listen::{Listener, Scheme};
use host::lock::{self, DataLock};
use host::{cores, fds, folder, listen, node_id, probe, socket_file, systemd};
use logs::traces::Traces;
use logs::{self, Logs};
use sandbox::{LimitedBy, Support};
use secrets::{KeyFile, Secrets};
use settings::store_location::StoreLocation;
use settings::{Resolved, Settings, Sources, Switch};
use state::local::Mode;
use state::server::Server;
use store::artefacts::Artefacts;
use store::domains::Domains;
use store::known::Known;
use store::objects::guarded::Guarded;
use store::objects::{self, Objects};
use store::repository::Repository;
use store::retention::{Policy, Retention};
use store::schedules::{RingingNode, Schedules};
use takeover::{Entrance, Giver, Start, Successor};

/// Runs a node until it is told to stop, or another has taken over.
///
/// # Errors
/// Whatever kept it from starting, as a sentence for the terminal.
pub(crate) fn serve(start: Start, resolved: Resolved, sources: Sources) -> anyhow::Result<()> {
    // Before anything else opens a file.
    let inherited = systemd::sockets()
        .context("the sockets that this process was started with cannot be used")?;
    let inherited = inherited.into_iter().map(|(fd, spoken)| listen::adopt(fd, spoken, false));
    let inherited: Result<Vec<_>, _> = inherited.collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no tokio runtime")?;
    tokio::task::LocalSet::new().block_on(&runtime, run(start, (resolved, sources), inherited?))
}

async fn run(
    start: Start,
    (resolved, sources): (Resolved, Sources),
    inherited: Vec<Listener>,
) -> anyhow::Result<()> {
    // First of all: from here on these signals do not end the process, and wait until they can be
    // acted on.
    let signals = (signal(SignalKind::hangup()), signal(SignalKind::user_defined2()));
    let (hangup, mut upgrade) =
        (signals.0.context("SIGHUP cannot be watched")?, signals.1.context("nor SIGUSR2")?);
    let config = resolved.settings.clone();
    let successor = Successor::remember().context("this process's own binary cannot be found")?;
    probe::diagnose(&probe::probe())?;
    let cores = cores::choose(config.cores.clone(), cores::allowed()?)
        .with_context(|| resolved.source_of("cores"))?;
    folder::take(&config.data).with_context(|| resolved.source_of("data"))?;
    let mut stop = Stop::watch()?;
    let offered = match start {
        Start::Alone => None,
        Start::TakeOver => tokio::select! {
            offered = takeover::ask(&config.data) => offered?,
            () = stop.asked() => return Ok(()),
        },
    };
    let (node, lock) = if let Some((mut predecessor, mut lock)) = offered {
        let sockets = std::mem::take(&mut predecessor.sockets);
        // From here on whatever fails ends this process, and the running engine goes on.
        let node = tokio::select! {
            node = predecessor.while_starting(Node::start(start, &resolved, &cores, sockets)) => node??,
            () = stop.asked() => return Ok(()),
        };
        predecessor.claim().await?;
        if let Err(error) = lock.sign() {
            tracing::warn!("the lock still names the engine before this one: {error}");
        }
        let (functions, commands) = (Arc::clone(&node.functions), node.commands.clone());
        let (state, jobs) = (Arc::clone(&node.state), Arc::clone(&node.jobs));
        tokio::task::spawn_local(async move {
            let take = async |handed| drop(commands.send(Command::Take(handed)).await);
            predecessor.connections(take).await;
            state.own();
            jobs.own();
            functions.clear_unused().await;
        });
        (node, lock)
    } else {
        let lock = lock::lock(&config.data)?;
        if start == Start::TakeOver {
            tracing::info!(
                "no engine runs on {:?} to take over from: this one starts by itself",
                config.data
            );
        }
        let sockets = match inherited.is_empty() {
            true => listen::open(&config.listen, cores.len())
                .with_context(|| resolved.source_of("listen"))?,
            false => inherited,
        };
        let node = tokio::select! {
            node = Node::start(start, &resolved, &cores, sockets) => node?,
            () = stop.asked() => return Ok(()),
        };
        node.state.own();
        node.jobs.own();
        node.functions.prepare().await?;
        node.logs.0.clear_unfinished();
        node.functions.clear_unused().await;
        (node, lock)
    };
    let reread = (node.fixed.clone(), Arc::clone(&node.shared), node.commands.clone());
    tokio::task::spawn_local(reconfigure::at_each(hangup, sources, resolved, reread));
    node.serve(&config.data, lock, (&successor, &mut upgrade), &mut stop).await
}

/// A node that can serve, and does not yet. Its sockets in the data folder are beside their places.
struct Node {
    life: watch::Sender<Life>,
    entrance: Entrance,
    sockets: Vec<Listener>,
    urls: Vec<listen::Url>,
    functions: Arc<Functions>,
    cron: Arc<Cron>,
    jobs: Arc<Jobs>,
    fixed: Fixed,
    shared: Arc<Shared>,
    commands: Sender<Command>,
    supervisor: Supervisor,
    shards: Vec<Shard>,
    retention: Arc<Retention>,
    state: Arc<KeptState>,
    logs: (Arc<Logs>, logs::Keeper),
}

impl Node {
    /// Takes the parts that can fail.
    async fn start(
        start: Start,
        resolved: &Resolved,
        cores: &[usize],
        sockets: Vec<Listener>,
    ) -> anyhow::Result<Self> {
        let config = &resolved.settings;
        let binary = Binary::open()?;
        let remote = remote(resolved, start)?;
        let nats = open_nats(config).await.with_context(|| resolved.source_of("nats"))?;
        let objects = objects::open(config).with_context(|| resolved.source_of("store"))?;
        let known = Known::new(&config.data.join("cache"), objects.name());
        let met = known.read().is_some_and(|contents| !contents.is_empty());
        let objects: Arc<dyn Objects> = Arc::new(Guarded::new(objects, &config.data, met));
        objects.make().with_context(|| resolved.source_of("store"))?;
        let cache = config.data.join("cache");
        let artefacts = Arc::new(Artefacts::open(Arc::clone(&objects), cache.join("artefacts"))?);
        let cache = Arc::new(Cache::open(
            cache,
            Arc::clone(&artefacts),
            config.compile_cache_size.as_u64(),
        )?);
        let key = KeyFile::open(config.secrets_key.as_deref(), &config.data);
        let key = Arc::new(key.with_context(|| resolved.source_of("secrets_key"))?);
        let has_tls = sockets.iter().any(|listener| listener.spoken.scheme == Scheme::Https);
        let has_acme = config.acme_email.is_some();
        let tls_keeper = has_tls.then(|| tls::open(config, &key, has_acme)).transpose()?;
        let domains = Arc::new(Domains::new(Arc::clone(&objects), &config.data.join("cache")));
        let schedules = Schedules::new(Arc::clone(&objects), &config.data.join("cache"));
        let urls = listen::urls(&sockets)?;
        let acme = crate::acme::start(config, &urls, &objects, &key, &domains)?;
        let (acme, ordered, challenger) = match acme {
            Some(started) => (Some(started.acme), Some(started.orders), Some(started.challenger)),
            None => (None, None, None),
        };
        let secrets = Arc::new(Secrets::new(Arc::clone(&objects), key, &config.data.join("cache")));
        let (commands, received) = supervise::commands();
        let (of_node, interval) =
            ((config.data.as_path(), &*logs::node_name()), *config.retention_interval);
        let retention =
            Retention::new(Arc::clone(&objects), of_node, Policy::of(config), interval)?;
        let retention = Arc::new(retention);
        let roster = watch::Sender::new(Roster::new());
        let log_store = (Arc::clone(&objects), Arc::clone(&retention));
        let (logs, keeper) = start_logs(resolved, log_store, roster.subscribe(), commands.clone())?;
        let repository = Repository::new(objects, artefacts);
        let stored = (repository, known, Arc::clone(&secrets), domains, Arc::new(schedules));
        let shared_workers: Vec<usize> = (0..config.workers_per_core)
            .flat_map(|_| cores.iter().copied())
            .take(WORKERS_MAX.saturating_sub(if has_tls { cores.len() } else { 0 }).max(1))
            .collect();
        let surroundings =
            Surroundings { workers: shared_workers.len(), retention: Arc::clone(&retention) };
        let loaded =
            Functions::load(stored, Arc::clone(&cache), commands.clone(), surroundings).await;
        let Loaded { functions, catalogue, memory } = loaded?;

        // Its file is the running engine's as long as that lives.
        let mode = if start == Start::TakeOver { Mode::Shared } else { Mode::Owned };
        let state = KeptState::start(&config.data, nats.as_ref().map(InNats::state), mode);
        let state = Arc::new(state.context("the thread of functions' state cannot be started")?);
        let grants = Arc::new(CatalogueGrants::new(&catalogue.1));
        let functions = Arc::new(functions);
        let fixed = Fixed {
            cores: cores.iter().filter_map(|core| u16::try_from(*core).ok()).collect(),
            shared_workers: shared_workers.len(),
            address_seed: RandomState::new().hash_one(0),
        };
        let plan = jobs::Plan {
            data: config.data.clone(),
            bounds: Bounds {
                jobs_max: config.jobs_max.into(),
                bytes_max: config.jobs_bytes_max.as_u64(),
            },
            mode,
            logs: Arc::clone(&logs),
            trace_sample: reconfigure::of_workers(config, &fixed).trace_sample,
            nats: nats.as_ref().map(|nats| jobs_in(nats, config)).transpose()?,
        };
        let jobs = Jobs::open(Arc::clone(&functions), commands.clone(), plan);
        let jobs =
            Arc::new(jobs.context("the thread of asynchronous invocations cannot be started")?);
        let of_workers = Arc::new(OfWorkers(Arc::clone(&jobs)));
        let state_server = Server::start(state.store(), of_workers, Arc::clone(&grants) as _)
            .context("the thread that answers workers' questions cannot be started")?;

        let (parking, parked) = parking();
        let (board, board_fd) = Board::create()?;
        let board = Arc::new(board);
        let first = Snapshot { catalogue: Arc::clone(&catalogue.1), workers: HashMap::new() };
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(first),
            names: ArcSwap::from_pointee(reconfigure::names(config)),
            limits: ArcSwap::from_pointee(reconfigure::of_shards(config)),
            address_seed: fixed.address_seed,
            challenger,
            parking,
            metrics: Metrics::new(Arc::clone(&board), cores),
        });
        let plan = Plan {
            binary,
            settings: reconfigure::of_workers(config, &fixed),
            fleet: FleetPlan {
                shared: shared_workers,
                edges: cores.to_vec(),
                ends_tls: has_tls,
                own_idle_timeout: *config.own_worker_idle_timeout,
            },
            connections_max: fds::connections_max(),
            certificates: match &tls_keeper {
                Some(keeper) => tls::seal(keeper, &ordered)?,
                // Edges end none then, but begin alike.
                None => Certificates::default().seal().map(Arc::new)?,
            },
            drain_timeout: *config.drain_timeout,
            state: state_server.clone(),
            grants,
            roster,
        };
        if let Some(keeper) = tls_keeper {
            tokio::task::spawn_local(tls::keep_up(keeper, ordered, commands.clone()));
        }
        let (board, to_itself) = ((board, board_fd), (commands.clone(), received));
        let mut supervisor = Supervisor::new(
            plan,
            Arc::clone(&shared),
            (cache, secrets),
            board,
            catalogue,
            parked,
            to_itself,
        );
        // Workers before shards: nothing is accepted that nobody can serve.
        supervisor.start().await.context("the workers did not start; what they said is above")?;
        let shards = start_shards(cores, listen::distribute(&sockets, cores.len())?, &shared)?;
        let life = watch::Sender::new(Life::Serving);
        let [control, take_over] = places(&config.data);
        let entrance = Entrance::open(&take_over)
            .with_context(|| format!("the socket {take_over:?} cannot be opened"))?;
        let cron = Cron::new(Arc::clone(&functions), commands.clone(), cron_plan(config, nats)?);
        let cron = Arc::new(cron);
        let api = Control {
            functions: Arc::clone(&functions),
            cron: Arc::clone(&cron),
            jobs: Arc::clone(&jobs),
            deploys: Arc::default(),
            supervisor: commands.clone(),
            shared: Arc::clone(&shared),
            logs: Arc::clone(&logs),
            state: state_server,
            listeners: urls.clone(),
            acme,
            admin: remote.admin.as_ref().map(|admin| admin.address),
            lambda_api: remote.lambda.as_ref().map(|lambda| lambda.address),
            native_limits: native_limits(config.native_sandbox.into()),
            started_s: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            life: life.subscribe(),
        };
        start_control(server::bind(&control)?, remote, api, (memory, *config.sync_interval))?;
        let logs = (logs, keeper);
        Ok(Self {
            life,
            entrance,
            sockets,
            urls,
            functions,
            cron,
            jobs,
            fixed,
            shared,
            commands,
            supervisor,
            shards,
            retention,
            state,
            logs,
        })
    }

    /// Serves to the end.
    async fn serve(
        self,
        data: &Path,
        lock: DataLock,
        (successor, upgrade): (&Successor, &mut Signal),
        stop: &mut Stop,
    ) -> anyhow::Result<()> {
        let Self {
            life,
            entrance,
            sockets,
            urls,
            functions,
            cron,
            jobs,
            commands,
            mut supervisor,
            shards,
            retention,
            state,
            logs,
            ..
        } = self;
        shards.iter().for_each(Shard::accept);
        for place in places(data) {
            // Clients are served already, and must not suffer from it.
            if let Err(error) = socket_file::replace(&place) {
                tracing::error!(
                    "the socket {place:?} cannot be put in its place: {error}; commands do not find it"
                );
            }
        }
        let files = listen::owned_files(&sockets);
        let changes = Arc::clone(&functions);
        let giver = Giver::new(entrance, sockets, lock, async || changes.close().await);

        let urls: Vec<String> = urls.iter().map(ToString::to_string).collect();
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
        if let Some(given) = given {
            life.send_replace(Life::Replaced);
            retention.hand_over();
            state.share();
            jobs.share();
            let (connections, forwarded) = given.forward();
            supervisor.hand_over_to(connections);
            shards.into_iter().for_each(|shard| shard.stop(Backlog::Leave));
            supervisor.stop(stop.asked()).await;
            drop(supervisor);
            // Before the connections' end, which tells the other engine that this one has gone.
            state.close();
            jobs.until_silent().await;
            jobs.close();
            end_traces(&logs.0).await;
            forwarded.await.context("the connections' task has ended badly")?;
            tracing::info!("another engine has taken over; this one has ended");
            return Ok(());
        }
        life.send_replace(Life::Draining);
        tracing::info!("stopping: requests in flight have {:?} to end", supervisor.drain_timeout());
        systemd::stopping();
        // First of all, so that nobody connects who is not accepted any more.
        for file in files {
            let _ = std::fs::remove_file(file);
        }
        let _lock = giver.end();
        shards.into_iter().for_each(|shard| shard.stop(Backlog::Take));
        supervisor.stop(stop.asked()).await;
        cron.until_silent().await;
        jobs.until_silent().await;
        jobs.close();
        state.close();
        logs.1.end().await;
        end_traces(&logs.0).await;
        for place in places(data) {
            let _ = std::fs::remove_file(place);
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// Tells the init system that the supervisor's loop turns, as often as it wants to hear it.
async fn show_life(interval: Duration, commands: Sender<Command>) {
    loop {
        let (turned, told) = tokio::sync::oneshot::channel();
        if commands.send(Command::Ping { reply: turned }).await.is_err() || told.await.is_err() {
            return;
        }
        systemd::alive();
        tokio::time::sleep(interval).await;
    }
}

/// Where a node's own sockets are found: that of the control API, and that of take-overs.
fn places(data: &Path) -> [PathBuf; 2] {
    [data.join("control.sock"), data.join(takeover::SOCKET)]
}

/// What `--native-sandbox basic` does not keep from native functions.
const BASIC_IS_OPEN: &str = "native functions have no namespaces (--native-sandbox basic): they \
    see the host's processes, can signal those of their own user, and use the host's network, \
    whatever --allow-outbound says";

/// Returns what this host does not let native functions have.
fn native_limits(level: Level) -> Vec<String> {
    let Support { namespaces, own_users, memory, processes, landlock_abi, seccomp } =
        sandbox::support();
    let needed = match level {
        Level::Full => [namespaces.err(), own_users.err(), seccomp.err()],
        Level::Basic => [landlock_abi.err(), own_users.err(), seccomp.err()],
    };
    let limited = [("memory", memory), ("threads", processes)].map(|(option, by)| match by {
        LimitedBy::CgroupV1 | LimitedBy::CgroupV2 => None,
        LimitedBy::ResourceLimits { reason } => {
            Some(format!("--{option} holds for each process by itself: {reason}"))
        }
    });
    let open = (level == Level::Basic).then(|| BASIC_IS_OPEN.to_owned());
    needed.into_iter().chain([open]).chain(limited).flatten().collect()
}

/// The buckets in NATS.
struct InNats {
    /// State of functions, and the turn to ring.
    state: nats::Bucket,
    jobs: nats::Bucket,
}

impl InNats {
    fn state(&self) -> nats::Bucket {
        self.state.clone()
    }
}

/// Connects to NATS, if the settings say so.
async fn open_nats(config: &Settings) -> Result<Option<InNats>, nats::StartError> {
    if config.nats.is_empty() {
        return Ok(None);
    }
    let options = nats::Options {
        servers: config.nats.clone(),
        credentials: config.nats_credentials.clone(),
        root: config.nats_root.clone(),
        name: format!("sockhop on {}", logs::node_name()),
    };
    let (link, name) = (nats::Link::start(options).await?, &config.nats_bucket);
    let state = nats::Bucket::open(link.clone(), name).await?;
    // Apart, so that neither makes the other slower.
    let jobs = nats::Bucket::open(link, &format!("{name}_jobs")).await?;
    Ok(Some(InNats { state, jobs }))
}

/// Returns where nodes share jobs, and what this one is called there.
fn jobs_in(nats: &InNats, config: &Settings) -> anyhow::Result<(nats::Bucket, jobs::Node)> {
    let id = node_id::get_or_make(&config.data).context("the node's id cannot be kept")?;
    Ok((nats.jobs.clone(), jobs::Node { id, host: logs::node_name() }))
}

/// Returns whether this node rings, and what it is called by where it says so. Where the settings do
/// not, a node whose store is a folder does, as it is most often the only one, and one with NATS, as
/// that decides which one of them rings.
fn cron_plan(config: &Settings, nats: Option<InNats>) -> anyhow::Result<cron::Plan> {
    let is_bucket = matches!(config.store, Some(StoreLocation::Bucket(_)));
    let id = node_id::get_or_make(&config.data).context("the node's id cannot be kept")?;
    let node = RingingNode { host: logs::node_name(), id: id.parse()? };
    let rings = config.cron.map_or(!is_bucket || nats.is_some(), Switch::is_on);
    let nats = nats.map(|nats| nats.state);
    Ok(cron::Plan { rings, data: config.data.clone(), node, nats })
}

/// Opens the control API's ways in from elsewhere.
fn remote(resolved: &Resolved, start: Start) -> anyhow::Result<Remote> {
    let config = &resolved.settings;
    let listen = |option: &'static str, key: &'static str, address: &Option<String>| {
        let open = |address: &String| -> anyhow::Result<Admin> {
            Ok(Admin::listen(option, address, Token::of(&config.data)?, start)?)
        };
        address.as_ref().map(open).transpose().with_context(|| resolved.source_of(key))
    };
    let admin = listen("admin", "admin", &config.admin)?;
    let lambda = listen("lambda-api", "lambda_api", &config.lambda_api)?;
    let token = token::path(&config.data);
    if let Some(admin) = &admin {
        tracing::info!(
            "the control API is served on http://{}, with the token in {token:?}",
            admin.address
        );
    }
    if let Some(lambda) = &lambda {
        tracing::info!(
            "the API of AWS Lambda is served on http://{}; key id sockhop, secret the token in {token:?}",
            lambda.address
        );
    }
    Ok(Remote { admin, lambda })
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

/// Sends the spans of what has ended last.
async fn end_traces(logs: &Logs) {
    if let Some(traces) = &logs.traces {
        traces.end().await;
    }
}

/// Starts what keeps the log, and what sends spans of it, with its spool in the data folder.
fn start_logs(
    resolved: &Resolved,
    store: (Arc<dyn Objects>, Arc<Retention>),
    roster: watch::Receiver<Roster>,
    commands: Sender<Command>,
) -> anyhow::Result<(Arc<Logs>, logs::Keeper)> {
    let config = &resolved.settings;
    let instance = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let traces = config.otlp_endpoint.as_deref().map(|endpoint| {
        anyhow::ensure!(config.logs.is_on(), "spans are made of what is logged: leave --logs on");
        Ok(Traces::start(endpoint, config.otlp_headers_file.as_deref(), instance.trim())?)
    });
    let traces = traces.transpose().with_context(|| resolved.source_of("otlp_endpoint"))?;
    let plan = logs::Plan { on: config.logs.is_on(), spool_bytes: config.spool_size.as_u64() };
    logs::start(plan, config.data.join("spool"), store, traces, roster, commands)
}

/// Starts the control API on a thread and runtime of its own. It ends with the process.
fn start_control(
    listener: std::os::unix::net::UnixListener,
    remote: Remote,
    control: Control,
    (memory, sync_interval): (Memory, Duration),
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("control".into()).spawn(move || {
        runtime.block_on(async move {
            tokio::spawn(sync::keep_up(Arc::clone(&control.functions), memory, sync_interval));
            tokio::spawn(Arc::clone(&control.cron).keep_ringing(control.life.clone()));
            if let Err(error) = control.jobs.start(control.life.clone()) {
                tracing::error!("no asynchronous invocation is run: {error}");
            }
            match tokio::net::UnixListener::from_std(listener) {
                Ok(listener) => server::serve(listener, remote, Arc::new(control)).await,
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
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Resolves at the next such signal.
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
