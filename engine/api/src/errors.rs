//! What the node answers instead of what was asked for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a request was refused, or has failed. The body of every answer with a status of 400 or
/// above, except where a function answers itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorAnswer {
    /// A sentence for people: what was wrong, and what may help.
    pub error: String,
}

/// Why a node takes no requests: the answer of `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotReady {
    /// A few words for people.
    pub reason: String,
}
