//! Versions of a function and aliases for them: `/v1/functions/NAME/versions`, `.../aliases` and
//! `.../rollback`.

use std::collections::BTreeMap;

use abi::function::Kind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A version in the list of a function's versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListedVersion {
    /// The version's number, as in `v12`.
    pub number: u32,
    /// The version's id, a UUID that sorts by time.
    pub version: String,
    /// When it was deployed, in milliseconds since 1970.
    pub created_ms: u64,
    /// What its code is.
    pub kind: Kind,
    /// The SHA-256 of the deployed file, in hexadecimal.
    pub artefact: String,
    /// The size of the deployed file.
    pub artefact_bytes: u64,
    /// Where it is from: a reference in a registry, with its digest. Absent if it was a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The aliases that name it.
    pub aliases: Vec<AliasShare>,
}

/// An alias that names a version, and how many of its requests that version gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AliasShare {
    /// The alias.
    pub alias: String,
    /// The version's weight.
    pub weight: u32,
    /// The sum of the weights of all versions that the alias names.
    pub of: u32,
}

/// An alias of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alias {
    /// The alias. `active` is what the function's bare name means.
    pub alias: String,
    /// The versions that it names.
    pub targets: Vec<AliasTarget>,
    /// Laid over the environment of whatever version is run by this alias.
    pub env: BTreeMap<String, String>,
    /// Laid over its config.
    pub config: BTreeMap<String, String>,
    /// What it named before: where a rollback goes.
    pub previous: Vec<AliasTarget>,
    /// When it was set, in milliseconds since 1970.
    pub changed_ms: u64,
}

/// A version that an alias names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AliasTarget {
    /// The version's id.
    pub version: String,
    /// The version's number. Null if the version is not there any more.
    pub number: Option<u32>,
    /// How many of all requests it gets, in proportion to the others.
    pub weight: u32,
}

/// How an alias is to change. What is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AliasChange {
    /// The versions that it is to name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<TargetChange>>,
    /// Environment variables, instead of all that were there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<BTreeMap<String, String>>,
    /// Config, instead of all that was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<BTreeMap<String, String>>,
}

/// A version as a person names it, and its weight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetChange {
    /// A number (`v12`), an id, or the beginning of an id.
    pub version: String,
    /// How many of all requests it is to get, in proportion to the others.
    #[serde(default = "one")]
    pub weight: u32,
}

/// Where a function's bare name is to go back to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rollback {
    /// A number (`v12`), an id, or the beginning of an id. Without it, what was active before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

fn one() -> u32 {
    1
}
