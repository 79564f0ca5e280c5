//! One end of a channel, to the engine or to a sandbox: an inbox and an outbox over one socket.
//!
//! The inbox waits for messages. The outbox sends at once if it can, and otherwise keeps messages
//! in order until the peer has read on. Both share the channel, which lives as long as either. The
//! outbox owns the fds of unsent messages.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::marker::PhantomData;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use abi::channel::{Channel, Incoming, Outgoing, ReceiveBuffer, ReceiveError, Received, SendError};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// The channel, and tokio's handle on whether it is readable or writable.
struct Link {
    channel: Channel,
    ready: UnixDatagram,
}

/// Returns both halves of this end.
pub(crate) fn open<I: Incoming, O: Outgoing + 'static>(
    channel: Channel,
) -> std::io::Result<(Inbox<I>, Outbox<O>)> {
    let ready = UnixDatagram::from_std(channel.readiness()?)?;
    let link = Rc::new(Link { channel, ready });
    let (waiting, flushing) = (RefCell::default(), Cell::new(false));
    let queue = Rc::new(Queue { link: Rc::clone(&link), waiting, flushing });
    let inbox = Inbox { link, buffer: ReceiveBuffer::default(), messages: PhantomData };
    Ok((inbox, Outbox(queue)))
}

/// The receiving half: messages from the peer.
pub(crate) struct Inbox<I> {
    link: Rc<Link>,
    buffer: ReceiveBuffer,
    messages: PhantomData<I>,
}

impl<I: Incoming> Inbox<I> {
    /// Returns the next message. Cancel safe: no message is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<Received<I>, ReceiveError> {
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

struct Queue<O> {
    link: Rc<Link>,
    waiting: RefCell<VecDeque<(O, Option<OwnedFd>)>>,
    /// Whether a task waits for room in the channel, and sends what waits.
    flushing: Cell<bool>,
}

/// The sending half: messages to the peer. Cheap to clone.
pub(crate) struct Outbox<O>(Rc<Queue<O>>);

impl<O> Clone for Outbox<O> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<O: Outgoing + 'static> Outbox<O> {
    /// Sends a message and its fd at once, or as soon as the peer has read on. Messages keep
    /// their order.
    pub(crate) fn send(&self, message: O, fd: Option<OwnedFd>) {
        self.0.waiting.borrow_mut().push_back((message, fd));
        if send_waiting(&self.0).is_err() && !self.0.flushing.replace(true) {
            let queue = Rc::clone(&self.0);
            tokio::task::spawn_local(async move {
                // An error is the peer's end, which the inbox notices, too.
                let _ = queue.flushed().await;
                queue.flushing.set(false);
            });
        }
    }

    /// Resolves when every message has been sent, or the peer has gone.
    pub(crate) async fn flushed(&self) {
        // An error is the peer's end, which the inbox notices, too.
        let _ = self.0.flushed().await;
    }

    /// Ends the sending half, although others may have it. The peer reads the end of the channel.
    pub(crate) fn close(&self) {
        // An error is the peer's end, which the inbox notices, too.
        let _ = self.0.link.ready.shutdown(Shutdown::Write);
    }
}

impl<O: Outgoing> Queue<O> {
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
fn send_waiting<O: Outgoing>(queue: &Queue<O>) -> Result<(), StillWaiting> {
    let mut waiting = queue.waiting.borrow_mut();
    while let Some((message, fd)) = waiting.front() {
        match queue.link.channel.send(message, fd.as_ref().map(AsFd::as_fd)) {
            // The peer is gone: the inbox notices that too.
            Ok(()) | Err(SendError::Gone) => {}
            Err(SendError::Busy) => return Err(StillWaiting),
            Err(error) => tracing::error!("a message is lost: {error}"),
        }
        waiting.pop_front();
    }
    Ok(())
}
