//! The bytes of a connection, plain or inside of TLS, over a socket that does not wait. Owns the
//! socket; closed by drop.

use std::io::{self, ErrorKind, Read, Write};

use rustls::{ClientConnection, HandshakeKind};

use super::Tls;

/// A connection's bytes. What cannot be done at once fails with [`ErrorKind::WouldBlock`], and is
/// gone on with by the same call later.
#[derive(Debug)]
pub enum Stream<S: Read + Write> {
    /// As they are.
    Plain(S),
    /// Inside of TLS.
    Tls {
        /// Where the records go.
        socket: S,
        /// What makes them.
        connection: Box<ClientConnection>,
    },
}

impl<S: Read + Write> Stream<S> {
    /// Takes over a socket that is connected, or about to be.
    pub fn new(socket: S, tls: Option<&Tls>) -> Result<Self, rustls::Error> {
        Ok(match tls {
            None => Self::Plain(socket),
            Some(tls) => Self::Tls { socket, connection: Box::new(tls.connection()?) },
        })
    }

    /// Ends the handshake, as far as this side has to wait for it. Plain bytes have none.
    pub fn shake_hands(&mut self) -> io::Result<()> {
        let Self::Tls { socket, connection } = self else { return Ok(()) };
        while connection.is_handshaking() {
            flush(connection, socket)?;
            if connection.read_tls(socket)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            open(connection)?;
        }
        Ok(())
    }

    /// Returns what kind of handshake there was, if one is over.
    pub fn handshake(&self) -> Option<HandshakeKind> {
        match self {
            Self::Plain(_) => None,
            Self::Tls { connection, .. } => connection.handshake_kind(),
        }
    }

    /// Says that nothing more comes from this side, if there is a way to say it. Sent as far as the
    /// socket takes it now; reading sends the rest.
    pub fn say_goodbye(&mut self) {
        if let Self::Tls { socket, connection } = self {
            connection.send_close_notify();
            let _ = flush(connection, socket);
        }
    }

    /// Returns whether a read that filled so much of a buffer has emptied the socket, so that the
    /// kernel tells of whatever comes later: see epoll(7). Of TLS this is not known.
    pub fn is_emptied(&self, read: usize, buffer: usize) -> bool {
        matches!(self, Self::Plain(_)) && read < buffer
    }

    /// Returns whether there is something that the socket did not take.
    pub fn wants_write(&self) -> bool {
        matches!(self, Self::Tls { connection, .. } if connection.wants_write())
    }

    /// Returns the socket.
    pub fn socket(&self) -> &S {
        match self {
            Self::Plain(socket) | Self::Tls { socket, .. } => socket,
        }
    }
}

impl<S: Read + Write> Read for Stream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.shake_hands()?;
        let (socket, connection) = match self {
            Self::Plain(socket) => return socket.read(buffer),
            Self::Tls { socket, connection } => (socket, connection),
        };
        // Whatever is wrong with sending shows in what can be read, or in the next write.
        let _ = flush(connection, socket);
        loop {
            match connection.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            // An end is what the reader tells next.
            connection.read_tls(socket)?;
            open(connection)?;
        }
    }
}

impl<S: Read + Write> Write for Stream<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.shake_hands()?;
        let (socket, connection) = match self {
            Self::Plain(socket) => return socket.write(bytes),
            Self::Tls { socket, connection } => (socket, connection),
        };
        flush(connection, socket)?;
        let taken = connection.writer().write(bytes)?;
        match flush(connection, socket) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            // What is left is sent first by whatever is called next.
            _ => Ok(taken),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls { socket, connection } => flush(connection, socket),
        }
    }
}

/// Sends what TLS has to send.
fn flush(connection: &mut ClientConnection, socket: &mut impl Write) -> io::Result<()> {
    while connection.wants_write() {
        connection.write_tls(socket)?;
    }
    Ok(())
}

/// Takes what was read out of TLS.
fn open(connection: &mut ClientConnection) -> io::Result<()> {
    match connection.process_new_packets() {
        Ok(_) => Ok(()),
        Err(error) => Err(io::Error::new(ErrorKind::InvalidData, error)),
    }
}
