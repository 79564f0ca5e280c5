//! Answering an error from the engine, without waiting for the client.
//!
//! The reply is written and the stream ended; then what the client is still sending is read away for a moment, because
//! closing on unread bytes would reset the connection and could take the reply with it (RFC 9112 9.6). The waiting is the
//! caller's, on its own runtime. Borrows the sockets, owns none.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use abi::invocation_id::InvocationId;
use abi::problem::Problem;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};

/// How long a refused client may go on sending.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
/// Between two looks at it.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Whether a refused connection can be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// It has ended its side, or is gone.
    Done,
    /// It may still be sending: call [`read_away`] again in [`LOOK_INTERVAL`].
    Sending,
}

/// Answers `problem` and ends our side of the stream.
pub(crate) fn answer(socket: BorrowedFd<'_>, problem: &Problem) -> Client {
    let reply = problem.reply(InvocationId::new());
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    // A few hundred bytes into an empty buffer: it fits, or the client is gone.
    if send(socket.as_raw_fd(), &reply, flags).is_err() || shutdown(socket.as_raw_fd(), Shutdown::Write).is_err() {
        return Client::Done;
    }
    read_away(socket)
}

/// Throws away what has arrived.
pub(crate) fn read_away(socket: BorrowedFd<'_>) -> Client {
    let mut scrap = [0; 16 * 1024];
    for _ in 0..64 {
        match recv(socket.as_raw_fd(), &mut scrap, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return Client::Done,
            Ok(_) => {}
            Err(Errno::EAGAIN) => return Client::Sending,
            Err(_) => return Client::Done,
        }
    }
    Client::Sending
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_client_gets_its_answer_and_an_end() {
        let (near, mut client) = UnixStream::pair().unwrap();
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(answer(near.as_fd(), &Problem::new(404, "no")), Client::Sending);
        let mut reply = String::new();
        client.read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 404 Not Found\r\n"), "{reply}");
        drop(client);
        assert_eq!(read_away(near.as_fd()), Client::Done);
    }
}
