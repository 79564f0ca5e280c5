//! The module-cache index: which compiled module belongs to which artefact.
//!
//! One archive in one file, replaced whole and read in place. It is only an index: the modules are files beside it.
//! Anything wrong with it (another build's, damaged, missing) means an empty index and a fresh compilation, never a
//! failure. Owns no fds.

use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use crate::envelope::{self, EnvelopeError};
use crate::message::Digest;

/// One compiled module.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// SHA-256 over the artefact's digest and the compiler's compatibility hash; also the module's file name.
    pub key: Digest,
    /// SHA-256 of the compiled file, checked before it is given to a worker.
    pub module_digest: Digest,
    /// The compiled file's length in bytes.
    pub module_bytes: u64,
}

/// The whole index.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheIndex {
    /// Sorted by key; keys are unique.
    pub entries: Vec<Entry>,
}

impl CacheIndex {
    /// Archives the index for its file, sorted.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn pack(&mut self) -> Result<AlignedVec, EnvelopeError> {
        self.entries.sort_by_key(|entry| entry.key);
        self.entries.dedup_by_key(|entry| entry.key);
        envelope::pack(self)
    }
}

/// An index file's bytes, validated once, read in place.
#[derive(Debug)]
pub struct CacheIndexView {
    bytes: AlignedVec,
}

impl CacheIndexView {
    /// Validates what was read from the index's file.
    ///
    /// # Errors
    /// [`EnvelopeError`] when it is not an index of this build's; the caller starts an empty one.
    pub fn new(bytes: AlignedVec) -> Result<Self, EnvelopeError> {
        envelope::open::<ArchivedCacheIndex>(&bytes)?;
        Ok(Self { bytes })
    }

    fn get(&self) -> &ArchivedCacheIndex {
        // SAFETY: `new` validated exactly these bytes, and nobody can change them: they are this value's own.
        unsafe { rkyv::access_unchecked::<ArchivedCacheIndex>(&self.bytes[envelope::HEADER_BYTES..]) }
    }

    /// The module compiled under `key`.
    #[must_use]
    pub fn find(&self, key: &Digest) -> Option<&ArchivedEntry> {
        let entries = &self.get().entries;
        entries.binary_search_by(|entry| entry.key.cmp(key)).ok().map(|at| &entries[at])
    }

    /// An owned copy, to be changed and packed again.
    #[must_use]
    pub fn to_owned(&self) -> CacheIndex {
        let entry = |entry: &ArchivedEntry| Entry {
            key: entry.key,
            module_digest: entry.module_digest,
            module_bytes: entry.module_bytes.to_native(),
        };
        CacheIndex { entries: self.get().entries.iter().map(entry).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn index(keys: &[u8]) -> CacheIndex {
        let entry = |key: &u8| Entry { key: [*key; 32], module_digest: [*key; 32], module_bytes: u64::from(*key) };
        CacheIndex { entries: keys.iter().map(entry).collect() }
    }

    #[test]
    fn what_was_packed_is_found() {
        let view = CacheIndexView::new(index(&[3, 1, 2, 3]).pack().unwrap()).unwrap();
        for key in 1..=3u8 {
            assert_eq!(view.find(&[key; 32]).unwrap().module_bytes, u64::from(key));
        }
        assert!(view.find(&[9; 32]).is_none());
        assert_eq!(view.to_owned(), index(&[1, 2, 3]));
    }

    proptest! {
        #[test]
        fn any_damage_is_survived(at in 0usize..4096, to: u8, cut in 0usize..64) {
            let mut bytes = index(&[1, 2, 3]).pack().unwrap();
            let at = at % bytes.len();
            bytes[at] = to;
            let length = bytes.len() - cut.min(bytes.len());
            bytes.resize(length, 0);
            if let Ok(view) = CacheIndexView::new(bytes) {
                let _ = view.find(&[2; 32]);
            }
        }
    }
}
