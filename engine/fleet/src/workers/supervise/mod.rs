//! The supervisor: passes events to the fleet and performs the actions that it returns.
//!
//! It runs on the engine's main thread, which lives as long as the process, because workers die
//! with the thread that started them. [`crate::core::fleet`] decides. This file has the loop;
//! [`actions`] performs what the fleet decides, [`messages`] handles what workers say, [`command`]
//! what the rest of the engine asks, [`reroute`] connections without a place, and [`status`] makes
//! the rows of `sockhop status`. Owns the workers' links, the board's fd, the catalogue's, and
//! parked connections.

mod actions;
mod command;
mod kept;
mod messages;
mod reroute;
mod status;
mod trial;
mod write_log;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use abi::board::{Board, now_ms};
use abi::catalogue::CatalogueView;
use abi::limits::WORKERS_MAX;
use abi::message::Settings;
use abi::problem::Problem;
use tokio::sync::mpsc::{Receiver, Sender, UnboundedSender, channel};
use tokio::sync::{oneshot, watch};

use self::command::PublishReply;
pub use self::command::{Command, commands};
use self::kept::kept;
pub use self::trial::TrialError;
use self::trial::Trials;
use self::write_log::LogWrites;
use super::grants::CatalogueGrants;
use super::link::{self, Link};
use super::{Binary, process};
use crate::core::Pool;
use crate::core::fleet::{
    self, Action, Event, Fleet, Look, PublishError, Ticket, WorkerId, WorkerSlot,
};
use crate::core::waiting::Waiting;
use crate::core::watch::Seen;
use crate::dispatch::Shared;
use crate::dispatch::hop::Connection;
use crate::dispatch::parking::Parked;
use crate::dispatch::refuse::{Client, Lingering, answer};
use crate::workers::Roster;
use compile::cache::Cache;
use secrets::Secrets;
use state::server::Server;
use takeover::Handed;

/// How often connections that wait are tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);
/// How long after the drain's deadline workers are killed.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// Events of workers that wait for the supervisor: one of each worker. While there is no room, the
/// rest waits in the workers' channels, and a worker waits when its channel is full.
const EVENTS_MAX: usize = WORKERS_MAX;

/// How workers are made.
#[derive(Debug)]
pub struct Plan {
    pub binary: Binary,
    pub fleet: fleet::Plan,
    /// The settings of every worker, but for the function that it is for.
    pub settings: Settings,
    /// The most connections that one worker can have at a time.
    pub connections_max: u64,
    /// What edges end TLS by.
    pub certificates: Arc<OwnedFd>,
    /// How long requests in flight may take to end when their worker drains.
    pub drain_timeout: Duration,
    /// Who answers workers about functions' state.
    pub state: Server,
    /// What they may ask.
    pub grants: Arc<CatalogueGrants>,
    /// Tells the log which workers there are.
    pub roster: watch::Sender<Roster>,
}

/// The process of a slot.
#[derive(Debug)]
struct WorkerProcess {
    link: Link,
    incarnation: u64,
    /// How it exited, once it has.
    exit: Option<String>,
}

/// The supervisor of all workers.
#[derive(Debug)]
pub struct Supervisor {
    plan: Plan,
    shared: Arc<Shared>,
    cache: Arc<Cache>,
    secrets: Arc<Secrets>,
    board: Arc<Board>,
    board_fd: Arc<OwnedFd>,
    fleet: Fleet,
    /// The processes that run or were not reaped yet, by their slots.
    processes: HashMap<usize, WorkerProcess>,
    /// What the last process of each slot wrote on stderr before it died.
    last_words: HashMap<usize, String>,
    /// The newest catalogue.
    catalogue: (Arc<OwnedFd>, Arc<CatalogueView>),
    /// The pools whose workers are kept although nothing calls their functions.
    kept: BTreeSet<Pool>,
    /// The callers that wait for a catalogue to be served everywhere.
    tickets: HashMap<Ticket, PublishReply>,
    next_ticket: Ticket,
    trials: Trials,
    log_writes: LogWrites,
    waiting: Waiting<Parked>,
    parking: Receiver<Parked>,
    events: (Sender<link::Event>, Receiver<link::Event>),
    commands: (Sender<Command>, Receiver<Command>),
    /// The engine that has taken over from this one: connections without a place are its own. The
    /// queue to it needs no bound of its own: what is in it are connections that this engine has
    /// accepted, no more than [`crate::core::admit`] and the parking let in.
    successor: Option<UnboundedSender<Handed>>,
}

impl Supervisor {
    /// Makes a supervisor without workers. `commands` is the channel that [`commands`] has made;
    /// the rest of the engine has its sender.
    pub fn new(
        plan: Plan,
        shared: Arc<Shared>,
        (cache, secrets): (Arc<Cache>, Arc<Secrets>),
        board: (Arc<Board>, OwnedFd),
        catalogue: (Arc<OwnedFd>, Arc<CatalogueView>),
        parking: Receiver<Parked>,
        commands: (Sender<Command>, Receiver<Command>),
    ) -> Self {
        Self {
            kept: kept(&catalogue.1),
            fleet: Fleet::new(plan.fleet.clone(), catalogue.1.generation(), Instant::now()),
            plan,
            shared,
            cache,
            secrets,
            board: board.0,
            board_fd: Arc::new(board.1),
            processes: HashMap::new(),
            last_words: HashMap::new(),
            catalogue,
            tickets: HashMap::new(),
            next_ticket: 0,
            trials: Trials::default(),
            log_writes: LogWrites::default(),
            waiting: Waiting::default(),
            parking,
            events: channel(EVENTS_MAX),
            commands,
            successor: None,
        }
    }

