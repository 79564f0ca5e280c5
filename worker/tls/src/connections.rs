//! All TLS connections of a process: how many there are, and how long they may take. Owns no fds
//! beyond those of its tasks, one a connection.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use abi::limits::HANDSHAKES_MAX;
use abi::origin::Origin;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Notify};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::configs::{Configs, HTTP2};
use crate::handshake::{self, Opened};
use crate::linger;
use crate::relay::{End, Relay, Scratch};
use crate::stream::Stream;

/// How long a client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From its connection to the first byte that comes out of TLS.
    pub first_byte: Duration,
    /// Without taking a byte of what is to be sent.
    pub write: Duration,
}

/// What becomes of what is inside of TLS. One or the other is called, once there is plaintext.
pub trait Plaintext: 'static {
    /// Takes the plaintext end of a connection on which HTTP/1 is spoken, which is what a client
    /// means that names no protocol. From here on its bytes are relayed.
    fn hand_over(self, end: OwnedFd);

    /// Serves a client that speaks HTTP/2 until the connection is to be closed.
    fn serve(self, stream: &mut Stream<'_>) -> impl Future<Output = ()>;
}

/// The TLS connections of a process.
#[derive(Debug)]
pub struct Connections {
    configs: RefCell<Rc<Configs>>,
    timeouts: Cell<Timeouts>,
    scratch: RefCell<Scratch>,
    open: Cell<usize>,
    /// The tasks whose client has not yet sent a byte inside of TLS, the oldest first.
    handshakes: RefCell<BTreeMap<u64, AbortHandle>>,
    /// Who answers a client's hello.
    turn: Mutex<()>,
    /// The number of the next connection.
    next: Cell<u64>,
    /// Notified whenever a handshake is over, or a connection.
    changed: Notify,
}

/// Returns where the client behind `socket` is, and which address it came to. Returns `None` if it
/// has gone.
#[must_use]
pub fn origin(socket: &std::net::TcpStream) -> Option<Origin> {
    let (client, local) = (socket.peer_addr().ok()?, socket.local_addr().ok()?);
    Some(Origin { client, local, https: true })
}

impl Connections {
    /// There are none yet.
    #[must_use]
    pub fn new(configs: Configs, timeouts: Timeouts) -> Rc<Self> {
        Rc::new(Self {
            configs: RefCell::new(Rc::new(configs)),
            timeouts: Cell::new(timeouts),
            scratch: RefCell::default(),
            open: Cell::new(0),
            handshakes: RefCell::default(),
            turn: Mutex::default(),
            next: Cell::new(0),
            changed: Notify::new(),
        })
    }

    /// New handshakes go by `configs`.
    pub fn set_configs(&self, configs: Configs) {
        *self.configs.borrow_mut() = Rc::new(configs);
    }

    /// New connections have these limits.
    pub fn set_timeouts(&self, timeouts: Timeouts) {
        self.timeouts.set(timeouts);
    }

    /// Returns the number of open connections, those in a handshake among them.
    pub fn open(&self) -> usize {
        self.open.get()
    }

    /// Returns the number of connections whose plaintext has not been handed over.
    pub fn handshakes(&self) -> usize {
        self.handshakes.borrow().len()
    }

    /// Resolves when no connection is in a handshake.
    pub async fn no_handshakes(&self) {
        self.wait(|| self.handshakes() == 0).await;
    }

    /// Resolves when there is no connection.
    pub async fn none_open(&self) {
        self.wait(|| self.open() == 0).await;
    }

