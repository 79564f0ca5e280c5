//! The functions of a store as they were last read: their versions and aliases. Pure; owns no fds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use abi::choice::ACTIVE;
use abi::reference::Reference;
use host::fault::Fault;

use super::alias::Alias;
use super::manifest::Manifest;

/// All functions, by name.
pub type Contents = BTreeMap<String, Arc<Function>>;

/// An object as it was read.
#[derive(Debug, Clone)]
pub struct Seen<T> {
    /// The tag in the listing. Empty for an object that this node has written itself.
    pub(super) tag: String,
    /// When it was written, by the store's clock. `None` until it was listed.
    pub(super) modified: Option<SystemTime>,
    /// `None` if the object could not be used, which was logged.
    pub(super) value: Option<Arc<T>>,
}

impl<T> Seen<T> {
    /// Returns an object that this node has just written.
    fn written(value: Arc<T>) -> Self {
        Self { tag: String::new(), modified: None, value: Some(value) }
    }
}

/// Two are equal if their values are: tag and time say nothing more.
impl<T: PartialEq> PartialEq for Seen<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Seen<T> {}

/// The objects of one kind and one function, by the last part of their keys.
pub(super) type Objects<T> = BTreeMap<String, Seen<T>>;

/// The versions and aliases of one function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Function {
    pub(super) versions: Objects<Manifest>,
    pub(super) aliases: Objects<Alias>,
}

/// Why a reference names no version.
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

impl VersionError {
    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Unknown { .. } => Fault::NOT_FOUND,
            Self::Ambiguous { .. } => Fault::CONFLICT,
        }
    }
}

impl Function {
    /// Returns all versions, in the order in which they were made.
    pub fn versions(&self) -> impl DoubleEndedIterator<Item = &Arc<Manifest>> {
        self.versions.values().filter_map(|seen| seen.value.as_ref())
    }

    /// Returns the version with this id.
    pub fn version(&self, id: &str) -> Option<&Arc<Manifest>> {
        self.versions.get(id)?.value.as_ref()
    }

    /// Returns all aliases, in the order of their names.
    pub fn aliases(&self) -> impl Iterator<Item = &Arc<Alias>> {
        self.aliases.values().filter_map(|seen| seen.value.as_ref())
    }

    /// Returns the alias of this name.
    pub fn alias(&self, name: &str) -> Option<&Arc<Alias>> {
        self.aliases.get(name)?.value.as_ref()
    }

    /// Returns the alias `active`, which the function's bare name stands for.
    pub fn active(&self) -> Option<&Arc<Alias>> {
        self.alias(ACTIVE)
    }

    /// Returns the version that represents the function: the active one, that of the greatest
    /// weight if there are several, or else the newest.
    pub fn foremost(&self) -> Option<&Arc<Manifest>> {
        let active = self.active().and_then(|active| self.heaviest(active));
        active.or_else(|| self.versions().next_back())
    }

    /// Returns the version that an alias gives the most requests.
    pub fn heaviest(&self, alias: &Alias) -> Option<&Arc<Manifest>> {
        let target = alias.targets.iter().max_by_key(|target| target.weight)?;
        self.version(&target.version)
    }

    /// Returns the version that `reference` names by its number, its id or the beginning of its id.
    ///
    /// # Errors
    /// [`VersionError`] when there is no such version, or more than one.
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

    /// Returns the number of the next version.
    pub fn next_number(&self) -> u32 {
        self.versions().map(|version| version.number).max().unwrap_or(0).saturating_add(1)
    }

    /// Returns whether an alias has the version with this id as a target.
    pub fn is_named(&self, id: &str) -> bool {
        self.aliases().any(|alias| alias.targets.iter().any(|target| target.version == id))
    }

    /// Returns whether the function has no versions and no aliases.
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty() && self.aliases.is_empty()
    }

    /// Adds a version that this node has written.
    pub fn put_version(&mut self, version: Arc<Manifest>) {
        self.versions.insert(version.version.clone(), Seen::written(version));
    }

    /// Removes a version that this node has removed from the store.
    pub fn drop_version(&mut self, id: &str) {
        self.versions.remove(id);
    }

    /// Removes an alias that this node has removed from the store.
    pub fn drop_alias(&mut self, name: &str) {
        self.aliases.remove(name);
    }

    /// Adds an alias that this node has written.
    pub fn put_alias(&mut self, alias: Arc<Alias>) {
        self.aliases.insert(alias.alias.clone(), Seen::written(alias));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use abi::function::Kind;
    use api::options::Options;

    use super::*;

    /// Returns a function with versions 1 to `count`, made a minute apart from the first minute on.
    pub(crate) fn function(count: u32) -> Function {
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
        }
        function
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
