//! Secrets of functions: their keys, never their values.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is told of one secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListedSecret {
    /// The name of the variable that the function finds it by.
    pub key: String,
    /// When it was set, in milliseconds since 1970. Null if what is stored of it is unreadable.
    pub set_ms: Option<u64>,
    /// Why the function cannot have it. Absent if it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
