//! Invocation ids: UUIDv7 (RFC 9562 5.7), so that they sort by time.
//!
//! Made millions of times a second at best, hence from a cheap generator seeded by the kernel: ids
//! are unique, not secret. Owns no fds.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::{Builder, Uuid};

/// One invocation's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InvocationId(Uuid);

impl InvocationId {
    /// A new id for an invocation that begins now.
    #[must_use]
    pub fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let random = fastrand::u128(..).to_le_bytes();
        let mut ten = [0; 10];
        ten.copy_from_slice(&random[..10]);
        Self(Builder::from_unix_timestamp_millis(millis, &ten).into_uuid())
    }

    /// Its 16 bytes, the first of which are its time.
    #[must_use]
    pub fn bytes(&self) -> [u8; 16] {
        *self.0.as_bytes()
    }

    /// The id of the invocation's span in a trace: its second half, most of it random and never 0.
    #[must_use]
    pub fn span(&self) -> [u8; 8] {
        let [.., a, b, c, d, e, f, g, h] = self.bytes();
        [a, b, c, d, e, f, g, h]
    }

    /// The id of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// When it was made, in milliseconds since 1970.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        u64::try_from(self.0.as_u128() >> 80).unwrap_or_default()
    }

    /// The id in its usual form, 36 characters, without allocating.
    #[must_use]
    pub fn text(&self) -> [u8; 36] {
        let mut text = [0; 36];
        self.0.as_hyphenated().encode_lower(&mut text);
        text
    }
}

impl Default for InvocationId {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a text is no invocation's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an invocation id, as replies have it in sockhop-invocation-id")]
pub struct NoInvocationId;

impl std::str::FromStr for InvocationId {
    type Err = NoInvocationId;

    fn from_str(text: &str) -> Result<Self, NoInvocationId> {
        let id =
            Uuid::try_parse(text).ok().filter(|id| id.get_version_num() == 7 && text.len() == 36);
        id.map(Self).ok_or(NoInvocationId)
    }
}

impl std::fmt::Display for InvocationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in self.text() {
            f.write_char(char::from(byte))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_7_unique_and_in_order_of_time() {
        let ids: Vec<_> = (0..1000).map(|_| InvocationId::new()).collect();
        let unique: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(unique.len(), ids.len());
        let uuid = Uuid::parse_str(&ids[0].to_string()).unwrap();
        assert_eq!(uuid.get_version_num(), 7);
        let (first, last) = (ids[0].0.as_u128() >> 80, ids[999].0.as_u128() >> 80);
        assert!(first <= last);
        let (id, now_ms) =
            (ids[0], SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis());
        assert!(u128::from(id.unix_ms()).abs_diff(now_ms) < 60_000);
        assert_eq!((id.to_string().parse(), InvocationId::from_bytes(id.bytes())), (Ok(id), id));
        for other in ["hello", "", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"] {
            assert_eq!(other.parse::<InvocationId>(), Err(NoInvocationId));
        }
    }
}
