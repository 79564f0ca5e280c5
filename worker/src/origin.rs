//! The client that a request is from, and the address that received it. Owns no fds.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::HeaderName;

/// The header that says under which path prefix a function is mounted. Only the node sets it: a
/// client's is removed.
pub(crate) static FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// The client of a request, and the node's end of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) client: Client,
    /// The address that its connection was accepted on.
    pub(crate) local: SocketAddr,
}

/// A client, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    /// The port. `None` if a proxy did not name it.
    pub(crate) port: Option<u16>,
    /// Whether its own connection was TLS. That connection may have ended at a proxy.
    pub(crate) https: bool,
}

impl Origin {
    /// The node itself, which no connection of a client's stands behind.
    pub(crate) const NODE: Self = Self {
        client: Client { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port: None, https: false },
        // The port that `http` means where none is named (RFC 9110 4.2.1).
        local: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 80),
    };
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}
