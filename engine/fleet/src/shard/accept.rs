//! Accepting: from listening sockets that other shards, and another process, may accept from too.
//!
//! glommio's own accept does not do for that. It switches the socket's O_NONBLOCK on and off around
//! each try, which all who share the socket see, so that one of them would block; and a connection
//! that arrives while its accept is being cancelled is lost. So the tries are our own, on sockets
//! that stay non-blocking, and glommio only waits: cancelling that loses nothing. Borrows the
//! listener.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use futures_util::AsyncReadExt as _;
use glommio::net::TcpStream;
use nix::errno::Errno;
use nix::sys::socket::{SockFlag, accept4};

/// The next connection, if the kernel has one.
pub(super) fn try_accept(listener: &TcpListener) -> io::Result<Option<OwnedFd>> {
    match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
        // SAFETY: the kernel has just made this fd for us, and nobody else knows of it.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
        Err(Errno::EAGAIN) => Ok(None),
        // The client has gone before it was accepted; there may be another (accept(2)).
        Err(Errno::ECONNABORTED | Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Resolves when there may be a connection to accept.
pub(super) async fn acceptable(listener: &TcpListener) -> io::Result<()> {
    // A stream of glommio's polls its socket from birth, and reads when the poll says so. A
    // listening socket has nothing to read (ENOTCONN), and that is the answer: by then it is
    // readable. SAFETY: the fd was just made, and is given up by its only owner.
    let mut stream = unsafe { TcpStream::from_raw_fd(listener.try_clone()?.into_raw_fd()) };
    let _ = stream.read(&mut [0]).await;
    Ok(())
}
