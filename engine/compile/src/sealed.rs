//! Modules in sealed memory, ready to be given to a worker: as many as fit, the latest used. Pure
//! but for what it holds.
//!
//! Each costs its size in memory and one fd. Where a worker has the module loaded too, that is the
//! same memory; so what this adds to a node is at most [`BYTES_MAX`], for functions that nobody
//! calls.

use std::collections::HashMap;

use abi::message::Digest;

/// All modules kept ready together. A small Rust component is 0.5 MiB, a Go program 10 MiB.
const BYTES_MAX: u64 = 512 * 1024 * 1024;
/// So many of them: each has an fd.
const MODULES_MAX: usize = 1024;

#[derive(Debug)]
struct Module<T> {
    module: T,
    bytes: u64,
    used: u64,
}

/// What is ready, by key. `T` is a shared fd, but for tests.
#[derive(Debug)]
pub(super) struct Sealed<T> {
    modules: HashMap<Digest, Module<T>>,
    bytes: u64,
    uses: u64,
}

impl<T> Default for Sealed<T> {
    fn default() -> Self {
        Self { modules: HashMap::new(), bytes: 0, uses: 0 }
    }
}

impl<T: Clone> Sealed<T> {
    /// The module under `key`, if it is ready.
    pub(super) fn get(&mut self, key: &Digest) -> Option<T> {
        let found = self.modules.get_mut(key)?;
        self.uses += 1;
        found.used = self.uses;
        Some(found.module.clone())
    }

    /// Whether a module of so many bytes fits without another's going.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.modules.len() < MODULES_MAX && self.bytes.saturating_add(bytes) <= BYTES_MAX
    }

    /// Keeps a module, and lets go of those that were used longest ago until it fits. One too large
    /// for that is kept until the next comes.
    pub(super) fn insert(&mut self, key: Digest, module: T, bytes: u64) {
        self.remove(&key);
        while !self.has_room(bytes) {
            let oldest =
                self.modules.iter().min_by_key(|(_, module)| module.used).map(|(key, _)| *key);
            let Some(oldest) = oldest else { break };
            self.remove(&oldest);
        }
        self.uses += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.modules.insert(key, Module { module, bytes, used: self.uses });
    }

    pub(super) fn remove(&mut self, key: &Digest) {
        if let Some(removed) = self.modules.remove(key) {
            self.bytes = self.bytes.saturating_sub(removed.bytes);
        }
    }

    /// Lets go of all but those that are to be kept.
    pub(super) fn retain(&mut self, keep: impl Fn(&Digest) -> bool) {
        self.modules.retain(|key, _| keep(key));
        self.bytes = self.modules.values().map(|module| module.bytes).sum();
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
                prop_assert_eq!(sealed.bytes, sealed.modules.values().map(|module| module.bytes).sum::<u64>());
                prop_assert!(sealed.get(&[key; 32]).is_some());
            }
        }
    }
}
