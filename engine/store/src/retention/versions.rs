//! How long versions are kept: which of a function's versions are to be removed. Pure; owns no fds.

use std::cmp::Reverse;
use std::sync::Arc;

use super::{Policy, Verdict};
use crate::contents::{Function, Seen};
use crate::manifest::Manifest;

/// Returns the versions to remove: those that are not among the newest, are too old, and that no
/// alias holds. The newest ones have the highest numbers, as the ids and times of versions are by
/// the clocks of the nodes that made them. The store's clock says how old a version is.
pub fn to_remove(function: &Function, verdict: &Verdict) -> Vec<Arc<Manifest>> {
    let Policy { versions_kept, versions_kept_for_ms, .. } = verdict.policy;
    let held = |version: &Manifest| function.aliases().any(|alias| alias.holds(&version.version));
    // A version that this node has written since the store was listed is new.
    let old = |seen: &Seen<Manifest>| {
        let written = seen.modified;
        written.is_some_and(|written| verdict.is_older(written, versions_kept_for_ms))
    };
    let value = |seen: &'_ Seen<Manifest>| Some((seen.value.clone()?, old(seen)));
    let mut versions: Vec<_> = function.versions.values().rev().filter_map(value).collect();
    versions.sort_by_key(|(version, _)| Reverse(version.number));
    let beyond = versions.into_iter().skip(usize::try_from(versions_kept).unwrap_or(usize::MAX));
    let gone = beyond.filter(|(version, old)| *old && !held(version));
    gone.map(|(version, _)| version).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use abi::choice::ACTIVE;
    use abi::function::Kind;
    use api::options::Options;

    use super::*;
    use crate::alias::Alias;
    use crate::contents;

    /// Returns a function with versions 1 to `count`, each as old in the store as it says itself.
    fn function(count: u32) -> Function {
        let mut function = contents::tests::function(count);
        for (number, seen) in (1..).zip(function.versions.values_mut()) {
            seen.modified = minute(number);
        }
        function
    }

    fn minute(number: u32) -> Option<SystemTime> {
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(60 * u64::from(number)))
    }

    fn verdict(versions_kept: u32, minutes: u64, now: Option<SystemTime>) -> Verdict {
        let versions_kept_for_ms = 60_000 * minutes;
        let policy =
            Policy { logs_kept_for_ms: 0, logs_kept_bytes: 0, versions_kept, versions_kept_for_ms };
        Verdict { policy, now }
    }

    fn numbers<'a>(versions: impl IntoIterator<Item = &'a Arc<Manifest>>) -> Vec<u32> {
        versions.into_iter().map(|version| version.number).collect()
    }

    #[test]
    fn what_is_beyond_count_and_age_goes_unless_an_alias_holds_it() {
        let mut function = function(12);
        let id = |number| format!("{number:08x}-0000-7000-8000-000000000000");
        let now = minute(12);
        assert_eq!(numbers(&to_remove(&function, &verdict(10, 0, now))), [2, 1]);
        assert_eq!(numbers(&to_remove(&function, &verdict(10, 10, now))), [1]);
        assert_eq!(numbers(&to_remove(&function, &verdict(12, 0, now))), Vec::<u32>::new());
        // Without a clock that is believed nothing is too old, and what is not kept for any time
        // goes.
        assert_eq!(numbers(&to_remove(&function, &verdict(10, 1, None))), Vec::<u32>::new());
        assert_eq!(numbers(&to_remove(&function, &verdict(10, 0, None))), [2, 1]);
        // It was active before: a rollback goes there.
        let before = Alias::of("a", ACTIVE, &id(1));
        function.put_alias(Arc::new(before.pointed_at(Alias::of("a", ACTIVE, &id(3)).targets)));
        function.put_alias(Arc::new(Alias::of("a", "staging", &id(5))));
        assert_eq!(
            numbers(&to_remove(&function, &verdict(0, 0, now))),
            [12, 11, 10, 9, 8, 7, 6, 4, 2]
        );
        // This node has just written it.
        let last = function.find("a", "v12").unwrap().clone();
        function.put_version(last);
        assert_eq!(numbers(&to_remove(&function, &verdict(0, 0, now))), [11, 10, 9, 8, 7, 6, 4, 2]);
    }

    #[test]
    fn what_a_node_with_a_wrong_clock_has_made_is_as_new_as_any() {
        let mut function = function(3);
        // Its id and its time are of 1970, and it is the last one by its number and by the store.
        let version = Manifest::new("a", Kind::Http02, Options::default(), "00".to_owned(), 1);
        let id = "00000000-0000-7000-8000-000000000000".to_owned();
        let version = Manifest { version: id.clone(), number: 4, created_ms: 0, ..version };
        function.put_version(Arc::new(version));
        function.versions.get_mut(&id).unwrap().modified = minute(4);
        assert_eq!(numbers(&to_remove(&function, &verdict(2, 0, minute(5)))), [2, 1]);
        assert_eq!(numbers(&to_remove(&function, &verdict(0, 1, minute(5)))), [3, 2, 1]);
    }
}
