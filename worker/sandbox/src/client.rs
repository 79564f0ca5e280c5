//! A small blocking client of a spawner, for tests and measurements; a worker drives its channels
//! itself. A [`Process`] owns its channel, its pidfd and whatever fds its init has sent.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use abi::channel::{Channel, ReceiveBuffer, ReceiveError, SendError};
use abi::sandbox::{FromSandbox, FromSpawner, Sandbox, ToSandbox, ToSpawner};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::{Mode, OFlags, open};

use crate::start::{Spawner, StartError};

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no spawner.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A request could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// An answer could not be received.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// Something else that the kernel said.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The spawner made no sandbox.
    #[error("no sandbox was made: {0}")]
    SpawnFailed(String),
    /// Nothing came in time.
    #[error("no answer came within {ANSWER_TIMEOUT:?}")]
    Timeout,
    /// Something else came.
    #[error("the answer was {0}")]
    Unexpected(String),
}

/// A spawner with its buffers.
#[derive(Debug)]
pub struct Client {
    spawner: Spawner,
    buffer: ReceiveBuffer,
    next_process: u64,
    ended: Vec<u64>,
}

/// A process in a sandbox.
#[derive(Debug)]
pub struct Process {
    /// What the spawner calls it.
    pub number: u64,
    /// The process channel.
    pub channel: Channel,
    /// That of the init.
    pub pidfd: OwnedFd,
    buffer: ReceiveBuffer,
}

/// Receives the next message, waiting for it.
macro_rules! receive {
    ($channel:expr, $buffer:expr, $kind:ty) => {{
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            match $channel.receive::<$kind>($buffer) {
                Err(ReceiveError::Empty) => wait_until($channel, deadline)?,
                other => break other.map_err(ClientError::from),
            }
        }
    }};
}

/// Waits until `channel` has something to receive.
fn wait_until(channel: &Channel, deadline: Instant) -> Result<(), ClientError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ClientError::Timeout);
    }
    let mut fds = [PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    poll(&mut fds, timeout).map_err(io::Error::from)?;
    Ok(())
}

impl Client {
    /// Starts a spawner that executes `program`.
    ///
    /// # Errors
    /// As of [`Spawner::start`].
    pub fn start(program: &Path) -> Result<Self, ClientError> {
        let spawner = Spawner::start(program)?;
        Ok(Self { spawner, buffer: ReceiveBuffer::default(), next_process: 1, ended: Vec::new() })
    }

    /// Returns the spawner.
    #[must_use]
    pub fn spawner(&self) -> &Spawner {
        &self.spawner
    }

    /// Gives the spawner a folder of code.
    ///
    /// # Errors
    /// When the folder is none, or the spawner has gone.
    pub fn add_code(&self, code: u64, folder: &Path) -> Result<(), ClientError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = open(folder, flags, Mode::empty()).map_err(io::Error::from)?;
        Ok(self.spawner.channel().send(&ToSpawner::Code { code }, Some(folder.as_fd()))?)
    }

    /// Makes a sandbox, and waits until its init runs.
    ///
    /// # Errors
    /// [`ClientError::SpawnFailed`] with the spawner's reason, and others.
    pub fn spawn(&mut self, sandbox: &Sandbox) -> Result<Process, ClientError> {
        let (channel, far) = Channel::pair()?;
        let number = self.next_process;
        self.next_process += 1;
        let message = ToSpawner::Spawn { process: number, sandbox: Box::new(sandbox.clone()) };
        self.spawner.channel().send(&message, Some(far.as_fd()))?;
        drop(far);
        loop {
            let received = receive!(self.spawner.channel(), &mut self.buffer, FromSpawner)?;
            match (received.message, received.fd) {
                (FromSpawner::Spawned { process }, Some(pidfd)) if process == number => {
                    return Ok(Process {
                        number,
                        channel,
                        pidfd,
                        buffer: ReceiveBuffer::default(),
                    });
                }
                (FromSpawner::SpawnFailed { process, reason }, _) if process == number => {
                    return Err(ClientError::SpawnFailed(reason));
                }
                (FromSpawner::Ended { process }, _) => self.ended.push(process),
                (other, _) => return Err(ClientError::Unexpected(format!("{other:?}"))),
            }
        }
    }

    /// Waits until nothing is left of a process.
    ///
    /// # Errors
    /// When that is not told in time.
    pub fn wait_ended(&mut self, number: u64) -> Result<(), ClientError> {
        while !self.ended.contains(&number) {
            let received = receive!(self.spawner.channel(), &mut self.buffer, FromSpawner)?;
            match received.message {
                FromSpawner::Ended { process } => self.ended.push(process),
                other => return Err(ClientError::Unexpected(format!("{other:?}"))),
            }
        }
        Ok(())
    }

    /// Ends the spawner and all its sandboxes. Returns its exit status.
    ///
    /// # Errors
    /// When its status cannot be had.
    pub fn end(self) -> io::Result<std::process::ExitStatus> {
        self.spawner.end()
    }
}

impl Process {
    /// Sends a message to the init.
    ///
    /// # Errors
    /// When it has gone.
    pub fn send(&self, message: &ToSandbox) -> Result<(), ClientError> {
        Ok(self.channel.send(message, None)?)
    }

    /// Returns the next message of the init, and its fd.
    ///
    /// # Errors
    /// [`ReceiveError::Gone`] once the init has ended and everything was received, and others.
    pub fn receive(&mut self) -> Result<(FromSandbox, Option<OwnedFd>), ClientError> {
        let received = receive!(&self.channel, &mut self.buffer, FromSandbox)?;
        Ok((received.message, received.fd))
    }

    /// Connects to a port inside.
    ///
    /// # Errors
    /// What the kernel said, and others.
    pub fn connect(&mut self, ticket: u64, port: u16) -> Result<TcpStream, ClientError> {
        self.send(&ToSandbox::Connect { ticket, port })?;
        match self.receive()? {
            (FromSandbox::Connection { ticket: answered }, Some(fd)) if answered == ticket => {
                let stream = TcpStream::from(fd);
                stream.set_nonblocking(false)?;
                Ok(stream)
            }
            (FromSandbox::ConnectFailed { errno, .. }, _) => {
                Err(io::Error::from_raw_os_error(errno).into())
            }
            (other, _) => Err(ClientError::Unexpected(format!("{other:?}"))),
        }
    }
}

/// Returns a listener, in blocking mode, of an fd that came with [`FromSandbox::Listener`].
///
/// # Errors
/// When it is none.
pub fn listener(fd: OwnedFd) -> io::Result<TcpListener> {
    let listener = TcpListener::from(fd);
    listener.set_nonblocking(false)?;
    Ok(listener)
}
