//! Secrets of functions: encrypted in the store, in the engine's memory as they are there, and opened only for a worker that
//! asks for those of a function it runs.
//!
//! [`key`] is the node's key, [`object`] a secret in the store, [`copy`] what the node has of them while that is away, [`rules`]
//! what a secret may be. A [`Secrets`] holds all that
//! there are; whoever changes one publishes the functions' [revisions](Secrets::revisions) with the next catalogue. Owns no fds;
//! a function's opened secrets leave as a sealed memfd.

mod copy;
mod key;
mod object;
mod rules;

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use self::copy::Copy;
pub(crate) use self::key::{KeyError, KeyFile};
use self::object::{OBJECT_BYTES_MAX, Place, Sealed, digits};
pub(crate) use self::rules::{RuleError, check_key, check_value};
use crate::store::error::StoreError;
use crate::store::objects::{Objects, checked};

const PREFIX: &str = "secrets/";
/// Objects that are read at a time.
const READS_AT_ONCE: usize = 16;

/// Why a secret cannot be set, removed or read. No message has any of a value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error(transparent)]
    Rule(#[from] RuleError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("function {function:?} has no secret {key:?}; `sockhop secret list {function}` shows those it has")]
    Unknown { function: String, key: String },
    #[error(
        "secret {key:?} of function {function:?} is encrypted with the key {theirs}, and this node has {ours} ({path:?}); give the nodes of a store one key with --secrets-key, or set the secret again"
    )]
    OtherKey { function: String, key: String, theirs: String, ours: String, path: PathBuf },
    #[error(
        "secret {key:?} of function {function:?} does not open: the object was changed, or moved here from another place; set it again"
    )]
    Unfit { function: String, key: String },
    #[error("secret {key:?} cannot be encrypted: {source}")]
    Encrypt { key: String, source: std::io::Error },
    #[error(transparent)]
    Pass(#[from] abi::secrets::SecretsError),
}

/// What is told of a secret: never its value.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Listed {
    pub(crate) key: String,
    /// When it was set, in milliseconds since 1970; none when its object is unreadable.
    pub(crate) set_ms: Option<u64>,
    /// Why the function cannot have it, if it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// A secret as it was read from the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    /// Of the object; empty when this node wrote it and has not seen it listed since.
    tag: String,
    #[serde(with = "digits")]
    digest: [u8; 32],
    sealed: Result<Sealed, String>,
}

impl Held {
    fn new(place: Place<'_>, tag: String, object: Result<Vec<u8>, StoreError>) -> Self {
        let digest = Sha256::digest(object.as_deref().unwrap_or_default()).into();
        let sealed = object.and_then(|object| Sealed::read(place, object)).map_err(|error| error.to_string());
        if let Err(reason) = &sealed {
            tracing::error!("a secret of function {:?} is unreadable: {reason}", place.function);
        }
        Self { tag, digest, sealed }
    }
}

/// By function and key.
type All = BTreeMap<String, BTreeMap<String, Held>>;

/// Every secret of the node's functions, and of those that are not deployed yet.
#[derive(Debug)]
pub(crate) struct Secrets {
    objects: Arc<dyn Objects>,
    key: KeyFile,
    copy: Copy,
    /// What the copy has.
    copied: Mutex<All>,
    held: RwLock<All>,
    /// One change or reading at a time.
    changing: Mutex<()>,
}

impl Secrets {
    /// The secrets of a store, none read yet. `cache` is the folder that the node's copy is kept in.
    pub(crate) fn new(objects: Arc<dyn Objects>, key: KeyFile, cache: &Path) -> Self {
        let copy = Copy::new(cache, objects.name());
        Self { objects, key, copy, copied: Mutex::default(), held: RwLock::default(), changing: Mutex::default() }
    }

    /// Reads them all for the first time: from the store, and while that is away from the node's copy.
    ///
    /// # Errors
    /// When the store cannot be read, or is away and there is no copy.
    pub(crate) async fn load(&self) -> Result<(), StoreError> {
        let copy = self.copy.read();
        let known = copy.is_some();
        *self.copied.lock().await = copy.clone().unwrap_or_default();
        *self.write() = copy.unwrap_or_default();
        match self.refresh().await {
            Err(error) if error.is_away() && known => Ok(()),
            refreshed => refreshed,
        }
    }

