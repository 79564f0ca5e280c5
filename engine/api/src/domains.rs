//! Domains: which hosts, and which of their paths, are for which function.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which of a host's paths are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainQuery {
    /// What the paths begin with, in whole segments: `/api` means `/api` and all below it. All
    /// paths, if it is absent or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// What a domain is to be for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainTarget {
    /// The function's name.
    pub function: String,
    /// One of its aliases. Absent for what its bare name means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
}

/// A domain, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListedDomain {
    /// Host and prefix as people write them: `example.com`, or `example.com/api/*`.
    pub domain: String,
    /// The host. `*.` at its beginning stands for one label.
    pub host: String,
    /// What the paths begin with; empty for all paths.
    pub prefix: String,
    /// The function's name.
    pub function: String,
    /// One of its aliases. Absent for what its bare name means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// When it was added, in milliseconds since 1970.
    pub added_ms: u64,
    /// Until when the certificate that was ordered for it is valid, in milliseconds since 1970.
    /// Absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_until_ms: Option<u64>,
    /// Why no certificate could be ordered for it. Absent if that did not fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_error: Option<String>,
    /// Why requests are answered 404. Absent if they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
