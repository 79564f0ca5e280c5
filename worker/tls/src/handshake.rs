//! From a client's first byte to the first one that comes out of TLS. Borrows the socket.

use std::cell::Cell;
use std::future::Future;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use rustls::ServerConnection;
use rustls::server::{Accepted, Acceptor};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::configs::{Choice, Configs};

/// A fatal alert `unrecognized_name` (RFC 6066 3, RFC 8446 6) in a record of its own.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// How long a client may take for the alert that says why it is refused.
const ALERT_TIMEOUT: Duration = Duration::from_secs(1);

/// How a handshake ended well.
#[derive(Debug)]
pub(crate) enum Opened {
    /// With bytes that wait to be read.
    Plaintext(Box<ServerConnection>),
    /// The client has seen the answer to its challenge, and has been told good-bye.
    Answered,
}

/// Why a handshake failed. It is the client's fault, or the network's, and it may try again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("the client has closed the connection")]
    Closed,
    #[error("there is no certificate for {0:?}, and none for every name")]
    UnknownName(String),
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    #[error("its socket failed: {0}")]
    Socket(#[from] io::Error),
}

/// Ends the handshake of the client behind `socket`, and waits for its first bytes. `read` was read
/// from it before. `configs` is asked once it is known whom the client asks for. Has no time limit
/// of its own.
///
/// To answer a client's hello takes a tenth of a millisecond, for the key exchange and a signature.
/// Whoever does that has the `turn`, and between two of them runs whatever else is ready: so many
/// clients that come at once hold up nobody whose handshake is over.
pub(crate) async fn open(
    socket: &TcpStream,
    read: &[u8],
    configs: impl Fn() -> Rc<Configs>,
    turn: &Mutex<()>,
) -> Result<Opened, HandshakeError> {
    let socket = &Source { socket, read: Cell::new(read) };
    let accepted = hello(socket).await?;
    let configs = configs();
    let choice = configs.choose(&accepted.client_hello());
    let (config, is_challenge) = match choice {
        Choice::Serve(config) => (config, false),
        Choice::Challenge(config) => (config, true),
        Choice::Unknown => {
            let name = accepted.client_hello().server_name().unwrap_or_default().to_owned();
            alert(send(socket, |mut tcp| tcp.write(&UNRECOGNIZED_NAME).map(drop))).await;
            return Err(HandshakeError::UnknownName(name));
        }
    };
    let turn = turn.lock().await;
    let mut tls = match accepted.into_connection(config.clone()) {
        Ok(mut tls) => {
            // The client is not to wait for the others. What is not sent now is below.
            let _ = tls.write_tls(&mut Tcp(socket));
            yield_now().await;
            drop(turn);
            tls
        }
        Err((error, mut last)) => {
            drop(turn);
            alert(send(socket, |mut tcp| last.write_all(&mut tcp))).await;
            return Err(error.into());
        }
    };
    loop {
        while tls.wants_write() {
            send(socket, |mut tcp| tls.write_tls(&mut tcp).map(drop)).await?;
        }
        if is_challenge && !tls.is_handshaking() {
            tls.send_close_notify();
            while tls.wants_write() {
                send(socket, |mut tcp| tls.write_tls(&mut tcp).map(drop)).await?;
            }
            return Ok(Opened::Answered);
        }
        let is_end = receive(socket, |mut tcp| tls.read_tls(&mut tcp)).await? == 0;
        match tls.process_new_packets() {
            Ok(state) if state.plaintext_bytes_to_read() > 0 && socket.read.get().is_empty() => {
                return Ok(Opened::Plaintext(Box::new(tls)));
            }
            Ok(state) if is_end || state.peer_has_closed() => return Err(HandshakeError::Closed),
            Ok(_) => {}
            Err(error) => {
                alert(send(socket, |mut tcp| tls.write_tls(&mut tcp).map(drop))).await;
                return Err(error.into());
            }
        }
    }
}

/// Reads a ClientHello, in however many segments and records it comes.
async fn hello(socket: &Source<'_>) -> Result<Accepted, HandshakeError> {
    let mut acceptor = Acceptor::default();
    loop {
        if receive(socket, |mut tcp| acceptor.read_tls(&mut tcp)).await? == 0 {
            return Err(HandshakeError::Closed);
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(accepted),
            Ok(None) => {}
            Err((error, mut last)) => {
                alert(send(socket, |mut tcp| last.write_all(&mut tcp))).await;
                return Err(error.into());
            }
        }
    }
}

/// Waits for a last message, for a moment. The client may well have gone.
async fn alert(sent: impl Future<Output = io::Result<()>>) {
    let _ = timeout(ALERT_TIMEOUT, sent).await;
}

/// A client's socket, and what was read from it before.
struct Source<'a> {
    socket: &'a TcpStream,
    read: Cell<&'a [u8]>,
}

/// The same, for calls that do not wait.
struct Tcp<'a, 'b>(&'a Source<'b>);

impl Read for Tcp<'_, '_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let mut before = self.0.read.get();
        if before.is_empty() {
            return self.0.socket.try_read(to);
        }
        let length = before.read(to)?;
        self.0.read.set(before);
        Ok(length)
    }
}

impl Write for Tcp<'_, '_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.0.socket.try_write(from)
    }

    fn write_vectored(&mut self, from: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.socket.try_write_vectored(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Calls `read` until it does not have to wait.
async fn receive(
    socket: &Source<'_>,
    mut read: impl FnMut(Tcp<'_, '_>) -> io::Result<usize>,
) -> io::Result<usize> {
    loop {
        match read(Tcp(socket)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.socket.readable().await?
            }
            read => return read,
        }
    }
}

/// Calls `write` until it does not have to wait.
async fn send(
    socket: &Source<'_>,
    mut write: impl FnMut(Tcp<'_, '_>) -> io::Result<()>,
) -> io::Result<()> {
    loop {
        match write(Tcp(socket)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.socket.writable().await?
            }
            written => return written,
        }
    }
}
