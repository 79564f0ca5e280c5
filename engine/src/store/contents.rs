//! What the store has of functions, as it was last read: their versions and aliases. Pure; owns no fds.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::alias::{ACTIVE, Alias};
use super::manifest::Manifest;

/// All functions, by name.
pub(crate) type Contents = BTreeMap<String, Function>;

/// An object as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen<T> {
    /// The listing's tag then; empty for what this node has written itself.
    pub(super) tag: String,
    /// None when it could not be used, which was told.
    pub(super) value: Option<Arc<T>>,
}

/// Objects of one kind and function, by the last part of their keys.
pub(super) type Objects<T> = BTreeMap<String, Seen<T>>;

/// What is kept of one function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Function {
    pub(super) versions: Objects<Manifest>,
    pub(super) aliases: Objects<Alias>,
}

impl Function {
    /// All versions, in the order in which they were made.
    pub(crate) fn versions(&self) -> impl DoubleEndedIterator<Item = &Arc<Manifest>> {
        self.versions.values().filter_map(|seen| seen.value.as_ref())
    }

    /// The version with this id.
    pub(crate) fn version(&self, id: &str) -> Option<&Arc<Manifest>> {
        self.versions.get(id)?.value.as_ref()
    }

    /// All aliases, by name.
    pub(crate) fn aliases(&self) -> impl Iterator<Item = &Arc<Alias>> {
        self.aliases.values().filter_map(|seen| seen.value.as_ref())
    }

    pub(crate) fn alias(&self, name: &str) -> Option<&Arc<Alias>> {
        self.aliases.get(name)?.value.as_ref()
    }

    /// What the function's bare name means.
    pub(crate) fn active(&self) -> Option<&Arc<Alias>> {
        self.alias(ACTIVE)
    }

    /// The number of the version that is made next.
    pub(crate) fn next_number(&self) -> u32 {
        self.versions().map(|version| version.number).max().unwrap_or(0).saturating_add(1)
    }

    /// Whether nothing is left of it.
    pub(crate) fn is_empty(&self) -> bool {
        self.versions.is_empty() && self.aliases.is_empty()
    }

    /// This node has written a version.
    pub(crate) fn put_version(&mut self, version: Arc<Manifest>) {
        self.versions.insert(version.version.clone(), Seen { tag: String::new(), value: Some(version) });
    }

    /// This node has written an alias.
    pub(crate) fn put_alias(&mut self, alias: Arc<Alias>) {
        self.aliases.insert(alias.alias.clone(), Seen { tag: String::new(), value: Some(alias) });
    }
}
