//! Everything around the decisions: clients, shards, the supervisor's inbox, processes, time. Each
//! step is one thing that can happen on a real node, in any order that it can happen there. No I/O.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::process::{Catalogues, Process, Socket, ToEngine, ToWorker, pool_of};
use super::random::Random;
use crate::core::Pool;
use crate::core::choose::{Candidate, place};
use crate::core::fleet::{Action, Event, Fleet, Look, Plan, PublishError, Ticket, WorkerId};
use crate::core::waiting::Waiting;
use crate::core::watch::Seen;

const FUNCTIONS: [&str; 3] = ["a", "b", "c"];
const PARKED_MAX: usize = 16;

/// What decisions are made by, as shards hold it.
#[derive(Debug)]
struct Snapshot {
    generation: u64,
    ready: Vec<(Pool, WorkerId)>,
}

/// What waits for the supervisor.
#[derive(Debug)]
enum Inbox {
    Ended(WorkerId),
    Parked(Pool, Socket),
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Served,
    Refused,
    /// It was with a process that was killed.
    Lost,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) random: Random,
    now: Instant,
    pub(super) fleet: Fleet,
    pub(super) processes: BTreeMap<WorkerId, Process>,
    catalogues: Catalogues,
    /// A connection in each shard's hand, with the snapshot that it looked at.
    shards: Vec<Option<(Socket, Rc<Snapshot>)>>,
    snapshot: Rc<Snapshot>,
    inbox: VecDeque<Inbox>,
    waiting: Waiting<(Pool, Socket)>,
    pub(super) ends: BTreeMap<u64, End>,
    accepted: u64,
    /// What has been answered, and the generation each was for.
    tickets: BTreeMap<Ticket, Option<Result<(), PublishError>>>,
    /// The newest generation that somebody was told is served everywhere.
    promised: u64,
    pub(super) killed: u64,
    /// The last things that happened, for whoever reads about a failure.
    pub(super) trace: VecDeque<String>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let now = Instant::now();
        let cores = 1 + random.below(3);
        let shared: Vec<usize> =
            (0..cores * (1 + random.below(2))).map(|worker| worker % cores).collect();
        let plan = Plan {
            shared,
            edges: Vec::new(),
            ends_tls: false,
            own_idle_timeout: Duration::from_secs(2),
        };
        Self {
            fleet: Fleet::new(plan, 0, now),
            random,
            now,
            processes: BTreeMap::new(),
            catalogues: vec![BTreeSet::new()],
            shards: (0..cores).map(|_| None).collect(),
            snapshot: Rc::new(Snapshot { generation: 0, ready: Vec::new() }),
            inbox: VecDeque::new(),
            waiting: Waiting::default(),
            ends: BTreeMap::new(),
            accepted: 0,
            tickets: BTreeMap::new(),
            promised: 0,
            killed: 0,
            trace: VecDeque::new(),
        }
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if self.trace.len() == 60 {
            self.trace.pop_front();
        }
        self.trace.push_back(what());
    }

    /// One thing happens, faults among them.
    pub(super) fn step(&mut self) -> Result<(), String> {
        match self.random.below(64) {
            0..=7 => self.client_connects(),
            8 => self.publish(),
            9 => self.fault(),
            10 => self.try_version(),
            _ => self.go_on(),
        }
    }

    /// One thing happens that is nobody's fault.
    pub(super) fn go_on(&mut self) -> Result<(), String> {
        match self.random.below(16) {
            0..=2 => self.shard_sends(),
            3..=5 => self.supervisor_reads(),
            6..=8 => self.worker_reads(),
            9..=10 => self.worker_finishes(),
            11..=12 => self.worker_speaks(),
            13 => self.link_flushes(),
            14 => {
                let time = [1, 5, 50, 250, 300, 2000][self.random.below(6)];
                self.advance(Duration::from_millis(time))
            }
            _ => self.advance(Duration::from_millis(1)),
        }
    }

    fn client_connects(&mut self) -> Result<(), String> {
        let shard = self.random.below(self.shards.len());
        let function = FUNCTIONS[self.random.below(FUNCTIONS.len())];
        if self.shards[shard].is_none() {
            let number = self.accepted;
            self.accepted += 1;
            self.note(|| format!("client {number} connects to shard {shard} for {function}"));
            self.shards[shard] = Some((Socket { number, function }, Rc::clone(&self.snapshot)));
        }
        Ok(())
    }

    fn shard_sends(&mut self) -> Result<(), String> {
        let shard = self.random.below(self.shards.len());
        let Some((socket, snapshot)) = self.shards[shard].take() else { return Ok(()) };
        let pool = self.pool_of(socket.function, snapshot.generation);
        if let Err(socket) = self.hop(&snapshot, Some(shard), &pool, socket) {
            self.park(pool, socket);
        }
        Ok(())
    }

    fn pool_of(&self, function: &'static str, generation: u64) -> Pool {
        pool_of(function, &self.catalogues[usize::try_from(generation).unwrap_or(0)])
    }

    fn park(&mut self, pool: Pool, socket: Socket) {
        let parked = self.waiting.iter().count() + self.inbox.len();
        if parked >= PARKED_MAX {
            return self.end(&socket, End::Refused);
        }
        self.inbox.push_back(Inbox::Parked(pool, socket));
    }

    fn hop(
        &mut self,
        snapshot: &Snapshot,
        core: Option<usize>,
        pool: &Pool,
        socket: Socket,
    ) -> Result<(), Socket> {
        let workers: Vec<WorkerId> =
            snapshot.ready.iter().filter(|(of, _)| of == pool).map(|(_, worker)| *worker).collect();
        let cores = self.shards.len();
        let candidate = |worker: &WorkerId| Candidate {
            load: self.processes.get(worker).map_or(0, Process::load),
            own_core: Some(worker.slot % cores) == core,
            refused: false,
        };
        let mut candidates: Vec<Candidate> = workers.iter().map(candidate).collect();
        let mut socket = Some(socket);
        let processes = &mut self.processes;
        let send = |at: usize| {
            // A reaped one's channel refuses.
            let Some(process) = processes.get_mut(&workers[at]) else { return false };
            let Some(taken) = socket.take() else { return false };
            match process.try_send(taken, snapshot.generation) {
                Ok(()) => true,
                Err(back) => {
                    socket = Some(back);
                    false
                }
            }
        };
        place(&mut candidates, send);
        socket.map_or(Ok(()), Err)
    }

    fn supervisor_reads(&mut self) -> Result<(), String> {
        match self.inbox.pop_front() {
            Some(Inbox::Ended(worker)) => {
                while self.processes.get(&worker).is_some_and(|process| !process.outbox.is_empty())
                {
                    self.hear(worker)?;
                }
                self.on(Event::Exited(worker))
            }
            Some(Inbox::Parked(pool, socket)) => {
                self.waiting.push(pool.clone(), (pool.clone(), socket), self.now);
                self.on(Event::Needed(pool))
            }
            None => Ok(()),
        }
    }

    /// A message of a worker's reaches the supervisor.
    fn worker_speaks(&mut self) -> Result<(), String> {
        let Some(worker) = self.any_process(|process| !process.outbox.is_empty()) else {
            return Ok(());
        };
        self.hear(worker)
    }

    fn hear(&mut self, worker: WorkerId) -> Result<(), String> {
        let Some(message) =
            self.processes.get_mut(&worker).and_then(|process| process.outbox.pop_front())
        else {
            return Ok(());
        };
        self.note(|| format!("{worker:?} says {message:?}"));
        match message {
            ToEngine::Hello { same_build } => self.on(Event::Hello { worker, same_build }),
            ToEngine::Applied { generation } => self.on(Event::Applied { worker, generation }),
            ToEngine::Draining => self.on(Event::Draining(worker)),
            ToEngine::Tried => self.on(Event::TrialsDone(worker)),
            ToEngine::Return(socket) => {
                if !self.fleet.serves(worker) {
                    return Err(format!("{worker:?} gives back a connection and does not serve"));
                }
                self.route_again(socket);
                Ok(())
            }
        }
    }

    fn route_again(&mut self, socket: Socket) {
        let snapshot = Rc::clone(&self.snapshot);
        let pool = self.pool_of(socket.function, snapshot.generation);
        if let Err(socket) = self.hop(&snapshot, None, &pool, socket) {
            self.park(pool, socket);
        }
    }

    fn worker_reads(&mut self) -> Result<(), String> {
        let Some(worker) = self.any_process(Process::moves) else { return Ok(()) };
        let Some(process) = self.processes.get_mut(&worker) else { return Ok(()) };
        process.beats += 1;
        if !process.said_hello {
            process.said_hello = true;
            let same_build = !self.random.once_in(50);
            process.outbox.push_back(ToEngine::Hello { same_build });
            return Ok(());
        }
        let message = process.queue.front().map(|message| format!("{worker:?} reads {message:?}"));
        process
            .receive(&self.catalogues, self.promised)
            .map_err(|error| format!("{worker:?}: {error}"))?;
        if process.is_finished() {
            self.dies(worker);
        }
        if let Some(message) = message {
            self.note(|| message);
        }
        Ok(())
    }

    /// A reply has been sent: the client goes, or asks for more.
    fn worker_finishes(&mut self) -> Result<(), String> {
        let Some(worker) = self.any_process(|process| process.moves() && !process.open.is_empty())
        else {
            return Ok(());
        };
        let (which, another) = (self.random.below(8), self.random.once_in(3));
        let Some(process) = self.processes.get_mut(&worker) else { return Ok(()) };
        let which = which % process.open.len();
        match another {
            true if process.draining => {
                let socket = process.open.swap_remove(which);
                process.give_back(socket);
            }
            true => process.begin(self.promised).map_err(|error| format!("{worker:?}: {error}"))?,
            false => {
                let socket = process.open.swap_remove(which);
                process.done += 1;
                self.end(&socket, End::Served);
            }
        }
        if self.processes.get(&worker).is_some_and(Process::is_finished) {
            self.dies(worker);
        }
        Ok(())
    }

    fn link_flushes(&mut self) -> Result<(), String> {
        let Some(worker) = self.any_process(|process| !process.unsent.is_empty()) else {
            return Ok(());
        };
        if self.processes.get_mut(&worker).is_some_and(Process::flush) {
            self.on(Event::Flushed(worker))?;
        }
        Ok(())
    }

    fn publish(&mut self) -> Result<(), String> {
        let own = FUNCTIONS.into_iter().filter(|_| self.random.once_in(3)).collect::<BTreeSet<_>>();
        let generation = self.catalogues.len() as u64;
        self.note(|| format!("catalogue {generation}: {own:?} have workers of their own"));
        let names = own.iter().map(ToString::to_string).collect();
        self.catalogues.push(own);
        self.tickets.insert(generation, None);
        self.on(Event::Publish { generation, own: names, ticket: generation })
    }

    fn try_version(&mut self) -> Result<(), String> {
        let function = FUNCTIONS[self.random.below(FUNCTIONS.len())];
        self.note(|| format!("somebody tries a version of {function}"));
        self.on(Event::Needed(Pool::Trial(function.to_owned())))
    }

    fn fault(&mut self) -> Result<(), String> {
        let Some(worker) = self.any_process(|process| process.alive) else { return Ok(()) };
        let kind = self.random.below(4);
        match kind {
            0 => {
                self.note(|| format!("kill -9 {worker:?}"));
                self.dies(worker);
            }
            1 => {
                self.note(|| format!("{worker:?} breaks the protocol"));
                self.on(Event::ProtocolError { worker, why: "nonsense".into() })?;
            }
            _ => {
                let Some(process) = self.processes.get_mut(&worker) else { return Ok(()) };
                process.stopped = !process.stopped;
                let stopped = process.stopped;
                self.note(|| format!("{worker:?} stopped: {stopped}"));
            }
        }
        Ok(())
    }

    /// A process ends; the supervisor is told later, after everything that the process had said.
    fn dies(&mut self, worker: WorkerId) {
        let Some(process) = self.processes.get_mut(&worker) else { return };
        if std::mem::replace(&mut process.alive, false) {
            self.killed += u64::from(!process.is_finished());
            let lost = std::mem::take(&mut process.open);
            lost.iter().for_each(|socket| self.end(socket, End::Lost));
            self.inbox.push_back(Inbox::Ended(worker));
        }
    }

    pub(super) fn advance(&mut self, time: Duration) -> Result<(), String> {
        self.now += time;
        if self.fleet.is_look_due(self.now) {
            for worker in self.fleet.running_workers() {
                let Some(process) = self.processes.get_mut(&worker) else { continue };
                if process.moves() {
                    process.beats += 1;
                }
                let seen = Seen { heartbeat_ms: process.beats, ..Seen::default() };
                let look = Look { seen, busy: process.load() > 0 };
                self.fleet.look(worker, look, 0, self.now);
            }
        }
        let actions = self.fleet.move_on(self.now);
        self.perform(actions)?;
        let snapshot = Rc::clone(&self.snapshot);
        let mut waiting = std::mem::take(&mut self.waiting);
        let late = waiting.retry(self.now, |(pool, socket)| {
            self.hop(&snapshot, None, &pool, socket).map_err(|socket| (pool, socket))
        });
        self.waiting = waiting;
        late.iter().for_each(|(_, socket)| self.end(socket, End::Refused));
        Ok(())
    }

    pub(super) fn on(&mut self, event: Event) -> Result<(), String> {
        let actions = self.fleet.on(event, self.now);
        self.perform(actions)
    }

    fn perform(&mut self, actions: Vec<Action>) -> Result<(), String> {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            self.note(|| format!("  {action:?}"));
            if let Some(event) = self.perform_one(action)? {
                actions.extend(self.fleet.on(event, self.now));
            }
        }
        Ok(())
    }

    fn perform_one(&mut self, action: Action) -> Result<Option<Event>, String> {
        let newest = self.fleet.generation();
        match action {
            Action::Start { worker, .. } => return self.start(worker),
            Action::Accept { worker, .. } => {
                return Ok(self.send(worker, ToWorker::Accept { generation: newest }));
            }
            Action::SendCatalogue(worker) => {
                return Ok(self.send(worker, ToWorker::Catalogue { generation: newest }));
            }
            Action::SendDrain(worker) => return Ok(self.send(worker, ToWorker::Drain)),
            Action::Kill { worker, .. } => {
                let process = self.processes.get_mut(&worker);
                if process.is_some_and(|process| std::mem::replace(&mut process.killed, true)) {
                    return Err(format!("{worker:?} is killed twice"));
                }
                self.dies(worker);
            }
            Action::ReportDeath { .. } => {}
            Action::Reap(worker) => self.reap(worker)?,
            Action::Serve { generation, ready } => {
                if let Some((_, worker)) =
                    ready.iter().find(|(_, worker)| !self.processes.contains_key(worker))
                {
                    return Err(format!("{worker:?} is to get connections and is reaped"));
                }
                self.snapshot = Rc::new(Snapshot { generation, ready });
            }
            Action::Release(worker) => panic!("{worker:?} is released, and there is no edge"),
            Action::Answer { ticket, outcome } => {
                if outcome.is_ok() {
                    self.promised = self.promised.max(ticket);
                }
                if self.tickets.insert(ticket, Some(outcome)).flatten().is_some() {
                    return Err(format!("{ticket} is answered twice"));
                }
            }
        }
        Ok(None)
    }

    fn start(&mut self, worker: WorkerId) -> Result<Option<Event>, String> {
        if let Some(other) = self.processes.keys().find(|other| other.slot == worker.slot) {
            return Err(format!("{worker:?} is started while {other:?} has its slot"));
        }
        if self.random.once_in(20) {
            return Ok(Some(Event::NotStarted(worker)));
        }
        let Some((_, slot)) = self.fleet.slots().find(|(row, _)| *row == worker.slot) else {
            return Err(format!("{worker:?} is started and has no slot"));
        };
        let mute = self.random.once_in(30);
        self.processes.insert(worker, Process::new(slot.pool.clone(), mute));
        Ok(None)
    }

    fn send(&mut self, worker: WorkerId, message: ToWorker) -> Option<Event> {
        let process = self.processes.get_mut(&worker)?;
        process.send(message);
        process.unsent.is_empty().then_some(Event::Flushed(worker))
    }

    fn reap(&mut self, worker: WorkerId) -> Result<(), String> {
        let Some(process) = self.processes.remove(&worker) else {
            return Err(format!("{worker:?} is reaped twice"));
        };
        if process.alive {
            return Err(format!("{worker:?} is reaped while it runs"));
        }
        for message in process.queue {
            if let ToWorker::Connection { socket, .. } = message {
                self.route_again(socket);
            }
        }
        Ok(())
    }

    fn end(&mut self, socket: &Socket, end: End) {
        self.note(|| format!("client {}: {end:?}", socket.number));
        self.ends.insert(socket.number, end);
    }

    fn any_process(&mut self, fits: impl Fn(&Process) -> bool) -> Option<WorkerId> {
        let fit: Vec<WorkerId> = self
            .processes
            .iter()
            .filter(|(_, process)| fits(process))
            .map(|(worker, _)| *worker)
            .collect();
        self.random.pick(&fit).copied()
    }

    /// Mutes speak and the stopped go on, from now on.
    pub(super) fn heal(&mut self) {
        for process in self.processes.values_mut() {
            (process.stopped, process.mute) = (false, false);
        }
    }

    /// Checks what holds after every step.
    pub(super) fn check(&self) -> Result<(), String> {
        self.check_sockets()?;
        self.check_workers()
    }

    /// The fleet knows of each process and of no other, and shards send connections to those that
    /// the fleet has ready.
    fn check_workers(&self) -> Result<(), String> {
        let (known, there) = (self.fleet.running_workers(), self.processes.keys());
        if !known.iter().eq(there) {
            return Err(format!("the fleet knows {known:?} of {:?}", self.processes.keys()));
        }
        let ready = self.fleet.ready();
        if ready == self.snapshot.ready {
            Ok(())
        } else {
            Err(format!("shards send to {:?}, and ready are {ready:?}", self.snapshot.ready))
        }
    }

    /// Every connection that was accepted is in exactly one place, or has ended once.
    fn check_sockets(&self) -> Result<(), String> {
        let mut places: Vec<u64> = self.ends.keys().copied().collect();
        places.extend(self.shards.iter().flatten().map(|(socket, _)| socket.number));
        places.extend(self.waiting.iter().map(|(_, socket)| socket.number));
        places.extend(self.inbox.iter().filter_map(|inbox| match inbox {
            Inbox::Parked(_, socket) => Some(socket.number),
            Inbox::Ended(_) => None,
        }));
        places.extend(self.processes.values().flat_map(Process::sockets));
        places.sort_unstable();
        if places.iter().copied().eq(0..self.accepted) {
            Ok(())
        } else {
            Err(format!("of {} connections these are somewhere: {places:?}", self.accepted))
        }
    }

    /// Everybody is well, and nothing is left to do.
    pub(super) fn is_settled(&self) -> bool {
        let shared_serve =
            self.fleet.slots().all(|(_, slot)| slot.pool != Pool::Shared || slot.serves());
        shared_serve
            && u64::try_from(self.ends.len()) == Ok(self.accepted)
            && self.tickets.values().all(Option::is_some)
            && self.snapshot.generation == self.fleet.generation()
    }
}
