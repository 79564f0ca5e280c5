//! What a domain's route takes: requests to a host, and of these those whose paths begin so.
//!
//! It is written `HOST` or `HOST/PREFIX/*`. The command line, the control API, the store and the
//! catalogue all read it here. Names of DNS are taken as the wire has them: in ASCII, where an
//! internationalised one begins with `xn--`. Pure; owns no fds.

use std::fmt;

use crate::limits::{DOMAIN_HOST_BYTES_MAX, DOMAIN_PREFIX_BYTES_MAX, DOMAIN_PREFIX_SEGMENTS_MAX};
use crate::name;

/// What a host's name begins with that stands for all names with one label more.
const WILDCARD: &str = "*.";

/// Why a text is no domain's route. Each message says what was expected.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DomainError {
    /// It has a scheme, or a user.
    #[error("the domain {0:?} is a URL; expected the host alone, for example shop.example.com")]
    Url(String),
    /// It has a port.
    #[error(
        "the domain {0:?} has a port; a domain is served on every port that the node listens on, so leave the port out"
    )]
    Port(String),
    /// It has letters that DNS does not.
    #[error(
        "the domain {0:?} is not written in ASCII; an internationalised name is given as DNS has it, in punycode: xn--..."
    )]
    NotAscii(String),
    /// It is an address.
    #[error("the domain {0:?} is an address; expected a host's name, for example shop.example.com")]
    Address(String),
    /// It has a `*` where none may be.
    #[error(
        "the domain {0:?} has a '*' that is not its first label; a wildcard stands for one whole label, as in *.example.com"
    )]
    Wildcard(String),
    /// It is no name of DNS.
    #[error(
        "the domain {0:?} is no host's name; expected labels of 1 to 63 letters, digits and '-', with dots between them, and at most {DOMAIN_HOST_BYTES_MAX} bytes"
    )]
    Host(String),
    /// It has a path that is no prefix.
    #[error(
        "the domain {text:?} names a single path; a route takes a path and all below it, which is written {meant}"
    )]
    NoPrefix {
        /// As given.
        text: String,
        /// What was probably meant.
        meant: String,
    },
    /// Its prefix is no path that a request can begin with.
    #[error(
        "the path {0:?} cannot be routed by; expected /SEGMENT/SEGMENT with characters that a URL's path has as they are or as %XX, without empty segments, '.', '..' and '*'"
    )]
    Prefix(String),
    /// Its prefix is longer than it may be.
    #[error(
        "the path {0:?} is too long; at most {DOMAIN_PREFIX_BYTES_MAX} bytes and {DOMAIN_PREFIX_SEGMENTS_MAX} segments are routed by"
    )]
    Long(String),
}

/// A host, and how the paths begin that are meant of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain {
    host: String,
    prefix: String,
}

impl Domain {
    /// Reads `HOST` or `HOST/PREFIX/*`. Letters of the host become small ones, and a dot at its end
    /// is left out.
    ///
    /// # Errors
    /// [`DomainError`] saying what it is instead.
    pub fn read(text: &str) -> Result<Self, DomainError> {
        if text.contains("://") {
            return Err(DomainError::Url(text.to_owned()));
        }
        let at = text.find('/').unwrap_or(text.len());
        let (host, path) = text.split_at(at);
        let host = self::host(host)?;
        match path.strip_suffix("/*") {
            Some(prefix) => Self::with_prefix(host, prefix),
            None if path.is_empty() || path == "/" => Self::with_prefix(host, ""),
            None => {
                let meant = format!("{host}{}/*", path.trim_end_matches('/'));
                Err(DomainError::NoPrefix { text: text.to_owned(), meant })
            }
        }
    }

    /// Reads its two parts. `prefix` is empty for all paths, and otherwise without the `/*`.
    ///
    /// # Errors
    /// The same.
    pub fn new(host: &str, prefix: &str) -> Result<Self, DomainError> {
        Self::with_prefix(self::host(host)?, prefix)
    }

