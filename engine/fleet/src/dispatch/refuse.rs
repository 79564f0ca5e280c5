//! Answers an error from the engine, without waiting for the client.
//!
//! The reply is written and the stream is ended. Then what the client still sends is read away for
//! a moment, because a close with unread bytes would reset the connection and could take the reply
//! with it (RFC 9112 9.6). The caller waits on its own runtime. Borrows the sockets, owns none.

use std::cell::Cell;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use abi::invocation_id::InvocationId;
use abi::limits::{LINGER_BYTES_MAX, LINGER_SILENT_TIMEOUT, LINGER_TIMEOUT};
use abi::problem::{Problem, Reply};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};

/// The time between two looks at a refused client.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// What is peeked at of a request that nobody has read, to find its method. Some empty lines may
/// come before the method.
const METHOD_BYTES_MAX: usize = 32;
/// How many refused clients one thread lingers for at a time. The connections of others are closed
/// at once, and may be reset.
const LINGERING_MAX: usize = 1024;

thread_local! {
    static LINGERING: Cell<usize> = const { Cell::new(0) };
}

/// Whether a refused connection can be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// It has ended its side, or is gone, or has had enough time.
    Done,
    /// It may still be sending. [Look](Lingering::look) again in [`LOOK_INTERVAL`].
    Sending,
}

/// Answers `problem` and ends our side of the stream. The request begins with `read`, or with what
/// is in the socket if `read` is empty.
pub fn answer(socket: BorrowedFd<'_>, read: &[u8], problem: &Problem) -> Client {
    let reply = problem.reply(InvocationId::new(), form_of_reply(socket, read));
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    // A few hundred bytes fit into an empty buffer, or the client is gone.
    if send(socket.as_raw_fd(), &reply, flags).is_err()
        || shutdown(socket.as_raw_fd(), Shutdown::Write).is_err()
    {
        return Client::Done;
    }
    Client::Sending
}

/// Returns the form of reply that the request asks for.
fn form_of_reply(socket: BorrowedFd<'_>, read: &[u8]) -> Reply {
    if !read.is_empty() {
        return Reply::to(read);
    }
    let mut peeked = [0; METHOD_BYTES_MAX];
    let length = recv(socket.as_raw_fd(), &mut peeked, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT)
        .unwrap_or(0);
    Reply::to(&peeked[..length])
}

/// A place among the clients that this thread lingers for. It is free again when it is dropped.
#[derive(Debug)]
pub struct LingeringPlace(());

impl LingeringPlace {
    /// Takes a place. Returns `None` if all are taken.
    pub fn take() -> Option<Self> {
        let taken = LINGERING.get();
        (taken < LINGERING_MAX).then(|| {
            LINGERING.set(taken + 1);
            Self(())
        })
    }
}

impl Drop for LingeringPlace {
    fn drop(&mut self) {
        LINGERING.set(LINGERING.get() - 1);
    }
}

/// A client that was refused and may still be sending. What it sends is read away, within limits.
#[derive(Debug)]
pub struct Lingering {
    begun: Instant,
    heard: Instant,
    bytes: u64,
}

impl Lingering {
    /// Begins to linger for a client that was refused at `now`.
    pub fn new(now: Instant) -> Self {
        Self { begun: now, heard: now, bytes: 0 }
    }

    /// Throws away what has arrived. Returns whether the connection can be closed at `now`.
    pub fn look(&mut self, socket: BorrowedFd<'_>, now: Instant) -> Client {
        match read_away(socket) {
            Some(bytes) => self.decide(bytes, now),
            None => Client::Done,
        }
    }

    fn decide(&mut self, bytes: u64, now: Instant) -> Client {
        self.bytes += bytes;
        if bytes > 0 {
            self.heard = now;
        }
        let enough = self.bytes > LINGER_BYTES_MAX
            || now.saturating_duration_since(self.heard) >= LINGER_SILENT_TIMEOUT
            || now.saturating_duration_since(self.begun) >= LINGER_TIMEOUT;
        if enough { Client::Done } else { Client::Sending }
    }
}

/// Throws away what has arrived, up to a mebibyte. Returns how much it was. Returns `None` if no
/// more will come.
fn read_away(socket: BorrowedFd<'_>) -> Option<u64> {
    let mut scrap = [0; 16 * 1024];
    let mut bytes = 0;
    for _ in 0..64 {
        match recv(socket.as_raw_fd(), &mut scrap, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return None,
            Ok(read) => bytes += read as u64,
            Err(Errno::EAGAIN) => break,
            Err(_) => return None,
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_client_gets_its_answer_and_an_end() {
        for (method, ends_with) in [("GET", "}\n"), ("HEAD", "\r\n\r\n")] {
            for read in ["", method] {
                let (near, mut client) = UnixStream::pair().unwrap();
                let request = format!("{method} / HTTP/1.1\r\n\r\n");
                client.write_all(request.as_bytes()).unwrap();
                let read = if read.is_empty() { "" } else { &request };
                assert_eq!(
                    answer(near.as_fd(), read.as_bytes(), &Problem::new(404, "no")),
                    Client::Sending
                );
                let mut reply = String::new();
                client.read_to_string(&mut reply).unwrap();
                assert!(
                    reply.starts_with("HTTP/1.1 404 Not Found\r\n") && reply.ends_with(ends_with),
                    "{reply}"
                );
                let now = Instant::now();
                let mut lingering = Lingering::new(now);
                assert_eq!(lingering.look(near.as_fd(), now), Client::Sending);
                drop(client);
                assert_eq!(lingering.look(near.as_fd(), now), Client::Done);
            }
        }
    }

    #[test]
    fn a_client_that_goes_on_sending_is_read_from_up_to_a_time_and_a_size() {
        let (begun, step) = (Instant::now(), LINGER_SILENT_TIMEOUT / 2);
        let mut sends = Lingering::new(begun);
        let mut now = begun;
        while now - begun < LINGER_TIMEOUT - step {
            now += step;
            assert_eq!(sends.decide(1, now), Client::Sending);
        }
        assert_eq!(sends.decide(1, begun + LINGER_TIMEOUT), Client::Done);
        let mut silent = Lingering::new(begun);
        assert_eq!(silent.decide(0, begun + step), Client::Sending);
        assert_eq!(silent.decide(0, begun + LINGER_SILENT_TIMEOUT), Client::Done);
        let mut fast = Lingering::new(begun);
        assert_eq!(fast.decide(LINGER_BYTES_MAX, begun), Client::Sending);
        assert_eq!(fast.decide(1, begun), Client::Done);
    }
}
