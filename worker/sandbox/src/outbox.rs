//! Messages that wait for their receiver: a channel never blocks, and nothing may be lost.
//!
//! An [`Outbox`] owns the fds of what waits; one is closed here once its message is sent.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use abi::channel::{Channel, SendError};
use abi::sandbox::{FromSandbox, FromSpawner};

/// A message that a [`Channel`] can send.
pub(crate) trait Send {
    /// Sends it, with its fd if it has one.
    fn send(&self, channel: &Channel, fd: Option<&OwnedFd>) -> Result<(), SendError>;
}

impl Send for FromSpawner {
    fn send(&self, channel: &Channel, fd: Option<&OwnedFd>) -> Result<(), SendError> {
        channel.send(self, fd.map(|fd| fd.as_fd()))
    }
}

impl Send for FromSandbox {
    fn send(&self, channel: &Channel, fd: Option<&OwnedFd>) -> Result<(), SendError> {
        channel.send(self, fd.map(|fd| fd.as_fd()))
    }
}

/// What is to be sent on one channel, in order.
#[derive(Debug)]
pub(crate) struct Outbox<M> {
    waiting: VecDeque<(M, Option<OwnedFd>)>,
}

impl<M: Send> Outbox<M> {
    /// Returns an empty one.
    pub(crate) fn new() -> Self {
        Self { waiting: VecDeque::new() }
    }

    /// Sends `message` on `channel` behind everything that waits, now or by a later
    /// [`Self::flush`].
    ///
    /// # Errors
    /// A broken pipe if the receiver has gone.
    pub(crate) fn send(
        &mut self,
        channel: &Channel,
        message: M,
        fd: Option<OwnedFd>,
    ) -> io::Result<()> {
        self.waiting.push_back((message, fd));
        self.flush(channel)
    }

    /// Sends what waits, until the receiver's queue is full.
    ///
    /// # Errors
    /// A broken pipe if the receiver has gone.
    pub(crate) fn flush(&mut self, channel: &Channel) -> io::Result<()> {
        while let Some((message, fd)) = self.waiting.front() {
            match message.send(channel, fd.as_ref()) {
                Ok(()) => drop(self.waiting.pop_front()),
                Err(SendError::Busy) => return Ok(()),
                Err(error @ SendError::Gone) => {
                    return Err(io::Error::new(io::ErrorKind::BrokenPipe, error));
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(())
    }

    /// Returns how many messages wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}
