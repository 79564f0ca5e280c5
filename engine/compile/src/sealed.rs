//! Modules in sealed memory, ready for workers: the most recently used ones, as many as fit. Pure,
//! except that it owns what it holds.
//!
//! Each takes its size in memory and one fd. A worker that has loaded the module maps the same
//! memory, so this adds at most [`BYTES_MAX`] to a node, for functions that nobody calls.

use abi::message::Digest;
use lru::LruCache;

/// The most bytes of all ready modules together. A small Rust component has 0.5 MiB, a Go program
/// 10 MiB.
const BYTES_MAX: u64 = 512 * 1024 * 1024;
/// The most ready modules, as each has an fd.
const MODULES_MAX: usize = 1024;

/// A module that is ready.
#[derive(Debug)]
struct Module<T> {
    module: T,
    bytes: u64,
}

/// The modules that are ready, by key. `T` is a shared fd, except in tests.
#[derive(Debug)]
pub(super) struct Sealed<T> {
    modules: LruCache<Digest, Module<T>>,
    bytes: u64,
}

impl<T> Default for Sealed<T> {
    fn default() -> Self {
        // Its bounds are kept here, as one of them is of bytes.
        Self { modules: LruCache::unbounded(), bytes: 0 }
    }
}

impl<T: Clone> Sealed<T> {
    /// Returns the module under `key`, and counts that as a use of it. Returns `None` if it is not
    /// ready.
    pub(super) fn get(&mut self, key: &Digest) -> Option<T> {
        self.modules.get(key).map(|found| found.module.clone())
    }

    /// Returns whether a module of `bytes` bytes fits without the removal of another.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.modules.len() < MODULES_MAX && self.bytes.saturating_add(bytes) <= BYTES_MAX
    }

    /// Adds a module, after it has removed the least recently used ones until the new one fits. A
    /// module that is too large for that is kept until the next one comes.
    pub(super) fn insert(&mut self, key: Digest, module: T, bytes: u64) {
        self.remove(&key);
        while !self.has_room(bytes) {
            let Some((_, removed)) = self.modules.pop_lru() else { break };
            self.bytes = self.bytes.saturating_sub(removed.bytes);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.modules.put(key, Module { module, bytes });
    }

    /// Removes the module under `key`, if it is ready.
    pub(super) fn remove(&mut self, key: &Digest) {
        if let Some(removed) = self.modules.pop(key) {
            self.bytes = self.bytes.saturating_sub(removed.bytes);
        }
    }

    /// Removes all modules except those whose keys `keep` returns `true` for.
    pub(super) fn retain(&mut self, keep: impl Fn(&Digest) -> bool) {
        self.modules.retain(|key, _| keep(key));
        self.bytes = self.modules.iter().map(|(_, module)| module.bytes).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_one_used_longest_ago_goes_first() {
        let mut sealed = Sealed::default();
        for key in 1..=4u8 {
            sealed.insert([key; 32], key, BYTES_MAX / 4);
        }
        assert_eq!(sealed.get(&[1; 32]), Some(1));
        assert!(!sealed.has_room(1));
        sealed.insert([5; 32], 5, 1);
        let there: Vec<u8> = (1..=5).filter(|key| sealed.get(&[*key; 32]).is_some()).collect();
        assert_eq!(there, [1, 3, 4, 5]);
        sealed.retain(|key| *key == [5; 32]);
        assert!(sealed.has_room(BYTES_MAX - 1));
    }

    proptest! {
        #[test]
        fn it_never_holds_more_than_it_may_but_one(inserts in proptest::collection::vec((any::<u8>(), 0..BYTES_MAX), 0..64)) {
            let mut sealed = Sealed::default();
            for (key, bytes) in inserts {
                sealed.insert([key; 32], (), bytes);
                prop_assert!(sealed.bytes <= BYTES_MAX);
                prop_assert_eq!(sealed.bytes, sealed.modules.iter().map(|(_, module)| module.bytes).sum::<u64>());
                prop_assert!(sealed.get(&[key; 32]).is_some());
            }
        }
    }
}