    async fn wait(&self, is_so: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            if is_so() {
                return;
            }
            changed.await;
        }
    }

    /// Closes the connections that are in a handshake.
    pub fn abort_handshakes(&self) {
        let handshakes = std::mem::take(&mut *self.handshakes.borrow_mut());
        handshakes.into_values().for_each(|task| task.abort());
    }

    /// Takes over a client's TCP socket, with the bytes that were already `read` from it. `plaintext`
    /// gets what is inside of TLS. `guard` is dropped when the connection is over. Must be called on
    /// a [`tokio::task::LocalSet`].
    ///
    /// There are at most [`HANDSHAKES_MAX`] in a handshake: beyond that, the one that has been in
    /// it for the longest is closed. A client that means well is through in a few round trips.
    ///
    /// # Errors
    /// If the socket cannot be watched. It is closed then.
    pub fn take<G: 'static>(
        self: &Rc<Self>,
        socket: std::net::TcpStream,
        read: Vec<u8>,
        plaintext: impl Plaintext,
        guard: G,
    ) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let socket = TcpStream::from_std(socket)?;
        let number = self.next.get();
        self.next.set(number + 1);
        self.open.set(self.open.get() + 1);
        // Before the task can run: whatever way it ends, these are dropped with it.
        let guards = (Open(Rc::clone(self)), guard);
        let handshake = Handshake { connections: Rc::clone(self), number };
        let connections = Rc::clone(self);
        let task = tokio::task::spawn_local(async move {
            let _guards = guards;
            connections.serve(socket, read, handshake, plaintext).await;
        });
        let mut handshakes = self.handshakes.borrow_mut();
        handshakes.insert(number, task.abort_handle());
        if handshakes.len() > HANDSHAKES_MAX
            && let Some((_, oldest)) = handshakes.pop_first()
        {
            oldest.abort();
        }
        Ok(())
    }

    async fn serve(
        &self,
        socket: TcpStream,
        read: Vec<u8>,
        handshake: Handshake,
        plaintext: impl Plaintext,
    ) {
        let Timeouts { first_byte, write } = self.timeouts.get();
        let opened = {
            // Apart from this task's own memory, which is there for all of the connection.
            let configs = || Rc::clone(&self.configs.borrow());
            let opening = Box::pin(handshake::open(&socket, &read, configs, &self.turn));
            timeout(first_byte, opening).await
        };
        drop(read);
        let tls = match opened {
            Ok(Ok(Opened::Plaintext(tls))) => tls,
            Ok(Ok(Opened::Answered)) => {
                tracing::info!("a certificate authority has looked at the answer to a challenge");
                return linger::end(socket).await;
            }
            Ok(Err(error)) => {
                tracing::debug!("a TLS handshake failed: {error}");
                return linger::end(socket).await;
            }
            Err(_) => return tracing::debug!("a TLS handshake took too long"),
        };
        if tls.alpn_protocol() == Some(HTTP2) {
            let mut stream = match Stream::begin(socket, tls, write, &self.scratch) {
                Ok(stream) => stream,
                Err(cut) => return tracing::debug!("a TLS connection is cut: {cut}"),
            };
            drop(handshake);
            // Apart from this task's own memory, which relays have too.
            Box::pin(plaintext.serve(&mut stream)).await;
            return Box::pin(stream.close()).await;
        }
        let (ours, theirs) = match pair() {
            Ok(pair) => pair,
            Err(error) => {
                return tracing::error!(
                    "a connection is lost: no socket pair can be made for it: {error}; raise `ulimit -n`"
                );
            }
        };
        let begun = Relay::begin(socket, ours, tls, write, &mut self.scratch.borrow_mut());
        let relay = match begun {
            Ok(relay) => relay,
            Err(cut) => return tracing::debug!("a TLS connection is cut: {cut}"),
        };
        plaintext.hand_over(theirs);
        drop(handshake);
        match relay.run(&self.scratch).await {
            End::Finished(client) => linger::close(client).await,
            End::Cut(cut) => tracing::debug!("a TLS connection is cut: {cut}"),
        }
    }
}

/// Makes a pair: the end that stays, and the one that is handed over. Neither blocks.
///
/// # Errors
/// If file descriptors or memory have run out.
pub fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    Ok((ours, theirs.into()))
}

/// The guard of an open connection.
#[derive(Debug)]
struct Open(Rc<Connections>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.changed.notify_waiters();
    }
}

/// The guard of one in a handshake.
#[derive(Debug)]
struct Handshake {
    connections: Rc<Connections>,
    number: u64,
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.connections.handshakes.borrow_mut().remove(&self.number);
        self.connections.changed.notify_waiters();
    }
}
