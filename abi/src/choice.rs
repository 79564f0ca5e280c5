//! Which version of a function a request gets. Pure; owns no fds.
//!
//! A request names a function and, behind its `@`, an alias or a version; without one it means the
//! alias `active`. What it [means](Selector) is looked up by shard and worker alike. Where an alias
//! means several versions, each request gets one of them by weight, and only the worker chooses:
//! all versions of a function run in the same workers.

use crate::catalogue::{ArchivedFunction, ArchivedSpec, ArchivedVersion, CatalogueView};
use crate::reference::Reference;

/// The alias that a function's bare name means.
pub const ACTIVE: &str = "active";

/// A function, and which of its versions may be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selector {
    /// The alias at this position of its function's.
    Alias(usize),
    /// The version at this position.
    Version(usize),
}

/// A version to run, and by which of the catalogue's specifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Choice {
    /// The function's position.
    pub function: usize,
    /// The version's, among the function's.
    pub version: usize,
    /// The specification's.
    pub spec: usize,
}

impl ArchivedFunction {
    /// What `reference` means of it; none when that is nothing, or more than one version.
    #[must_use]
    pub fn select(&self, reference: Option<&str>) -> Option<Selector> {
        let alias = |name: &str| {
            let found = self.aliases.binary_search_by(|alias| alias.name.as_str().cmp(name));
            found.ok().map(Selector::Alias)
        };
        match reference {
            None => alias(ACTIVE),
            Some(reference) => match Reference::read(reference)? {
                Reference::Alias(name) => alias(name),
                Reference::Number(number) => self.version(|version| version.number == number),
                Reference::Id(prefix) => {
                    self.version(|version| version.id_text().starts_with(prefix))
                }
            },
        }
    }

    /// The one version that fits.
    fn version(&self, fits: impl Fn(&ArchivedVersion) -> bool) -> Option<Selector> {
        let mut fitting = self.versions.iter().enumerate().filter(|(_, version)| fits(version));
        let (found, _) = fitting.next()?;
        fitting.next().is_none().then_some(Selector::Version(found))
    }
}

impl ArchivedVersion {
    /// Its id as people read it.
    #[must_use]
    pub fn id_text(&self) -> IdText {
        let mut text = [0; 36];
        uuid::Uuid::from_bytes(self.id).hyphenated().encode_lower(&mut text);
        IdText(text)
    }
}

/// An id as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdText([u8; 36]);

impl std::ops::Deref for IdText {
    type Target = str;

    fn deref(&self) -> &str {
        // Hexadecimal digits and hyphens.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl CatalogueView {
    /// The version that a request gets that is meant by `selector` of the function at `function`;
    /// `random` is any number, all as likely.
    #[must_use]
    pub fn choose(&self, function: usize, selector: Selector, random: u32) -> Option<Choice> {
        let entry = self.function(function)?;
        let choice = |version, spec: u32| {
            Some(Choice { function, version, spec: usize::try_from(spec).ok()? })
        };
        match selector {
            Selector::Version(version) => {
                choice(version, entry.versions.get(version)?.spec.to_native())
            }
            Selector::Alias(alias) => {
                let targets = &entry.aliases.get(alias)?.targets;
                let chosen =
                    by_weight(targets.iter().map(|target| target.weight.to_native()), random);
                let target = targets.get(chosen)?;
                choice(usize::try_from(target.version.to_native()).ok()?, target.spec.to_native())
            }
        }
    }

    /// What is chosen: the function, its version and the specification to run it by.
    #[must_use]
    pub fn chosen(
        &self,
        choice: Choice,
    ) -> Option<(&ArchivedFunction, &ArchivedVersion, &ArchivedSpec)> {
        let function = self.function(choice.function)?;
        Some((function, function.versions.get(choice.version)?, self.get().specs.get(choice.spec)?))
    }
}

/// The position that `random` falls on when each has its share of all numbers; 0 when there are no
/// shares.
#[must_use]
pub fn by_weight(weights: impl Iterator<Item = u32> + Clone, random: u32) -> usize {
    let total: u64 = weights.clone().map(u64::from).sum();
    let mut point = (u128::from(random) * u128::from(total)) >> u32::BITS;
    for (at, weight) in weights.enumerate() {
        match point.checked_sub(u128::from(weight)) {
            Some(rest) => point = rest,
            None => return at,
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Over all numbers, each gets its share to within one in 4096.
        #[test]
        fn shares_are_kept(weights in proptest::collection::vec(0u32..10_000, 1..8)) {
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let mut counts = vec![0u32; weights.len()];
            for step in 0..4096u32 {
                counts[by_weight(weights.iter().copied(), step << 20)] += 1;
            }
            for (count, weight) in counts.iter().zip(&weights) {
                let share = f64::from(*weight) / f64::from(total) * 4096.0;
                prop_assert!((f64::from(*count) - share).abs() <= 1.0, "{count} of {share}");
            }
        }

        #[test]
        fn any_weights_are_survived(weights in proptest::collection::vec(any::<u32>(), 0..20), random: u32) {
            prop_assert!(by_weight(weights.iter().copied(), random) < weights.len().max(1));
        }
    }

    #[test]
    fn the_ends_are_the_first_and_the_last() {
        assert_eq!(by_weight([1, 99].into_iter(), 0), 0);
        assert_eq!(by_weight([1, 99].into_iter(), u32::MAX), 1);
        assert_eq!(by_weight([5].into_iter(), u32::MAX), 0);
    }
}
