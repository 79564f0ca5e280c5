//! The server that a URL addresses. Owns no fds.

use std::net::{IpAddr, Ipv6Addr};

use http::Uri;
use http::uri::Scheme;

/// The longest name in its textual form, with a dot at its end (RFC 1035 2.3.4: 255 bytes on the
/// wire).
const HOST_BYTES_MAX: usize = 254;

/// Host, port and whether to speak TLS.
pub(super) struct Target {
    /// A name, or an address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
}

impl Target {
    /// Returns the target of a URL. Returns `None` if it has no host, a host too long for a name, a
    /// user (RFC 9110 4.2.4), or an invalid port.
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        let authority = uri.authority()?;
        let tls = uri.scheme() == Some(&Scheme::HTTPS);
        // With a user in front, the authority does not begin with the host.
        let port = match authority.as_str().strip_prefix(authority.host())? {
            "" if tls => 443,
            "" => 80,
            rest => rest
                .strip_prefix(':')
                .and_then(|_| authority.port_u16())
                .filter(|port| *port != 0)?,
        };
        let host = match authority.host().strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.to_string(),
            None => authority.host().to_owned(),
        };
        (1..=HOST_BYTES_MAX).contains(&host.len()).then_some(Self { host, port, tls })
    }

    /// Returns the address, if the host is one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Returns `HOST:PORT` as in a list of allowed destinations.
    pub(super) fn name(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uri: &str) -> Option<(String, bool)> {
        Target::of(&uri.parse().ok()?).map(|target| (target.name(), target.tls))
    }

    #[test]
    fn host_and_port_are_read_and_defaulted() {
        for (uri, name, tls) in [
            ("http://a.example", "a.example:80", false),
            ("https://a.example/x:1", "a.example:443", true),
            ("https://a.example:8443", "a.example:8443", true),
            ("http://127.0.0.1:1", "127.0.0.1:1", false),
            ("http://[::1]", "[::1]:80", false),
            ("https://[2001:DB8::1]:8443/", "[2001:db8::1]:8443", true),
        ] {
            assert_eq!(read(uri), Some((name.to_owned(), tls)), "{uri}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for uri in [
            "/only/a/path",
            "http://user@a.example",
            "http://user:pass@a.example:80",
            "http://a@a:80",
            "http://a.example:0",
            "http://a.example:99999",
            "http://a.example:",
            "http://[::1",
            "http://[fe80::1%25eth0]/",
            "http://[1.2.3.4]/",
        ] {
            assert_eq!(read(uri), None, "{uri}");
        }
        let longest = "x".repeat(HOST_BYTES_MAX);
        assert!(
            read(&format!("http://{longest}")).is_some()
                && read(&format!("http://{longest}x")).is_none()
        );
    }
}
