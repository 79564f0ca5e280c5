//! Speaks the protocol of a take-over, so that a test can act as a new engine and break the rules.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    connect, recvmsg, sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// The first message of a new engine.
pub const HELLO: &str = r#"{"say":"hello","protocol":1,"build":"test"}"#;

/// A connection to a running engine that asks for a take-over.
#[derive(Debug)]
pub struct Taker {
    socket: OwnedFd,
}

impl Taker {
    /// Connects to the node with this data folder.
    pub fn connect(data: &Path) -> Self {
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
            .expect("a socket");
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(20))
            .expect("a socket's option");
        let address = UnixAddr::new(&data.join("take-over.sock")).expect("a short path");
        connect(socket.as_raw_fd(), &address).expect("a running node");
        Self { socket }
    }

    /// Sends a packet with these fds, or returns the error.
    pub fn try_send(&self, packet: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let fds: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        let control = if fds.is_empty() { &[][..] } else { &rights };
        let part = [std::io::IoSlice::new(packet)];
        sendmsg::<()>(self.socket.as_raw_fd(), &part, control, MsgFlags::MSG_NOSIGNAL, None)
            .map(drop)
    }

    /// Sends a packet. Panics if the node does not listen.
    pub fn send(&self, packet: &str) {
        self.try_send(packet.as_bytes(), &[]).expect("the node listens");
    }

    /// Receives the next packet and its fds. The packet is empty at the end of the connection.
    pub fn receive(&self) -> (String, Vec<OwnedFd>) {
        let mut buffer = vec![0; 256 * 1024];
        let mut control = nix::cmsg_space!([i32; 8]);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let received =
            match recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
                Ok(received) => received,
                Err(Errno::ECONNRESET) => return (String::new(), Vec::new()),
                Err(errno) => panic!("the node says nothing: {errno}"),
            };
        let mut fds = Vec::new();
        for message in received.cmsgs().expect("room for its fds") {
            if let ControlMessageOwned::ScmRights(raw) = message {
                // SAFETY: the kernel has just made these fds for this process, and nobody else
                // knows of them.
                fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        let length = received.bytes;
        (String::from_utf8_lossy(&buffer[..length]).into_owned(), fds)
    }

    /// Sends hello, and receives all fds up to the lock.
    pub fn receive_offer(&self) -> Vec<OwnedFd> {
        self.send(HELLO);
        let mut given = Vec::new();
        loop {
            let (packet, fds) = self.receive();
            given.extend(fds);
            match packet.as_str() {
                r#"{"say":"listener"}"# => {}
                r#"{"say":"lock"}"# => return given,
                other => panic!("{other:?} is not what comes next"),
            }
        }
    }
}