    fn with_prefix(host: String, prefix: &str) -> Result<Self, DomainError> {
        check_prefix(prefix)?;
        Ok(Self { host, prefix: prefix.to_owned() })
    }

    /// Returns the host: a name, or `*.` and one.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns what paths begin with: whole segments, or nothing.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns whether its host stands for all names with one label more.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.host.starts_with(WILDCARD)
    }
}

/// `example.com`, or `example.com/api/*`.
impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(&self.host, &self.prefix).fmt(f)
    }
}

impl std::str::FromStr for Domain {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        Self::read(text)
    }
}

/// Returns a host and a prefix as they are written together.
#[must_use]
pub fn shown(host: &str, prefix: &str) -> String {
    if prefix.is_empty() { host.to_owned() } else { format!("{host}{prefix}/*") }
}

/// Returns whether `name` is the host of a domain as [`Domain::host`] returns it.
#[must_use]
pub fn is_host(name: &str) -> bool {
    host(name).is_ok_and(|host| host == name)
}

/// Returns the host in small letters and without a dot at its end.
fn host(text: &str) -> Result<String, DomainError> {
    let given = || text.to_owned();
    if !text.is_ascii() {
        return Err(DomainError::NotAscii(given()));
    }
    if text.contains('@') {
        return Err(DomainError::Url(given()));
    }
    if text.starts_with('[') {
        return Err(DomainError::Address(given()));
    }
    if text.contains(':') {
        return Err(DomainError::Port(given()));
    }
    let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let name = host.strip_prefix(WILDCARD).unwrap_or(&host);
    if name.contains('*') {
        return Err(DomainError::Wildcard(given()));
    }
    if host.len() > DOMAIN_HOST_BYTES_MAX
        || name.split('.').any(|label| name::check(label).is_err())
    {
        return Err(DomainError::Host(given()));
    }
    // No top-level domain is a number (RFC 3696 2).
    let last = name.rsplit('.').next().unwrap_or_default();
    match last.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Err(DomainError::Address(given())),
        false => Ok(host),
    }
}

/// Checks that `prefix` is empty, or `/SEGMENT` once or several times.
///
/// # Errors
/// [`DomainError::Prefix`] and [`DomainError::Long`].
pub fn check_prefix(prefix: &str) -> Result<(), DomainError> {
    let Some(segments) = prefix.strip_prefix('/') else {
        let empty = prefix.is_empty();
        return if empty { Ok(()) } else { Err(DomainError::Prefix(prefix.to_owned())) };
    };
    let is_good = |segment: &str| !matches!(segment, "" | "." | "..") && is_segment(segment);
    if !segments.split('/').all(is_good) {
        return Err(DomainError::Prefix(prefix.to_owned()));
    }
    let long = prefix.len() > DOMAIN_PREFIX_BYTES_MAX
        || segments.split('/').count() > DOMAIN_PREFIX_SEGMENTS_MAX;
    if long { Err(DomainError::Long(prefix.to_owned())) } else { Ok(()) }
}