    /// Starts a worker in every slot for shared functions. Returns when all of them serve.
    ///
    /// # Errors
    /// Returns an error if they do not serve in time.
    pub async fn start(&mut self) -> Result<(), PublishError> {
        let (done, mut started) = oneshot::channel();
        let (catalogue, view) = self.catalogue.clone();
        self.publish(catalogue, view, done);
        self.run_until(&mut started).await.unwrap_or(Err(PublishError::Slow))
    }

    /// Supervises until `until` resolves. Returns its output.
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

    /// Returns how long requests in flight may take to end when the node stops.
    pub fn drain_timeout(&self) -> Duration {
        self.plan.drain_timeout
    }

    /// Sends connections without a place to the engine that has taken over, from now on. Call it
    /// before the shards stop.
    pub fn hand_over_to(&mut self, successor: UnboundedSender<Handed>) {
        self.successor = Some(successor);
    }

    /// Drains every worker, and kills those that have not exited at the deadline or when `at_once`
    /// resolves. Call it when no shard accepts any more.
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
        // No more commands are handled: callers that wait for an answer, or for room, get an error.
        // Connections among those in the queue are treated as those that are parked, which come
        // next. One that another engine hands over from now on is closed.
        self.commands.1.close();
        while let Ok(command) = self.commands.1.try_recv() {
            if let Command::Take(handed) = command {
                self.reroute(handed);
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

    /// Answers a client that waits for a worker, as there will be none.
    fn refuse_stopping(&self, connection: &Connection) {
        self.shared.metrics.of_supervisor().refused(503);
        if connection.pool == Pool::Edge {
            // Its client could not read an answer without TLS.
            return;
        }
        let problem = Problem::new(503, "the node is stopping; try again");
        let socket = connection.socket.as_fd();
        // What has arrived is read away: unread, it would reset the connection.
        if answer(socket, &connection.read, &problem) == Client::Sending {
            let now = Instant::now();
            let _ = Lingering::new(now).look(socket, now);
        }
    }

    /// Waits for the next event, command or connection, and does what follows. Nothing is lost if
    /// it is dropped while it waits.
    async fn step(&mut self) {
        let retry = (!self.waiting.is_empty()).then(|| Instant::now() + RETRY_INTERVAL);
        let wake = self.fleet.next_wake().into_iter().chain(retry).min();
        tokio::select! {
            // The order is random: a flood of one kind must not hold up the others.
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

    /// Passes an event to the fleet, and performs the actions that it returns.
    fn on(&mut self, event: Event) {
        let actions = self.fleet.on(event, Instant::now());
        self.perform(actions);
    }

    /// Performs actions, and those that follow from them, in order.
    fn perform(&mut self, actions: Vec<Action>) {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            if let Some(event) = self.perform_one(action) {
                actions.extend(self.fleet.on(event, Instant::now()));
            }
        }
    }

    /// Looks at all workers if it is time to.
    fn look(&mut self) {
        let now = Instant::now();
        if !self.fleet.is_look_due(now) {
            return;
        }
        for worker in self.fleet.running_workers() {
            let Some(WorkerProcess { link, .. }) = self.processes.get(&worker.slot) else {
                continue;
            };
            let row = &self.board.rows()[worker.slot];
            let heartbeat_ms = row.heartbeat_ms.load(Relaxed);
            // To ask the kernel costs some system calls, so only for workers that do not beat.
            let no_beat = |slot: &WorkerSlot| slot.is_silent() || slot.is_starting();
            let no_beat = self.fleet.slots().any(|(row, slot)| row == worker.slot && no_beat(slot));
            let process = if no_beat { process::look(link.pid) } else { None };
            let seen = Seen {
                heartbeat_ms,
                guest_deadline_ms: row.guest_deadline_ms.load(Relaxed),
                process,
            };
            let busy = link.handle.load() > 0
                || row.in_flight.load(Relaxed) > 0
                || self.trials.has(worker)
                || self
                    .fleet
                    .slots()
                    .any(|(row, slot)| row == worker.slot && self.kept.contains(&slot.pool));
            self.fleet.look(worker, Look { seen, busy }, now_ms(), now);
        }
        for pool in self.kept.clone() {
            self.on(Event::Needed(pool));
        }
    }

    /// Returns the process of `worker`. Returns `None` if it was reaped, or was never started.
    fn process_of(&mut self, worker: WorkerId) -> Option<&mut WorkerProcess> {
        self.processes
            .get_mut(&worker.slot)
            .filter(|process| process.incarnation == worker.incarnation)
    }
}

/// Sleeps until `at`. Returns at once without one.
async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at.into()).await;
    }
}
