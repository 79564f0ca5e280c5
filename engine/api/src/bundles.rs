//! Programs that functions are made to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the program is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BundleQuery {
    /// An alias, or a version by its number or id. Null for what the function's bare name means.
    pub reference: Option<String>,
}
