//! Where to listen, as people write it, and the URLs of what is served there. Pure but for the
//! resolving of names; owns no fds.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::str::FromStr;

/// What the path of a Unix socket stands behind.
const UNIX: &str = "unix:";
/// What an address ends with where clients begin with a header of the PROXY protocol.
const PROXY_PROTOCOL: &str = "proxy-protocol";
/// The longest path of a Unix socket (unix(7)).
const UNIX_PATH_BYTES_MAX: usize = 107;

/// What is spoken above the PROXY protocol, if there is that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    /// HTTP inside of TLS.
    Https,
}

/// What clients speak on a listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spoken {
    pub scheme: Scheme,
    /// Whether each connection begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}

impl Spoken {
    /// HTTP and nothing else.
    pub const HTTP: Self = Self { scheme: Scheme::Http, proxy_protocol: false };
}

/// Where to listen, and what clients speak there: `HOST:PORT` or `http://HOST:PORT`,
/// `https://HOST:PORT`, or `unix:PATH`, each with `?proxy-protocol` or without. Whether the host
/// exists shows when it is resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub spoken: Spoken,
    pub place: Unresolved,
}

/// A place to listen, before names are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// HOST:PORT.
    Authority(String),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// A place where a socket listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// Returns whether `text` has the form HOST:PORT. Whether the host exists shows when it is resolved.
pub fn is_authority(text: &str) -> bool {
    let parts = text.rsplit_once(':');
    parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

impl Address {
    /// Returns the places that it means: a host may have several addresses.
    ///
    /// # Errors
    /// When the host cannot be resolved now.
    pub fn resolve(&self) -> io::Result<Vec<Place>> {
        match &self.place {
            Unresolved::Authority(authority) => {
                Ok(authority.to_socket_addrs()?.map(Place::Tcp).collect())
            }
            Unresolved::Unix(path) => Ok(vec![Place::Unix(path.clone())]),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (text, proxy_protocol) = match text.split_once('?') {
            None => (text, false),
            Some((text, PROXY_PROTOCOL)) => (text, true),
            Some((_, other)) => {
                return Err(format!(
                    "?{other} is not known; an address may end with ?{PROXY_PROTOCOL}"
                ));
            }
        };
        if let Some(path) = text.strip_prefix(UNIX) {
            let spoken = Spoken { scheme: Scheme::Http, proxy_protocol };
            return Ok(Self { spoken, place: Unresolved::Unix(unix_path(path)?) });
        }
        let (scheme, authority) = match text.split_once("://") {
            None => (Scheme::Http, text),
            Some(("http", authority)) => (Scheme::Http, authority),
            Some(("https", authority)) => (Scheme::Https, authority),
            Some((other, _)) => {
                return Err(format!(
                    "{other}:// is not listened for; expected http://, https:// or unix:PATH"
                ));
            }
        };
        // A slash at the end is how many write a URL.
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let spoken = Spoken { scheme, proxy_protocol };
        match is_authority(authority) {
            true => Ok(Self { spoken, place: Unresolved::Authority(authority.to_owned()) }),
            false => Err("expected HOST:PORT, https://HOST:PORT or unix:PATH, for example \
                127.0.0.1:8080"
                .into()),
        }
    }
}

/// Checks the path of a Unix socket.
fn unix_path(path: &str) -> Result<PathBuf, String> {
    if !path.starts_with('/') || path.ends_with('/') {
        // Relative, it would depend on the folder that a node is started in, and so would who
        // finds it.
        Err("expected unix: and an absolute path, for example unix:/run/sockhop.sock".to_owned())
    } else if path.len() > UNIX_PATH_BYTES_MAX || path.contains('\0') {
        Err(format!("the path of a Unix socket has at most {UNIX_PATH_BYTES_MAX} bytes"))
    } else {
        Ok(path.into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, self.spoken.scheme) {
            (Unresolved::Unix(path), _) => write!(f, "{UNIX}{}", path.display())?,
            (Unresolved::Authority(authority), Scheme::Http) => f.write_str(authority)?,
            (Unresolved::Authority(authority), Scheme::Https) => write!(f, "https://{authority}")?,
        }
        write_query(f, self.spoken)
    }
}

/// The URL of what is served at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    pub spoken: Spoken,
    pub place: Place,
}

impl Url {
    /// Returns the port. A Unix socket has none.
    pub fn port(&self) -> Option<u16> {
        match &self.place {
            Place::Tcp(address) => Some(address.port()),
            Place::Unix(_) => None,
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, self.spoken.scheme) {
            (Place::Unix(path), _) => write!(f, "{UNIX}{}", path.display())?,
            (Place::Tcp(address), Scheme::Http) => write!(f, "http://{address}")?,
            (Place::Tcp(address), Scheme::Https) => write!(f, "https://{address}")?,
        }
        write_query(f, self.spoken)
    }
}

fn write_query(f: &mut fmt::Formatter<'_>, spoken: Spoken) -> fmt::Result {
    if spoken.proxy_protocol { write!(f, "?{PROXY_PROTOCOL}") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_what_is_spoken_there() {
        for (text, scheme, proxy_protocol, written) in [
            ("127.0.0.1:80", Scheme::Http, false, "127.0.0.1:80"),
            ("http://[::]:80", Scheme::Http, false, "[::]:80"),
            ("https://0.0.0.0:443/", Scheme::Https, false, "https://0.0.0.0:443"),
            ("unix:/run/a.sock", Scheme::Http, false, "unix:/run/a.sock"),
            ("http://[::]:80?proxy-protocol", Scheme::Http, true, "[::]:80?proxy-protocol"),
            ("https://a:443/?proxy-protocol", Scheme::Https, true, "https://a:443?proxy-protocol"),
            ("unix:/a?proxy-protocol", Scheme::Http, true, "unix:/a?proxy-protocol"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.spoken, Spoken { scheme, proxy_protocol }, "{text}");
            assert_eq!(address.to_string(), written);
            assert_eq!(address.to_string().parse(), Ok(address));
        }
        let said = |text: &str| text.parse::<Address>().unwrap_err();
        assert!(said("nonsense").contains("HOST:PORT"));
        assert!(said("https://:443").contains("HOST:PORT"));
        assert!(said("https://a:443/path").contains("HOST:PORT"));
        assert!(said("ftp://a:21").contains("https://"));
        assert!(said("a:1?proxy").contains("?proxy-protocol"));
        assert!(said("unix:run/a.sock").contains("absolute"));
        assert!(said("unix:/run/").contains("absolute"));
        assert!(said(&format!("unix:/{}", "a".repeat(107))).contains("107"));
    }
}
