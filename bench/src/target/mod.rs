//! Where requests go: the URL, the address behind it, and the request's bytes. Opens one connection
//! to find out which address answers, and closes it again; `session` owns those that carry single
//! requests.

mod request;
mod session;

use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use crate::client::PreparedRequest;
use crate::reply;
use crate::tls::Tls;
pub use request::{Error as RequestError, Request};
pub use session::{Fetched, Session};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// What goes wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a URL we drive.
    #[error("`{url}` is not a URL of the form http[s]://HOST[:PORT][/PATH] ({why})")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No such host.
    #[error("cannot resolve `{authority}` ({source}); check the name, or give an address")]
    Resolve {
        /// Host and port.
        authority: String,
        /// What the resolver said.
        source: std::io::Error,
    },
    /// Nobody there.
    #[error(
        "nothing accepts connections at {authority} ({source}); is the server up and on that port?"
    )]
    Connect {
        /// Host and port.
        authority: String,
        /// What the last address tried said.
        source: std::io::Error,
    },
    /// The connection broke before the reply was whole.
    #[error("no whole reply from {authority} ({source}); the server's log may say why")]
    Fetch {
        /// Host and port.
        authority: String,
        /// What the socket said.
        source: std::io::Error,
    },
    /// Not HTTP/1.
    #[error("{authority} does not answer in HTTP/1 ({source}); is another server on that port?")]
    Reply {
        /// Host and port.
        authority: String,
        /// What is wrong with it.
        source: reply::Error,
    },
    /// No TLS.
    #[error(transparent)]
    Tls(#[from] crate::tls::Error),
}

/// A URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whether it is an https:// one.
    is_secure: bool,
    /// Host and port, the port always said.
    authority: String,
    /// What the Host header says: as in the URL.
    host: String,
    /// Path and query.
    path: String,
}

impl Target {
    /// Takes a URL apart. User info and fragments have no place in a load test and are refused.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let error = |why| Error::Url { url: url.to_owned(), why };
        let (is_secure, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(error("only http:// and https:// are driven")),
        };
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(error("blanks, controls and non-ASCII must be percent-encoded"));
        }
        if rest.contains(['@', '#']) {
            return Err(error("user info and fragments are not sent"));
        }
        let (host, path) = match rest.find(['/', '?']) {
            Some(at) if rest[at..].starts_with('/') => (&rest[..at], rest[at..].to_owned()),
            Some(at) => (&rest[..at], format!("/{}", &rest[at..])),
            None => (rest, "/".to_owned()),
        };
        // A colon after the last bracket parts the port; those before it belong to an IPv6 address.
        let after_bracket = host.rfind(']').map_or(0, |at| at + 1);
        let authority = match host[after_bracket..].split_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
            Some(_) => return Err(error("the port is no number up to 65535")),
            None => format!("{host}:{}", if is_secure { 443 } else { 80 }),
        };
        if host.is_empty() || host.starts_with(':') {
            return Err(error("the host is missing"));
        }
        Ok(Self { is_secure, authority, host: host.to_owned(), path })
    }

    /// The bytes of one request to it.
    pub fn bytes(&self, request: &Request, keep_alive: bool) -> Vec<u8> {
        request.bytes(&self.path, &self.host, keep_alive)
    }

    /// The bytes of a GET on a connection that stays.
    pub fn get(&self) -> Vec<u8> {
        self.bytes(&Request::get(), true)
    }

    /// One request to it for a load, and the body that its replies must have.
    pub fn prepare(&self, request: &Request, expected_body: Option<Vec<u8>>) -> PreparedRequest {
        PreparedRequest {
            keep: self.bytes(request, true),
            close: self.bytes(request, false),
            message: request.message(&self.url()).ok(),
            expected_body,
            head_only: request.head_only(),
        }
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What the Host header says.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Path and query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The same with something behind it: `?name=value`.
    pub fn with_query(&self, query: &str) -> Result<Self, Error> {
        Self::parse(&format!("{}{query}", self.url()))
    }

    fn url(&self) -> String {
        let scheme = if self.is_secure { "https" } else { "http" };
        format!("{scheme}://{}{}", self.host, self.path)
    }

    /// What a client says to its server before the first request, if there is TLS.
    pub fn tls(&self, protocol: &[u8], resumes: bool) -> Result<Option<Tls>, Error> {
        if !self.is_secure {
            return Ok(None);
        }
        let end = self.authority.rfind(':').unwrap_or(self.authority.len());
        Ok(Some(Tls::new(&self.authority[..end], protocol, resumes)?))
    }

    /// The first address of the host that accepts a connection: `localhost` often has one that does
    /// not.
    pub fn resolve(&self) -> Result<SocketAddr, Error> {
        self.connect()?.peer_addr().map_err(|source| self.connect_error(source))
    }

    /// Fetches one reply, blocking, on a connection of its own: what the load will then expect.
    pub fn fetch(&self, request: &Request) -> Result<Fetched, Error> {
        Session::open(self)?.exchange(&self.bytes(request, true))
    }

    fn connect(&self) -> Result<TcpStream, Error> {
        let addresses = self
            .authority
            .to_socket_addrs()
            .map_err(|source| Error::Resolve { authority: self.authority.clone(), source })?;
        let mut last = std::io::Error::other("the name has no address");
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(self.connect_error(last))
    }

    fn connect_error(&self, source: std::io::Error) -> Error {
        Error::Connect { authority: self.authority.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls_come_apart() {
        for (url, authority, host, path) in [
            ("http://a", "a:80", "a", "/"),
            ("http://a:81/x?y", "a:81", "a:81", "/x?y"),
            ("http://a?q", "a:80", "a", "/?q"),
            ("http://[::1]:8080/h/", "[::1]:8080", "[::1]:8080", "/h/"),
            ("http://[::1]", "[::1]:80", "[::1]", "/"),
            ("https://a/x", "a:443", "a", "/x"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((&*target.authority, &*target.host, &*target.path), (authority, host, path));
        }
        for bad in [
            "",
            "a",
            "ftp://a",
            "https://",
            "http://",
            "http://:80/",
            "http://a:x",
            "http://a:70000",
            "http://a b",
            "http://u@a",
            "http://a#f",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_url_breaks_the_request(url in "http://.{0,40}") {
            if let Ok(target) = Target::parse(&url) {
                let request = String::from_utf8(target.get()).unwrap();
                prop_assert_eq!(request.matches("\r\n").count(), 3);
                prop_assert_eq!(request.lines().next().unwrap().split(' ').count(), 3);
            }
        }
    }
}
