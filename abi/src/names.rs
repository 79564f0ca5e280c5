//! By which names of hosts and paths a node finds functions. Pure; owns no fds.

#![allow(
    missing_docs,
    reason = "rkyv's derives make resolvers without docs; every type of ours has them"
)]

use rkyv::{Archive, Deserialize, Serialize};

/// By which names functions are found besides the catalogue's domains.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// With `--domain example.com`: the suffix under which host names are functions' names.
    pub domain: Option<String>,
    /// Whether paths name functions to the public.
    pub paths: bool,
}

impl Default for Names {
    fn default() -> Self {
        Self { domain: None, paths: true }
    }
}
