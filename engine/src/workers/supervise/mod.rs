//! The supervisor: keeps a worker in every seat, and is the one place that changes what shards decide by.
//!
//! It runs on the engine's main thread, which lives as long as the process (workers die with the thread that started
//! them). A seat is a place for a worker: one a core for shared functions, one for each function with
//! `isolation = "process"`. This file has the loop and what events mean; [`seat`] is one worker's place, [`publish`] changes
//! what is served, [`reroute`] is for connections without a place. Owns the workers' links, the board's fd, and parked
//! connections.

mod publish;
mod reroute;
mod seat;

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use abi::board::{Board, now_ms};
use abi::catalogue::CatalogueView;
use abi::channel::{Channel, Received};
use abi::limits::WORKERS_MAX;
use abi::message::{Digest, Ending, Settings, ToEngine, ToWorker};
use abi::problem::Problem;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use self::publish::Publishing;
use self::seat::{Seat, State};
use super::link::{Event, Link, What};
use super::restart::BackOff;
use super::stuck::{LOOK_INTERVAL, Watch};
use crate::compile::cache::Cache;
use crate::control::status::WorkerStatus;
use crate::dispatch::parking::{PARKED_TIMEOUT, Parked};
use crate::dispatch::refuse::answer;
use crate::dispatch::{Pool, WorkerHandle};
use crate::shard::Shared;
use crate::takeover::Handed;

/// How long a worker may take from its start to its first word.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long every worker may take to serve by a new catalogue.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);
/// How often what waits is looked at again, while anything does.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);
/// What workers get beyond the drain's deadline before they are killed.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// What the rest of the engine asks of the supervisor.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve by this catalogue; answered when every worker does.
    Publish { catalogue: Arc<OwnedFd>, view: Arc<CatalogueView>, done: oneshot::Sender<Result<(), PublishError>> },
    /// Tell what the workers do.
    Status { answer: oneshot::Sender<Vec<WorkerStatus>> },
    /// Internal: a module a worker asked for has been fetched.
    Module { seat: usize, life: u64, key: Digest, module: Result<Arc<OwnedFd>, String> },
    /// Take a connection that another engine has begun to serve.
    Take(Handed),
    /// Say that the loop turns.
    Turn { turned: oneshot::Sender<()> },
}

/// Why a catalogue is not served by everywhere.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum PublishError {
    #[error(
        "not every worker took over the change within {PUBLISH_TIMEOUT:?}; `sockhop status` shows which are not ready"
    )]
    Slow,
    #[error(
        "there are {wanted} functions with a worker of their own and shared workers; at most {WORKERS_MAX} workers run on a node"
    )]
    TooManyWorkers { wanted: usize },
}

/// How workers are made.
pub(crate) struct Plan {
    pub(crate) binary: PathBuf,
    pub(crate) cores: Vec<usize>,
    /// As every worker gets them, but for the function it is for.
    pub(crate) settings: Settings,
    /// What requests in flight get to end, when their worker is to go.
    pub(crate) drain_timeout: Duration,
}

pub(crate) struct Supervisor {
    plan: Plan,
    shared: Arc<Shared>,
    cache: Arc<Cache>,
    board: Arc<Board>,
    board_fd: Arc<OwnedFd>,
    catalogue: (Arc<OwnedFd>, Arc<CatalogueView>),
    seats: HashMap<usize, Seat>,
    publishing: Vec<Publishing>,
    parked: Vec<(Instant, Parked)>,
    parking: UnboundedReceiver<Parked>,
    /// When to look for stuck workers.
    next_look: Instant,
    events: (UnboundedSender<Event>, UnboundedReceiver<Event>),
    commands: (UnboundedSender<Command>, UnboundedReceiver<Command>),
    stopping: bool,
    /// The engine that has taken over from this one: connections without a place are its own.
    successor: Option<UnboundedSender<Handed>>,
}

