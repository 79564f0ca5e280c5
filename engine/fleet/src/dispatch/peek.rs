//! Looking at what a connection begins with, without taking it. Borrows the socket.

use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{MsgFlags, recv};

/// Returns the bytes at the front of what `socket` has received, as far as they fit into `buffer`.
/// Returns none if nothing has arrived, or never will.
pub(crate) fn peek<'a>(socket: &OwnedFd, buffer: &'a mut [u8]) -> &'a [u8] {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    let length = recv(socket.as_raw_fd(), buffer, flags).unwrap_or_default();
    &buffer[..length]
}
