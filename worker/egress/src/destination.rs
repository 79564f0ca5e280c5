//! The server that a request names. Owns no fds.

use std::fmt;
use std::net::Ipv6Addr;

use http::uri::Authority;

/// The longest name in its textual form, with a dot at its end (RFC 1035 2.3.4: 255 bytes on the
/// wire).
const HOST_BYTES_MAX: usize = 254;
/// Of `http` (RFC 9110 4.2.1).
const HTTP_PORT: u16 = 80;

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    /// A name, or an address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Destination {
    /// Returns the destination of a CONNECT request, which has to name the port (RFC 9110 9.3.6).
    /// Returns `None` if the authority is not exactly a host and a port.
    pub(crate) fn of_tunnel(authority: &Authority) -> Option<Self> {
        Self::of(authority, None)
    }

    /// Returns the destination of a request for an `http` URL. Returns `None` if the authority is
    /// not a host with or without a port, such as one with a user in it (RFC 9110 4.2.4).
    pub(crate) fn of_http(authority: &Authority) -> Option<Self> {
        Self::of(authority, Some(HTTP_PORT))
    }

    fn of(authority: &Authority, port_default: Option<u16>) -> Option<Self> {
        // With a user in front, the authority does not begin with the host, or goes on with `@`.
        let rest = authority.as_str().strip_prefix(authority.host())?;
        let port = match rest.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse::<u16>().ok().filter(|port| *port != 0)?
            }
            None if rest.is_empty() => port_default?,
            _ => return None,
        };
        let host = match authority.host().strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.to_string(),
            None => authority.host().to_owned(),
        };
        (1..=HOST_BYTES_MAX).contains(&host.len()).then_some(Self { host, port })
    }
}

/// `HOST:PORT` as in a list of allowed destinations.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tunnel(authority: &str) -> Option<String> {
        Destination::of_tunnel(&authority.parse().ok()?).map(|found| found.to_string())
    }

    fn http(authority: &str) -> Option<String> {
        Destination::of_http(&authority.parse().ok()?).map(|found| found.to_string())
    }

    #[test]
    fn host_and_port_are_read() {
        for (authority, name) in [
            ("a.example:443", "a.example:443"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("[2001:DB8::1]:8443", "[2001:db8::1]:8443"),
        ] {
            assert_eq!(tunnel(authority).as_deref(), Some(name));
            assert_eq!(http(authority).as_deref(), Some(name));
        }
        assert_eq!(http("a.example").as_deref(), Some("a.example:80"));
        assert_eq!(http("[::1]").as_deref(), Some("[::1]:80"));
        assert_eq!(tunnel("a.example"), None);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for authority in [
            "user@a.example:80",
            "user:80@a.example:80",
            "a@a:80",
            "a.example:",
            "a.example:0",
            "a.example:+80",
            "a.example:99999",
            "[::1",
            "[1.2.3.4]:80",
            "[fe80::1%25eth0]:80",
        ] {
            assert_eq!((tunnel(authority), http(authority)), (None, None), "{authority}");
        }
        let longest = "x".repeat(HOST_BYTES_MAX);
        assert!(http(&longest).is_some() && http(&format!("{longest}x")).is_none());
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_so_that_it_is_read_again(text in "[a-z0-9.:@\\[\\]%-]{1,40}") {
            if let Some(name) = http(&text) {
                prop_assert_eq!(tunnel(&name), Some(name.clone()));
                prop_assert!(!name.contains('@'));
            }
        }
    }
}
