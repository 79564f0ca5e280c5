//! The key of a log segment in the store. It has the times of the segment, so that a look-up by the
//! id of an invocation, which has its time in it, reads few segments. Pure; owns no fds.
//!
//! ```text
//! logs/<yyyy-mm-dd>/<hh>/<first>-<last>-<node>-<uuid>.log
//! ```
//! `first` and `last` are milliseconds since 1970, of the ids and times in the segment. Day and
//! hour (UTC) are those of `first`.

use std::time::{Duration, SystemTime};

use uuid::Uuid;

/// What the keys of segments begin with.
pub const PREFIX: &str = "logs/";
/// What the names of segments end with, in the store and in the spool.
pub const SUFFIX: &str = ".log";

/// The longest name of a node in a key.
const NODE_BYTES_MAX: usize = 32;

/// The key of a segment, in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentName {
    pub first_ms: u64,
    pub last_ms: u64,
    /// The name of the node, for people who look at the store.
    pub node: String,
    pub id: Uuid,
}

impl SegmentName {
    /// Returns the key of the segment.
    pub fn key(&self) -> String {
        let Self { first_ms, last_ms, node, id } = self;
        format!("{}{first_ms:013}-{last_ms:013}-{node}-{id}{SUFFIX}", folder(*first_ms))
    }

    /// Parses a key. Returns `None` if it is not one of a segment.
    pub fn parse(key: &str) -> Option<Self> {
        let name = key.strip_prefix(PREFIX)?.rsplit('/').next()?.strip_suffix(SUFFIX)?;
        let (first, rest) = name.split_once('-')?;
        let (last, rest) = rest.split_once('-')?;
        let (node, id) = rest.split_at_checked(rest.len().checked_sub(36)?)?;
        let id = Uuid::try_parse(id).ok()?;
        let node = node.strip_suffix('-')?.to_owned();
        Some(Self { first_ms: first.parse().ok()?, last_ms: last.parse().ok()?, node, id })
    }
}

/// Returns what the keys of segments begin with whose first time is in the hour of `unix_ms`. Ends
/// in `/`.
pub fn folder(unix_ms: u64) -> String {
    // 9999 is the last year that the format can have.
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms.min(253_402_300_799_000));
    let text = humantime::format_rfc3339_seconds(time).to_string();
    format!("{PREFIX}{}/{}/", &text[..10], &text[11..13])
}

/// Returns the name of a host as it can be a part of a key.
pub fn node(host: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = host.trim().chars().take(NODE_BYTES_MAX).map(fit).collect();
    match name.trim_matches('-') {
        "" => "node".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_is_found_by_its_first_hour() {
        let id = Uuid::from_u128(7);
        let name = SegmentName {
            first_ms: 1_795_337_940_123,
            last_ms: 1_795_337_950_456,
            node: node("Host.1 "),
            id,
        };
        let key = "logs/2026-11-22/08/1795337940123-1795337950456-host-1-00000000-0000-0000-0000-000000000007.log";
        assert_eq!(name.key(), key);
        assert_eq!(SegmentName::parse(key), Some(name));
        assert_eq!((node(""), node("--")), ("node".to_owned(), "node".to_owned()));
    }

    proptest! {
        #[test]
        fn keys_are_read_back(first_ms in 0u64..200_000_000_000_000, last_ms in 0u64..200_000_000_000_000, host in ".{0,40}", id: u128) {
            let name = SegmentName { first_ms, last_ms, node: node(&host), id: Uuid::from_u128(id) };
            prop_assert_eq!(SegmentName::parse(&name.key()), Some(name.clone()));
            prop_assert!(name.key().starts_with(&folder(first_ms)));
        }

        #[test]
        fn other_keys_are_survived(key in "(logs/)?[0-9a-z/.é-]{0,80}(\\.log)?") {
            let _ = SegmentName::parse(&key);
        }
    }
}
