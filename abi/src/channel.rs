//! The SEQPACKET channel between engine and worker, with fd passing.
//!
//! One message is one packet with its fd (SCM_RIGHTS, unix(7)): packets neither merge nor split.
//! Sending never blocks: a full queue is [`SendError::Busy`] and the caller chooses what that
//! means. A received fd is an `OwnedFd` before anything else is looked at, so every error path
//! closes it. A [`Channel`] owns its socket.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, Shutdown, SockFlag, SockType, recvmsg,
    setsockopt, shutdown, socketpair, sockopt,
};
use rkyv::Portable;
use rkyv::api::high::{HighDeserializer, HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Error as ArchiveError;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;
use sendfd::SendWithFd;

use crate::envelope::{self, EnvelopeError};
use crate::limits::{FDS_PER_MESSAGE_MAX, MESSAGE_BYTES_MAX};

/// A direction of the channel.
pub trait Message: Sized {
    /// How many fds travel with this message: 0 or 1.
    fn fd_count(&self) -> usize;

    /// Checks what the type cannot say: lengths against their limits. Called on receipt.
    ///
    /// # Errors
    /// Which field is beyond which limit.
    fn check(&self) -> Result<(), &'static str>;
}

/// A message that can be sent.
pub trait Outgoing:
    Message + for<'a> rkyv::Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, ArchiveError>>
{
}

impl<M> Outgoing for M where
    M: Message + for<'a> rkyv::Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, ArchiveError>>
{
}

/// A message that can be received: its bytes are checked before they are read.
pub trait Incoming:
    Message
    + rkyv::Archive<
        Archived: Portable
                      + for<'a> CheckBytes<HighValidator<'a, ArchiveError>>
                      + rkyv::Deserialize<Self, HighDeserializer<ArchiveError>>,
    >
{
}

impl<M> Incoming for M where
    M: Message
        + rkyv::Archive<
            Archived: Portable
                          + for<'a> CheckBytes<HighValidator<'a, ArchiveError>>
                          + rkyv::Deserialize<Self, HighDeserializer<ArchiveError>>,
        >
{
}

/// Asked of the kernel for the queue of either side; it may grant less (net.core.wmem_max).
const QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// The most fds in one message (SCM_MAX_FD, unix(7)).
const SCM_MAX_FDS: usize = 253;

/// Why a message was not sent. The fd stays with the caller in every case.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The peer's queue is full: try another worker, or later.
    #[error("the peer's queue is full")]
    Busy,
    /// The peer has gone.
    #[error("the peer has gone")]
    Gone,
    /// The message cannot be archived or is larger than [`MESSAGE_BYTES_MAX`].
    #[error("a message of {length} bytes is larger than {MESSAGE_BYTES_MAX}")]
    TooLarge {
        /// Its length in bytes.
        length: usize,
    },
    /// The message could not be archived.
    #[error("the message could not be archived: {0}")]
    Archive(#[from] EnvelopeError),
    /// The caller brought an fd to a message that has none, or none to one that needs it.
    #[error("the message carries {expected} fds, {given} were given")]
    Fds {
        /// What the message's type says.
        expected: usize,
        /// What the caller brought.
        given: usize,
    },
    /// Anything else the kernel said.
    #[error("sending to the peer failed: {0}")]
    Io(#[source] io::Error),
}

/// Why no message was received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// Nothing there now.
    #[error("no message is waiting")]
    Empty,
    /// The peer has closed its end, and everything it sent was received.
    #[error("the peer has gone")]
    Gone,
    /// The peer broke the protocol: it must not be talked to any more.
    #[error("the peer sent a message that breaks the protocol: {0}")]
    Malformed(String),
    /// A message came without its fd: this process has as many as it may. What the fd stood for is
    /// lost, the peer is not at fault.
    #[error(
        "a message's file descriptor is lost, because this process has as many as it may; raise `ulimit -n`"
    )]
    FdLost,
    /// Anything else the kernel said.
    #[error("receiving from the peer failed: {0}")]
    Io(#[source] io::Error),
}

/// One end of the channel. Non-blocking. Any number of threads may send on one end.
#[derive(Debug)]
pub struct Channel {
    // A SEQPACKET socket in a datagram's type: sendfd's trait is on the latter, and the calls are
    // the same.
    socket: UnixDatagram,
}

/// A message and the fd that came with it.
#[derive(Debug)]
pub struct Received<M> {
    /// The message, checked against its limits.
    pub message: M,
    /// Present exactly when [`Message::fd_count`] is 1.
    pub fd: Option<OwnedFd>,
}

