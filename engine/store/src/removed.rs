//! Removed functions: each is one object that has all of the function, from which it can be
//! restored.
//!
//! `removed/<name>/<id>` is written before any part of the function is removed, so a removal can be
//! undone wherever it was cut short, and after it is done. The object is deleted when a node has
//! seen it unchanged for [`KEPT_FOR`] by its own monotonic clock: never sooner than after a day,
//! and later if nodes restart. A restore leaves the object where it is, so that nothing is lost if
//! the restore is cut short. Pure; owns no fds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::contents::{Function, Objects};
use super::error::StoreError;
use super::objects::{checked, packed};
use super::stored::Stored;
use super::written;
use host::clock;

/// What the keys of removed functions begin with.
pub(super) const REMOVED: &str = "removed/";
/// How long a removed function can be restored, at least.
pub const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// The most bytes that a removed function may have as an object.
pub(super) const PACKED_BYTES_MAX: usize = 64 << 20;
const JSON_BYTES_MAX: usize = 1 << 30;

/// The secrets of a function, encrypted as they are in the store. Only the crate `secrets` reads
/// them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptSecrets {
    /// The identity that they belong to. `None` if the function had none.
    pub owner: Option<String>,
    pub sealed: BTreeMap<String, Value>,
}

/// A function that was removed, or is being removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    pub name: String,
    /// The id of this removal, a UUID.
    pub id: String,
    /// When it was removed, in milliseconds since 1970, by the clock of the node that did it.
    pub removed_ms: u64,
    pub function: Function,
    pub secrets: KeptSecrets,
}

/// The JSON of the object.
#[derive(Serialize, Deserialize)]
struct Written {
    removed_ms: u64,
    versions: BTreeMap<String, Value>,
    aliases: BTreeMap<String, Value>,
    secrets: KeptSecrets,
}

/// Returns the name and the id in a key. Returns `None` if `key` is not one of a removed function.
pub(super) fn parts(key: &str) -> Option<(&str, &str)> {
    let (name, id) = key.strip_prefix(REMOVED)?.split_once('/')?;
    (abi::name::check(name).is_ok() && uuid::Uuid::try_parse(id).is_ok()).then_some((name, id))
}

fn objects<T: Stored>(name: &str, written: BTreeMap<String, Value>) -> Result<Objects<T>, String> {
    let count = written.len();
    let objects = written.into_iter().map(|(stem, json)| (stem, (String::new(), json))).collect();
    let objects = written::seen(name, objects);
    // A function that lacks one of its objects is not the one that was removed.
    if objects.len() == count {
        Ok(objects)
    } else {
        Err("a part of it is not understood".to_owned())
    }
}

fn values<T: Stored>(objects: &Objects<T>) -> BTreeMap<String, Value> {
    written::objects(objects).into_iter().map(|(stem, (_, json))| (stem, json)).collect()
}

impl Removed {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            id: uuid::Uuid::now_v7().to_string(),
            removed_ms: clock::unix_ms(),
            function: Function::default(),
            secrets: KeptSecrets::default(),
        }
    }

    pub(super) fn key(&self) -> String {
        format!("{REMOVED}{}/{}", self.name, self.id)
    }

    pub(super) fn to_object(&self) -> Result<Vec<u8>, StoreError> {
        let unfit = |error: std::io::Error| StoreError::Unfit {
            key: self.key(),
            reason: error.to_string(),
        };
        let written = Written {
            removed_ms: self.removed_ms,
            versions: values(&self.function.versions),
            aliases: values(&self.function.aliases),
            secrets: self.secrets.clone(),
        };
        let json = serde_json::to_vec(&written).map_err(|error| unfit(error.into()))?;
        let object = checked::seal(&packed::pack(&json).map_err(unfit)?);
        if object.len() > PACKED_BYTES_MAX {
            return Err(StoreError::TooLargeToKeep {
                name: self.name.clone(),
                bytes_max: PACKED_BYTES_MAX,
            });
        }
        Ok(object)
    }

    pub(super) fn read(key: &str, object: Vec<u8>) -> Result<Self, StoreError> {
        let unfit =
            |reason: &str| StoreError::Unfit { key: key.to_owned(), reason: reason.to_owned() };
        let (name, id) = parts(key).ok_or_else(|| unfit("it has no name"))?;
        let json = packed::unpack(&checked::open(key, object)?, JSON_BYTES_MAX);
        let json = json.ok_or_else(|| unfit("it cannot be unpacked"))?;
        let written: Written =
            serde_json::from_slice(&json).map_err(|error| unfit(&error.to_string()))?;
        let function = Function {
            versions: objects(name, written.versions).map_err(|reason| unfit(&reason))?,
            aliases: objects(name, written.aliases).map_err(|reason| unfit(&reason))?,
        };
        let (name, id) = (name.to_owned(), id.to_owned());
        Ok(Self { name, id, removed_ms: written.removed_ms, function, secrets: written.secrets })
    }

    /// Returns whether `function` is the same one, which is so if they share a version.
    pub fn is_of(&self, function: &Function) -> bool {
        function.versions().any(|version| self.function.version(&version.version).is_some())
    }

    /// Returns whether `function` prevents a restore of this one: it is another function, or works
    /// already.
    pub fn is_blocked_by(&self, function: &Function) -> bool {
        let works = function.active().is_some_and(|active| {
            active.targets.iter().all(|target| function.version(&target.version).is_some())
        });
        works
            || function.versions().any(|version| self.function.version(&version.version).is_none())
    }

    /// Adds the present parts of the function. Returns whether any of them is new.
    pub(super) fn merge(&mut self, function: &Function, secrets: KeptSecrets) -> bool {
        let before = self.clone();
        for version in function.versions() {
            self.function.put_version(Arc::clone(version));
        }
        for alias in function.aliases() {
            self.function.put_alias(Arc::clone(alias));
        }
        match secrets {
            none if none.sealed.is_empty() && self.secrets.owner.is_some() => {}
            same if same.owner == self.secrets.owner => self.secrets.sealed.extend(same.sealed),
            other => self.secrets = other,
        }
        *self != before
    }
}
