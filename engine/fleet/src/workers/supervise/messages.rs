//! What follows from each message of a worker. Workers are not trusted: one that sends what is not
//! its turn is killed. Owns no fds but those in messages.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::Arc;

use abi::channel::Received;
use abi::function::ArchivedIsolation;
use abi::message::{Awaits, Digest, ToEngine, ToWorker};
use abi::origin::Origin;
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike as _, SockaddrStorage, getsockname, getsockopt, sockopt,
};
use takeover::Handed;

use super::{Command, Supervisor, WorkerProcess};
use crate::core::Pool;
use crate::core::fleet::{Event, WorkerId, WorkerSlot};
use crate::workers::link::{self, EventKind};

impl Supervisor {
    /// Handles what has happened to a worker.
    pub(super) fn on_link(&mut self, link::Event { worker, kind }: link::Event) {
        let Some(process) = self.process_of(worker) else { return };
        match kind {
            EventKind::Message(received) => self.on_message(worker, received),
            EventKind::ProtocolError(error) => {
                self.on(Event::ProtocolError { worker, why: error.to_string() })
            }
            // More may have been queued since.
            EventKind::Flushed if process.link.is_flushed() => self.on(Event::Flushed(worker)),
            EventKind::Flushed => {}
            EventKind::Exited(status) => {
                process.exit = Some(
                    status.map_or_else(|error| error.to_string(), |status| status.to_string()),
                );
                self.on(Event::Exited(worker));
            }
        }
    }

    /// Handles a message. A worker that does not serve yet may say hello, and how its catalogue and
    /// trials went.
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
            (ToEngine::Detached, None) => self.on(Event::Detached(worker)),
            (ToEngine::RequestModule { key }, None) if serves => {
                self.on_module_request(worker, key)
            }
            (ToEngine::Tried { ticket, failure }, None) => {
                if !self.trials.answered(worker, ticket, failure) {
                    self.on(Event::ProtocolError {
                        worker,
                        why: "it answered a trial that it was not asked for".to_owned(),
                    });
                } else if self.is_for_trials(worker) && !self.trials.has(worker) {
                    self.on(Event::TrialsDone(worker));
                }
            }
            (ToEngine::LogWritten { ticket }, None) => {
                if !self.log_writes.answered(worker, ticket) {
                    self.on(Event::ProtocolError {
                        worker,
                        why: "it wrote a log that it was not asked for".to_owned(),
                    });
                }
            }
            (ToEngine::RequestSecrets { function }, None) if serves => {
                self.on_secrets_request(worker, function)
            }
            (ToEngine::Return { read, awaits, origin }, Some(socket))
                if serves && self.may_return(worker, &read, awaits, origin, &socket) =>
            {
                self.reroute(Handed { socket, read, awaits, origin });
            }
            (ToEngine::Return { .. }, Some(_)) if serves => {
                self.on(Event::ProtocolError {
                    worker,
                    why: "it gave back what is no client's connection".to_owned(),
                });
            }
            (ToEngine::Push { row }, Some(socket))
                if serves && is_stream(&socket) && is_of_a_pair(&socket) =>
            {
                self.pass_push(worker, row, &socket);
            }
            (other, _) => self.on(Event::ProtocolError {
                worker,
                why: format!("{other:?} is not what comes next"),
            }),
        }
    }

    /// Returns whether a worker may give this connection back. An edge only hands over plaintext ends
    /// and streams from which nothing was read, and says where they come from.
    fn may_return(
        &self,
        worker: WorkerId,
        read: &[u8],
        awaits: Awaits,
        origin: Option<Origin>,
        socket: &OwnedFd,
    ) -> bool {
        let is_edge =
            self.fleet.slots().any(|(row, slot)| row == worker.slot && slot.pool == Pool::Edge);
        let is_end_of_its_own = read.is_empty()
            && is_of_a_pair(socket)
            && match awaits {
                Awaits::First => origin.is_some_and(|origin| origin.https),
                Awaits::Streams => origin.is_some(),
                Awaits::Next | Awaits::Admin | Awaits::Event => false,
            };
        is_stream(socket) && (!is_edge || is_end_of_its_own)
    }

    /// Passes on a worker's push to a connection of another one that runs the same functions.
    /// Whoever else has that row gets nothing: with the socket's last copy here the pushing worker
    /// learns that nobody takes it. Nor does a worker whose channel is full, which costs no memory
    /// here.
    fn pass_push(&mut self, worker: WorkerId, row: u16, socket: &OwnedFd) {
        let row = usize::from(row);
        let pool = |row: usize| self.fleet.slots().find(|(at, _)| *at == row).map(|(_, slot)| slot);
        let runs_the_same = |slot: &&WorkerSlot| {
            slot.serves() && pool(worker.slot).is_some_and(|own| own.pool == slot.pool)
        };
        let is_there = pool(row).filter(runs_the_same).is_some();
        if let Some(WorkerProcess { link, .. }) = self.processes.get(&row).filter(|_| is_there)
            && let Err(error) = link.handle.channel.send(&ToWorker::Push, Some(socket.as_fd()))
        {
            tracing::debug!("a push to the worker of row {row} is lost: {error}");
        }
    }

    /// Sends a worker the module that it asked for. A module that is not in memory is fetched by a
    /// task, so that the loop does not wait.
    fn on_module_request(&mut self, worker: WorkerId, key: Digest) {
        if let Some(module) = self.cache.sealed(&key) {
            self.send(worker, ToWorker::Module { key }, Some(module));
            return;
        }
        let (cache, commands) = (Arc::clone(&self.cache), self.commands.0.clone());
        tokio::task::spawn_local(async move {
            let module = cache.provide(key).await.map_err(|error| error.to_string());
            // A task of its own, so it may wait for the loop.
            let _ = commands.send(Command::Module { worker, key, module }).await;
        });
    }

    /// Sends a worker the secrets of a function, if the worker runs that function.
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

    /// Returns whether a worker may run `function`, by the newest catalogue or by the one before it
    /// that connections may still be routed by.
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
}

/// Returns whether `fd` can be a client's connection.
fn is_stream(fd: &OwnedFd) -> bool {
    getsockopt(fd, sockopt::SockType) == Ok(SockType::Stream)
}

/// Returns whether `fd` is one end of a socket pair, which does not say where it comes from.
fn is_of_a_pair(fd: &OwnedFd) -> bool {
    let name = getsockname::<SockaddrStorage>(fd.as_raw_fd());
    name.is_ok_and(|name| name.family() == Some(AddressFamily::Unix))
}
