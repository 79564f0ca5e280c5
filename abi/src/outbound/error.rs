//! Why an allowed destination was refused at deploy. Owns no fds.

use crate::limits::{OUTBOUND_PATTERN_BYTES_MAX, OUTBOUND_PATTERNS_MAX};

/// Why a destination was refused. Each message says what was expected.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PatternError {
    /// More than [`OUTBOUND_PATTERNS_MAX`].
    #[error(
        "more than {OUTBOUND_PATTERNS_MAX} allowed destinations; expected fewer, e.g. *.example.com:443 for several"
    )]
    TooMany,
    /// More than [`OUTBOUND_PATTERN_BYTES_MAX`] bytes.
    #[error(
        "an allowed destination of {length} bytes is too long; expected HOST:PORT in at most \
         {OUTBOUND_PATTERN_BYTES_MAX}, e.g. api.example.com:443"
    )]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A scheme or a path.
    #[error(
        "the allowed destination {0:?} is a URL; expected only its host and port, e.g. api.example.com:443"
    )]
    Url(String),
    /// No colon, or nothing before it.
    #[error(
        "the allowed destination {0:?} is not HOST:PORT; expected both, e.g. api.example.com:443, or \
             api.example.com:* for every port"
    )]
    NotHostAndPort(String),
    /// The port is not one.
    #[error(
        "the allowed destination {0:?} has no valid port; expected 1 to 65535 or *, e.g. api.example.com:443"
    )]
    Port(String),
    /// An IPv6 address without brackets, or brackets around something else.
    #[error(
        "the allowed destination {0:?} has no valid IPv6 address; expected it in brackets, e.g. [fd00::1]:443 or \
             [fd00::/8]:443"
    )]
    V6(String),
    /// Neither an IPv4 address nor a name.
    #[error(
        "the allowed destination {0:?} has no valid IPv4 address; expected four numbers, e.g. 10.0.0.5:443 or \
             10.0.0.0/8:443"
    )]
    V4(String),
    /// A network whose address goes beyond its prefix.
    #[error(
        "the allowed destination {given:?} names a host, not a network; expected e.g. {network}:443"
    )]
    HostBits {
        /// As it was written.
        given: String,
        /// The network meant, probably.
        network: String,
    },
    /// A star that is not a whole first label.
    #[error(
        "the allowed destination {0:?} has a * out of place; expected it alone or in front, e.g. *.example.com:443"
    )]
    Star(String),
    /// Not a DNS name.
    #[error(
        "the allowed destination {0:?} has no valid DNS name; expected labels of a-z, 0-9, - and _ (xn-- for \
             others), e.g. api.example.com:443"
    )]
    Name(String),
}