impl Supervisor {
    /// A supervisor without workers yet. `commands` is the channel whose sender the rest of the engine has.
    pub(crate) fn new(
        plan: Plan,
        shared: Arc<Shared>,
        cache: Arc<Cache>,
        board: (Arc<Board>, OwnedFd),
        catalogue: (Arc<OwnedFd>, Arc<CatalogueView>),
        parking: UnboundedReceiver<Parked>,
        commands: (UnboundedSender<Command>, UnboundedReceiver<Command>),
    ) -> Self {
        Self {
            plan,
            shared,
            cache,
            board: board.0,
            board_fd: Arc::new(board.1),
            catalogue,
            seats: HashMap::new(),
            publishing: Vec::new(),
            parked: Vec::new(),
            parking,
            next_look: Instant::now(),
            events: unbounded_channel(),
            commands,
            stopping: false,
            successor: None,
        }
    }

    /// Starts a worker in every seat and returns when all of them serve.
    ///
    /// # Errors
    /// When they do not within [`PUBLISH_TIMEOUT`].
    pub(crate) async fn start(&mut self) -> Result<(), PublishError> {
        let (done, mut started) = oneshot::channel();
        for core in self.plan.cores.clone() {
            self.add_seat(Pool::Shared, core);
        }
        let (catalogue, view) = self.catalogue.clone();
        self.publish(catalogue, view, done);
        self.run_until(&mut started).await.unwrap_or(Err(PublishError::Slow))
    }

    /// Supervises until `until` resolves, whose output is returned.
    pub(crate) async fn run_until<F: Future + Unpin>(&mut self, until: F) -> F::Output {
        let mut until = until;
        loop {
            let wake = self.next_wake();
            tokio::select! {
                biased;
                output = &mut until => return output,
                Some(event) = self.events.1.recv() => self.on_event(event),
                Some(command) = self.commands.1.recv() => self.on_command(command),
                Some(parked) = self.parking.recv() => self.parked.push((Instant::now() + PARKED_TIMEOUT, parked)),
                () = sleep_until(wake), if wake.is_some() => {}
            }
            self.move_on(Instant::now());
        }
    }

    /// From now on connections without a place go to the engine that has taken over. Call it before the shards stop.
    pub(crate) fn hand_over_to(&mut self, successor: UnboundedSender<Handed>) {
        self.successor = Some(successor);
    }

    /// Drains every worker, and kills those that are not done at the end. Call it when no shard accepts any more.
    pub(crate) async fn stop(&mut self, at_once: impl Future<Output = ()>) {
        self.stopping = true;
        let within = self.plan.drain_timeout;
        let ending = if self.successor.is_some() { Ending::GiveBack } else { Ending::Close };
        self.seats.values().for_each(|seat| seat.drain(ending, within));
        self.seats.retain(|_, seat| matches!(seat.state, State::Running { .. }));
        let mut at_once = std::pin::pin!(at_once);
        let deadline = tokio::time::sleep(within + DRAIN_GRACE);
        let mut deadline = std::pin::pin!(deadline);
        let mut killed = false;
        while !self.seats.is_empty() {
            let ended = tokio::select! {
                Some(event) = self.events.1.recv() => { self.on_event(event); false }
                Some(command) = self.commands.1.recv() => { self.on_command(command); false }
                () = &mut deadline, if !killed => true,
                () = &mut at_once, if !killed => true,
            };
            self.move_on(Instant::now());
            if ended {
                killed = true;
                tracing::warn!("{} workers are killed with requests in flight", self.seats.len());
                self.seats.values_mut().for_each(Seat::kill);
            }
        }
        while let Ok(event) = self.events.1.try_recv() {
            self.on_event(event);
        }
        while let Ok(parked) = self.parking.try_recv() {
            self.parked.push((Instant::now(), parked));
        }
        self.forward_parked();
        for (_, mut parked) in self.parked.drain(..) {
            if let Some(connection) = parked.take() {
                let _ = answer(connection.socket.as_fd(), &Problem::new(503, "the node is stopping; try again"));
            }
        }
    }

    /// When to look again though nothing happens.
    fn next_wake(&self) -> Option<Instant> {
        let of_seats = self.seats.values().map(|seat| match seat.state {
            State::Resting { until } => until,
            State::Running { since, said_hello: false, .. } => since + START_TIMEOUT,
            State::Running { .. } => self.next_look,
        });
        let waiting = !self.parked.is_empty() || !self.publishing.is_empty();
        of_seats.chain(waiting.then(|| Instant::now() + RETRY_INTERVAL)).min()
    }