impl Channel {
    /// Two connected ends, both non-blocking and close-on-exec.
    ///
    /// # Errors
    /// When the kernel has no sockets left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        for end in [&a, &b] {
            // Beyond net.core.wmem_max only with CAP_NET_ADMIN; without it the kernel's own limit
            // has to do.
            let forced = setsockopt(end, sockopt::SndBufForce, &QUEUE_BYTES);
            forced.or_else(|_| setsockopt(end, sockopt::SndBuf, &QUEUE_BYTES))?;
        }
        Ok((Self::from(a), Self::from(b)))
    }

    /// Sends `message`, and a copy of `fd` where the message carries one. Never blocks.
    ///
    /// # Errors
    /// [`SendError`]; after [`SendError::Gone`] no later send succeeds.
    pub fn send<M: Outgoing>(
        &self,
        message: &M,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), SendError> {
        let (expected, given) = (message.fd_count(), usize::from(fd.is_some()));
        if expected != given {
            return Err(SendError::Fds { expected, given });
        }
        self.send_packet(&envelope::pack(message)?, fd)
    }

    /// Sends a packet that is no [`Message`], for peers that may be of another build. Never blocks.
    ///
    /// # Errors
    /// As of [`Self::send`].
    pub fn send_packet(&self, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), SendError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(SendError::TooLarge { length: bytes.len() });
        }
        let sent = match fd {
            Some(fd) => self.socket.send_with_fd(bytes, &[fd.as_raw_fd()]),
            None => self.socket.send(bytes),
        };
        match sent {
            Ok(_) => Ok(()),
            Err(error) => Err(match error.raw_os_error().map(Errno::from_raw) {
                // ETOOMANYREFS: too many of this user's fds are in flight (unix(7)); it passes as
                // they are received.
                Some(Errno::EAGAIN | Errno::ENOBUFS | Errno::ETOOMANYREFS) => SendError::Busy,
                Some(Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN | Errno::ECONNREFUSED) => {
                    SendError::Gone
                }
                _ => SendError::Io(error),
            }),
        }
    }

    /// Receives one message into `buffer`. Never blocks.
    ///
    /// # Errors
    /// [`ReceiveError`]; whatever fd came with a malformed message is closed.
    pub fn receive<M: Incoming>(
        &self,
        buffer: &mut ReceiveBuffer,
    ) -> Result<Received<M>, ReceiveError> {
        let (length, fd) = self.receive_packet(buffer)?;
        let malformed = |what: &dyn std::fmt::Display| ReceiveError::Malformed(what.to_string());
        let archive = envelope::archive_of(&buffer.bytes[..length]).map_err(|e| malformed(&e))?;
        let message: M = rkyv::from_bytes(archive).map_err(|e: ArchiveError| malformed(&e))?;
        message.check().map_err(|e| malformed(&e))?;
        if message.fd_count() != usize::from(fd.is_some()) {
            return Err(malformed(&"it came with another number of fds than its kind has"));
        }
        Ok(Received { message, fd })
    }

    /// Receives a packet that is no [`Message`] into `buffer`, and gives its length. Never blocks.
    ///
    /// # Errors
    /// As of [`Self::receive`].
    pub fn receive_packet(
        &self,
        buffer: &mut ReceiveBuffer,
    ) -> Result<(usize, Option<OwnedFd>), ReceiveError> {
        // Room for as many fds as the kernel passes at once: with less it truncates, and nix then
        // gives none of those that were installed, which nobody would ever close.
        let mut control = nix::cmsg_space!([i32; SCM_MAX_FDS]);
        let mut parts = [IoSliceMut::new(&mut buffer.bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let received =
            recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut control), flags);
        let received = match received {
            Ok(received) => received,
            Err(Errno::EAGAIN) => return Err(ReceiveError::Empty),
            Err(Errno::ECONNRESET) => return Err(ReceiveError::Gone),
            Err(errno) => return Err(ReceiveError::Io(errno.into())),
        };
        // Own every fd first: from here on each return closes what it does not hand over.
        let mut fds = Vec::new();
        if let Ok(messages) = received.cmsgs() {
            for message in messages {
                if let ControlMessageOwned::ScmRights(raw) = message {
                    // SAFETY: the kernel has just installed these fds in this process for us, and
                    // nobody else knows of them.
                    fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                }
            }
        }
        // With room for all that can be sent, the kernel cuts fds short only where it could not
        // give this process another.
        if received.flags.contains(MsgFlags::MSG_CTRUNC) && fds.is_empty() {
            return Err(ReceiveError::FdLost);
        }
        if received.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
            return Err(ReceiveError::Malformed(
                "it is larger, or carries more fds, than any message of ours".into(),
            ));
        }
        if received.bytes == 0 && fds.is_empty() {
            return Err(ReceiveError::Gone);
        }
        if fds.len() > FDS_PER_MESSAGE_MAX {
            return Err(ReceiveError::Malformed(format!("it carries {} fds", fds.len())));
        }
        Ok((received.bytes, fds.pop()))
    }

    /// Refuses everything the peer sends from now on; what it sent before can still be received.
    ///
    /// # Errors
    /// Never for a connected end.
    pub fn refuse_more(&self) -> io::Result<()> {
        Ok(shutdown(self.socket.as_raw_fd(), Shutdown::Read)?)
    }
}

impl Channel {
    /// A second fd for the same end, for an event loop to wait on. Everything is sent and received
    /// on the first.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn readiness(&self) -> io::Result<UnixDatagram> {
        self.socket.try_clone()
    }
}

impl From<OwnedFd> for Channel {
    /// Takes over one end, which must be a connected SEQPACKET socket in non-blocking mode.
    fn from(fd: OwnedFd) -> Self {
        Self { socket: fd.into() }
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.socket.into()
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> i32 {
        self.socket.as_raw_fd()
    }
}

/// Where messages are received into: aligned for the archive, one a receiver, used again for each
/// message.
#[derive(Debug)]
pub struct ReceiveBuffer {
    bytes: AlignedVec,
}

impl ReceiveBuffer {
    /// Everything, as far as the last packet reached and beyond.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Default for ReceiveBuffer {
    fn default() -> Self {
        let mut bytes = AlignedVec::with_capacity(MESSAGE_BYTES_MAX);
        bytes.resize(MESSAGE_BYTES_MAX, 0);
        Self { bytes }
    }
}

#[cfg(test)]
mod tests;
