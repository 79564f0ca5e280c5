//! A way into TLS for clients that do not speak it: what is connected to its address is carried to
//! a server's TLS port. Owns a listener and, in threads, both sockets of each connection.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustls::{ClientConfig, ClientConnection};

/// The most that is read at a time.
const READ_BYTES: usize = 64 * 1024;

/// The entrance of a tunnel. It is closed with the test's process.
#[derive(Debug)]
pub struct Tunnel {
    address: SocketAddr,
}

impl Tunnel {
    /// Opens a tunnel to the TLS port `server`, whose certificate must be for `name`.
    #[must_use]
    pub fn to(server: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it listens");
        let (config, name) = (Arc::clone(config), name.to_owned());
        thread::spawn(move || {
            while let Ok((plain, _)) = listener.accept() {
                let (config, name) = (Arc::clone(&config), name.clone());
                thread::spawn(move || {
                    // A client whose connection fails sees its end, which is what it is tested on.
                    let _ = carry(&plain, server, config, name);
                    let _ = plain.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address }
    }

    /// Returns the address to connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Carries one connection to its end.
fn carry(
    mut plain: &TcpStream,
    server: SocketAddr,
    config: Arc<ClientConfig>,
    name: String,
) -> std::io::Result<()> {
    let mut socket = TcpStream::connect(server)?;
    let name = name.try_into().map_err(std::io::Error::other)?;
    let mut tls = ClientConnection::new(config, name).map_err(std::io::Error::other)?;
    tls.set_buffer_limit(None);
    plain.set_nonblocking(true)?;
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    plain.set_nodelay(true)?;
    let (mut sends, mut receives) = (true, true);
    let (mut buffer, mut to_plain) = (vec![0; READ_BYTES], Vec::<u8>::new());
    while sends || receives || tls.wants_write() || !to_plain.is_empty() {
        let mut of_socket = PollFlags::empty();
        of_socket.set(PollFlags::POLLIN, receives && to_plain.is_empty());
        of_socket.set(PollFlags::POLLOUT, tls.wants_write());
        let mut of_plain = PollFlags::empty();
        of_plain.set(PollFlags::POLLIN, sends && !tls.wants_write() && !tls.is_handshaking());
        of_plain.set(PollFlags::POLLOUT, !to_plain.is_empty());
        let mut fds =
            [PollFd::new(socket.as_fd(), of_socket), PollFd::new(plain.as_fd(), of_plain)];
        poll(&mut fds, PollTimeout::NONE)?;
        let [from_socket, from_plain] = fds.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        if tls.wants_write() {
            or_later(tls.write_tls(&mut socket))?;
        }
        if !to_plain.is_empty()
            && let Some(written) = or_later(plain.write(&to_plain))?
        {
            to_plain.drain(..written);
        }
        let ended = PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR;
        if receives && to_plain.is_empty() && from_socket.intersects(ended) {
            match or_later(tls.read_tls(&mut socket))? {
                None => {}
                Some(0) => receives = false,
                Some(_) => {
                    let state = tls.process_new_packets().map_err(std::io::Error::other)?;
                    to_plain.resize(state.plaintext_bytes_to_read(), 0);
                    tls.reader().read_exact(&mut to_plain)?;
                    if state.peer_has_closed() {
                        receives = false;
                    }
                }
            }
        }
        if !receives && to_plain.is_empty() {
            let _ = plain.shutdown(Shutdown::Write);
        }
        if sends && from_plain.intersects(ended) {
            match or_later(plain.read(&mut buffer)) {
                Ok(None) => {}
                Ok(Some(0)) | Err(_) => {
                    sends = false;
                    tls.send_close_notify();
                }
                Ok(Some(read)) => tls.writer().write_all(&buffer[..read])?,
            }
        }
    }
    Ok(())
}

/// Makes a call that would have to wait one that has done nothing.
fn or_later(done: std::io::Result<usize>) -> std::io::Result<Option<usize>> {
    match done {
        Ok(length) => Ok(Some(length)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