    /// Everything that time or the last event has made possible.
    fn move_on(&mut self, now: Instant) {
        for seat in self.seats.values_mut() {
            if let State::Running { since, said_hello: false, .. } = seat.state
                && now >= since + START_TIMEOUT
            {
                tracing::error!(
                    "the worker on core {} has not said hello in {START_TIMEOUT:?}; it is killed",
                    seat.core
                );
                seat.kill();
            }
        }
        if now >= self.next_look {
            self.next_look = now + LOOK_INTERVAL;
            let (board, now_ms) = (Arc::clone(&self.board), now_ms());
            self.seats.values_mut().for_each(|seat| seat.kill_if_stuck(&board, now_ms));
        }
        let due: Vec<usize> = self.seats.iter().filter(|(_, seat)| seat.is_due(now)).map(|(id, _)| *id).collect();
        due.into_iter().for_each(|id| self.fill(id, now));
        self.swap_snapshot(now);
        self.settle_publishing(now);
        self.retry_parked(now);
    }

    fn add_seat(&mut self, pool: Pool, core: usize) {
        let taken: HashSet<usize> = self.seats.values().map(|seat| seat.row).collect();
        // Workers look for each other's counters in the first rows. Checked by `publish`: there are as many rows as seats
        // may be.
        let rows = match pool {
            Pool::Shared => 0..self.plan.cores.len(),
            Pool::Function(_) => self.plan.cores.len()..WORKERS_MAX,
        };
        let Some(row) = rows.into_iter().find(|row| !taken.contains(row)) else { return };
        let state = State::Resting { until: Instant::now() };
        let (back_off, watch) = (BackOff::default(), Watch::default());
        let seat = Seat { pool, core, row, life: 0, restarts: 0, back_off, watch, state, retiring: false };
        self.seats.insert(row, seat);
    }

