//! Addresses that cannot be connected to: one that refuses, and one that does not answer.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// An address that neither accepts nor refuses connections, since the queue of its socket is full.
#[derive(Debug)]
pub struct FullQueue {
    listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl FullQueue {
    /// Takes a free port of 127.0.0.1.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        // SAFETY: the listener is open for the call, and keeps its fd.
        let shortened = unsafe { libc::listen(listener.as_raw_fd(), 0) };
        assert_eq!(shortened, 0, "a shorter queue for a listening socket");
        let address = listener.local_addr().expect("a bound socket");
        let queue = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
        let queued: Vec<TcpStream> = std::iter::from_fn(queue).take(64).collect();
        assert!(queued.len() < 64, "the queue does not fill");
        Self { listener, _queued: queued }
    }

    /// Returns the address.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound socket")
    }
}

/// An address where nobody listens, and where nobody can: a connection of the test itself has the
/// port.
#[derive(Debug)]
pub struct ClosedPort {
    taken: TcpStream,
    _listener: TcpListener,
}

impl ClosedPort {
    /// Takes a free port of 127.0.0.1.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let taken = listener.local_addr().and_then(TcpStream::connect).expect("somebody listens");
        Self { taken, _listener: listener }
    }

    /// Returns the address.
    pub fn address(&self) -> SocketAddr {
        self.taken.local_addr().expect("a connected socket")
    }
}
