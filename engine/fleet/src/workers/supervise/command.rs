//! What the rest of the engine asks of the supervisor. Owns no fds but those in commands.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::catalogue::CatalogueView;
use abi::function::ArchivedIsolation;
use abi::message::{Digest, Settings, ToWorker};
use api::status::WorkerStatus;
use takeover::Handed;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use super::kept::kept;
use super::trial::TrialReply;
use super::{Supervisor, WorkerProcess};
use crate::core::Pool;
use crate::core::fleet::{Event, PublishError, WorkerId};

/// Commands that wait for the supervisor. Only a take-over sends more than these at once, and the
/// engine before this one can wait.
const COMMANDS_MAX: usize = 1024;
/// What the rest of the engine asks of the supervisor.
#[derive(Debug)]
pub enum Command {
    /// Serve by this catalogue. Answered when every worker does.
    Publish { catalogue: Arc<OwnedFd>, view: Arc<CatalogueView>, done: PublishReply },
    /// Have a worker of this pool instantiate the one version of this catalogue.
    Try { catalogue: Arc<OwnedFd>, pool: Pool, done: TrialReply },
    /// Have every worker write what it has logged by now. Answered when all have.
    WriteLog { written: oneshot::Sender<()> },
    /// Serve by these settings. Answered when they were sent to every worker.
    Reconfigure { settings: Settings, drain_timeout: Duration, done: oneshot::Sender<()> },
    /// End TLS by these certificates ([`abi::certificates`]) from now on. Answered when they were
    /// sent to every edge.
    Certificates { certificates: Arc<OwnedFd>, done: oneshot::Sender<()> },
    /// Return the status of every worker.
    Status { answer: oneshot::Sender<Vec<WorkerStatus>> },
    /// Give a worker a new segment of the log to write to.
    Spool { worker: WorkerId, segment: Arc<OwnedFd> },
    /// Send a worker the module that it asked for. The supervisor sends this to itself.
    Module { worker: WorkerId, key: Digest, module: Result<Arc<OwnedFd>, String> },
    /// Kill a worker that has broken the protocol of its state socket. The supervisor sends this to
    /// itself.
    Breach { worker: WorkerId, why: String },
    /// Serve a connection that another engine has accepted, or that this one has made.
    Take(Handed),
    /// Answer, which shows that the supervisor's loop runs.
    Ping { reply: oneshot::Sender<()> },
}

/// Answers a caller that waits for a catalogue to be served everywhere.
pub(super) type PublishReply = oneshot::Sender<Result<(), PublishError>>;

/// Makes the channel for commands.
pub fn commands() -> (Sender<Command>, Receiver<Command>) {
    channel(COMMANDS_MAX)
}

impl Supervisor {
    /// Does what a command asks.
    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            Command::Try { catalogue, pool, done } => self.start_trial(catalogue, pool, done),
            Command::WriteLog { written } => self.write_log(written),
            Command::Publish { catalogue, view, done } => self.publish(catalogue, view, done),
            Command::Reconfigure { settings, drain_timeout, done } => {
                self.reconfigure(settings, drain_timeout);
                let _ = done.send(());
            }
            Command::Certificates { certificates, done } => {
                self.change_certificates(certificates);
                let _ = done.send(());
            }
            Command::Status { answer } => {
                let _ = answer.send(self.status());
            }
            Command::Spool { worker, segment } => {
                self.send(worker, ToWorker::Spool, Some(segment));
            }
            Command::Breach { worker, why } => self.on(Event::ProtocolError { worker, why }),
            Command::Take(handed) => self.reroute(handed),
            Command::Ping { reply } => {
                // The caller may have given up; it asks again.
                let _ = reply.send(());
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

    /// Sends the settings to every worker that has the old ones. Later workers start with them.
    fn reconfigure(&mut self, settings: Settings, drain_timeout: Duration) {
        (self.plan.settings, self.plan.drain_timeout) = (settings, drain_timeout);
        let accepted = self.fleet.slots().filter(|(_, slot)| slot.is_accepted());
        let accepted: Vec<(usize, Pool)> =
            accepted.map(|(row, slot)| (row, slot.pool.clone())).collect();
        for (row, pool) in accepted {
            let settings = self.settings_of(pool);
            if let Some(WorkerProcess { link, .. }) = self.processes.get_mut(&row) {
                link.send(ToWorker::Settings { settings }, None);
            }
        }
        // As with a catalogue: every worker gets the names before a connection that was routed by
        // them.
        self.shared.names.store(Arc::new(self.plan.settings.names.clone()));
    }

    /// Sends the certificates to every edge. Later edges start with them.
    fn change_certificates(&mut self, certificates: Arc<OwnedFd>) {
        self.plan.certificates = Arc::clone(&certificates);
        let edges = self.fleet.slots().filter(|(_, slot)| slot.pool == Pool::Edge);
        let accepted = edges.filter(|(_, slot)| slot.is_accepted()).map(|(row, _)| row);
        for row in accepted.collect::<Vec<_>>() {
            if let Some(WorkerProcess { link, .. }) = self.processes.get_mut(&row) {
                link.send(ToWorker::Certificates, Some(Arc::clone(&certificates)));
            }
        }
    }

    /// Returns the settings of the workers of a pool.
    pub(super) fn settings_of(&self, pool: Pool) -> Settings {
        let only_function = match pool {
            Pool::Shared | Pool::Edge => None,
            Pool::Function(name) | Pool::Trial(name) => Some(name),
        };
        Settings { only_function, ..self.plan.settings.clone() }
    }

    /// Begins to serve by another catalogue.
    pub(super) fn publish(
        &mut self,
        catalogue: Arc<OwnedFd>,
        view: Arc<CatalogueView>,
        done: PublishReply,
    ) {
        let own = view
            .get()
            .functions
            .iter()
            .filter(|function| function.isolation == ArchivedIsolation::Process);
        let own = own.map(|function| function.name.as_str().to_owned()).collect();
        let kept = kept(&view);
        let (generation, ticket) = (view.generation(), self.next_ticket);
        self.next_ticket += 1;
        self.tickets.insert(ticket, done);
        let actions = self.fleet.on(Event::Publish { generation, own, ticket }, Instant::now());
        // The fleet may have refused it.
        if self.fleet.generation() == generation {
            self.plan.grants.publish(&view);
            self.catalogue = (catalogue, view);
            self.kept = kept;
        }
        self.perform(actions);
    }
}
