//! Requests of a certificate authority, which go before all routes (RFC 8555 8.3): who answers them
//! is elsewhere in the engine. Owns a socket on its way there.

use std::net::TcpStream;
use std::os::fd::OwnedFd;

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::peek::has_empty_line;

/// What the path of a challenge begins with. Its token follows.
pub const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";
/// What its request begins with, whatever host it names.
const CHALLENGE: &[u8] = b"GET /.well-known/acme-challenge/";

/// Passes challenges on.
#[derive(Debug, Clone)]
pub struct Challenger(Sender<TcpStream>);

/// Returns whether a connection that begins with `bytes` asks for a challenge. The head must be
/// whole, as a certificate authority sends it: whoever sends only some of it is another client, and
/// has no place among those that are answered at once.
pub(crate) fn is_challenge(bytes: &[u8]) -> bool {
    bytes.starts_with(CHALLENGE) && has_empty_line(bytes)
}

impl Challenger {
    /// Makes one, and the end at which challenges arrive. So many may wait there.
    pub fn new(waiting_max: usize) -> (Self, Receiver<TcpStream>) {
        let (sender, receiver) = channel(waiting_max);
        (Self(sender), receiver)
    }

    /// Passes a connection on from which nothing has been read yet.
    ///
    /// # Errors
    /// Returns the connection if too many wait.
    pub(crate) fn pass(&self, socket: OwnedFd) -> Result<(), OwnedFd> {
        self.0.try_send(socket.into()).map_err(|refused| refused.into_inner().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_path_of_challenges_is_meant() {
        assert!(is_challenge(b"GET /.well-known/acme-challenge/abc HTTP/1.1\r\nHost: x\r\n\r\n"));
        for other in [
            &b"GET /.well-known/acme-challenge HTTP/1.1\r\n\r\n"[..],
            b"GET /.well-known/acme-challenge/abc HTTP/1.1\r\nHost: x\r\n",
            b"POST /.well-known/acme-challenge/abc HTTP/1.1\r\n\r\n",
            b"GET /a/.well-known/acme-challenge/abc HTTP/1.1\r\n\r\n",
            b"",
        ] {
            assert!(!is_challenge(other), "{other:?}");
        }
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let (challenger, mut receiver) = Challenger::new(1);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || OwnedFd::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        assert!(challenger.pass(connect()).is_ok());
        assert!(challenger.pass(connect()).is_err());
        assert!(receiver.try_recv().is_ok());
        assert!(challenger.pass(connect()).is_ok());
    }
}
