//! Connections into the sandbox that are being made, in non-blocking mode: to 127.0.0.1, and where
//! nothing listens there, to ::1. A [`Connects`] owns the sockets until they are connected.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, connect, getsockopt, socket,
    sockopt,
};

/// The most that are made at a time.
const CONNECTS_MAX: usize = 1024;

/// What came of a question.
#[derive(Debug)]
pub(super) struct Answer {
    /// That of the question.
    pub(super) ticket: u64,
    /// A connected socket, or why there is none.
    pub(super) outcome: Result<OwnedFd, Errno>,
}

/// Which address is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Address {
    V4,
    /// And what the kernel said to the first.
    V6(Errno),
}

/// One that is being made.
#[derive(Debug)]
struct Pending {
    ticket: u64,
    port: u16,
    address: Address,
    socket: OwnedFd,
}

/// Those that are being made.
#[derive(Debug, Default)]
pub(super) struct Connects {
    pending: Vec<Pending>,
}

impl Connects {
    /// Begins one. Returns its answer if there is one at once.
    pub(super) fn begin(&mut self, ticket: u64, port: u16) -> Option<Answer> {
        if self.pending.len() >= CONNECTS_MAX {
            return Some(Answer { ticket, outcome: Err(Errno::EAGAIN) });
        }
        self.attempt(ticket, port, Address::V4)
    }

    fn attempt(&mut self, ticket: u64, port: u16, address: Address) -> Option<Answer> {
        match open(port, address) {
            Ok((socket, true)) => Some(Answer { ticket, outcome: Ok(socket) }),
            Ok((socket, false)) => {
                self.pending.push(Pending { ticket, port, address, socket });
                None
            }
            Err(errno) => self.next(ticket, port, address, errno),
        }
    }

    /// Tries the other address, or gives up with what was said to the first.
    fn next(&mut self, ticket: u64, port: u16, tried: Address, errno: Errno) -> Option<Answer> {
        match tried {
            Address::V4 => self.attempt(ticket, port, Address::V6(errno)),
            Address::V6(first) => Some(Answer { ticket, outcome: Err(first) }),
        }
    }

    /// Returns the sockets to wait on until they can be written to, in the order of
    /// [`Self::finish`].
    pub(super) fn waiting(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pending.iter().map(|pending| pending.socket.as_fd())
    }

    /// Goes on with those that `is_ready` names by their index. Returns the answers.
    pub(super) fn finish(&mut self, is_ready: impl Fn(usize) -> bool) -> Vec<Answer> {
        let mut answers = Vec::new();
        let all = std::mem::take(&mut self.pending);
        for (index, pending) in all.into_iter().enumerate() {
            if !is_ready(index) {
                self.pending.push(pending);
                continue;
            }
            let Pending { ticket, port, address, socket } = pending;
            match getsockopt(&socket, sockopt::SocketError).map(Errno::from_raw) {
                Ok(Errno::UnknownErrno) => answers.push(Answer { ticket, outcome: Ok(socket) }),
                Ok(errno) | Err(errno) => answers.extend(self.next(ticket, port, address, errno)),
            }
        }
        answers
    }
}

/// Opens a socket and begins to connect it. Returns it with whether it is connected.
fn open(port: u16, address: Address) -> Result<(OwnedFd, bool), Errno> {
    let family = if address == Address::V4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let made = socket(family, SockType::Stream, flags, None)?;
    let connected = match address {
        Address::V4 => {
            let target = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
            connect(made.as_raw_fd(), &target)
        }
        Address::V6(_) => {
            let target = SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::LOCALHOST, port, 0, 0));
            connect(made.as_raw_fd(), &target)
        }
    };
    match connected {
        Ok(()) => Ok((made, true)),
        Err(Errno::EINPROGRESS) => Ok((made, false)),
        Err(errno) => Err(errno),
    }
}
