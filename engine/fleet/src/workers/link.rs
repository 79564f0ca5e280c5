//! One worker process and the engine's end of its channel.
//!
//! A [`Link`] owns the process, the engine's end (shared with the shards), and a copy of the
//! worker's end: a message that a dead worker never received is still in that socket, and so is the
//! client's connection in it. Control messages that do not fit the queue wait here, in order. What
//! the process says on stderr before it serves is kept, too.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitStatus;
use std::rc::Rc;
use std::sync::Arc;

use abi::channel::{Channel, ReceiveBuffer, ReceiveError, Received, SendError};
use abi::message::{ToEngine, ToWorker};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

use super::last_words::{self, LastWords};
use super::spawn::{self, Binary, SpawnError};
use crate::core::fleet::WorkerId;
use crate::dispatch::WorkerHandle;

/// What happens to a worker.
#[derive(Debug)]
pub struct Event {
    pub worker: WorkerId,
    pub what: What,
}

#[derive(Debug)]
pub enum What {
    /// It said something.
    Said(Received<ToEngine>),
    /// It broke the protocol, and is not listened to any more.
    Broke(ReceiveError),
    /// Every message that waited for it has left.
    Flushed,
    /// Its process has ended.
    Ended(std::io::Result<ExitStatus>),
}

/// A message for the worker with what travels with it.
type Outgoing = (ToWorker, Option<Arc<OwnedFd>>);

#[derive(Debug)]
struct Queue {
    handle: Arc<WorkerHandle>,
    readable: AsyncFd<OwnedFd>,
    waiting: RefCell<VecDeque<Outgoing>>,
    changed: Notify,
}

/// A running worker.
#[derive(Debug)]
pub struct Link {
    pub pid: u32,
    pub handle: Arc<WorkerHandle>,
    queue: Rc<Queue>,
    worker_end: Channel,
    kill: Option<oneshot::Sender<()>>,
    tasks: [AbortHandle; 2],
    last_words: LastWords,
}

impl Link {
    /// Starts a worker and the tasks that listen to it. `handle` gets the engine's end of `pair`.
    pub fn start(
        binary: &Binary,
        (handle, worker_end): (Arc<WorkerHandle>, Channel),
        worker: WorkerId,
        events: &UnboundedSender<Event>,
    ) -> Result<Self, SpawnError> {
        let failed = |source| SpawnError::Spawn { core: handle.core, source };
        let socket = handle.channel.readiness().map_err(failed)?.into();
        // SAFETY: the fd goes with what it is registered for, and nobody else closes it.
        let readable = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        let readable = readable.map_err(|error| failed(error.into()))?;
        let mut child = spawn::spawn(binary, worker_end.as_fd(), handle.core)?;
        let last_words = last_words::listen(child.stderr.take());
        let pid = child.id().unwrap_or_default();
        let (waiting, changed) = (RefCell::default(), Notify::new());
        let queue = Rc::new(Queue { handle: Arc::clone(&handle), readable, waiting, changed });
        let (kill, killed) = oneshot::channel();
        let report = Report { worker, events: events.clone() };
        tokio::task::spawn_local(wait(
            child,
            last_words.clone(),
            killed,
            Rc::clone(&queue),
            report.clone(),
        ));
        let listen =
            tokio::task::spawn_local(listen(Rc::clone(&queue), report.clone())).abort_handle();
        let flush = tokio::task::spawn_local(flush(Rc::clone(&queue), report)).abort_handle();
        Ok(Self {
            pid,
            handle,
            queue,
            worker_end,
            kill: Some(kill),
            tasks: [listen, flush],
            last_words,
        })
    }

    /// Sends a message now, or as soon as the worker has read on. Keeps the order.
    pub fn send(&self, message: ToWorker, fd: Option<Arc<OwnedFd>>) {
        self.queue.waiting.borrow_mut().push_back((message, fd));
        if send_waiting(&self.queue).is_err() {
            self.queue.changed.notify_one();
        }
    }

    /// Whether every message has left.
    pub fn is_flushed(&self) -> bool {
        self.queue.waiting.borrow().is_empty()
    }

    /// What the process said before it served, at the end of it.
    pub fn last_words(&self) -> String {
        self.last_words.text()
    }

