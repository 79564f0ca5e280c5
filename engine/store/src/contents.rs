//! What the store has of functions, as it was last read: their versions and aliases. Pure; owns no
//! fds.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use abi::choice::ACTIVE;
use abi::reference::Reference;

use super::alias::Alias;
use super::manifest::Manifest;
use super::retention::{Policy, Verdict};

/// All functions, by name.
pub type Contents = BTreeMap<String, Arc<Function>>;

/// An object as it was read.
#[derive(Debug, Clone)]
pub struct Seen<T> {
    /// The listing's tag then; empty for what this node has written itself.
    pub(super) tag: String,
    /// When it was written, by the store's clock; none until it was listed.
    pub(super) modified: Option<SystemTime>,
    /// None when it could not be used, which was told.
    pub(super) value: Option<Arc<T>>,
}

impl<T> Seen<T> {
    /// What this node has just written.
    fn written(value: Arc<T>) -> Self {
        Self { tag: String::new(), modified: None, value: Some(value) }
    }
}

/// Two are the same that say the same: tag and time tell nothing else.
impl<T: PartialEq> PartialEq for Seen<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Seen<T> {}

/// Objects of one kind and function, by the last part of their keys.
pub(super) type Objects<T> = BTreeMap<String, Seen<T>>;

/// What is kept of one function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Function {
    pub(super) versions: Objects<Manifest>,
    pub(super) aliases: Objects<Alias>,
}

/// Why a reference means no version.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    #[error(
        "function {name:?} has no version {reference:?}; `sockhop versions {name}` shows those there are"
    )]
    Unknown { name: String, reference: String },
    #[error(
        "{reference:?} means two versions of function {name:?}: {one} and {other}; say more of the id of one"
    )]
    Ambiguous { name: String, reference: String, one: String, other: String },
}

impl Function {
    /// All versions, in the order in which they were made.
    pub fn versions(&self) -> impl DoubleEndedIterator<Item = &Arc<Manifest>> {
        self.versions.values().filter_map(|seen| seen.value.as_ref())
    }

    /// The version with this id.
    pub fn version(&self, id: &str) -> Option<&Arc<Manifest>> {
        self.versions.get(id)?.value.as_ref()
    }

    /// All aliases, by name.
    pub fn aliases(&self) -> impl Iterator<Item = &Arc<Alias>> {
        self.aliases.values().filter_map(|seen| seen.value.as_ref())
    }

    pub fn alias(&self, name: &str) -> Option<&Arc<Alias>> {
        self.aliases.get(name)?.value.as_ref()
    }

    /// What the function's bare name means.
    pub fn active(&self) -> Option<&Arc<Alias>> {
        self.alias(ACTIVE)
    }

    /// What stands for the function where one version must: the active one, the likelier of
    /// several, or else the newest.
    pub fn foremost(&self) -> Option<&Arc<Manifest>> {
        let targets = self.active().into_iter().flat_map(|active| &active.targets);
        let active = targets
            .max_by_key(|target| target.weight)
            .and_then(|target| self.version(&target.version));
        active.or_else(|| self.versions().next_back())
    }

    /// The version that `reference` means: a number, an id or its beginning.
    ///
    /// # Errors
    /// [`VersionError`] naming what there is instead.
    pub fn find(&self, name: &str, reference: &str) -> Result<&Arc<Manifest>, VersionError> {
        let fits = |version: &&Arc<Manifest>| match Reference::read(reference) {
            Some(Reference::Number(number)) => version.number == number,
            Some(Reference::Id(prefix)) => version.version.starts_with(prefix),
            Some(Reference::Alias(_)) | None => false,
        };
        let mut fitting = self.versions().filter(fits);
        let (name, reference) = (name.to_owned(), reference.to_owned());
        match (fitting.next(), fitting.next()) {
            (Some(found), None) => Ok(found),
            (Some(one), Some(other)) => {
                let (one, other) = (one.version.clone(), other.version.clone());
                Err(VersionError::Ambiguous { name, reference, one, other })
            }
            _ => Err(VersionError::Unknown { name, reference }),
        }
    }

    /// Versions that may go: beyond the newest, older than they are kept, and held by no alias.
    /// The newest are those with the highest numbers: ids and what a version says of its time are
    /// by the clock of the node that made it. How old one is, the store says.
    pub fn to_prune(&self, verdict: &Verdict) -> Vec<Arc<Manifest>> {
        let Policy { versions_kept, versions_kept_for_ms, .. } = verdict.policy;
        let held = |version: &Manifest| self.aliases().any(|alias| alias.holds(&version.version));
        // What this node has written since the store was listed is new.
        let old = |seen: &Seen<Manifest>| {
            let written = seen.modified;
            written.is_some_and(|written| verdict.is_older(written, versions_kept_for_ms))
        };
        let value = |seen: &'_ Seen<Manifest>| Some((seen.value.clone()?, old(seen)));
        let mut versions: Vec<_> = self.versions.values().rev().filter_map(value).collect();
        versions.sort_by_key(|(version, _)| Reverse(version.number));
        let beyond =
            versions.into_iter().skip(usize::try_from(versions_kept).unwrap_or(usize::MAX));
        let gone = beyond.filter(|(version, old)| *old && !held(version));
        gone.map(|(version, _)| version).collect()
    }

