//! Asks the kernel which sockets listen (sock_diag(7)). A [`Diag`] owns the socket that it asks by:
//! made before the filter, which refuses another one.

use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

use crate::listening;

/// More than the kernel answers at a time.
const ANSWER_BYTES: usize = 32 * 1024;
/// The most parts of an answer that are read.
const PARTS_MAX: usize = 1024;

/// Where the kernel is asked.
#[derive(Debug)]
pub(super) struct Diag(OwnedFd);

impl Diag {
    /// Returns `None` where the kernel answers no such questions.
    pub(super) fn open() -> Option<Self> {
        let protocol = SockProtocol::NetlinkSockDiag;
        let flags = SockFlag::SOCK_CLOEXEC;
        socket(AddressFamily::Netlink, SockType::Raw, flags, protocol).ok().map(Self)
    }

    /// Returns the number of its fd.
    pub(super) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Returns the ports of TCP that sockets of `uid` listen on. Returns `None` if the kernel does
    /// not say.
    pub(super) fn ports(&self, uid: u32) -> Option<Vec<u16>> {
        let mut ports = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let question = listening::question(u8::try_from(family).ok()?);
            send(self.fd(), &question, MsgFlags::empty()).ok()?;
            let mut buffer = vec![0; ANSWER_BYTES];
            let mut parts = 0..PARTS_MAX;
            loop {
                parts.next()?;
                // The kernel has answered by the time that it was asked.
                let length = recv(self.fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).ok()?;
                if listening::read_answer(buffer.get(..length)?, uid, &mut ports)? {
                    break;
                }
            }
        }
        Some(ports)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

    use super::*;

    #[test]
    fn own_listeners_are_found() {
        let uid = nix::unistd::geteuid().as_raw();
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let Some(diag) = Diag::open() else { return };
        let Some(ports) = diag.ports(uid) else { return };
        assert!(ports.contains(&v4.local_addr().unwrap().port()), "{ports:?}");
        if let Ok(v6) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
            let (port, ports) = (v6.local_addr().unwrap().port(), diag.ports(uid).unwrap());
            assert!(ports.contains(&port), "{ports:?}");
        }
        assert_eq!(diag.ports(uid.wrapping_add(77)), Some(Vec::new()));
    }
}
