//! What the fleet has the supervisor do. Owns no fds.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use abi::channel::Channel;
use abi::huge_pages::Pages;
use abi::message::{Ending, ToWorker};
use state::server::Runs;
use takeover::Handed;

use super::kept::is_native;
use super::{Command, Supervisor, WorkerProcess};
use crate::core::Pool;
use crate::core::fleet::{Action, Event, WorkerId};
use crate::dispatch::{Snapshot, WorkerHandle};
use crate::workers::link::Link;
use crate::workers::spawn::Fate;

impl Supervisor {
    /// Performs one action. Returns the event that has followed from it at once, if any.
    pub(super) fn perform_one(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Start { worker, core } => self.start_worker(worker, core),
            Action::Accept { worker, pool: Pool::Edge } => {
                let row = u16::try_from(worker.slot).unwrap_or(u16::MAX);
                let settings = self.settings_of(Pool::Edge);
                let start = ToWorker::StartEdge { row, settings };
                self.send(worker, start, Some(Arc::clone(&self.board_fd)));
                self.send(worker, ToWorker::Certificates, Some(Arc::clone(&self.plan.certificates)))
            }
            Action::Accept { worker, pool } => {
                let row = u16::try_from(worker.slot).unwrap_or(u16::MAX);
                let settings = self.settings_of(pool.clone());
                self.send(
                    worker,
                    ToWorker::Start { row, settings },
                    Some(Arc::clone(&self.board_fd)),
                );
                self.plan.roster.send_if_modified(|roster| roster.insert(worker));
                self.send(worker, ToWorker::Catalogue, Some(Arc::clone(&self.catalogue.0)));
                self.connect_state(worker, pool)
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
                if let Some(WorkerProcess { link, .. }) = self.process_of(worker) {
                    tracing::error!(
                        "worker {} on core {} is killed: {why}",
                        link.pid,
                        link.handle.core
                    );
                    link.kill();
                }
                None
            }
            Action::ReportDeath { worker, delay, failed_starts } => {
                self.report_death(worker, delay, failed_starts);
                None
            }
            Action::Reap(worker) => {
                self.reap(worker);
                None
            }
            Action::Release(worker) => {
                if let Some(WorkerProcess { link, .. }) = self.processes.remove(&worker.slot) {
                    tracing::info!(
                        "edge {} on core {} goes on with its connections, and ends with the last",
                        link.pid,
                        link.handle.core
                    );
                }
                None
            }
            Action::Serve { generation, ready } => {
                self.serve(generation, ready);
                None
            }
            Action::Answer { ticket, outcome } => {
                // The caller may have given up.
                let _ = self.tickets.remove(&ticket).map(|done| done.send(outcome));
                None
            }
        }
    }

    /// Gives a worker its end of a socket by which it asks for functions' state. Whatever it asks
    /// is checked against what workers of this pool may run.
    fn connect_state(&mut self, worker: WorkerId, pool: Pool) -> Option<Event> {
        let runs = match pool {
            Pool::Shared => Runs::Shared,
            Pool::Function(name) | Pool::Trial(name) => Runs::Function(name),
            Pool::Edge => return None,
        };
        let (own, of_worker) = match Channel::pair() {
            Ok(ends) => ends,
            Err(error) => {
                tracing::error!("a worker's functions have no state: {error}");
                return None;
            }
        };
        let mut breaches = self.plan.state.connect(own, runs);
        let commands = self.commands.0.clone();
        tokio::task::spawn_local(async move {
            if let Some(why) = breaches.recv().await {
                // A task of its own, so it may wait for the loop.
                let _ = commands.send(Command::Breach { worker, why }).await;
            }
        });
        self.send(worker, ToWorker::State, Some(Arc::new(of_worker.into())))
    }

    /// Starts a worker's process.
    fn start_worker(&mut self, worker: WorkerId, core: usize) -> Option<Event> {
        let slot = self.fleet.slots().find(|(row, _)| *row == worker.slot);
        let pool = slot.map(|(_, slot)| &slot.pool);
        let is_edge = pool == Some(&Pool::Edge);
        let native = pool.is_some_and(|pool| is_native(&self.catalogue.1, pool));
        let pages = if native || is_edge { Pages::Small } else { Pages::Huge };
        let fate = if is_edge { Fate::MayOutlive } else { Fate::EndsWithEngine };
        let started =
            Channel::pair().map_err(|error| error.to_string()).and_then(|(channel, worker_end)| {
                let (board, sent) = (Arc::clone(&self.board), AtomicU64::new(0));
                let handle = Arc::new(WorkerHandle {
                    channel,
                    core,
                    row: worker.slot,
                    board,
                    sent,
                    // An edge has two sockets for each, and now and then a copy of one.
                    connections_max: (self.plan.connections_max / if is_edge { 3 } else { 1 })
                        .max(1),
                });
                let process = (worker, pages, fate);
                Link::start(&self.plan.binary, (handle, worker_end), process, &self.events.0)
                    .map_err(|error| error.to_string())
            });
        match started {
            Ok(link) => {
                self.processes.insert(
                    worker.slot,
                    WorkerProcess { link, incarnation: worker.incarnation, exit: None },
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

    /// Sends a message to a worker now, or as soon as it has read on. Returns [`Event::Flushed`] if
    /// every message for it has left.
    pub(super) fn send(
        &mut self,
        worker: WorkerId,
        message: ToWorker,
        fd: Option<Arc<OwnedFd>>,
    ) -> Option<Event> {
        let WorkerProcess { link, .. } = self.process_of(worker)?;
        link.send(message, fd);
        link.is_flushed().then_some(Event::Flushed(worker))
    }

    /// Replaces the snapshot that shards decide by. Nothing else does.
    fn serve(&self, generation: u64, ready: Vec<(Pool, WorkerId)>) {
        let before = self.shared.snapshot.load();
        let newest = &self.catalogue.1;
        let catalogue = if newest.generation() == generation { newest } else { &before.catalogue };
        let mut workers: HashMap<Pool, Vec<Arc<WorkerHandle>>> = HashMap::new();
        for (pool, worker) in ready {
            if let Some(WorkerProcess { link, .. }) = self.processes.get(&worker.slot) {
                workers.entry(pool).or_default().push(Arc::clone(&link.handle));
            }
        }
        self.shared
            .snapshot
            .store(Arc::new(Snapshot { catalogue: Arc::clone(catalogue), workers }));
    }

    /// Forgets a worker whose process has exited. What it held of its functions' limits is free
    /// again at once, and the connections that it never received go to other workers.
    fn reap(&mut self, worker: WorkerId) {
        let Some(WorkerProcess { link, exit, .. }) = self.processes.remove(&worker.slot) else {
            return;
        };
        self.plan.roster.send_if_modified(|roster| roster.remove(&worker));
        tracing::info!(
            "worker {} on core {} has ended: {}",
            link.pid,
            link.handle.core,
            exit.unwrap_or_default()
        );
        self.shared.metrics.retire(worker.slot, &self.catalogue.1);
        self.trials.reap(worker);
        self.log_writes.reap(worker);
        for received in link.unreceived() {
            if let (ToWorker::Connection { read, awaits, origin, .. }, Some(socket)) =
                (received.message, received.fd)
            {
                self.reroute(Handed { socket, read, awaits, origin });
            }
        }
    }

    /// Logs that a worker has died, with what it wrote on stderr.
    fn report_death(&mut self, worker: WorkerId, delay: Duration, failed_starts: u32) {
        self.shared.metrics.count_restart(worker.slot);
        let Some(WorkerProcess { link, exit, .. }) = self.processes.get(&worker.slot) else {
            return;
        };
        let words = link.last_words();
        let (pid, core, how) = (link.pid, link.handle.core, exit.as_deref().unwrap_or("?"));
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
}
