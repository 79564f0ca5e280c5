//! The take-over's socket: SEQPACKET in the data folder, for this user only. Owns the listening
//! end, and one end of a conversation each.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use abi::channel::{Channel, ReceiveBuffer, ReceiveError, SendError};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect, getsockopt,
    listen, socket, sockopt,
};
use nix::unistd::geteuid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixDatagram;

use super::message::Message;
use host::socket_file;

/// How long the other end may take none of what it is sent.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Engines that may have knocked and not been heard yet.
const BACKLOG: i32 = 8;

/// Where a new engine knocks.
#[derive(Debug)]
pub struct Door {
    listener: AsyncFd<OwnedFd>,
}

/// The other engine.
#[derive(Debug)]
pub(super) struct Peer {
    channel: Channel,
    ready: UnixDatagram,
    pub(super) pid: u32,
}

/// What came of listening to the other engine.
#[derive(Debug)]
pub(super) enum Heard {
    Message(Message, Option<OwnedFd>),
    Malformed(String),
    Gone,
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?)
}

impl Door {
    /// Listens beside `path`; see [`place`].
    ///
    /// # Errors
    /// What the file system or the kernel say.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (socket, beside) = (new_socket()?, socket_file::beside(path)?);
        bind(socket.as_raw_fd(), &UnixAddr::new(&beside)?)?;
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600))?;
        listen(&socket, Backlog::new(BACKLOG)?)?;
        // SAFETY: the socket goes with what it is registered for, and nobody else closes it.
        Ok(Self { listener: unsafe { AsyncFd::register(socket)? } })
    }

    /// The next that knocks and may: it has this user, or is root.
    pub(super) async fn next(&self) -> Peer {
        loop {
            match self.accept().await {
                Ok(peer) => return peer,
                Err(error) => {
                    tracing::warn!("somebody could not ask to take over: {error}");
                    // Out of fds, mostly; not for a loop without rest.
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
    /// Knocks at `path`. None when nobody is there.
    pub(super) fn knock(path: &Path) -> io::Result<Option<Self>> {
        let socket = new_socket()?;
        match connect(socket.as_raw_fd(), &UnixAddr::new(path)?) {
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

    /// Says something, with a copy of `fd`.
    pub(super) async fn say(
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

    /// Waits for what it says next. Safe to drop while it waits.
    pub(super) async fn hear(&self) -> Heard {
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
                    Ok(message) => Heard::Message(message, fd),
                    Err(error) => Heard::Malformed(error.to_string()),
                }
            }
            Ok(Err(ReceiveError::Malformed(what))) => Heard::Malformed(what),
            _ => Heard::Gone,
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
        assert!(Peer::knock(&path).unwrap().is_none());
        let door = Door::open(&path).unwrap();
        socket_file::replace(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let new = Peer::knock(&path).unwrap().unwrap();
        let running = door.next().await;
        assert_eq!((new.pid, running.pid), (std::process::id(), std::process::id()));
        let message = Message::Connection {
            awaits: Awaits::Next,
            read: vec![7; abi::limits::RETURNED_BYTES_MAX],
        };
        running.say(&message, Some(running.channel.as_fd())).await.unwrap();
        assert!(matches!(new.hear().await, Heard::Message(heard, Some(_)) if heard == message));
        drop(running);
        assert!(matches!(new.hear().await, Heard::Gone));
        drop(door);
        assert!(Peer::knock(&path).unwrap().is_none());
    }

    #[tokio::test]
    async fn another_door_takes_the_place_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let first = Door::open(&path).unwrap();
        socket_file::replace(&path).unwrap();
        let second = Door::open(&path).unwrap();
        socket_file::replace(&path).unwrap();
        let _peer = Peer::knock(&path).unwrap().unwrap();
        second.next().await;
        drop(first);
    }
}