    /// Puts a new process into a seat.
    fn fill(&mut self, id: usize, now: Instant) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.life += 1;
        seat.watch = Watch::default();
        let started = Channel::pair().map_err(|error| error.to_string()).and_then(|(channel, worker_end)| {
            let (core, row, board, sent) = (seat.core, seat.row, Arc::clone(&self.board), AtomicU64::new(0));
            let handle = Arc::new(WorkerHandle { channel, core, row, board, sent });
            Link::start(&self.plan.binary, (handle, worker_end), (id, seat.life), &self.events.0)
                .map_err(|error| error.to_string())
        });
        match started {
            Ok(link) => seat.state = State::Running { link, since: now, said_hello: false, applied: None },
            Err(error) => {
                let delay = seat.back_off.died(Duration::ZERO).max(Duration::from_millis(100));
                tracing::error!("{error}; tried again in {delay:?}");
                seat.state = State::Resting { until: now + delay };
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        let running = |seat: &&mut Seat| seat.life == event.life && matches!(seat.state, State::Running { .. });
        let Some(seat) = self.seats.get_mut(&event.seat).filter(running) else {
            // Its process has ended meanwhile; a connection that it gave back before is still somebody's.
            if let What::Said(received) = event.what {
                self.on_last_words(received);
            }
            return;
        };
        let State::Running { link, .. } = &seat.state else { return };
        match event.what {
            What::Said(received) => {
                if let Err(why) = self.on_message(event.seat, received) {
                    tracing::error!("a worker broke the protocol and is killed: {why}");
                    self.seats.get_mut(&event.seat).into_iter().for_each(Seat::kill);
                }
            }
            What::Broke(error) => {
                tracing::error!("the worker with pid {} is killed: {error}", link.pid);
                seat.kill();
            }
            What::Ended(status) => self.on_ended(event.seat, status),
        }
    }

    fn on_message(&mut self, id: usize, received: Received<ToEngine>) -> Result<(), String> {
        let Some(seat) = self.seats.get_mut(&id) else { return Ok(()) };
        let State::Running { link, said_hello, applied, .. } = &mut seat.state else { return Ok(()) };
        match (received.message, received.fd) {
            (ToEngine::Hello { version, build_id }, None) if !*said_hello => {
                if (version, build_id.as_str()) != (abi::VERSION, abi::BUILD_ID) {
                    return Err(format!(
                        "it is build {build_id} and the engine is {}; install both from one build",
                        abi::BUILD_ID
                    ));
                }
                *said_hello = true;
                let only_function = match &seat.pool {
                    Pool::Shared => None,
                    Pool::Function(name) => Some(name.clone()),
                };
                let settings = Settings { only_function, ..self.plan.settings.clone() };
                let row = u16::try_from(seat.row).unwrap_or(u16::MAX);
                link.send(ToWorker::Start { row, settings }, Some(Arc::clone(&self.board_fd)));
                link.send(ToWorker::Catalogue, Some(Arc::clone(&self.catalogue.0)));
            }
            (ToEngine::Applied { generation }, None) if *said_hello => {
                let first = applied.is_none();
                *applied = Some(generation);
                if first {
                    self.update_snapshot();
                }
            }
            (ToEngine::Want { key }, None) if applied.is_some() => {
                if let Some(module) = self.cache.sealed(&key) {
                    link.send(ToWorker::Module { key }, Some(module));
                    return Ok(());
                }
                let (cache, commands, life) = (Arc::clone(&self.cache), self.commands.0.clone(), seat.life);
                tokio::task::spawn_local(async move {
                    let module = cache.provide(key).await.map_err(|error| error.to_string());
                    let _ = commands.send(Command::Module { seat: id, life, key, module });
                });
            }
            (ToEngine::Return { read, awaits }, Some(socket)) if applied.is_some() => {
                self.route_again(Handed { socket, read, awaits });
            }
            (other, _) => return Err(format!("{other:?} is not what comes next")),
        }
        Ok(())
    }

    fn on_ended(&mut self, id: usize, status: std::io::Result<std::process::ExitStatus>) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let (core, row, now) = (seat.core, seat.row, Instant::now());
        let resting = State::Resting { until: now };
        let State::Running { link, since, applied, .. } = std::mem::replace(&mut seat.state, resting) else { return };
        let pid = link.pid;
        let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        if self.stopping || seat.retiring {
            tracing::info!("worker {pid} on core {core} has ended: {how}");
            self.seats.remove(&id);
        } else {
            let delay = seat.back_off.died(now - since);
            seat.restarts += 1;
            seat.state = State::Resting { until: now + delay };
            let when = if applied.is_some() { "" } else { " before it was ready" };
            tracing::error!("worker {pid} on core {core} died{when}: {how}; the next one starts in {delay:?}");
        }
        // What it held of its functions' limits is free again at once, not only when its successor starts.
        self.board.clear(row);
        // Nobody chooses it any more, so what is still in its queue is all there will be.
        self.update_snapshot();
        link.unheard().into_iter().for_each(|received| self.on_last_words(received));
        for received in link.unreceived() {
            if let (ToWorker::Connection { read, awaits }, Some(socket)) = (received.message, received.fd) {
                self.route_again(Handed { socket, read, awaits });
            }
        }
    }

    /// Of what a worker said before it ended, only the connections that it gave back still matter.
    fn on_last_words(&self, received: Received<ToEngine>) {
        if let (ToEngine::Return { read, awaits }, Some(socket)) = (received.message, received.fd) {
            self.route_again(Handed { socket, read, awaits });
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            // Too late: whoever waits sees `done` dropped. The store has the change, and the next node serves it.
            Command::Publish { .. } if self.stopping => {}
            Command::Publish { catalogue, view, done } => self.publish(catalogue, view, done),
            Command::Status { answer } => {
                let mut workers: Vec<WorkerStatus> = self.seats.values().map(|seat| seat.status(&self.board)).collect();
                workers.sort_by_key(|worker| worker.index);
                let _ = answer.send(workers);
            }
            Command::Take(handed) => self.route_again(handed),
            Command::Turn { turned } => {
                // Whoever asked may have given up; it asks again.
                let _ = turned.send(());
            }
            Command::Module { seat, life, key, module } => {
                let Some(Seat { life: now, state: State::Running { link, .. }, .. }) = self.seats.get(&seat) else {
                    return;
                };
                if *now != life {
                    return;
                }
                match module {
                    Ok(fd) => link.send(ToWorker::Module { key }, Some(fd)),
                    Err(reason) => {
                        tracing::error!("a worker asked for a module that cannot be had: {reason}");
                        link.send(ToWorker::ModuleMissing { key, reason }, None);
                    }
                }
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at.into()).await;
    }
}
