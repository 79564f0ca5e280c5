//! The supervisor: carries what happens to the fleet, and does what it answers.
//!
//! It runs on the engine's main thread, which lives as long as the process (workers die with the
//! thread that started them). [`crate::core::fleet`] decides; this file has the loop and what each
//! action means, [`reroute`] is for connections without a place, [`told`] what `sockhop status`
//! says. Owns the workers' links, the board's fd, the catalogue's, and parked connections.

mod reroute;
mod told;
mod trial;
mod write_log;

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use abi::board::{Board, now_ms};
use abi::catalogue::CatalogueView;
use abi::channel::{Channel, Received};
use abi::function::ArchivedIsolation;
use abi::message::{Digest, Ending, Settings, ToEngine, ToWorker};
use abi::problem::Problem;
use api::status::WorkerStatus;
use nix::sys::socket::{SockType, getsockopt, sockopt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

pub use self::trial::TrialError;
use self::trial::{Trials, Tried};
use self::write_log::LogWrites;
use super::link::{self, Link, What};
use super::{Binary, process};
use crate::core::Pool;
use crate::core::fleet::{
    self, Action, Event, Fleet, Look, PublishError, Ticket, WorkerId, WorkerSlot,
};
use crate::core::waiting::Waiting;
use crate::core::watch::Seen;
use crate::dispatch::hop::Connection;
use crate::dispatch::parking::Parked;
use crate::dispatch::refuse::answer;
use crate::dispatch::{Snapshot, WorkerHandle};
use crate::shard::Shared;
use crate::workers::WorkerChange;
use compile::cache::Cache;
use secrets::Secrets;
use takeover::Handed;

/// How often what waits is looked at again, while anything does.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);
/// What workers get beyond the drain's deadline before they are killed.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// What the rest of the engine asks of the supervisor.
#[derive(Debug)]
pub enum Command {
    /// Serve by this catalogue; answered when every worker does.
    Publish { catalogue: Arc<OwnedFd>, view: Arc<CatalogueView>, done: Done },
    /// Have a worker of this pool instantiate the one version of this catalogue.
    Try { catalogue: Arc<OwnedFd>, pool: Pool, done: Tried },
    /// Have every worker write what it has logged by now.
    WriteLog { written: oneshot::Sender<()> },
    /// Serve by these settings; answered when they are in every worker's queue.
    Reconfigure { settings: Settings, drain_timeout: Duration, done: oneshot::Sender<()> },
    /// Tell what the workers do.
    Status { answer: oneshot::Sender<Vec<WorkerStatus>> },
    /// Give a worker a new segment of the log to write to.
    Spool { worker: WorkerId, segment: Arc<OwnedFd> },
    /// Internal: a module a worker asked for has been fetched.
    Module { worker: WorkerId, key: Digest, module: Result<Arc<OwnedFd>, String> },
    /// Take a connection that another engine has begun to serve.
    Take(Handed),
    /// Say that the loop turns.
    Turn { turned: oneshot::Sender<()> },
}

/// Who waits for a catalogue to be served everywhere.
type Done = oneshot::Sender<Result<(), PublishError>>;

/// How workers are made.
#[derive(Debug)]
pub struct Plan {
    pub binary: Binary,
    pub fleet: fleet::Plan,
    /// As every worker gets them, but for the function it is for.
    pub settings: Settings,
    /// Connections that one worker can have at a time.
    pub connections_max: u64,
    /// What requests in flight get to end, when their worker is to go.
    pub drain_timeout: Duration,
    /// Where each worker that starts or exits is reported, for the log to follow.
    pub changes: UnboundedSender<WorkerChange>,
}

/// A worker's process, and how it ended once it has.
#[derive(Debug)]
struct Occupied {
    link: Link,
    incarnation: u64,
    ended: Option<String>,
}

#[derive(Debug)]
pub struct Supervisor {
    plan: Plan,
    shared: Arc<Shared>,
    cache: Arc<Cache>,
    secrets: Arc<Secrets>,
    board: Arc<Board>,
    board_fd: Arc<OwnedFd>,
    fleet: Fleet,
    /// By slot.
    occupied: HashMap<usize, Occupied>,
    /// What the last process of a slot said before it died.
    last_words: HashMap<usize, String>,
    /// The newest.
    catalogue: (Arc<OwnedFd>, Arc<CatalogueView>),
    tickets: HashMap<Ticket, Done>,
    next_ticket: Ticket,
    trials: Trials,
    log_writes: LogWrites,
    waiting: Waiting<Parked>,
    parking: UnboundedReceiver<Parked>,
    events: (UnboundedSender<link::Event>, UnboundedReceiver<link::Event>),
    commands: (UnboundedSender<Command>, UnboundedReceiver<Command>),
    /// The engine that has taken over from this one: connections without a place are its own.
    successor: Option<UnboundedSender<Handed>>,
}

impl Supervisor {
    /// A supervisor without workers yet. `commands` is the channel whose sender the rest of the
    /// engine has.
    pub fn new(
        plan: Plan,
        shared: Arc<Shared>,
        (cache, secrets): (Arc<Cache>, Arc<Secrets>),
        board: (Arc<Board>, OwnedFd),
        catalogue: (Arc<OwnedFd>, Arc<CatalogueView>),
        parking: UnboundedReceiver<Parked>,
        commands: (UnboundedSender<Command>, UnboundedReceiver<Command>),
    ) -> Self {
        Self {
            fleet: Fleet::new(plan.fleet.clone(), catalogue.1.generation(), Instant::now()),
            plan,
            shared,
            cache,
            secrets,
            board: board.0,
            board_fd: Arc::new(board.1),
            occupied: HashMap::new(),
            last_words: HashMap::new(),
            catalogue,
            tickets: HashMap::new(),
            next_ticket: 0,
            trials: Trials::default(),
            log_writes: LogWrites::default(),
            waiting: Waiting::default(),
            parking,
            events: unbounded_channel(),
            commands,
            successor: None,
        }
    }

    /// Starts a worker in every slot for shared functions and returns when all of them serve.
    ///
    /// # Errors
    /// When they do not in time.
    pub async fn start(&mut self) -> Result<(), PublishError> {
        let (done, mut started) = oneshot::channel();
        let (catalogue, view) = self.catalogue.clone();
        self.publish(catalogue, view, done);
        self.run_until(&mut started).await.unwrap_or(Err(PublishError::Slow))
    }

    /// Supervises until `until` resolves, whose output is returned.
    pub async fn run_until<F: Future + Unpin>(&mut self, until: F) -> F::Output {
        let mut until = until;
        loop {
            tokio::select! {
                biased;
                output = &mut until => return output,
                () = self.step() => {}
            }
        }
    }

    /// What requests in flight get to end.
    pub fn drain_timeout(&self) -> Duration {
        self.plan.drain_timeout
    }

    /// From now on connections without a place go to the engine that has taken over. Call it before
    /// the shards stop.
    pub fn hand_over_to(&mut self, successor: UnboundedSender<Handed>) {
        self.successor = Some(successor);
    }

    /// Drains every worker, and kills those that are not done at the end. Call it when no shard
    /// accepts any more.
    pub async fn stop(&mut self, at_once: impl Future<Output = ()>) {
        self.on(Event::Drain);
        let deadline = tokio::time::sleep(self.plan.drain_timeout + DRAIN_GRACE);
        let mut over = std::pin::pin!(async {
            tokio::select! {
                () = deadline => {}
                () = at_once => {}
            }
        });
        let mut killed = false;
        while !self.fleet.is_empty() {
            tokio::select! {
                () = &mut over, if !killed => {
                    killed = true;
                    tracing::warn!("{} workers are killed with requests in flight", self.fleet.running_workers().len());
                    self.on(Event::Kill);
                }
                () = self.step() => {}
            }
        }
        while let Ok(parked) = self.parking.try_recv() {
            self.on_parked(parked);
        }
        for mut parked in self.waiting.drain() {
            if let Some(connection) = parked.take() {
                self.refuse_stopping(&connection);
            }
        }
    }

    /// Tells a client that waited for a worker that there will be none.
    fn refuse_stopping(&self, connection: &Connection) {
        self.shared.metrics.of_supervisor().refused(503);
        let problem = Problem::new(503, "the node is stopping; try again");
        let _ = answer(connection.socket.as_fd(), &connection.read, &problem);
    }

    /// Waits for the next thing to happen, and does what follows. Safe to drop while it waits:
    /// nothing is lost.
    async fn step(&mut self) {
        let retry = (!self.waiting.is_empty()).then(|| Instant::now() + RETRY_INTERVAL);
        let wake = self.fleet.next_wake().into_iter().chain(retry).min();
        tokio::select! {
            // By chance which first: a flood of one kind must not hold up the others.
            Some(event) = self.events.1.recv() => self.on_link(event),
            Some(command) = self.commands.1.recv() => self.on_command(command),
            Some(parked) = self.parking.recv() => self.on_parked(parked),
            () = sleep_until(wake), if wake.is_some() => {}
        }
        self.look();
        let actions = self.fleet.move_on(Instant::now());
        self.perform(actions);
        self.retry_waiting();
    }

    /// Tells the fleet, and does what it answers.
    fn on(&mut self, event: Event) {
        let actions = self.fleet.on(event, Instant::now());
        self.perform(actions);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            if let Some(event) = self.perform_one(action) {
                actions.extend(self.fleet.on(event, Instant::now()));
            }
        }
    }

    /// Does one thing, and tells what came of it at once.
    fn perform_one(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Start { worker, core } => self.start_worker(worker, core),
            Action::Accept { worker, pool } => {
                let row = u16::try_from(worker.slot).unwrap_or(u16::MAX);
                let settings = self.settings_of(pool);
                self.send(
                    worker,
                    ToWorker::Start { row, settings },
                    Some(Arc::clone(&self.board_fd)),
                );
                let _ = self.plan.changes.send(WorkerChange::Started(worker));
                self.send(worker, ToWorker::Catalogue, Some(Arc::clone(&self.catalogue.0)))
            }
            Action::SendCatalogue(worker) => {
                self.send(worker, ToWorker::Catalogue, Some(Arc::clone(&self.catalogue.0)))
            }
            Action::SendDrain(worker) => {
                let deadline_ms =
                    u32::try_from(self.plan.drain_timeout.as_millis()).unwrap_or(u32::MAX);
                let goes_on = self.successor.is_some() || !self.fleet.is_draining();
                let ending = if goes_on { Ending::GiveBack } else { Ending::Close };
                self.send(worker, ToWorker::Drain { ending, deadline_ms }, None)
            }
            Action::Kill { worker, why } => {
                if let Some(Occupied { link, .. }) = self.occupied(worker) {
                    tracing::error!(
                        "worker {} on core {} is killed: {why}",
                        link.pid,
                        link.handle.core
                    );
                    link.kill();
                }
                None
            }
            Action::Exited { worker, delay, failed_starts } => {
                self.tell_death(worker, delay, failed_starts);
                None
            }
            Action::Reap(worker) => {
                self.reap(worker);
                None
            }
            Action::Serve { generation, ready } => {
                self.serve(generation, ready);
                None
            }
            Action::Answer { ticket, outcome } => {
                // Whoever asked may have gone.
                let _ = self.tickets.remove(&ticket).map(|done| done.send(outcome));
                None
            }
        }
    }

    fn start_worker(&mut self, worker: WorkerId, core: usize) -> Option<Event> {
        let started =
            Channel::pair().map_err(|error| error.to_string()).and_then(|(channel, worker_end)| {
                let (board, sent) = (Arc::clone(&self.board), AtomicU64::new(0));
                let handle = Arc::new(WorkerHandle {
                    channel,
                    core,
                    row: worker.slot,
                    board,
                    sent,
                    connections_max: self.plan.connections_max,
                });
                Link::start(&self.plan.binary, (handle, worker_end), worker, &self.events.0)
                    .map_err(|error| error.to_string())
            });
        match started {
            Ok(link) => {
                self.occupied.insert(
                    worker.slot,
                    Occupied { link, incarnation: worker.incarnation, ended: None },
                );
                None
            }
            Err(error) => {
                tracing::error!("{error}");
                self.last_words.insert(worker.slot, error);
                Some(Event::NotStarted(worker))
            }
        }
    }

    fn send(
        &mut self,
        worker: WorkerId,
        message: ToWorker,
        fd: Option<Arc<OwnedFd>>,
    ) -> Option<Event> {
        let Occupied { link, .. } = self.occupied(worker)?;
        link.send(message, fd);
        link.is_flushed().then_some(Event::Flushed(worker))
    }

    /// The only place that changes what shards decide by.
    fn serve(&self, generation: u64, ready: Vec<(Pool, WorkerId)>) {
        let before = self.shared.snapshot.load();
        let newest = &self.catalogue.1;
        let catalogue = if newest.generation() == generation { newest } else { &before.catalogue };
        let mut workers: HashMap<Pool, Vec<Arc<WorkerHandle>>> = HashMap::new();
        for (pool, worker) in ready {
            if let Some(Occupied { link, .. }) = self.occupied.get(&worker.slot) {
                workers.entry(pool).or_default().push(Arc::clone(&link.handle));
            }
        }
        self.shared
            .snapshot
            .store(Arc::new(Snapshot { catalogue: Arc::clone(catalogue), workers }));
    }

    /// What it held of its functions' limits is free again at once, and what it never received goes
    /// to others.
    fn reap(&mut self, worker: WorkerId) {
        let Some(Occupied { link, ended, .. }) = self.occupied.remove(&worker.slot) else { return };
        let _ = self.plan.changes.send(WorkerChange::Exited(worker));
        tracing::info!(
            "worker {} on core {} has ended: {}",
            link.pid,
            link.handle.core,
            ended.unwrap_or_default()
        );
        self.shared.metrics.retire(worker.slot, &self.catalogue.1);
        self.trials.reap(worker);
        self.log_writes.ended(worker);
        for received in link.unreceived() {
            if let (ToWorker::Connection { read, awaits, .. }, Some(socket)) =
                (received.message, received.fd)
            {
                self.route_again(Handed { socket, read, awaits });
            }
        }
    }

    fn tell_death(&mut self, worker: WorkerId, delay: Duration, failed_starts: u32) {
        self.shared.metrics.count_restart(worker.slot);
        let Some(Occupied { link, ended, .. }) = self.occupied.get(&worker.slot) else { return };
        let words = link.last_words();
        let (pid, core, how) = (link.pid, link.handle.core, ended.as_deref().unwrap_or("?"));
        let before = match failed_starts {
            0 => String::new(),
            1 => " before it was ready".to_owned(),
            times => format!(" before it was ready, like {} before it", times - 1),
        };
        let said =
            if words.is_empty() { String::new() } else { format!("; its last words: {words}") };
        tracing::error!(
            "worker {pid} on core {core} died{before}: {how}{said}; the next one starts in {delay:?}"
        );
        self.last_words.insert(worker.slot, words);
    }

    /// Looks at the rows of all workers, when it is time to.
    fn look(&mut self) {
        let now = Instant::now();
        if !self.fleet.is_look_due(now) {
            return;
        }
        for worker in self.fleet.running_workers() {
            let Some(Occupied { link, .. }) = self.occupied.get(&worker.slot) else { continue };
            let row = &self.board.rows()[worker.slot];
            let heartbeat_ms = row.heartbeat_ms.load(Relaxed);
            let odd = |slot: &WorkerSlot| slot.is_silent() || slot.is_starting();
            let odd = self.fleet.slots().any(|(row, slot)| row == worker.slot && odd(slot));
            let process = if odd { process::look(link.pid) } else { None };
            let seen = Seen {
                heartbeat_ms,
                guest_deadline_ms: row.guest_deadline_ms.load(Relaxed),
                process,
            };
            let busy = link.handle.load() > 0
                || row.in_flight.load(Relaxed) > 0
                || self.trials.has(worker);
            self.fleet.look(worker, Look { seen, busy }, now_ms(), now);
        }
    }

    fn on_link(&mut self, link::Event { worker, what }: link::Event) {
        let Some(occupied) = self.occupied(worker) else { return };
        match what {
            What::Said(received) => self.on_message(worker, received),
            What::Broke(error) => self.on(Event::Broke { worker, why: error.to_string() }),
            // Something may have been put behind what was flushed.
            What::Flushed if occupied.link.is_flushed() => self.on(Event::Flushed(worker)),
            What::Flushed => {}
            What::Ended(status) => {
                occupied.ended = Some(
                    status.map_or_else(|error| error.to_string(), |status| status.to_string()),
                );
                self.on(Event::Ended(worker));
            }
        }
    }

    fn on_message(&mut self, worker: WorkerId, received: Received<ToEngine>) {
        let serves = self.fleet.serves(worker);
        match (received.message, received.fd) {
            (ToEngine::Hello { version, build_id }, None) => {
                let same_build = (version, build_id.as_str()) == (abi::VERSION, abi::BUILD_ID);
                self.on(Event::Hello { worker, same_build });
            }
            (ToEngine::Applied { generation }, None) => {
                self.last_words.remove(&worker.slot);
                self.on(Event::Applied { worker, generation });
            }
            (ToEngine::Draining, None) => self.on(Event::Draining(worker)),
            (ToEngine::RequestModule { key }, None) if serves => {
                self.on_module_request(worker, key)
            }
            (ToEngine::Tried { ticket, failure }, None) => {
                if !self.trials.answered(worker, ticket, failure) {
                    self.on(Event::Broke {
                        worker,
                        why: "it answered a trial that it was not asked for".to_owned(),
                    });
                } else if self.is_for_trials(worker) && !self.trials.has(worker) {
                    self.on(Event::Tried(worker));
                }
            }
            (ToEngine::LogWritten { ticket }, None) => {
                if !self.log_writes.answered(worker, ticket) {
                    self.on(Event::Broke {
                        worker,
                        why: "it wrote a log that it was not asked for".to_owned(),
                    });
                }
            }
            (ToEngine::RequestSecrets { function }, None) if serves => {
                self.on_secrets_request(worker, function)
            }
            (ToEngine::Return { read, awaits }, Some(socket)) if serves && is_stream(&socket) => {
                self.route_again(Handed { socket, read, awaits });
            }
            (ToEngine::Return { .. }, Some(_)) if serves => {
                self.on(Event::Broke {
                    worker,
                    why: "it gave back what is no client's connection".to_owned(),
                });
            }
            (other, _) => {
                self.on(Event::Broke { worker, why: format!("{other:?} is not what comes next") })
            }
        }
    }

    fn on_module_request(&mut self, worker: WorkerId, key: Digest) {
        if let Some(module) = self.cache.sealed(&key) {
            self.send(worker, ToWorker::Module { key }, Some(module));
            return;
        }
        let (cache, commands) = (Arc::clone(&self.cache), self.commands.0.clone());
        tokio::task::spawn_local(async move {
            let module = cache.provide(key).await.map_err(|error| error.to_string());
            let _ = commands.send(Command::Module { worker, key, module });
        });
    }

    /// Secrets go to workers that run their function, and to no others.
    fn on_secrets_request(&mut self, worker: WorkerId, function: String) {
        let sealed = if self.runs(worker, &function) {
            self.secrets.for_worker(&function).map_err(|error| error.to_string())
        } else {
            Err("this worker does not run the function any more".to_owned())
        };
        match sealed {
            Ok(fd) => self.send(worker, ToWorker::Secrets { function }, Some(Arc::new(fd))),
            Err(reason) => {
                tracing::error!(
                    "a worker asked for the secrets of function {function:?}, and gets none: {reason}"
                );
                self.send(worker, ToWorker::SecretsMissing { function, reason }, None)
            }
        };
    }

    /// Whether it may run `function`, by the newest catalogue or the one that is on its way out.
    fn runs(&self, worker: WorkerId, function: &str) -> bool {
        let Some((_, slot)) = self.fleet.slots().find(|(row, _)| *row == worker.slot) else {
            return false;
        };
        let routed = self.shared.snapshot.load();
        [&self.catalogue.1, &routed.catalogue].into_iter().any(|catalogue| {
            let function = catalogue.find(function).and_then(|index| catalogue.function(index));
            function.is_some_and(|function| match (&function.isolation, &slot.pool) {
                (ArchivedIsolation::Shared, Pool::Shared) => true,
                (ArchivedIsolation::Process, Pool::Function(name)) => *name == *function.name,
                _ => false,
            })
        })
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Try { catalogue, pool, done } => self.try_out(catalogue, pool, done),
            Command::WriteLog { written } => self.write_log(written),
            Command::Publish { catalogue, view, done } => self.publish(catalogue, view, done),
            Command::Reconfigure { settings, drain_timeout, done } => {
                self.reconfigure(settings, drain_timeout);
                let _ = done.send(());
            }
            Command::Status { answer } => {
                let _ = answer.send(self.told());
            }
            Command::Spool { worker, segment } => {
                self.send(worker, ToWorker::Spool, Some(segment));
            }
            Command::Take(handed) => self.route_again(handed),
            Command::Turn { turned } => {
                // Whoever asked may have given up; it asks again.
                let _ = turned.send(());
            }
            Command::Module { worker, key, module: Ok(fd) } => {
                self.send(worker, ToWorker::Module { key }, Some(fd));
            }
            Command::Module { worker, key, module: Err(reason) } => {
                tracing::error!("a worker asked for a module that cannot be had: {reason}");
                self.send(worker, ToWorker::ModuleMissing { key, reason }, None);
            }
        }
    }

    /// Every worker that has its settings gets the new ones; those to come begin with them.
    fn reconfigure(&mut self, settings: Settings, drain_timeout: Duration) {
        (self.plan.settings, self.plan.drain_timeout) = (settings, drain_timeout);
        let accepted = self.fleet.slots().filter(|(_, slot)| slot.is_accepted());
        let accepted: Vec<(usize, Pool)> =
            accepted.map(|(row, slot)| (row, slot.pool.clone())).collect();
        for (row, pool) in accepted {
            let settings = self.settings_of(pool);
            if let Some(Occupied { link, .. }) = self.occupied.get(&row) {
                link.send(ToWorker::Settings { settings }, None);
            }
        }
        // As with a catalogue: shards go by it when every worker has it before the next connection.
        self.shared.domain.store(self.plan.settings.domain.clone().map(Arc::new));
    }

    /// The settings as a worker of this pool gets them.
    fn settings_of(&self, pool: Pool) -> Settings {
        let only_function = match pool {
            Pool::Shared => None,
            Pool::Function(name) | Pool::Trial(name) => Some(name),
        };
        Settings { only_function, ..self.plan.settings.clone() }
    }

    fn publish(&mut self, catalogue: Arc<OwnedFd>, view: Arc<CatalogueView>, done: Done) {
        let own = view
            .get()
            .functions
            .iter()
            .filter(|function| function.isolation == ArchivedIsolation::Process);
        let own = own.map(|function| function.name.as_str().to_owned()).collect();
        let (generation, ticket) = (view.generation(), self.next_ticket);
        self.next_ticket += 1;
        self.tickets.insert(ticket, done);
        let actions = self.fleet.on(Event::Publish { generation, own, ticket }, Instant::now());
        if self.fleet.generation() == generation {
            self.catalogue = (catalogue, view);
        }
        self.perform(actions);
    }

    /// The process of `worker`, if it is the one that its slot has now.
    fn occupied(&mut self, worker: WorkerId) -> Option<&mut Occupied> {
        self.occupied
            .get_mut(&worker.slot)
            .filter(|occupied| occupied.incarnation == worker.incarnation)
    }
}

/// Whether a worker can have been given it: workers are not believed.
fn is_stream(fd: &OwnedFd) -> bool {
    getsockopt(fd, sockopt::SockType) == Ok(SockType::Stream)
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at.into()).await;
    }
}
