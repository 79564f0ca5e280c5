//! Looking at what a connection begins with, without taking it. Borrows the socket.

use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

/// Returns the bytes at the front of what `socket` has received, as far as they fit into `buffer`,
/// which are none if nothing has arrived yet. Returns `None` if the client has gone.
pub(crate) fn peek<'a>(socket: &OwnedFd, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    match recv(socket.as_raw_fd(), buffer, flags) {
        Ok(0) => None,
        Ok(length) => Some(&buffer[..length]),
        Err(Errno::EAGAIN) => Some(&[]),
        Err(_) => None,
    }
}

/// Returns whether a whole head may be in `bytes`: an empty line is (RFC 9112 2.1).
pub(crate) fn has_empty_line(bytes: &[u8]) -> bool {
    bytes.windows(3).any(|three| three == b"\n\r\n")
}