/// Whether `text` has only what a segment of a path has (`pchar`, RFC 3986 3.3), and no `*`.
fn is_segment(text: &str) -> bool {
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest
            }
            [byte, rest @ ..]
                if byte.is_ascii_alphanumeric() || b"-._~!$&'()+,;=:@".contains(byte) =>
            {
                rest
            }
            _ => return false,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_host_and_a_prefix_are_read() {
        for (text, host, prefix, shown) in [
            ("example.com", "example.com", "", "example.com"),
            ("example.com/", "example.com", "", "example.com"),
            ("example.com/*", "example.com", "", "example.com"),
            ("Shop.EXAMPLE.com.", "shop.example.com", "", "shop.example.com"),
            ("example.com/api/*", "example.com", "/api", "example.com/api/*"),
            ("example.com/a/b-c/*", "example.com", "/a/b-c", "example.com/a/b-c/*"),
            ("example.com/Caf%C3%A9/*", "example.com", "/Caf%C3%A9", "example.com/Caf%C3%A9/*"),
            ("*.Example.com/x/*", "*.example.com", "/x", "*.example.com/x/*"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", "", "xn--bcher-kva.example"),
            ("intranet", "intranet", "", "intranet"),
            ("4chan.example", "4chan.example", "", "4chan.example"),
        ] {
            let domain = Domain::read(text).unwrap();
            assert_eq!((domain.host(), domain.prefix()), (host, prefix), "{text}");
            assert_eq!(domain.to_string(), shown);
            assert_eq!(domain.is_wildcard(), host.starts_with('*'));
            assert_eq!(Domain::new(host, prefix), Ok(domain));
        }
    }

    #[test]
    fn what_is_none_is_refused_with_what_was_expected() {
        for (text, part) in [
            ("", "no host's name"),
            (".", "no host's name"),
            ("/api/*", "no host's name"),
            ("a..b", "no host's name"),
            ("-a.example", "no host's name"),
            ("a_b.example", "no host's name"),
            ("a b", "no host's name"),
            ("a%2eb", "no host's name"),
            ("b\u{fc}cher.example", "punycode"),
            ("example.com:443", "port"),
            ("example.com:443/api/*", "port"),
            ("https://example.com", "the host alone"),
            ("user@example.com", "the host alone"),
            ("127.0.0.1", "address"),
            ("1", "address"),
            ("[::1]", "address"),
            ("*", "not its first label"),
            ("a.*.example", "not its first label"),
            ("*.*.example", "not its first label"),
            ("a*.example", "not its first label"),
            ("example.com/api", "written example.com/api/*"),
            ("example.com/api/", "written example.com/api/*"),
            ("example.com/api/*/x/*", "cannot be routed by"),
            ("example.com//*", "cannot be routed by"),
            ("example.com/a//b/*", "cannot be routed by"),
            ("example.com/../*", "cannot be routed by"),
            ("example.com/a?b/*", "cannot be routed by"),
            ("example.com/a%2/*", "cannot be routed by"),
            ("example.com/\u{e9}/*", "cannot be routed by"),
        ] {
            let error = Domain::read(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
        assert!(Domain::new("example.com", "api").is_err());
        assert!(Domain::new("example.com", "/").is_err());
    }

    #[test]
    fn lengths_are_taken_up_to_their_limits() {
        let label = "a".repeat(63);
        let host = [&*label, &label, &label, &"a".repeat(61)].join(".");
        assert_eq!(host.len(), DOMAIN_HOST_BYTES_MAX);
        assert!(Domain::read(&host).is_ok());
        assert!(Domain::read(&format!("{host}a")).is_err());
        assert!(Domain::read(&format!("*.{host}")).is_err());
        let prefix = format!("/{}", "a".repeat(DOMAIN_PREFIX_BYTES_MAX - 1));
        assert!(Domain::new("a", &prefix).is_ok());
        assert!(matches!(Domain::new("a", &format!("{prefix}a")), Err(DomainError::Long(_))));
        let prefix = "/a".repeat(DOMAIN_PREFIX_SEGMENTS_MAX);
        assert!(Domain::new("a", &prefix).is_ok());
        assert!(matches!(Domain::new("a", &format!("{prefix}/a")), Err(DomainError::Long(_))));
    }

    proptest! {
        /// Whatever is taken is written as it is read again, and is a host and a path that a
        /// request can have.
        #[test]
        fn what_is_read_is_written_again(text in ".{0,40}", like in "(\\*\\.)?[a-zA-Z0-9.-]{1,12}[.:]?[0-9]{0,2}(/[a-z%0-9.*]{0,4}){0,3}(/\\*)?") {
            for text in [text, like] {
                let Ok(domain) = Domain::read(&text) else { continue };
                prop_assert_eq!(Domain::read(&domain.to_string()), Ok(domain.clone()));
                prop_assert!(is_host(domain.host()) && crate::authority::is_authority(domain.host()));
                let target = format!("{}/", domain.prefix());
                prop_assert!(target.parse::<http::Uri>().is_ok_and(|uri| uri.path() == target));
            }
        }
    }
}
