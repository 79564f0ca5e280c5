//! Each function's place among the board's counters: the lowest free number, kept while the
//! function is deployed.
//!
//! Low numbers keep the counters that are in use together on few pages. A number is given again
//! once its function is removed; the incarnation that comes with it never is, so that what one
//! function counted is not taken for another's. Neither means anything beyond the node's life.
//! Pure; owns no fds.

use std::collections::{BTreeSet, HashMap, HashSet};

/// A function's number, and its incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub number: u32,
    pub incarnation: u32,
}

/// The slots of all functions that are deployed.
#[derive(Debug, Default)]
pub struct Slots {
    by_name: HashMap<String, Slot>,
    /// The last incarnation that was given.
    incarnations: u32,
    /// Numbers below `next` that nobody has.
    free: BTreeSet<u32>,
    next: u32,
}

impl Slots {
    /// Gives a number to each function of `deployed` that has none, and takes back those of all
    /// others.
    pub fn assign<'a>(&mut self, deployed: impl Iterator<Item = &'a str>) {
        let deployed: Vec<&str> = deployed.collect();
        let kept: HashSet<&str> = deployed.iter().copied().collect();
        let free = &mut self.free;
        self.by_name.retain(|name, slot| kept.contains(name.as_str()) || !free.insert(slot.number));
        for name in deployed {
            if !self.by_name.contains_key(name) {
                self.incarnations += 1;
                let slot = Slot { number: self.take(), incarnation: self.incarnations };
                self.by_name.insert(name.to_owned(), slot);
            }
        }
    }

    /// Returns the slot of a function. Returns `None` if it is not deployed.
    pub fn of(&self, name: &str) -> Option<Slot> {
        self.by_name.get(name).copied()
    }

    /// Returns the lowest number that nobody has.
    fn take(&mut self) -> u32 {
        self.free.pop_first().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    fn of(slots: &Slots, names: &[&str]) -> Vec<u32> {
        names.iter().map(|name| slots.of(name).unwrap().number).collect()
    }

    #[test]
    fn numbers_are_low_and_stay() {
        let mut slots = Slots::default();
        slots.assign(["a", "b", "c"].into_iter());
        assert_eq!(of(&slots, &["a", "b", "c"]), [0, 1, 2]);
        slots.assign(["b", "c"].into_iter());
        assert_eq!(slots.of("a"), None);
        slots.assign(["aa", "b", "c", "d"].into_iter());
        assert_eq!(of(&slots, &["aa", "b", "c", "d"]), [0, 1, 2, 3]);
        slots.assign(std::iter::empty());
        slots.assign(["z"].into_iter());
        assert_eq!(slots.of("z"), Some(Slot { number: 0, incarnation: 6 }));
    }

    proptest! {
        /// No two functions share a number, none loses its own, and no number is higher than it
        /// must be.
        #[test]
        fn numbers_are_unique_and_lowest(steps in vec(btree_set(0u8..20, 0..12), 1..20)) {
            let (mut slots, mut most) = (Slots::default(), 0);
            for step in steps {
                let names: Vec<String> = step.iter().map(u8::to_string).collect();
                let before: Vec<_> = names.iter().map(|name| slots.of(name)).collect();
                slots.assign(names.iter().map(String::as_str));
                most = most.max(names.len());
                let number = |name: &String| slots.of(name).unwrap().number;
                let numbers: BTreeSet<u32> = names.iter().map(number).collect();
                prop_assert_eq!(numbers.len(), names.len());
                prop_assert!(numbers.iter().all(|slot| (*slot as usize) < most));
                for (name, before) in names.iter().zip(before) {
                    prop_assert!(before.is_none() || before == slots.of(name));
                }
            }
        }
    }
}
