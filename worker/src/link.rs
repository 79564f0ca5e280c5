//! The worker's end of the channel: an inbox and an outbox over one socket.
//!
//! The inbox waits for messages. The outbox sends at once if it can, and otherwise keeps messages
//! in order until the engine has read on. Both share the channel, which lives as long as either.
//! The outbox owns the fds of unsent messages.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use abi::channel::{Channel, ReceiveBuffer, ReceiveError, Received, SendError};
use abi::message::{ToEngine, ToWorker};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::Notify;

/// The channel, and tokio's handle on whether it is readable or writable.
struct Link {
    channel: Channel,
    ready: UnixDatagram,
}

/// Returns both halves of the worker's end.
pub(crate) fn open(channel: Channel) -> std::io::Result<(Inbox, Outbox)> {
    let ready = UnixDatagram::from_std(channel.readiness()?)?;
    let link = Rc::new(Link { channel, ready });
    let queue = Rc::new(Queue {
        link: Rc::clone(&link),
        waiting: RefCell::default(),
        added: Notify::new(),
    });
    tokio::task::spawn_local(flush(Rc::clone(&queue)));
    Ok((Inbox { link, buffer: ReceiveBuffer::default() }, Outbox(queue)))
}

/// The receiving half: messages from the engine.
pub(crate) struct Inbox {
    link: Rc<Link>,
    buffer: ReceiveBuffer,
}

impl Inbox {
    /// Returns the next message. Cancel safe: no message is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<Received<ToWorker>, ReceiveError> {
        // A flood of messages must not keep connections from being served.
        tokio::task::consume_budget().await;
        loop {
            let Link { channel, ready } = &*self.link;
            let received =
                ready.try_io(Interest::READABLE, || match channel.receive(&mut self.buffer) {
                    Err(ReceiveError::Empty) => Err(ErrorKind::WouldBlock.into()),
                    received => Ok(received),
                });
            match received {
                Ok(received) => return received,
                Err(_) => ready.readable().await.map_err(ReceiveError::Io)?,
            }
        }
    }
}

struct Queue {
    link: Rc<Link>,
    waiting: RefCell<VecDeque<(ToEngine, Option<OwnedFd>)>>,
    added: Notify,
}

/// The sending half: messages to the engine. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outbox(Rc<Queue>);

impl Outbox {
    /// Sends a message and its fd at once, or as soon as the engine has read on. Messages keep
    /// their order.
    pub(crate) fn send(&self, message: ToEngine, fd: Option<OwnedFd>) {
        self.0.waiting.borrow_mut().push_back((message, fd));
        if send_waiting(&self.0).is_err() {
            self.0.added.notify_one();
        }
    }

    /// Resolves when every message has been sent, or the engine has gone.
    pub(crate) async fn flushed(&self) {
        // An error is the engine's end, which the inbox notices, too.
        let _ = self.0.flushed().await;
    }
}

impl Queue {
    /// Resolves when every message has been sent.
    ///
    /// # Errors
    /// If the channel cannot be watched any more.
    async fn flushed(&self) -> std::io::Result<()> {
        // A full channel is nothing to wait for if no message waits.
        if send_waiting(self).is_ok() {
            return Ok(());
        }
        loop {
            self.link.ready.writable().await?;
            // tokio takes the channel for writable until a try by `try_io` says that it is not.
            let sent = self.link.ready.try_io(Interest::WRITABLE, || {
                send_waiting(self).map_err(|StillWaiting| ErrorKind::WouldBlock.into())
            });
            if sent.is_ok() {
                return Ok(());
            }
        }
    }
}

struct StillWaiting;

/// Sends the messages that can be sent without waiting.
fn send_waiting(queue: &Queue) -> Result<(), StillWaiting> {
    let mut waiting = queue.waiting.borrow_mut();
    while let Some((message, fd)) = waiting.front() {
        match queue.link.channel.send(message, fd.as_ref().map(AsFd::as_fd)) {
            // The engine is gone: the inbox notices that too, and ends the worker.
            Ok(()) | Err(SendError::Gone) => {}
            Err(SendError::Busy) => return Err(StillWaiting),
            Err(error) => tracing::error!("a message to the engine is lost: {error}"),
        }
        waiting.pop_front();
    }
    Ok(())
}

/// Sends the messages that the channel had no room for. Returns when the engine has gone.
async fn flush(queue: Rc<Queue>) {
    loop {
        queue.added.notified().await;
        if queue.flushed().await.is_err() {
            return;
        }
    }
}
