//! Removing functions and restoring them: `DELETE /v1/functions/NAME`, `.../restore` and
//! `/v1/removed`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::functions::Function;

/// How a function is removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default)]
pub struct RemoveQuery {
    /// Keep nothing to restore, nor what earlier removals of this name have left.
    pub for_good: bool,
    /// Remove what the function has in the bucket of its own, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub with_state: bool,
}

/// A removed function that can be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemovedFunction {
    /// The function's name.
    pub name: String,
    /// The id of the removal, a UUID.
    pub id: String,
    /// What there was of it, in a few words.
    pub version: String,
    /// How many versions it had.
    pub versions: usize,
    /// The keys of its secrets.
    pub secrets: Vec<String>,
    /// When it was removed, in milliseconds since 1970.
    pub removed_ms: u64,
    /// Until when it can be restored, in milliseconds since 1970.
    pub restorable_until_ms: u64,
}

/// Which removal is undone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Restore {
    /// The id of the removal, or its beginning. Without it, the last removal of the function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// A function that was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestoredFunction {
    /// The function as it is again.
    #[serde(flatten)]
    pub function: Function,
    /// The keys of the secrets that were restored with it.
    #[serde(default)]
    pub secrets: Vec<String>,
}
