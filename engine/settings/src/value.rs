//! How single values are parsed, and what they may be. Pure; owns no fds.

use std::time::Duration;

use abi::limits::{SETTING_TIMEOUT_MAX, SPOOL_BYTES_MIN, TRACE_SAMPLE_MAX, WORKERS_PER_CORE_MAX};
use abi::sandbox::Level;
use bytesize::ByteSize;
use host::listen::is_authority;

/// The longest that a DNS name can be (RFC 1035 2.3.4, without the root's label).
const NAME_BYTES_MAX: usize = 253;

/// Far longer than any region's name.
const REGION_BYTES_MAX: usize = 64;

/// Long enough for a name, and short enough for a file's.
const NATS_BUCKET_BYTES_MAX: usize = 64;

/// Parses how many workers a core has.
pub(super) fn workers_per_core(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=WORKERS_PER_CORE_MAX).contains(number));
    number.ok_or_else(|| format!("expected a number from 1 to {WORKERS_PER_CORE_MAX}"))
}

/// Parses a number of things, of which there must be at least one.
pub(super) fn count(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| "expected a number from 1 to 4294967295".to_owned())
}

/// Checks that `text` has the form HOST:PORT. Whether the host exists shows when it is resolved.
///
/// # Errors
/// A sentence that says what is expected.
pub fn address(text: &str) -> Result<String, String> {
    match is_authority(text) {
        true => Ok(text.to_owned()),
        false => Err("expected HOST:PORT, for example 127.0.0.1:8080".into()),
    }
}

/// Checks that `text` is the base URL of an OTLP receiver.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).ok();
    let fits = |url: &reqwest::Url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.query().is_none()
            && url.fragment().is_none()
    };
    match url.is_some_and(|url| fits(&url) && url.username().is_empty() && url.password().is_none())
    {
        true => Ok(text.to_owned()),
        false => {
            Err("expected the base URL of an OTLP receiver, for example http://127.0.0.1:4318"
                .into())
        }
    }
}

/// How a certificate authority sees that a name is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum AcmeChallenge {
    #[value(name = "http-01")]
    Http01,
    #[value(name = "tls-alpn-01")]
    TlsAlpn01,
}

/// How native programs are kept apart from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum NativeSandbox {
    Full,
    Basic,
}

impl From<NativeSandbox> for Level {
    fn from(level: NativeSandbox) -> Self {
        match level {
            NativeSandbox::Full => Self::Full,
            NativeSandbox::Basic => Self::Basic,
        }
    }
}

/// Whether something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    On,
    Off,
}

impl Switch {
    /// Returns whether it is done.
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

/// Checks that `text` can be an address of mail. Whether mail comes to it, the CA finds out.
pub(super) fn email(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"<>,;?&%".contains(&byte);
    match text.split_once('@') {
        Some((user, host))
            if !user.is_empty() && host.contains('.') && text.bytes().all(is_plain) =>
        {
            Ok(text.to_owned())
        }
        _ => Err("expected an address of mail, for example me@example.com".into()),
    }
}

/// Checks that `text` is the URL of an ACME directory.
pub(super) fn directory(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).ok();
    let fits = |url: reqwest::Url| {
        url.scheme() == "https"
            && url.has_host()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    };
    match url.is_some_and(fits) {
        true => Ok(text.to_owned()),
        false => Err(
            "expected the URL of a CA's ACME directory, for example https://ca.example/directory"
                .into(),
        ),
    }
}

/// A share of the whole, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(pub u32);

impl std::str::FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share = text.parse().ok().filter(|share: &f64| (0.0..=1.0).contains(share));
        let share =
            share.ok_or_else(|| "expected a number from 0 to 1, for example 0.01".to_owned())?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is from 0 to a million"
        )]
        Ok(Self((share * f64::from(TRACE_SAMPLE_MAX)).round() as u32))
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", f64::from(self.0) / f64::from(TRACE_SAMPLE_MAX))
    }
}

/// Checks the name of a region, which is a part of every request's signature.
pub(super) fn region(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    match !text.is_empty() && text.len() <= REGION_BYTES_MAX && text.bytes().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("expected the name of a region, for example eu-central-1".into()),
    }
}

