//! One worker process and the engine's end of its channel.
//!
//! A [`Link`] owns the process, the engine's end (shared with the shards), and a copy of the
//! worker's end. A message that a dead worker never received is still in that socket, and so is the
//! client's connection in it. Control messages that do not fit into the channel wait here, in
//! order. What the process writes on stderr before it serves is kept, too.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitStatus;
use std::rc::Rc;
use std::sync::Arc;

use abi::channel::{Channel, ReceiveBuffer, ReceiveError, Received, SendError};
use abi::huge_pages::Pages;
use abi::limits::FUNCTIONS_MAX;
use abi::message::{ToEngine, ToWorker};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;
use tokio::sync::mpsc::Sender;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

use super::last_words::{self, LastWords};
use super::spawn::{self, Binary, Fate, SpawnError};
use crate::core::fleet::WorkerId;
use crate::dispatch::WorkerHandle;

/// Something that has happened to a worker.
#[derive(Debug)]
pub struct Event {
    pub worker: WorkerId,
    pub kind: EventKind,
}

/// What has happened to a worker.
#[derive(Debug)]
pub enum EventKind {
    /// It has sent a message.
    Message(Received<ToEngine>),
    /// It has broken the protocol, and is not listened to any more.
    ProtocolError(ReceiveError),
    /// Every message that waited for it has left.
    Flushed,
    /// Its process has exited, and all its messages were reported before.
    Exited(std::io::Result<ExitStatus>),
}

/// Messages that wait for one worker. A worker requests the module and the secrets of each function
/// once, so one that reads has no more even if it has just started and everything is called at
/// once. One that requests more and more and reads none of it is killed before it costs the
/// engine's memory.
const WAITING_MAX: usize = 2 * FUNCTIONS_MAX + 1024;

/// A message for the worker, and the fd that goes with it.
type Outgoing = (ToWorker, Option<Arc<OwnedFd>>);

/// The engine's end of the channel, and the messages that wait for room in it.
#[derive(Debug)]
struct Queue {
    handle: Arc<WorkerHandle>,
    readable: AsyncFd<OwnedFd>,
    waiting: RefCell<VecDeque<Outgoing>>,
    changed: Notify,
}