    /// Kills the process; [`What::Ended`] follows.
    pub fn kill(&mut self) {
        if let Some(kill) = self.kill.take() {
            let _ = kill.send(());
        }
    }

    /// After the process has ended: whatever it was sent and never received. Senders are refused
    /// first, so that nothing slips in behind the last look.
    pub fn unreceived(self) -> Vec<Received<ToWorker>> {
        let mut unreceived = Vec::new();
        if let Err(error) = self.worker_end.refuse_more() {
            tracing::error!("a dead worker's queue cannot be closed: {error}");
        }
        let mut buffer = ReceiveBuffer::default();
        while let Ok(received) = self.worker_end.receive(&mut buffer) {
            unreceived.push(received);
        }
        unreceived
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

#[derive(Clone)]
struct Report {
    worker: WorkerId,
    events: UnboundedSender<Event>,
}

impl Report {
    /// Nobody listens any more only when the node has stopped.
    fn send(&self, what: What) {
        let _ = self.events.send(Event { worker: self.worker, what });
    }
}

/// Waits for the process to end, and tells so after everything that it had said.
async fn wait(
    mut child: Child,
    last_words: LastWords,
    killed: oneshot::Receiver<()>,
    queue: Rc<Queue>,
    report: Report,
) {
    let ended = tokio::select! {
        ended = child.wait() => ended,
        _ = killed => match child.start_kill() {
            Ok(()) => child.wait().await,
            Err(error) => Err(error),
        },
    };
    last_words.said().await;
    let mut buffer = ReceiveBuffer::default();
    while let Ok(received) = queue.handle.channel.receive(&mut buffer) {
        report.send(What::Said(received));
    }
    report.send(What::Ended(ended));
}

async fn listen(queue: Rc<Queue>, report: Report) {
    let mut buffer = ReceiveBuffer::default();
    loop {
        let receive = |_: &OwnedFd| match queue.handle.channel.receive(&mut buffer) {
            Err(ReceiveError::Empty) => Err(ErrorKind::WouldBlock.into()),
            received => Ok(received),
        };
        match queue.readable.async_io(Interest::READABLE, receive).await {
            Ok(Ok(received)) => report.send(What::Said(received)),
            Ok(Err(error @ ReceiveError::FdLost)) => {
                tracing::error!("a connection that came back is lost: {error}")
            }
            Ok(Err(ReceiveError::Gone)) | Err(_) => return,
            Ok(Err(error)) => return report.send(What::Broke(error)),
        }
        tokio::task::consume_budget().await;
    }
}

struct StillWaiting;

fn send_waiting(queue: &Queue) -> Result<(), StillWaiting> {
    let mut waiting = queue.waiting.borrow_mut();
    while let Some((message, fd)) = waiting.front() {
        match queue.handle.channel.send(message, fd.as_deref().map(AsFd::as_fd)) {
            // Gone: its end is reported by the task that waits for the process.
            Ok(()) | Err(SendError::Gone) => {}
            Err(SendError::Busy) => return Err(StillWaiting),
            Err(error) => tracing::error!(
                "a message to the worker on core {} is lost: {error}",
                queue.handle.core
            ),
        }
        waiting.pop_front();
    }
    Ok(())
}

async fn flush(queue: Rc<Queue>, report: Report) {
    loop {
        queue.changed.notified().await;
        match until_sent(&queue).await {
            Ok(()) => report.send(What::Flushed),
            Err(error) => {
                return tracing::error!(
                    "the worker on core {} cannot be waited for: {error}",
                    queue.handle.core
                );
            }
        }
    }
}

/// Sends what waits as the worker reads on. Only meanwhile is its reading listened for: the kernel
/// tells of every message that it takes, also of the shards', and this thread would wake once a
/// connection for nothing.
async fn until_sent(queue: &Queue) -> std::io::Result<()> {
    let socket = queue.handle.channel.as_fd();
    // SAFETY: the fd is borrowed for as long as it is registered.
    let writable = unsafe { AsyncFd::register_with_interest(socket, Interest::WRITABLE)? };
    let send = |_: &_| send_waiting(queue).map_err(|StillWaiting| ErrorKind::WouldBlock.into());
    writable.async_io(Interest::WRITABLE, send).await
}
