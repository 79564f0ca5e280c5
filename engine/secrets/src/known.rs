//! What the node knows of all secrets: encrypted, as they are in the store, by the identities that
//! they belong to. Pure; owns no fds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::envelope::digits;
use super::identity::Identities;
use super::object::{PREFIX, Place, Sealed};
use super::rules::check_key;
use store::error::StoreError;

/// A secret as it was read from the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    /// The tag of the object. Empty if this node wrote it and has not seen it listed since.
    pub(super) tag: String,
    #[serde(with = "digits")]
    pub(super) digest: [u8; 32],
    pub(super) sealed: Result<Sealed, String>,
}

impl Held {
    /// Takes what was read of the object at `place`. Logs an object that is unreadable.
    pub(super) fn new(place: Place<'_>, tag: String, object: Result<Vec<u8>, StoreError>) -> Self {
        let digest = Sha256::digest(object.as_deref().unwrap_or_default()).into();
        let sealed = object
            .and_then(|object| Sealed::read(place, object))
            .map_err(|error| error.to_string());
        if let Err(reason) = &sealed {
            tracing::error!("the secret {} is unreadable: {reason}", place.object_key());
        }
        Self { tag, digest, sealed }
    }
}

/// Secrets by the identity that they belong to, and by key.
pub(super) type All = BTreeMap<String, BTreeMap<String, Held>>;

/// What the node knows of all secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) identities: Identities,
    pub(super) held: All,
}

impl Known {
    /// Returns what a function's secrets belong to: its identity, or its name if an earlier build
    /// set them.
    pub(super) fn owner<'a>(&'a self, function: &'a str) -> &'a str {
        self.identities.get(function).map_or(function, String::as_str)
    }

    /// Returns a function's secrets by key. Returns `None` if it has none.
    pub(super) fn of(&self, function: &str) -> Option<&BTreeMap<String, Held>> {
        self.held.get(self.owner(function))
    }
}

/// Adds a secret, in place of an earlier one of the same key.
pub(super) fn insert(all: &mut All, owner: &str, key: &str, held: Held) {
    all.entry(owner.to_owned()).or_default().insert(key.to_owned(), held);
}

/// Returns the owner and the key of the secret in `object`. Returns `None` if it is not the object
/// of a secret. A UUID could be a name, too.
pub(super) fn place_of(object: &str) -> Option<(&str, &str)> {
    let (owner, key) = object.strip_prefix(PREFIX)?.split_once('/')?;
    (abi::name::check(owner).is_ok() && check_key(key).is_ok()).then_some((owner, key))
}

/// Returns a number that changes with these secrets. Returns 0 if there are none.
pub(super) fn revision(keys: Option<&BTreeMap<String, Held>>) -> u64 {
    let Some(keys) = keys.filter(|keys| !keys.is_empty()) else { return 0 };
    let mut hash = Sha256::new();
    for (key, held) in keys {
        hash.update(key.as_bytes());
        hash.update([0]);
        hash.update(held.digest);
    }
    let digest: [u8; 32] = hash.finalize().into();
    digest.first_chunk().map_or(1, |first| u64::from_le_bytes(*first)).max(1)
}
