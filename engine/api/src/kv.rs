//! State of functions: keys and values of their buckets, `/v1/functions/NAME/kv`.
//!
//! A function need not be there: its state may be from before it was removed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a page begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PageQuery {
    /// The name by which the function opens a shared bucket; absent for the one of its own.
    pub bucket: Option<String>,
    /// The `next` of the page before.
    pub after: Option<String>,
}

/// Which key is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyQuery {
    /// The key.
    pub key: String,
    /// The name by which the function opens a shared bucket; absent for the one of its own.
    #[serde(default)]
    pub bucket: Option<String>,
}

/// Which bucket is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BucketQuery {
    /// The name by which the function opens a shared bucket; absent for the one of its own.
    pub bucket: Option<String>,
}

/// A page of keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeysPage {
    /// The keys, in the order of their bytes.
    pub keys: Vec<String>,
    /// What the next page begins behind. Absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How many keys the bucket has.
    pub keys_in_all: u64,
    /// How many bytes of keys and values it has.
    pub bytes_in_all: u64,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeptEntry {
    /// The key.
    pub key: String,
    /// The value, in base64.
    pub value: String,
}

/// A page of keys and values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EntriesPage {
    /// The entries, in the order of their keys' bytes.
    pub entries: Vec<KeptEntry>,
    /// What the next page begins behind. Absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Entries to set: all of them, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEntries {
    /// At most 1000, with 130 KiB of keys and values together.
    pub entries: Vec<KeptEntry>,
}