/// A worker process and the engine's end of its channel.
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
    /// Starts a worker and the tasks that serve its channel. `handle` has the engine's end of it.
    ///
    /// # Errors
    /// Returns an error if the kernel refuses.
    pub fn start(
        binary: &Binary,
        (handle, worker_end): (Arc<WorkerHandle>, Channel),
        (worker, pages, fate): (WorkerId, Pages, Fate),
        events: &Sender<Event>,
    ) -> Result<Self, SpawnError> {
        let failed = |source| SpawnError::Spawn { core: handle.core, source };
        let socket = handle.channel.readiness().map_err(failed)?.into();
        // SAFETY: the fd goes with what it is registered for, and nobody else closes it.
        let readable = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        let readable = readable.map_err(|error| failed(error.into()))?;
        let mut child = spawn::spawn(binary, worker_end.as_fd(), handle.core, (pages, fate))?;
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

    /// Sends a message now, or as soon as the worker has read on. Keeps the order. Kills a worker
    /// that has let too many wait.
    pub fn send(&mut self, message: ToWorker, fd: Option<Arc<OwnedFd>>) {
        self.queue.waiting.borrow_mut().push_back((message, fd));
        if send_waiting(&self.queue).is_err() {
            self.queue.changed.notify_one();
        }
        if self.queue.waiting.borrow().len() > WAITING_MAX && self.kill.is_some() {
            tracing::error!(
                "worker {} on core {} is killed: {WAITING_MAX} messages wait for it",
                self.pid,
                self.handle.core
            );
            self.kill();
        }
    }

    /// Returns whether every message has left.
    pub fn is_flushed(&self) -> bool {
        self.queue.waiting.borrow().is_empty()
    }

    /// Returns the end of what the process wrote on stderr before it served.
    pub fn last_words(&self) -> String {
        self.last_words.text()
    }

    /// Kills the process. [`EventKind::Exited`] follows.
    pub fn kill(&mut self) {
        if let Some(kill) = self.kill.take() {
            let _ = kill.send(());
        }
    }

    /// Returns the messages that the process was sent and never received. Call it after the process
    /// has exited.
    pub fn unreceived(self) -> Vec<Received<ToWorker>> {
        let mut unreceived = Vec::new();
        // Senders are refused first, so that nothing arrives behind the last look.
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

/// Reports what happens to one worker.
#[derive(Clone)]
struct Report {
    worker: WorkerId,
    events: Sender<Event>,
}

impl Report {
    /// Reports when there is room for it.
    async fn send(&self, kind: EventKind) {
        // This fails only when the node has stopped.
        let _ = self.events.send(Event { worker: self.worker, kind }).await;
    }
}

/// Waits for the process to exit, and reports that after every message that it has sent.
async fn wait(
    mut child: Child,
    last_words: LastWords,
    killed: oneshot::Receiver<()>,
    queue: Rc<Queue>,
    report: Report,
) {
    let status = tokio::select! {
        status = child.wait() => status,
        // An edge that is released is not killed: its link is dropped, and with it the sender.
        Ok(()) = killed => match child.start_kill() {
            Ok(()) => child.wait().await,
            Err(error) => Err(error),
        },
    };
    last_words.complete().await;
    let mut buffer = ReceiveBuffer::default();
    loop {
        // Room first, as in `listen`: each message is reported at the moment it is received, so
        // that the two tasks keep their order.
        let Ok(room) = report.events.reserve().await else { return };
        let send = |kind| room.send(Event { worker: report.worker, kind });
        match queue.handle.channel.receive(&mut buffer) {
            Ok(received) => send(EventKind::Message(received)),
            // Only this one is lost; what is behind it may be connections.
            Err(ReceiveError::FdLost) => {}
            Err(_) => return send(EventKind::Exited(status)),
        }
    }
}

/// Reports the worker's messages. While there is no room for a report, messages stay in the
/// channel, and the worker waits when that is full.
async fn listen(queue: Rc<Queue>, report: Report) {
    let mut buffer = ReceiveBuffer::default();
    loop {
        let Ok(mut ready) = queue.readable.readable().await else { return };
        // Room first: this task is aborted when the process has ended, and a message that was
        // received and waits for room would be lost then, with the connection in it.
        let Ok(room) = report.events.reserve().await else { return };
        let received = ready.try_io(|_| match queue.handle.channel.receive(&mut buffer) {
            Err(ReceiveError::Empty) => Err(ErrorKind::WouldBlock.into()),
            received => Ok(received),
        });
        let send = |kind| room.send(Event { worker: report.worker, kind });
        match received {
            // There was no message after all.
            Err(_) => {}
            Ok(Ok(Ok(received))) => send(EventKind::Message(received)),
            Ok(Ok(Err(error @ ReceiveError::FdLost))) => {
                tracing::error!("a connection that came back is lost: {error}")
            }
            Ok(Ok(Err(ReceiveError::Gone)) | Err(_)) => return,
            Ok(Ok(Err(error))) => return send(EventKind::ProtocolError(error)),
        }
        tokio::task::consume_budget().await;
    }
}

/// Messages are left, because the channel is full.
struct StillWaiting;

/// Sends the messages that wait.
fn send_waiting(queue: &Queue) -> Result<(), StillWaiting> {
    let mut waiting = queue.waiting.borrow_mut();
    while let Some((message, fd)) = waiting.front() {
        match queue.handle.channel.send(message, fd.as_deref().map(AsFd::as_fd)) {
            // If the worker is gone, the task that waits for the process reports that.
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

/// Sends what waits whenever something does, and reports when it has left.
async fn flush(queue: Rc<Queue>, report: Report) {
    loop {
        queue.changed.notified().await;
        match until_sent(&queue).await {
            Ok(()) => report.send(EventKind::Flushed).await,
            Err(error) => {
                return tracing::error!(
                    "the worker on core {} cannot be waited for: {error}",
                    queue.handle.core
                );
            }
        }
    }
}

/// Sends what waits as the worker reads on. The socket is registered only meanwhile, because the
/// kernel reports every message that the worker takes. Many are from shards, and this thread would
/// wake once for each connection.
async fn until_sent(queue: &Queue) -> std::io::Result<()> {
    let socket = queue.handle.channel.as_fd();
    // SAFETY: the fd is borrowed for as long as it is registered.
    let writable = unsafe { AsyncFd::register_with_interest(socket, Interest::WRITABLE)? };
    let send = |_: &_| send_waiting(queue).map_err(|StillWaiting| ErrorKind::WouldBlock.into());
    writable.async_io(Interest::WRITABLE, send).await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use abi::board::Board;
    use tokio::sync::mpsc::channel;

    use super::*;

    fn queue() -> (Rc<Queue>, Channel) {
        let (channel, worker_end) = Channel::pair().unwrap();
        let (board, _) = Board::create().unwrap();
        let socket = channel.readiness().unwrap().into();
        // SAFETY: the fd goes with what it is registered for, and nobody else closes it.
        let readable = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        let handle = WorkerHandle {
            channel,
            core: 0,
            row: 0,
            board: Arc::new(board),
            sent: AtomicU64::new(0),
            connections_max: 1,
        };
        let queue = Queue {
            handle: Arc::new(handle),
            readable: readable.unwrap(),
            waiting: RefCell::default(),
            changed: Notify::new(),
        };
        (Rc::new(queue), worker_end)
    }

    #[tokio::test]
    async fn a_message_for_which_there_is_no_room_stays_in_the_channel() {
        let (queue, worker_end) = queue();
        let (events, mut reported) = channel(1);
        let report = Report { worker: WorkerId { slot: 0, incarnation: 1 }, events };
        let generation = |event: Event| match event.kind {
            EventKind::Message(Received { message: ToEngine::Applied { generation }, .. }) => {
                generation
            }
            other => panic!("{other:?}"),
        };
        for generation in 0..4 {
            worker_end.send(&ToEngine::Applied { generation }, None).unwrap();
        }
        let mut rest = Vec::new();
        let mut buffer = ReceiveBuffer::default();
        tokio::task::LocalSet::new()
            .run_until(async {
                let listening = tokio::task::spawn_local(listen(Rc::clone(&queue), report));
                assert_eq!(generation(reported.recv().await.unwrap()), 0);
                // The next is reported, and for the one behind it there is no room.
                while reported.is_empty() {
                    tokio::task::yield_now().await;
                }
                listening.abort();
                assert!(listening.await.unwrap_err().is_cancelled());
                assert_eq!(generation(reported.recv().await.unwrap()), 1);
                while let Ok(received) = queue.handle.channel.receive::<ToEngine>(&mut buffer) {
                    rest.push(received.message);
                }
            })
            .await;
        assert_eq!(rest, [2, 3].map(|generation| ToEngine::Applied { generation }));
    }
}