pub(super) fn domain(text: &str) -> Result<String, String> {
    let text = text.trim_matches('.').to_ascii_lowercase();
    match text.len() <= NAME_BYTES_MAX
        && text.split('.').all(|label| abi::name::check(label).is_ok())
    {
        true => Ok(text),
        false => Err("expected a host name, for example example.com".into()),
    }
}

/// Checks that `text` is the address of a NATS server: a scheme and an authority, with nothing
/// behind them. One with credentials passes: what refuses it must not show it ([`nats_mistake`]).
///
/// [`nats_mistake`]: super::resolve
pub(super) fn nats_server(text: &str) -> Result<String, String> {
    let expected = "expected nats://HOST:PORT or tls://HOST:PORT";
    let (scheme, authority) =
        text.split_once("://").ok_or_else(|| format!("{expected}; the scheme is missing"))?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains('@') {
        return Ok(text.to_owned());
    }
    let is_plain = !authority.contains(['/', '?', '#', ',']);
    match authority.parse::<http::uri::Authority>() {
        Ok(read)
            if ["nats", "tls"].contains(&scheme)
                && is_plain
                && !read.host().is_empty()
                && (read.port_u16().is_some() || authority == read.host()) =>
        {
            Ok(format!("{scheme}://{authority}"))
        }
        _ => Err(expected.into()),
    }
}

/// Checks the name of a key-value bucket in NATS.
pub(super) fn nats_bucket(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    match !text.is_empty() && text.len() <= NATS_BUCKET_BYTES_MAX && text.bytes().all(allowed) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "expected at most {NATS_BUCKET_BYTES_MAX} letters, digits, hyphens and underscores"
        )),
    }
}

/// Parses a time, which may be zero.
pub(super) fn time(text: &str) -> Result<humantime::Duration, String> {
    let time: humantime::Duration =
        text.parse().map_err(|error: humantime::DurationError| error.to_string())?;
    match *time <= SETTING_TIMEOUT_MAX {
        true => Ok(time),
        false => {
            Err(format!("at most {} is possible", humantime::format_duration(SETTING_TIMEOUT_MAX)))
        }
    }
}

/// Parses how long something is kept, which may be for years.
pub(super) fn age(text: &str) -> Result<humantime::Duration, String> {
    text.parse().map_err(|error: humantime::DurationError| error.to_string())
}

/// Parses a number of bytes.
pub(super) fn size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|_| "expected a size, for example 64MiB".to_owned())
}

/// Parses the size of the spool, which must hold several segments.
pub(super) fn spool_size(text: &str) -> Result<ByteSize, String> {
    match size(text)? {
        size if size.as_u64() < SPOOL_BYTES_MIN => {
            Err(format!("at least {} are needed", ByteSize(SPOOL_BYTES_MIN)))
        }
        size => Ok(size),
    }
}

/// Parses how often the whole store is searched.
pub(super) fn interval(text: &str) -> Result<humantime::Duration, String> {
    match time(text)? {
        time if *time < Duration::from_secs(1) => Err("at least 1s is needed".into()),
        time => Ok(time),
    }
}

/// Parses a time limit of clients, which must not be zero: nobody could be served then.
pub(super) fn wait(text: &str) -> Result<humantime::Duration, String> {
    match time(text)? {
        time if *time < Duration::from_millis(1) => Err("at least 1ms is needed".into()),
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nats_server_is_a_scheme_and_an_authority() {
        for text in ["nats://127.0.0.1:4222", "tls://nats.example", "nats://[::1]:4222"] {
            assert_eq!(nats_server(text), Ok(text.to_owned()));
        }
        assert_eq!(nats_server("nats://a:1/"), Ok("nats://a:1".to_owned()));
        for (text, part) in [
            ("127.0.0.1:4222", "scheme is missing"),
            ("http://127.0.0.1:4222", "nats://HOST:PORT"),
            ("nats://", "nats://HOST:PORT"),
            ("nats://a:x", "nats://HOST:PORT"),
            ("nats://a/b", "nats://HOST:PORT"),
        ] {
            let said = nats_server(text).unwrap_err();
            assert!(said.contains(part), "{text}: {said}");
        }
        for (name, is_one) in [("sockhop", true), ("A-1_b", true), ("", false), ("a.b", false)] {
            assert_eq!(nats_bucket(name).is_ok(), is_one, "{name}");
        }
    }
}
