//! A port for a program. A [`Port`] on the host's network owns a socket that keeps others from it
//! until the program is executed.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

use tokio::net::TcpSocket;

/// The port that a program is to listen on.
pub(super) struct Port {
    pub(super) number: u16,
    /// Bound, and not listening: nobody can connect to it, and nobody else gets the port.
    _held: Option<TcpSocket>,
}

impl Port {
    /// Returns a port of a network that the program has for itself.
    pub(super) fn own(number: u16) -> Self {
        Self { number, _held: None }
    }

    /// Returns a free port of the host.
    ///
    /// # Errors
    /// A sentence for whoever deploys, and for the log.
    pub(super) fn free() -> Result<Self, String> {
        let made = TcpSocket::new_v4().and_then(|held| {
            held.bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into())?;
            Ok(Self { number: held.local_addr()?.port(), _held: Some(held) })
        });
        made.map_err(none_free)
    }

    /// Lets the program have it. Another process of the host may take it before the program does.
    pub(super) fn given_up(self) -> Self {
        Self::own(self.number)
    }
}

/// Listens on a free port of the host's loopback.
///
/// # Errors
/// A sentence for whoever deploys, and for the log.
pub(super) fn listen() -> Result<(TcpListener, u16), String> {
    let made = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        Ok((listener, port))
    });
    made.map_err(none_free)
}

fn none_free(error: std::io::Error) -> String {
    format!("there is no free port for its process: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_held_port_is_nobodys_until_it_is_given_up() {
        let port = Port::free().unwrap();
        let number = port.number;
        assert!(TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).is_err());
        assert!(std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, number)).is_err());
        let port = port.given_up();
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port.number)).unwrap();
    }
}
