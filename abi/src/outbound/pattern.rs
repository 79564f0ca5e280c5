//! One allowed destination, as it is written: `HOST:PORT`. Owns no fds.
//!
//! HOST is a DNS name, `*.NAME` (everything below NAME, but not NAME itself), `*` (any public
//! host), an IPv4 address, an IPv6 address in brackets, or a network of either (`10.0.0.0/8`,
//! `[fd00::/8]`). PORT is a number or `*`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::{same_v4, same_v6};
use super::error::PatternError;
use crate::limits::OUTBOUND_PATTERN_BYTES_MAX;

/// A name in its textual form (RFC 1035 2.3.4: 255 bytes on the wire).
const NAME_BYTES_MAX: usize = 253;
/// One label of it (RFC 1035 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// One allowed destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    host: Host,
    /// `None` is every port.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Any,
    Name(String),
    Below(String),
    V4(Ipv4Addr, u32),
    V6(Ipv6Addr, u32),
}

impl Pattern {
    /// Reads `HOST:PORT`. Case does not matter, nor does a dot at the end of a name.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > OUTBOUND_PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong { length: text.len() });
        }
        if text.contains("://") {
            return Err(PatternError::Url(text.to_owned()));
        }
        let parts =
            text.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !text.ends_with(']'));
        let Some((host, port)) = parts else {
            return Err(PatternError::NotHostAndPort(text.to_owned()));
        };
        Ok(Self { host: read_host(text, host)?, port: read_port(text, port)? })
    }

    pub(super) fn has_port(&self, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
    }

    pub(super) fn is_any_host(&self) -> bool {
        self.host == Host::Any
    }

    /// Whether the pattern is exactly this name, in lower case.
    pub(super) fn is_name(&self, name: &str) -> bool {
        matches!(&self.host, Host::Name(own) if own == name)
    }

    /// Whether a host that is a name, and no address, is meant.
    pub(super) fn matches_name(&self, name: &str) -> bool {
        match &self.host {
            Host::Any => !name.is_empty(),
            Host::Name(own) => own.eq_ignore_ascii_case(name),
            Host::Below(base) => {
                let (name, base) = (name.as_bytes(), base.as_bytes());
                let split = name.len().checked_sub(base.len()).map(|at| name.split_at(at));
                split.is_some_and(|(front, end)| {
                    front.len() > 1 && front.ends_with(b".") && end.eq_ignore_ascii_case(base)
                })
            }
            Host::V4(..) | Host::V6(..) => false,
        }
    }

    /// Whether an address is named, alone or by its network.
    pub(super) fn has_address(&self, address: IpAddr) -> bool {
        match (&self.host, address) {
            (Host::V4(own, prefix), IpAddr::V4(other)) => same_v4(*own, other, *prefix),
            (Host::V6(own, prefix), IpAddr::V6(other)) => same_v6(*own, other, *prefix),
            _ => false,
        }
    }
}

fn read_port(text: &str, port: &str) -> Result<Option<u16>, PatternError> {
    if port == "*" {
        return Ok(None);
    }
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port.parse().ok().filter(|number: &u16| digits && *number != 0);
    number.map(Some).ok_or_else(|| PatternError::Port(text.to_owned()))
}

fn read_host(text: &str, host: &str) -> Result<Host, PatternError> {
    if host.contains(['[', ']', ':']) {
        let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        return inner
            .and_then(read_v6)
            .ok_or_else(|| PatternError::V6(text.to_owned()))
            .and_then(|h| whole(text, h));
    }
    let v4 = read_v4(host);
    if v4.is_some() || host.contains('/') {
        return v4.ok_or_else(|| PatternError::V4(text.to_owned())).and_then(|h| whole(text, h));
    }
    if host == "*" {
        return Ok(Host::Any);
    }
    let below = host.strip_prefix("*.");
    let name = below.unwrap_or(host);
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    check_name(text, &name)?;
    Ok(if below.is_some() { Host::Below(name) } else { Host::Name(name) })
}

fn check_name(text: &str, name: &str) -> Result<(), PatternError> {
    if name.contains('*') {
        return Err(PatternError::Star(text.to_owned()));
    }
    let good = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > NAME_BYTES_MAX || !name.split('.').all(good) {
        return Err(PatternError::Name(text.to_owned()));
    }
    // Resolvers read `10.1` and `0x7f.1` as addresses; no top-level domain is a number (RFC 3696
    // 2).
    let last = name.rsplit('.').next().unwrap_or(name);
    if last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") {
        return Err(PatternError::V4(text.to_owned()));
    }
    Ok(())
}

/// An address, with its prefix or alone.
fn with_prefix(text: &str, bits: u32) -> Option<(&str, u32)> {
    let Some((address, prefix)) = text.split_once('/') else { return Some((text, bits)) };
    let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = prefix.parse().ok().filter(|prefix| digits && *prefix <= bits)?;
    Some((address, prefix))
}

fn read_v4(text: &str) -> Option<Host> {
    let (address, prefix) = with_prefix(text, Ipv4Addr::BITS)?;
    Some(Host::V4(address.parse().ok()?, prefix))
}

/// An IPv4 address in IPv6's clothes is the former, since connections to it are.
fn read_v6(text: &str) -> Option<Host> {
    let (address, prefix) = with_prefix(text, Ipv6Addr::BITS)?;
    let address: Ipv6Addr = address.parse().ok()?;
    match (address.to_ipv4_mapped(), prefix.checked_sub(Ipv6Addr::BITS - Ipv4Addr::BITS)) {
        (Some(inner), Some(prefix)) => Some(Host::V4(inner, prefix)),
        _ => Some(Host::V6(address, prefix)),
    }
}

/// Refuses a network that is written by one of its hosts: more may be meant than was seen.
fn whole(text: &str, host: Host) -> Result<Host, PatternError> {
    let (whole, network) = match host {
        Host::V4(address, prefix) => {
            let base =
                Ipv4Addr::from(!u32::MAX.checked_shr(prefix).unwrap_or(0) & address.to_bits());
            (base == address, format!("{base}/{prefix}"))
        }
        Host::V6(address, prefix) => {
            let base =
                Ipv6Addr::from(!u128::MAX.checked_shr(prefix).unwrap_or(0) & address.to_bits());
            (base == address, format!("[{base}/{prefix}]"))
        }
        _ => (true, String::new()),
    };
    if whole { Ok(host) } else { Err(PatternError::HostBits { given: text.to_owned(), network }) }
}
