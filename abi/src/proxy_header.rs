//! The header of the PROXY protocol, by which a proxy says whose connection it passes on (versions
//! 1 and 2 of HAProxy's specification). Pure; owns no fds.
//!
//! It is read here and not by one of the crates for it, because those that there are wait for more
//! where no more bytes could make a header, and read some that are none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::limits::PROXY_HEADER_BYTES_MAX;

/// What the first version begins with.
const TEXT: &[u8] = b"PROXY ";
/// The most that a header of the first version may be, with its line end.
const TEXT_BYTES_MAX: usize = 107;
/// What the second version begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// A header of the second version up to its addresses.
const FIXED_BYTES: usize = 16;
/// Two addresses of Unix sockets, which are passed over.
const UNIX_BYTES: usize = 216;

/// What has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// A part of a header. All of it belongs to the header, and so does at least one more byte.
    Partial,
    /// A header, of so many bytes.
    Whole {
        /// Its length.
        length: usize,
        /// Whose connection it is. `None` if it is the proxy's own, as for a health check, or the
        /// proxy does not know.
        named: Option<Named>,
    },
}

/// The ends of the connection that a proxy passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    /// The client's address.
    pub client: SocketAddr,
    /// The address that the client has connected to.
    pub local: SocketAddr,
}

/// Why a connection does not begin with a header of the PROXY protocol. More bytes change nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    /// It begins with something else.
    #[error("it begins with no header of the PROXY protocol")]
    Other,
    /// It is longer than any.
    #[error("its PROXY header is longer than any that is read")]
    TooLong,
    /// It is not well formed.
    #[error("its PROXY header is malformed: {0}")]
    Malformed(&'static str),
}

use ProxyHeaderError::Malformed;

/// Reads the header that a connection begins with.
///
/// # Errors
/// Returns [`ProxyHeaderError`] if no header begins with `bytes`.
pub fn read(bytes: &[u8]) -> Result<Read, ProxyHeaderError> {
    let begins_with = |start: &[u8]| {
        let both = start.len().min(bytes.len());
        bytes[..both] == start[..both]
    };
    if begins_with(TEXT) {
        first_version(bytes)
    } else if begins_with(SIGNATURE) {
        second_version(bytes)
    } else {
        Err(ProxyHeaderError::Other)
    }
}

/// Reads `PROXY TCP4 192.0.2.1 198.51.100.1 40000 443` and its line end. Returns
/// [`Read::Partial`] while that has not come.
fn first_version(bytes: &[u8]) -> Result<Read, ProxyHeaderError> {
    let looked_at = &bytes[..bytes.len().min(TEXT_BYTES_MAX)];
    let Some(end) = looked_at.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < TEXT_BYTES_MAX {
            Ok(Read::Partial)
        } else {
            Err(ProxyHeaderError::TooLong)
        };
    };
    let line = looked_at[..end].strip_suffix(b"\r").ok_or(Malformed("it ends without CR"))?;
    // The prefix is there: it has no line end, and this line has.
    let line = line.get(TEXT.len()..).ok_or(Malformed("it has no protocol"))?;
    let length = end + 1;
    let unknown = line.strip_prefix(b"UNKNOWN");
    if unknown.is_some_and(|rest| rest.is_empty() || rest.starts_with(b" ")) {
        // Whatever follows is to be ignored.
        return Ok(Read::Whole { length, named: None });
    }
    let line = std::str::from_utf8(line).map_err(|_| Malformed("it is no text"))?;
    let parts: Vec<&str> = line.split(' ').collect();
    let &[protocol, client, local, client_port, local_port] = parts.as_slice() else {
        return Err(Malformed("it is not a protocol, two addresses and two ports"));
    };
    let named = match protocol {
        "TCP4" => named::<Ipv4Addr>([client, local], [client_port, local_port])?,
        "TCP6" => named::<Ipv6Addr>([client, local], [client_port, local_port])?,
        _ => return Err(Malformed("its protocol is not TCP4, TCP6 or UNKNOWN")),
    };
    Ok(Read::Whole { length, named: Some(named) })
}

/// Reads the addresses and ports of a header of the first version.
fn named<Address: std::str::FromStr + Into<IpAddr>>(
    addresses: [&str; 2],
    ports: [&str; 2],
) -> Result<Named, ProxyHeaderError> {
    let address = |text: &str| text.parse::<Address>().map(Into::into).ok();
    let port = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| digits)
    };
    let ends = [0, 1].map(|at| {
        let address = address(addresses[at]).ok_or(Malformed("it has a bad address"))?;
        Ok(SocketAddr::new(address, port(ports[at]).ok_or(Malformed("it has a bad port"))?))
    });
    let [client, local] = ends;
    Ok(Named { client: client?, local: local? })
}

/// Reads the binary form. What follows the addresses says more about the connection, and is passed
/// over.
fn second_version(bytes: &[u8]) -> Result<Read, ProxyHeaderError> {
    let Some(fixed) = bytes.first_chunk::<FIXED_BYTES>() else { return Ok(Read::Partial) };
    let [.., command, family, high, low] = *fixed;
    let behind = usize::from(u16::from_be_bytes([high, low]));
    let length = FIXED_BYTES + behind;
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed("its version or command is unknown")),
    };
    // The address family, and in the lower bits the transport: of a stream, or not said.
    let addresses_bytes = match family {
        _ if is_local => 0,
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => UNIX_BYTES,
        _ => return Err(Malformed("its addresses are not those of a stream")),
    };
    if behind < addresses_bytes {
        return Err(Malformed("it is too short for its addresses"));
    }
    if length > PROXY_HEADER_BYTES_MAX {
        return Err(ProxyHeaderError::TooLong);
    }
    let Some(addresses) = bytes.get(FIXED_BYTES..length) else { return Ok(Read::Partial) };
    let named = match addresses_bytes {
        12 => four_parts::<4>(addresses)
            .map(|(client, local, ports)| (IpAddr::from(client), IpAddr::from(local), ports)),
        36 => four_parts::<16>(addresses)
            .map(|(client, local, ports)| (IpAddr::from(client), IpAddr::from(local), ports)),
        _ => None,
    };
    let named = named.map(|(client, local, [client_port, local_port])| Named {
        client: SocketAddr::new(client, client_port),
        local: SocketAddr::new(local, local_port),
    });
    Ok(Read::Whole { length, named })
}

/// Takes two addresses of so many bytes and two ports off the front of `bytes`.
fn four_parts<const BYTES: usize>(bytes: &[u8]) -> Option<([u8; BYTES], [u8; BYTES], [u16; 2])> {
    let (client, rest) = bytes.split_first_chunk()?;
    let (local, rest) = rest.split_first_chunk()?;
    let (ports, _) = rest.split_first_chunk::<4>()?;
    let [a, b, c, d] = *ports;
    Some((*client, *local, [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]))
}

#[cfg(test)]
#[path = "proxy_header_tests.rs"]
mod tests;