    /// Has the node's copy as they are now.
    pub(crate) async fn remember(&self) {
        let mut copied = self.copied.lock().await;
        let held = match self.read() {
            same if *copied == *same => return,
            other => other.clone(),
        };
        match self.copy.write(&held) {
            Ok(()) => *copied = held,
            Err(error) => {
                tracing::warn!("should the store be away at the next start, new secrets are missing: {error}")
            }
        }
    }

    /// Reads what has changed in the store since the last time.
    ///
    /// # Errors
    /// When the store cannot be read: what was read before stays.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        let _alone = self.changing.lock().await;
        let mut before: HashMap<(String, String), Held> = self.flattened();
        let (mut all, mut changed) = (All::new(), Vec::new());
        for listed in self.objects.list(PREFIX, "").await? {
            let Some((function, key)) = place_of(&listed.key) else { continue };
            match before.remove(&(function.to_owned(), key.to_owned())) {
                Some(held) if held.tag == listed.tag => insert(&mut all, function, key, held),
                _ => changed.push(listed),
            }
        }
        let mut read = stream::iter(changed).map(|listed| async {
            let object = match checked::get(&*self.objects, &listed.key, OBJECT_BYTES_MAX).await {
                // Larger than one of ours, say, or changed by somebody.
                Err(error @ StoreError::Damaged { .. }) => Some(Err(error)),
                object => object?.map(Ok),
            };
            Ok::<_, StoreError>((listed, object))
        });
        let mut read = read.by_ref().buffer_unordered(READS_AT_ONCE);
        while let Some((listed, object)) = read.try_next().await? {
            // One that is gone by now is none.
            if let (Some((function, key)), Some(object)) = (place_of(&listed.key), object) {
                insert(&mut all, function, key, Held::new(Place { function, key }, listed.tag.clone(), object));
            }
        }
        drop(read);
        self.objects.verify().await?;
        *self.write() = all;
        Ok(())
    }

    /// Encrypts and stores a secret, over the one that had its key before. The function need not be there.
    ///
    /// # Errors
    /// [`SecretError`] when it breaks a rule, or the store cannot be written.
    pub(crate) async fn set(&self, function: &str, key: &str, value: &[u8]) -> Result<(), SecretError> {
        check_key(key)?;
        let value = check_value(value)?;
        let _alone = self.changing.lock().await;
        let (others, others_bytes) = self.others(function, key);
        rules::check_sum(others, others_bytes, value.len())?;
        let place = Place { function, key };
        let failed = |source| SecretError::Encrypt { key: key.to_owned(), source };
        let sealed = Sealed::new(self.key.get_or_make()?, place, value, now_ms()).map_err(failed)?;
        let object = sealed.to_object();
        self.objects.put(&place.object(), object.clone()).await?;
        insert(&mut self.write(), function, key, Held::new(place, String::new(), Ok(object)));
        Ok(())
    }

    /// How many secrets a function has beside this one, and their bytes.
    fn others(&self, function: &str, key: &str) -> (usize, usize) {
        let held = self.read();
        let others = held.get(function).into_iter().flatten().filter(|(other, _)| *other != key);
        others.fold((0, 0), |(count, bytes), (_, held)| {
            (count + 1, bytes + held.sealed.as_ref().map_or(0, Sealed::value_bytes))
        })
    }

    /// Removes a secret.
    ///
    /// # Errors
    /// [`SecretError::Unknown`] when there is none, and when the store cannot be written.
    pub(crate) async fn remove(&self, function: &str, key: &str) -> Result<(), SecretError> {
        check_key(key)?;
        let _alone = self.changing.lock().await;
        if !self.read().get(function).is_some_and(|keys| keys.contains_key(key)) {
            return Err(SecretError::Unknown { function: function.to_owned(), key: key.to_owned() });
        }
        self.objects.delete(&Place { function, key }.object()).await?;
        self.forget(function, key);
        Ok(())
    }

    /// Removes all secrets of a function.
    ///
    /// # Errors
    /// When the store cannot be written; those that are gone by then are gone.
    pub(crate) async fn remove_all(&self, function: &str) -> Result<(), StoreError> {
        let _alone = self.changing.lock().await;
        let keys: Vec<String> = self.read().get(function).into_iter().flatten().map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.objects.delete(&Place { function, key: &key }.object()).await?;
            self.forget(function, &key);
        }
        Ok(())
    }

    /// What a function has, by key.
    pub(crate) fn list(&self, function: &str) -> Vec<Listed> {
        let held = self.read();
        let told = |(key, held): (&String, &Held)| {
            let error = match &held.sealed {
                Ok(sealed) => self.open(Place { function, key }, sealed).err().map(|error| error.to_string()),
                Err(reason) => Some(reason.clone()),
            };
            Listed { key: key.clone(), set_ms: held.sealed.as_ref().ok().map(|sealed| sealed.set_ms), error }
        };
        held.get(function).into_iter().flatten().map(told).collect()
    }

    /// Names what each function's secrets are by now, and tells nothing of them. Those that have none are not there.
    pub(crate) fn revisions(&self) -> BTreeMap<String, u64> {
        self.read().iter().map(|(function, keys)| (function.clone(), revision(Some(keys)))).collect()
    }

    /// A function's secrets for a worker, opened.
    ///
    /// # Errors
    /// [`SecretError`] when one of them does not open: a function does not run with some of its secrets.
    pub(crate) fn for_worker(&self, function: &str) -> Result<OwnedFd, SecretError> {
        let held = self.read();
        let keys = held.get(function);
        let mut secrets = abi::secrets::Secrets { revision: revision(keys), values: Vec::new() };
        for (key, held) in keys.into_iter().flatten() {
            let unfit = || SecretError::Unfit { function: function.to_owned(), key: key.clone() };
            let sealed = held.sealed.as_ref().map_err(|_| unfit())?;
            let mut value = self.open(Place { function, key }, sealed)?;
            secrets.values.push((key.clone(), std::mem::take(&mut *value)));
        }
        Ok(secrets.seal()?)
    }

    fn open(&self, place: Place<'_>, sealed: &Sealed) -> Result<zeroize::Zeroizing<String>, SecretError> {
        let (function, name) = (place.function.to_owned(), place.key.to_owned());
        let key = self.key.get()?;
        match key.filter(|key| key.id() == sealed.key) {
            Some(key) => sealed.open(key, place).map_err(|_| SecretError::Unfit { function, key: name }),
            None => Err(SecretError::OtherKey {
                function,
                key: name,
                theirs: sealed.key.clone(),
                ours: key.map_or("none", |key| key.id()).to_owned(),
                path: self.key.path().to_owned(),
            }),
        }
    }

    fn forget(&self, function: &str, key: &str) {
        let mut held = self.write();
        if let Some(keys) = held.get_mut(function) {
            keys.remove(key);
            if keys.is_empty() {
                held.remove(function);
            }
        }
    }

    fn flattened(&self) -> HashMap<(String, String), Held> {
        let held = self.read();
        let flat = held.iter().flat_map(|(function, keys)| {
            keys.iter().map(|(key, held)| ((function.clone(), key.clone()), held.clone()))
        });
        flat.collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, All> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, All> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn insert(all: &mut All, function: &str, key: &str, held: Held) {
    all.entry(function.to_owned()).or_default().insert(key.to_owned(), held);
}

/// Function and key of an object; none when it is not one of a secret.
fn place_of(object: &str) -> Option<(&str, &str)> {
    let (function, key) = object.strip_prefix(PREFIX)?.split_once('/')?;
    (abi::name::check(function).is_ok() && check_key(key).is_ok()).then_some((function, key))
}

fn revision(keys: Option<&BTreeMap<String, Held>>) -> u64 {
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

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
