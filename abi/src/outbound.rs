//! Where a function's outgoing requests may go (`--allow-outbound`): read by the engine at deploy,
//! obeyed by the worker.
//!
//! Two questions, since a name is not an address and whoever runs the name decides what it resolves
//! to: may this host be asked for at all, and may the address that it resolved to be connected to.
//! A public address goes with its name; any other has to be named itself, so that no DNS name leads
//! to the node's own network. Pure; owns no fds.

mod address;
mod error;
mod pattern;

use std::net::IpAddr;

pub use address::is_public;
pub use error::PatternError;
pub use pattern::Pattern;

use crate::limits::OUTBOUND_PATTERNS_MAX;

/// Every destination that a function may reach. The default is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList {
    patterns: Vec<Pattern>,
}

impl AllowList {
    /// Reads `patterns`, as [`Pattern::parse`] reads each.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, PatternError> {
        let mut list = Self::default();
        for text in patterns {
            if list.patterns.len() == OUTBOUND_PATTERNS_MAX {
                return Err(PatternError::TooMany);
            }
            list.patterns.push(Pattern::parse(text)?);
        }
        Ok(list)
    }

    /// Whether nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a URL may have this host and port. An address in a URL has to be named as one, or be
    /// public where any public host is allowed. IPv6 addresses may stand in brackets.
    pub fn allows_host(&self, host: &str, port: u16) -> bool {
        match literal(host) {
            Some(address) => {
                let any = || self.of_port(port).any(Pattern::is_any_host);
                self.names_address(address, port) || (is_public(address) && any())
            }
            None => self.of_port(port).any(|pattern| pattern.matches_name(without_dot(host))),
        }
    }

    /// Whether a connection may be made to `address`, to which `host` has resolved.
    pub fn allows_address(&self, host: &str, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        self.allows_host(host, port)
            && (is_public(address)
                || self.names_address(address, port)
                || (address.is_loopback() && self.names_localhost(host, port)))
    }

    fn of_port(&self, port: u16) -> impl Iterator<Item = &Pattern> {
        self.patterns.iter().filter(move |pattern| pattern.has_port(port))
    }

    fn names_address(&self, address: IpAddr, port: u16) -> bool {
        self.of_port(port).any(|pattern| pattern.has_address(address))
    }

    /// `localhost` means loopback to whoever writes it (RFC 6761 6.3), so it needs no second entry.
    fn names_localhost(&self, host: &str, port: u16) -> bool {
        let host = without_dot(host);
        host.eq_ignore_ascii_case("localhost")
            && self.of_port(port).any(|pattern| pattern.is_name("localhost"))
    }
}

/// The address that a URL's host is, if it is one. An IPv4 address in IPv6's clothes is the former.
fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// A name's trailing dot says that it is whole (RFC 1034 3.1); here every name is.
fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests;
