//! Accepts from listening sockets that other shards and another process may accept from, too.
//!
//! glommio's own accept does not do for that. It switches the socket's O_NONBLOCK on and off around
//! each try, and as all processes share that flag, one of them would block. And a connection that
//! arrives while its accept is cancelled is lost. So we accept ourselves, on sockets that stay
//! non-blocking, and glommio only waits, which can be cancelled without loss. Borrows the listener.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd};

use futures_util::AsyncReadExt as _;
use glommio::net::TcpStream;
use host::listen::Listener;
use nix::errno::Errno;
use nix::sys::socket::{SockFlag, accept4};

/// Accepts the next connection. Returns `None` if the kernel has none.
pub(super) fn try_accept(listener: &Listener) -> io::Result<Option<OwnedFd>> {
    match accept4(listener.socket.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
        // SAFETY: the kernel has just made this fd for us, and nobody else knows of it.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
        Err(Errno::EAGAIN) => Ok(None),
        // The client has gone before it was accepted; there may be another (accept(2)).
        Err(Errno::ECONNABORTED | Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Resolves when there may be a connection to accept.
pub(super) async fn acceptable(listener: &Listener) -> io::Result<()> {
    // A stream of glommio's polls its socket from the start, and reads when it is readable. The
    // read of a listening socket fails (ENOTCONN, EINVAL), and by then there is a connection.
    let copy = listener.as_fd().try_clone_to_owned()?;
    // SAFETY: the fd was just made, and is given up by its only owner.
    let mut stream = unsafe { TcpStream::from_raw_fd(copy.into_raw_fd()) };
    let _ = stream.read(&mut [0]).await;
    Ok(())
}
