//! Aliases, as this crate and the node tell each other of them. Owns no fds.

use std::collections::BTreeMap;

use crate::names::{AliasName, FunctionName, VersionName};

/// Versions by number, each with its share of the requests, from 0 to 1. The alias's own version
/// has the rest.
pub type Weights = BTreeMap<u32, f64>;

/// An alias of a function.
#[derive(Debug, Clone, PartialEq)]
pub struct Alias {
    /// Its name.
    pub name: AliasName,
    /// The version that it names.
    pub version: VersionName,
    /// Others that get some of its requests.
    pub additional: Weights,
    /// What it is, for people. May be empty.
    pub description: String,
    /// What changes with every change.
    pub revision_id: String,
}

/// An alias to create.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateAlias {
    /// The function.
    pub function: FunctionName,
    /// The alias's name.
    pub name: AliasName,
    /// The version that it is to name.
    pub version: VersionName,
    /// Others that are to get some of its requests: shares that are 1 at most together.
    pub additional: Weights,
    /// What it is, for people.
    pub description: String,
}

/// How an alias is to change. What is absent stays.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateAlias {
    /// The function.
    pub function: FunctionName,
    /// The alias's name.
    pub name: AliasName,
    /// The version that it is to name.
    pub version: Option<VersionName>,
    /// Others that are to get some of its requests, instead of all that did.
    pub additional: Option<Weights>,
    /// What it is, for people.
    pub description: Option<String>,
    /// The revision that must be the current one.
    pub revision_id: Option<String>,
}
