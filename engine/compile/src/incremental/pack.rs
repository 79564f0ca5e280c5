//! A pack: compiled functions in one file, which never changes once it is written. Owns no fds.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | [`MAGIC`] |
//! | 8 | the number of entries |
//! | 72 each | an entry: its key, the digest of key and code, and the length of the code |
//! | the rest | the code of each entry, in the same order |
//!
//! Numbers are little-endian. A damaged entry is one that is not there: its digest is compared when
//! it is read.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use abi::message::Digest;
use sha2::{Digest as _, Sha256};

/// What a pack begins with. The digit is the version of the format.
const MAGIC: [u8; 8] = *b"shpack1\n";
const HEADER_BYTES: usize = MAGIC.len() + size_of::<u64>();
const ENTRY_BYTES: usize = 2 * size_of::<Digest>() + size_of::<u64>();
/// The most bytes of one pack. JavaScript's and Python's interpreters take 37 MiB.
pub(super) const PACK_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// An entry of a pack, as its index has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    digest: Digest,
    /// Where in the file its code is.
    pub(super) offset: u64,
    pub(super) length: usize,
}

impl Entry {
    /// Returns whether this is the entry of `key` with this `code`.
    pub(super) fn is(&self, key: &Digest, code: &[u8]) -> bool {
        self.digest == digest(key, code)
    }
}

/// Reads the index of a pack of `bytes` bytes.
///
/// # Errors
/// When it cannot be read, or is none.
pub(super) fn read_index(mut file: impl Read, bytes: u64) -> io::Result<Vec<(Digest, Entry)>> {
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic)?;
    let count = read_number(&mut file)?;
    let index_bytes = count.checked_mul(ENTRY_BYTES as u64);
    let mut offset = index_bytes.and_then(|index| index.checked_add(HEADER_BYTES as u64));
    if magic != MAGIC || bytes > PACK_BYTES_MAX || offset.is_none_or(|offset| offset > bytes) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no pack of this format"));
    }
    let mut found = Vec::new();
    for _ in 0..count {
        let (mut key, mut digest) = (Digest::default(), Digest::default());
        file.read_exact(&mut key)?;
        file.read_exact(&mut digest)?;
        let length = read_number(&mut file)?;
        let end = offset.and_then(|offset| offset.checked_add(length));
        let (Some(start), Some(end)) = (offset, end.filter(|end| *end <= bytes)) else {
            // It was cut off, or a length is wrong: nothing behind can be found.
            break;
        };
        let length = usize::try_from(length).map_err(io::Error::other)?;
        found.push((key, Entry { digest, offset: start, length }));
        offset = Some(end);
    }
    Ok(found)
}

/// Writes a pack of `entries`.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(mut file: impl Write, entries: &BTreeMap<Digest, Vec<u8>>) -> io::Result<()> {
    file.write_all(&MAGIC)?;
    file.write_all(&(entries.len() as u64).to_le_bytes())?;
    for (key, code) in entries {
        file.write_all(key)?;
        file.write_all(&digest(key, code))?;
        file.write_all(&(code.len() as u64).to_le_bytes())?;
    }
    entries.values().try_for_each(|code| file.write_all(code))?;
    file.flush()
}

/// Returns how much larger a pack is with an entry of this `code`.
pub(super) fn bytes_of(code: &[u8]) -> u64 {
    (ENTRY_BYTES + code.len()) as u64
}

fn digest(key: &Digest, code: &[u8]) -> Digest {
    Sha256::new().chain_update(key).chain_update(code).finalize().into()
}

fn read_number(mut file: impl Read) -> io::Result<u64> {
    let mut bytes = [0; size_of::<u64>()];
    file.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(entries: &BTreeMap<Digest, Vec<u8>>) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, entries).unwrap();
        bytes
    }

    /// The entries that can be read from `bytes`, with their code.
    fn unpacked(bytes: &[u8]) -> BTreeMap<Digest, Vec<u8>> {
        let index = read_index(bytes, bytes.len() as u64).unwrap_or_default();
        let code = |entry: &Entry| {
            let start = usize::try_from(entry.offset).unwrap();
            bytes[start..start + entry.length].to_vec()
        };
        let read = index.iter().map(|(key, entry)| (*key, code(entry), *entry));
        read.filter(|(key, code, entry)| entry.is(key, code))
            .map(|(key, code, _)| (key, code))
            .collect()
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            entries in proptest::collection::btree_map(any::<Digest>(), proptest::collection::vec(any::<u8>(), 0..40), 0..8),
        ) {
            prop_assert_eq!(unpacked(&packed(&entries)), entries);
        }

        #[test]
        fn whatever_is_damaged_no_other_code_is_read(at in any::<prop::sample::Index>(), cut in any::<bool>(), byte in 1u8..) {
            let entries = BTreeMap::from([([1; 32], b"one".to_vec()), ([2; 32], b"two".to_vec()), ([3; 32], vec![])]);
            let mut bytes = packed(&entries);
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= byte }
            for (key, code) in unpacked(&bytes) {
                prop_assert_eq!(entries.get(&key), Some(&code));
            }
        }
    }
}
