//! The worker's link to its spawner, which makes the sandboxes. The spawner is started when the
//! first program is loaded, and lives as long as the worker.
//!
//! Owns the channel to it; each [`Sandboxed`] owns its process channel and the pidfd of its init.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use abi::channel::{Channel, ReceiveError};
use abi::sandbox::{FromSandbox, FromSpawner, Sandbox, ToSandbox, ToSpawner};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::link::{self, Inbox, Outbox};

/// This very program, whatever has become of its file.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// How long the spawner may take to end.
const END_WAIT: Duration = Duration::from_secs(2);

/// The sandboxes that the spawner was asked for and has not told of, by their numbers.
type Starting = HashMap<u64, oneshot::Sender<Result<OwnedFd, String>>>;

/// The spawner of this worker.
pub(super) struct Spawner {
    outbox: Outbox<ToSpawner>,
    starting: Rc<RefCell<Starting>>,
    next: Cell<u64>,
    /// Whether the worker ends, and the spawner with it.
    ends: Rc<Cell<bool>>,
    /// Ends with the spawner's process.
    task: Cell<Option<JoinHandle<()>>>,
}

/// A sandbox whose init runs. The program is not started yet.
pub(super) struct Sandboxed {
    pub(super) inbox: Inbox<FromSandbox>,
    pub(super) outbox: Outbox<ToSandbox>,
    /// Of the sandbox's init: when that is killed, everything of it ends.
    pub(super) init: OwnedFd,
}

impl Spawner {
    /// Starts a spawner, whose programs may run on `cores`. If it ends before this worker does, the worker ends, too: the engine
    /// starts another one.
    ///
    /// # Errors
    /// A sentence for the log.
    pub(super) fn start(cores: &[u16]) -> Result<Self, String> {
        let spawner = sandbox::Spawner::start(Path::new(OWN_PROGRAM));
        let spawner = spawner.map_err(|error| error.to_string())?;
        // This worker has one core; several processes of its function are to have all.
        if let Err(error) = spawner.run_on(cores) {
            tracing::warn!("native programs share the core of their worker: {error}");
        }
        let (channel, mut child) = spawner.into_parts();
        let (mut inbox, outbox) = link::open::<FromSpawner, ToSpawner>(channel)
            .map_err(|error| format!("the spawner's channel cannot be watched: {error}"))?;
        let starting = Rc::<RefCell<Starting>>::default();
        let ends = Rc::<Cell<bool>>::default();
        let (waiting, expected) = (Rc::clone(&starting), Rc::clone(&ends));
        let task = tokio::task::spawn_local(async move {
            loop {
                match inbox.next().await {
                    Ok(received) => answer(&waiting, received.message, received.fd),
                    Err(error @ ReceiveError::FdLost) => tracing::error!("{error}"),
                    Err(_) if expected.get() => break,
                    Err(error) => {
                        tracing::error!("the spawner of sandboxes has ended: {error}");
                        // Whatever runs in sandboxes ends with it, and nothing can be started.
                        std::process::abort();
                    }
                }
            }
            // Its status says nothing that is still of use.
            let _ = tokio::task::spawn_blocking(move || child.wait()).await;
        });
        Ok(Self { outbox, starting, next: Cell::new(0), ends, task: Cell::new(Some(task)) })
    }

    /// Ends the spawner and whatever runs in its sandboxes, and waits for both: nothing is to
    /// outlive a worker that has time.
    pub(super) async fn end(&self) {
        self.ends.set(true);
        self.outbox.close();
        if let Some(task) = self.task.take()
            && timeout(END_WAIT, task).await.is_err()
        {
            tracing::error!("the spawner of sandboxes does not end");
        }
    }

    fn number(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    /// Makes code known to the spawner. Returns its number.
    pub(super) fn register(&self, folder: OwnedFd) -> u64 {
        let code = self.number();
        self.outbox.send(ToSpawner::Code { code }, Some(folder));
        code
    }

    /// Forgets code. What runs of it goes on.
    pub(super) fn forget(&self, code: u64) {
        self.outbox.send(ToSpawner::ForgetCode { code }, None);
    }

    /// Makes a sandbox.
    ///
    /// # Errors
    /// A sentence for whoever deploys, and for the log.
    pub(super) async fn spawn(&self, sandbox: Sandbox) -> Result<Sandboxed, String> {
        let io = |error| format!("no process can be started: {error}");
        let (ours, theirs) = Channel::pair().map_err(io)?;
        let (inbox, outbox) = link::open(ours).map_err(io)?;
        let (process, (done, spawned)) = (self.number(), oneshot::channel());
        self.starting.borrow_mut().insert(process, done);
        self.outbox
            .send(ToSpawner::Spawn { process, sandbox: Box::new(sandbox) }, Some(theirs.into()));
        let init = spawned.await.unwrap_or_else(|_| Err("the spawner has ended".to_owned()))?;
        Ok(Sandboxed { inbox, outbox, init })
    }
}

fn answer(starting: &RefCell<Starting>, message: FromSpawner, fd: Option<OwnedFd>) {
    let (process, spawned) = match (message, fd) {
        (FromSpawner::Spawned { process }, Some(init)) => (process, Ok(init)),
        (FromSpawner::SpawnFailed { process, reason }, _) => (process, Err(reason)),
        // What it waited for is known by its process channel.
        (FromSpawner::Ended { .. } | FromSpawner::Spawned { .. }, _) => return,
    };
    if let Some(done) = starting.borrow_mut().remove(&process) {
        // Nobody waits any more: the pidfd is closed here, and the process channel, whose end has
        // gone with its call, ends the init.
        let _ = done.send(spawned);
    }
}
