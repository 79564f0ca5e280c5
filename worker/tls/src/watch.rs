//! What has become of a socket that is not read from, or is at its end already. Owns a copy of the
//! socket's fd, which is registered apart from it: whether the socket itself is ready stays as it
//! is.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// A socket that is watched for its end.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Of whatever kind: nothing but its readiness is asked for.
    socket: TcpStream,
    ends: Ends,
}

/// Which end is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// The peer sends no more, even if bytes from it are unread.
    Sending,
    /// The peer has closed both ways.
    Both,
}

impl Watch {
    /// Watches `socket`.
    ///
    /// # Errors
    /// If the process has no file descriptor left.
    pub(crate) fn new(socket: impl AsFd, ends: Ends) -> io::Result<Self> {
        let copy = std::net::TcpStream::from(socket.as_fd().try_clone_to_owned()?);
        Ok(Self { socket: TcpStream::from_std(copy)?, ends })
    }

    /// Resolves at the end that is waited for; with `true` if nothing can be sent any more either.
    pub(crate) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            let found = events(self.socket.as_fd());
            let (closed, failed) = (PollFlags::HUP, found.contains(PollFlags::ERR));
            match self.ends {
                Ends::Both if failed || found.contains(closed) => return Poll::Ready(true),
                // Where this side sends no more itself, an end without an error is `HUP`.
                Ends::Sending if failed || found.intersects(closed | PollFlags::RDHUP) => {
                    return Poll::Ready(failed);
                }
                Ends::Both | Ends::Sending => {}
            }
            // What the kernel has told tokio until now is answered above. The next may be the end.
            let (told, interest) = match self.ends {
                Ends::Sending => (self.socket.poll_read_ready(cx), Interest::READABLE),
                Ends::Both => (self.socket.poll_write_ready(cx), Interest::WRITABLE),
            };
            if ready!(told).is_err() {
                return Poll::Ready(true);
            }
            let forget = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = self.socket.try_io(interest, forget);
        }
    }
}

/// What the kernel says of `socket` now.
fn events(socket: BorrowedFd<'_>) -> PollFlags {
    const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut asked = [PollFd::from_borrowed_fd(socket, PollFlags::RDHUP)];
    match poll(&mut asked, Some(&NOW)) {
        Ok(_) => asked[0].revents(),
        Err(_) => PollFlags::empty(),
    }
}
