//! How a value stands in the database: its revision and a checksum before it. Pure; owns no fds.
//!
//! The database has checksums of its own, but looks at them only when it was not closed. So a page
//! that the disk has damaged meanwhile is found here.

/// What each begins with, so that a later build can have another layout.
const LAYOUT: u8 = 1;
const HEADER_BYTES: usize = 1 + 8 + 4;

/// A value that is not as it was written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a value is damaged")]
pub struct Damaged;

/// Returns the bytes of an entry.
pub fn encode(revision: u64, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + value.len());
    bytes.push(LAYOUT);
    bytes.extend(revision.to_le_bytes());
    bytes.extend(checksum(revision, value).to_le_bytes());
    bytes.extend(value);
    bytes
}

/// Returns the revision and the value.
///
/// # Errors
/// [`Damaged`] if the bytes are not what [`encode`] returns.
pub fn decode(bytes: &[u8]) -> Result<(u64, &[u8]), Damaged> {
    let (&layout, rest) = bytes.split_first().ok_or(Damaged)?;
    let (revision, rest) = rest.split_first_chunk().ok_or(Damaged)?;
    let (found, value) = rest.split_first_chunk().ok_or(Damaged)?;
    let revision = u64::from_le_bytes(*revision);
    let whole = layout == LAYOUT && u32::from_le_bytes(*found) == checksum(revision, value);
    if whole { Ok((revision, value)) } else { Err(Damaged) }
}

/// Returns how long the value of an entry is.
pub fn value_bytes(bytes: &[u8]) -> u64 {
    bytes.len().saturating_sub(HEADER_BYTES) as u64
}

fn checksum(revision: u64, value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(crc32fast::hash(&revision.to_le_bytes()));
    hasher.update(value);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_changed_or_missing_byte_is_noticed(
            revision: u64, value: Vec<u8>, at: prop::sample::Index, with in 1..=u8::MAX,
        ) {
            let mut bytes = encode(revision, &value);
            prop_assert_eq!(decode(&bytes), Ok((revision, &value[..])));
            prop_assert_eq!(value_bytes(&bytes), value.len() as u64);
            let at = at.index(bytes.len());
            prop_assert_eq!(decode(&bytes[..at]).ok(), None);
            bytes[at] ^= with;
            prop_assert_eq!(decode(&bytes).ok(), None);
        }
    }
}
