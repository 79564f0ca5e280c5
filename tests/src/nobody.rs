//! Addresses where a request finds nobody: one that refuses, and one that does not even do that.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// An address to which nobody can connect, and where nobody is refused either: its queue is full.
#[derive(Debug)]
pub struct Full {
    listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl Full {
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound socket")
    }
}

/// An address where nobody listens, nor will: a connection of the test's own has the port at its
/// end.
#[derive(Debug)]
pub struct Closed {
    taken: TcpStream,
    _listener: TcpListener,
}

impl Closed {
    /// Takes a free port of 127.0.0.1.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let taken = listener.local_addr().and_then(TcpStream::connect).expect("somebody listens");
        Self { taken, _listener: listener }
    }

    /// Where nobody listens.
    pub fn address(&self) -> SocketAddr {
        self.taken.local_addr().expect("a connected socket")
    }
}
