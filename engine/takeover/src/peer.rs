//! The take-over's socket: SEQPACKET in the data folder, for this user only. [`Entrance`] owns the
//! listening socket, and [`Peer`] this engine's end of a conversation.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use abi::channel::{Channel, ReceiveBuffer, ReceiveError, SendError};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, getsockopt, listen,
    socket, sockopt,
};
use nix::unistd::geteuid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixDatagram;

use super::message::Message;
use host::socket_file;

/// How long the other engine may not read what it is sent.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Engines that may have connected and were not accepted yet.
const BACKLOG: i32 = 8;

/// Where a new engine connects.
#[derive(Debug)]
pub struct Entrance {
    listener: AsyncFd<OwnedFd>,
}

/// The conversation with the other engine.
#[derive(Debug)]
pub(super) struct Peer {
    channel: Channel,
    ready: UnixDatagram,
    pub(super) pid: u32,
}

/// What came from the other engine.
#[derive(Debug)]
pub(super) enum Received {
    Message(Message, Option<OwnedFd>),
    /// It has sent what is no message.
    Malformed(String),
    /// It has closed its end.
    Gone,
}

/// Makes a socket for conversations.
fn new_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?)
}

impl Entrance {
    /// Listens on a socket beside `path`. [`socket_file::replace`] moves it to its place.
    ///
    /// # Errors
    /// Returns the error of the file system or the kernel.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (socket, beside) = (new_socket()?, socket_file::beside(path)?);
        bind(socket.as_raw_fd(), &UnixAddr::new(&beside)?)?;
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600))?;
        listen(&socket, Backlog::new(BACKLOG)?)?;
        // SAFETY: the socket goes with what it is registered for, and nobody else closes it.
        Ok(Self { listener: unsafe { AsyncFd::register(socket)? } })
    }

    /// Returns the next engine that connects and may: it runs as this user, or as root.
    pub(super) async fn next(&self) -> Peer {
        loop {
            match self.accept().await {
                Ok(peer) => return peer,
                Err(error) => {
                    tracing::warn!("somebody could not ask to take over: {error}");
                    // Mostly there are no more fds, and the next try would fail at once.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<Peer> {
        let accept = |socket: &OwnedFd| {
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            // SAFETY: the kernel has just made this fd for us, and nobody else knows of it.
            Ok(unsafe { OwnedFd::from_raw_fd(accept4(socket.as_raw_fd(), flags)?) })
        };
        let accepted = self.listener.async_io(Interest::READABLE, accept).await?;
        Peer::new(accepted)
    }
}

impl Peer {
    /// Connects to the engine at `path`. Returns `None` if none listens there.
    pub(super) fn connect(path: &Path) -> io::Result<Option<Self>> {
        let socket = new_socket()?;
        match nix::sys::socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?) {
            Ok(()) => Self::new(socket).map(Some),
            Err(Errno::ENOENT | Errno::ECONNREFUSED) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn new(socket: OwnedFd) -> io::Result<Self> {
        let credentials = getsockopt(&socket, sockopt::PeerCredentials)?;
        if ![geteuid().as_raw(), 0].contains(&credentials.uid()) {
            let who = format!(
                "process {} of user {} is not of this engine's user",
                credentials.pid(),
                credentials.uid()
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, who));
        }
        let channel = Channel::from(socket);
        let ready = UnixDatagram::from_std(channel.readiness()?)?;
        let pid = u32::try_from(credentials.pid()).unwrap_or_default();
        Ok(Self { channel, ready, pid })
    }

    /// Sends a message with a copy of `fd`.
    pub(super) async fn send(
        &self,
        message: &Message,
        fd: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let packet = message.pack();
        let sent = self.ready.async_io(Interest::WRITABLE, || {
            self.channel.send_packet(&packet, fd).map_err(|error| match error {
                SendError::Busy => io::ErrorKind::WouldBlock.into(),
                error => io::Error::other(error),
            })
        });
        tokio::time::timeout(SEND_TIMEOUT, sent)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Receives the next message. Nothing is lost if it is dropped while it waits.
    pub(super) async fn receive(&self) -> Received {
        let mut buffer = ReceiveBuffer::default();
        let received = self.ready.async_io(Interest::READABLE, || {
            match self.channel.receive_packet(&mut buffer) {
                Err(ReceiveError::Empty) => Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => Ok(Err(error)),
                Ok((length, fd)) => Ok(Ok((length, fd))),
            }
        });
        match received.await {
            Ok(Ok((length, fd))) => {
                match Message::unpack(&buffer.bytes()[..length], usize::from(fd.is_some())) {
                    Ok(message) => Received::Message(message, fd),
                    Err(error) => Received::Malformed(error.to_string()),
                }
            }
            Ok(Err(ReceiveError::Malformed(what))) => Received::Malformed(what),
            _ => Received::Gone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::message::Awaits;
    use std::os::fd::AsFd;

    #[tokio::test]
    async fn engines_find_each_other_and_talk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        assert!(Peer::connect(&path).unwrap().is_none());
        let entrance = Entrance::open(&path).unwrap();
        socket_file::replace(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let new = Peer::connect(&path).unwrap().unwrap();
        let running = entrance.next().await;
        assert_eq!((new.pid, running.pid), (std::process::id(), std::process::id()));
        let message = Message::Connection {
            origin: None,
            awaits: Awaits::Next,
            read: vec![7; abi::limits::RETURNED_BYTES_MAX],
        };
        running.send(&message, Some(running.channel.as_fd())).await.unwrap();
        assert!(
            matches!(new.receive().await, Received::Message(received, Some(_)) if received == message)
        );
        drop(running);
        assert!(matches!(new.receive().await, Received::Gone));
        drop(entrance);
        assert!(Peer::connect(&path).unwrap().is_none());
    }

    #[tokio::test]
    async fn another_entrance_takes_the_place_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let first = Entrance::open(&path).unwrap();
        socket_file::replace(&path).unwrap();
        let second = Entrance::open(&path).unwrap();
        socket_file::replace(&path).unwrap();
        let _peer = Peer::connect(&path).unwrap().unwrap();
        second.next().await;
        drop(first);
    }
}
