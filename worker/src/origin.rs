//! The client that a request is from, and the address that received it. Owns no fds.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderMap, HeaderName};

/// The header that says under which path prefix a function is mounted. Only the node sets it: a
/// client's is removed.
pub(crate) static FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Removes the headers that the node alone sets: they say that a schedule or a job has sent a
/// request.
pub(crate) fn remove_reserved(headers: &mut HeaderMap) {
    let is_reserved = |name: &&HeaderName| abi::head::is_reserved(name.as_str());
    let names: Vec<HeaderName> = headers.keys().filter(is_reserved).cloned().collect();
    names.iter().for_each(|name| drop(headers.remove(name)));
}

/// The client of a request, and the node's end of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) client: Client,
    /// The address that its connection was accepted on. `None` unless the runner needs it.
    pub(crate) local: Option<SocketAddr>,
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

/// The address of a connection of the node's own, which has none. The port is the one that `http`
/// means if none is named (RFC 9110 4.2.1).
pub(crate) const NODE_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 80);

impl Client {
    /// Returns the client of a connection that came with its `origin`.
    pub(crate) fn of(origin: abi::origin::Origin) -> Self {
        let abi::origin::Origin { client, https, .. } = origin;
        Self { address: client.ip().to_canonical(), port: Some(client.port()), https }
    }

    /// The node itself, as the client of its own requests.
    pub(crate) const NODE: Self =
        Self { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port: None, https: false };
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}