    /// The number of the version that is made next.
    pub fn next_number(&self) -> u32 {
        self.versions().map(|version| version.number).max().unwrap_or(0).saturating_add(1)
    }

    /// Whether an alias means the version with this id.
    pub fn is_named(&self, id: &str) -> bool {
        self.aliases().any(|alias| alias.targets.iter().any(|target| target.version == id))
    }

    /// Whether nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty() && self.aliases.is_empty()
    }

    /// This node has written a version.
    pub fn put_version(&mut self, version: Arc<Manifest>) {
        self.versions.insert(version.version.clone(), Seen::written(version));
    }

    /// This node has removed a version.
    pub fn drop_version(&mut self, id: &str) {
        self.versions.remove(id);
    }

    /// This node has removed an alias.
    pub fn drop_alias(&mut self, name: &str) {
        self.aliases.remove(name);
    }

    /// This node has written an alias.
    pub fn put_alias(&mut self, alias: Arc<Alias>) {
        self.aliases.insert(alias.alias.clone(), Seen::written(alias));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use abi::function::Kind;
    use api::options::Options;

    use super::*;

    /// Versions 1 to `count`, a minute apart from the first minute on.
    fn function(count: u32) -> Function {
        let mut function = Function::default();
        for number in 1..=count {
            let version = Manifest::new("a", Kind::Http02, Options::default(), "00".to_owned(), 1);
            let (id, created_ms) =
                (format!("{number:08x}-0000-7000-8000-000000000000"), u64::from(number) * 60_000);
            function.put_version(Arc::new(Manifest {
                version: id.clone(),
                number,
                created_ms,
                ..version
            }));
            function.versions.get_mut(&id).unwrap().modified = minute(number);
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
    fn versions_are_found_by_number_and_id() {
        let mut function = function(12);
        for (reference, number) in [("v12", 12), ("3", 3), ("0000000c", 12), ("00000003-0000", 3)] {
            assert_eq!(function.find("a", reference).unwrap().number, number, "{reference}");
        }
        let why =
            |function: &Function, reference| function.find("a", reference).unwrap_err().to_string();
        assert!(why(&function, "v13").contains("sockhop versions a"));
        assert!(why(&function, "staging").contains("no version"));
        let twice = Manifest {
            version: "0000000c-1".to_owned(),
            ..function.find("a", "v12").unwrap().as_ref().clone()
        };
        function.put_version(Arc::new(twice));
        for reference in ["v12", "0000000c"] {
            let why = why(&function, reference);
            assert!(
                why.contains("0000000c-0000-7000-8000-000000000000") && why.contains("0000000c-1"),
                "{why}"
            );
        }
    }

    #[test]
    fn what_is_beyond_count_and_age_goes_unless_an_alias_holds_it() {
        let mut function = function(12);
        let id = |number| format!("{number:08x}-0000-7000-8000-000000000000");
        let now = minute(12);
        assert_eq!(numbers(&function.to_prune(&verdict(10, 0, now))), [2, 1]);
        assert_eq!(numbers(&function.to_prune(&verdict(10, 10, now))), [1]);
        assert_eq!(numbers(&function.to_prune(&verdict(12, 0, now))), Vec::<u32>::new());
        // Without a clock that is believed nothing is too old, and what is not kept for any time
        // goes.
        assert_eq!(numbers(&function.to_prune(&verdict(10, 1, None))), Vec::<u32>::new());
        assert_eq!(numbers(&function.to_prune(&verdict(10, 0, None))), [2, 1]);
        // It was active before: a rollback goes there.
        let before = Alias::of("a", ACTIVE, &id(1));
        function.put_alias(Arc::new(before.pointed_at(Alias::of("a", ACTIVE, &id(3)).targets)));
        function.put_alias(Arc::new(Alias::of("a", "staging", &id(5))));
        assert_eq!(
            numbers(&function.to_prune(&verdict(0, 0, now))),
            [12, 11, 10, 9, 8, 7, 6, 4, 2]
        );
        // This node has just written it.
        let last = function.find("a", "v12").unwrap().clone();
        function.put_version(last);
        assert_eq!(numbers(&function.to_prune(&verdict(0, 0, now))), [11, 10, 9, 8, 7, 6, 4, 2]);
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
        assert_eq!(numbers(&function.to_prune(&verdict(2, 0, minute(5)))), [2, 1]);
        assert_eq!(numbers(&function.to_prune(&verdict(0, 1, minute(5)))), [3, 2, 1]);
    }

    #[test]
    fn the_foremost_is_the_active_one_or_the_newest() {
        let mut function = function(3);
        assert_eq!(function.foremost().unwrap().number, 3);
        function.put_alias(Arc::new(Alias::of(
            "a",
            ACTIVE,
            "00000002-0000-7000-8000-000000000000",
        )));
        assert_eq!(function.foremost().unwrap().number, 2);
        assert!(Function::default().foremost().is_none());
    }
}
