//! Secrets of functions: encrypted in the store, in the engine's memory as they are there, and
//! opened only for a worker that asks for those of a function it runs.
//!
//! They belong to a function's [`identity`], not to its name. [`key`] is the node's key, [`object`]
//! a secret in the store, [`copy`] what the node has of them while that is away, [`rules`] what a
//! secret may be. A [`Secrets`] holds all that there are; whoever changes one publishes the
//! functions' [revisions](Secrets::revisions) with the next catalogue. Owns no fds; a function's
//! opened secrets leave as a sealed memfd.

#![expect(
    missing_docs,
    reason = "names of fields say what they are, and each variant of an error has its sentence"
)]

mod copy;
mod identity;
mod key;
mod object;
mod rules;

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use api::secrets::ListedSecret;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use self::copy::Copy;
use self::identity::Identities;
pub use self::key::{KeyError, KeyFile};
use self::object::{OBJECT_BYTES_MAX, Place, Sealed, digits};
pub use self::rules::{RuleError, check_key, check_value};
use host::clock;
use host::fault::Fault;
use store::error::StoreError;
use store::objects::{Objects, checked};
use store::removed::KeptSecrets;

const PREFIX: &str = "secrets/";
/// Objects that are read at a time.
const READS_AT_ONCE: usize = 16;

/// Why a secret cannot be set, removed or read. No message has any of a value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error(transparent)]
    Rule(#[from] RuleError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "function {function:?} has no secret {key:?}; `sockhop secret list {function}` shows those it has"
    )]
    Unknown { function: String, key: String },
    #[error(
        "secret {key:?} of function {function:?} is encrypted with the key {theirs}, and this node has {ours} ({path:?}); give the nodes of a store one key with --secrets-key, or set the secret again"
    )]
    OtherKey { function: String, key: String, theirs: String, ours: String, path: PathBuf },
    #[error(
        "secret {key:?} of function {function:?} does not open: the object was changed, or moved here from another place; set it again"
    )]
    Unfit { function: String, key: String },
    #[error(
        "function {function:?} was removed while its secret {key:?} was set, which is not kept; set it again for the next function of that name"
    )]
    Removed { function: String, key: String },
    #[error(
        "secrets are set for the next function {function:?} ({keys}), and the removed one has its own; remove them first: `sockhop secret remove {function} KEY`"
    )]
    InTheWay { function: String, keys: String },
    #[error("secret {key:?} cannot be encrypted: {source}")]
    Encrypt { key: String, source: std::io::Error },
    #[error(transparent)]
    Pass(#[from] abi::secrets::SecretsError),
}

impl SecretError {
    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Rule(error) => error.fault(),
            Self::Store(error) => error.fault(),
            Self::Unknown { .. } => Fault::NOT_FOUND,
            Self::Removed { .. } | Self::InTheWay { .. } => Fault::CONFLICT,
            Self::Unfit { .. } => Fault::STORE_BROKEN,
            Self::Key(_) | Self::OtherKey { .. } | Self::Encrypt { .. } | Self::Pass(_) => {
                Fault::NODE_BROKEN
            }
        }
    }
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
        let sealed = object
            .and_then(|object| Sealed::read(place, object))
            .map_err(|error| error.to_string());
        if let Err(reason) = &sealed {
            tracing::error!("the secret {} is unreadable: {reason}", place.object());
        }
        Self { tag, digest, sealed }
    }
}

/// By the identity that they belong to, and key.
type All = BTreeMap<String, BTreeMap<String, Held>>;

/// What is known of all secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Known {
    identities: Identities,
    held: All,
}

impl Known {
    /// What a function's secrets belong to: without an identity an earlier build gave it them.
    fn owner<'a>(&'a self, function: &'a str) -> &'a str {
        self.identities.get(function).map_or(function, String::as_str)
    }

    fn of(&self, function: &str) -> Option<&BTreeMap<String, Held>> {
        self.held.get(self.owner(function))
    }
}

/// Every secret of the node's functions, and of those that are not deployed yet.
#[derive(Debug)]
pub struct Secrets {
    objects: Arc<dyn Objects>,
    key: KeyFile,
    copy: Copy,
    /// What the copy has.
    copied: Mutex<Known>,
    known: RwLock<Known>,
    /// One change or reading at a time.
    changing: Mutex<()>,
}

impl Secrets {
    /// The secrets of a store, none read yet. `cache` is the folder that the node's copy is kept
    /// in.
    pub fn new(objects: Arc<dyn Objects>, key: KeyFile, cache: &Path) -> Self {
        let copy = Copy::new(cache, objects.name());
        Self {
            objects,
            key,
            copy,
            copied: Mutex::default(),
            known: RwLock::default(),
            changing: Mutex::default(),
        }
    }

    /// Reads them all for the first time: from the store, and while that is away from the node's
    /// copy.
    ///
    /// # Errors
    /// When the store cannot be read, or is away and there is no copy.
    pub async fn load(&self) -> Result<(), StoreError> {
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
    pub async fn remember(&self) {
        let mut copied = self.copied.lock().await;
        let known = match self.read() {
            same if *copied == *same => return,
            other => other.clone(),
        };
        match self.copy.write(&known) {
            Ok(()) => *copied = known,
            Err(error) => {
                tracing::warn!(
                    "should the store be away at the next start, new secrets are missing: {error}"
                )
            }
        }
    }

    /// Reads what has changed in the store since the last time.
    ///
    /// # Errors
    /// When the store cannot be read: what was read before stays.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let _alone = self.changing.lock().await;
        let identities = identity::read(&*self.objects).await?;
        let mut before: HashMap<(String, String), Held> = self.flattened();
        let (mut all, mut changed) = (All::new(), Vec::new());
        for listed in self.objects.list(PREFIX, "").await? {
            let Some((owner, key)) = place_of(&listed.key) else { continue };
            match before.remove(&(owner.to_owned(), key.to_owned())) {
                Some(held) if held.tag == listed.tag => insert(&mut all, owner, key, held),
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
            if let (Some((owner, key)), Some(object)) = (place_of(&listed.key), object) {
                insert(
                    &mut all,
                    owner,
                    key,
                    Held::new(Place { owner, key }, listed.tag.clone(), object),
                );
            }
        }
        drop(read);
        self.objects.verify().await?;
        *self.write() = Known { identities, held: all };
        Ok(())
    }

    /// Gives a function an identity, if it has none. `is_there` if it is deployed already.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn identify(&self, function: &str, is_there: bool) -> Result<String, StoreError> {
        let _alone = self.changing.lock().await;
        self.identify_alone(function, is_there).await
    }

    async fn identify_alone(&self, function: &str, is_there: bool) -> Result<String, StoreError> {
        let id = identity::of_or_made(&*self.objects, function, is_there).await?;
        self.write().identities.insert(function.to_owned(), id.clone());
        Ok(id)
    }

    /// Encrypts and stores a secret, over the one that had its key before. The function need not be
    /// there; `is_there` if it is.
    ///
    /// # Errors
    /// [`SecretError`] when it breaks a rule, the function was removed meanwhile, or the store
    /// cannot be written.
    pub async fn set(
        &self,
        function: &str,
        is_there: bool,
        key: &str,
        value: &[u8],
    ) -> Result<(), SecretError> {
        check_key(key)?;
        let value = check_value(value)?;
        let _alone = self.changing.lock().await;
        let owner = self.identify_alone(function, is_there).await?;
        let (others, others_bytes) = self.others(function, key);
        rules::check_sum(others, others_bytes, value.len())?;
        let place = Place { owner: &owner, key };
        let failed = |source| SecretError::Encrypt { key: key.to_owned(), source };
        let sealed =
            Sealed::new(self.key.get_or_make()?, place, value, clock::unix_ms()).map_err(failed)?;
        let object = sealed.to_object();
        self.objects.put(&place.object(), object.clone()).await?;
        // Whoever removes a function takes its identity first, and then looks for its secrets.
        if identity::of(&*self.objects, function).await?.as_ref() != Some(&owner) {
            self.objects.delete(&place.object()).await?;
            return Err(SecretError::Removed {
                function: function.to_owned(),
                key: key.to_owned(),
            });
        }
        insert(&mut self.write().held, &owner, key, Held::new(place, String::new(), Ok(object)));
        Ok(())
    }

    /// How many secrets a function has beside this one, and their bytes.
    fn others(&self, function: &str, key: &str) -> (usize, usize) {
        let known = self.read();
        let others = known.of(function).into_iter().flatten().filter(|(other, _)| *other != key);
        others.fold((0, 0), |(count, bytes), (_, held)| {
            (count + 1, bytes + held.sealed.as_ref().map_or(0, Sealed::value_bytes))
        })
    }

    /// Removes a secret.
    ///
    /// # Errors
    /// [`SecretError::Unknown`] when there is none, and when the store cannot be written.
    pub async fn remove(&self, function: &str, key: &str) -> Result<(), SecretError> {
        check_key(key)?;
        let _alone = self.changing.lock().await;
        let owner = self.read().owner(function).to_owned();
        if !self.read().of(function).is_some_and(|keys| keys.contains_key(key)) {
            return Err(SecretError::Unknown {
                function: function.to_owned(),
                key: key.to_owned(),
            });
        }
        self.objects.delete(&Place { owner: &owner, key }.object()).await?;
        self.forget(&owner, key);
        Ok(())
    }

    /// Removes a function's secrets, and takes its identity from it: those that another node sets
    /// meanwhile are nobody's. Returns what they belong to.
    ///
    /// # Errors
    /// When the store cannot be written; called again, it does the rest.
    pub async fn release(&self, function: &str) -> Result<Vec<String>, StoreError> {
        let _alone = self.changing.lock().await;
        let mut owners = identity::all_of(&*self.objects, function).await?;
        // Earlier builds know no other than its name.
        owners.extend([function.to_owned(), self.read().owner(function).to_owned()]);
        // First the secrets: nobody would find those of an identity that is gone.
        for owner in &owners {
            self.remove_all_alone(owner).await?;
        }
        owners.extend(identity::take(&*self.objects, function).await?);
        self.write().identities.remove(function);
        owners.sort();
        owners.dedup();
        Ok(owners)
    }

    /// A function's secrets as the store has them now, to be kept while it is removed: encrypted,
    /// as they are.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn kept(&self, function: &str) -> Result<KeptSecrets, StoreError> {
        self.refresh().await?;
        let known = self.read();
        let owner = known.of(function).map(|_| known.owner(function).to_owned());
        let sealed = known.of(function).into_iter().flatten().filter_map(|(key, held)| {
            // One that is unreadable here is so after it was restored.
            Some((key.clone(), serde_json::to_value(held.sealed.as_ref().ok()?).ok()?))
        });
        Ok(KeptSecrets {
            owner: owner.or_else(|| known.identities.get(function).cloned()),
            sealed: sealed.collect(),
        })
    }

    /// Checks that a function's secrets can be restored, before anything else of it is.
    ///
    /// # Errors
    /// [`SecretError::InTheWay`] when others have been set meanwhile for the next function of that
    /// name.
    pub async fn expect_restorable(
        &self,
        function: &str,
        kept: &KeptSecrets,
    ) -> Result<(), SecretError> {
        self.refresh().await?;
        let Some(owner) = &kept.owner else { return Ok(()) };
        let standing = identity::all_of(&*self.objects, function).await?;
        let known = self.read();
        let keys = standing.iter().filter(|id| *id != owner).filter_map(|id| known.held.get(id));
        let keys: Vec<&str> = keys.flat_map(|keys| keys.keys().map(String::as_str)).collect();
        match keys.is_empty() {
            true => Ok(()),
            false => {
                Err(SecretError::InTheWay { function: function.to_owned(), keys: keys.join(", ") })
            }
        }
    }

    /// Gives a function that is restored its identity and its secrets again.
    ///
    /// # Errors
    /// As [`Self::expect_restorable`], and when the store cannot be written; called again, it does
    /// the rest.
    pub async fn restore(&self, function: &str, kept: &KeptSecrets) -> Result<(), SecretError> {
        self.expect_restorable(function, kept).await?;
        let _alone = self.changing.lock().await;
        let Some(owner) = &kept.owner else { return Ok(()) };
        for other in
            identity::all_of(&*self.objects, function).await?.iter().filter(|id| *id != owner)
        {
            // A deploy that got no further has left it, and it has no secrets.
            identity::take_one(&*self.objects, function, other).await?;
        }
        identity::give(&*self.objects, function, owner).await?;
        self.write().identities.insert(function.to_owned(), owner.clone());
        for (key, sealed) in &kept.sealed {
            let place = Place { owner, key };
            let unfit = |_| SecretError::Unfit { function: function.to_owned(), key: key.clone() };
            check_key(key)?;
            let object =
                serde_json::from_value::<Sealed>(sealed.clone()).map_err(unfit)?.to_object();
            self.objects.put(&place.object(), object.clone()).await?;
            insert(&mut self.write().held, owner, key, Held::new(place, String::new(), Ok(object)));
        }
        Ok(())
    }

    /// Removes all secrets that belong to `owner`, whoever has set them.
    ///
    /// # Errors
    /// When the store cannot be written; those that are gone by then are gone.
    pub async fn remove_all(&self, owner: &str) -> Result<(), StoreError> {
        let _alone = self.changing.lock().await;
        self.remove_all_alone(owner).await
    }

    async fn remove_all_alone(&self, owner: &str) -> Result<(), StoreError> {
        for listed in self.objects.list(&format!("{PREFIX}{owner}/"), "").await? {
            if let Some((_, key)) = place_of(&listed.key) {
                self.objects.delete(&listed.key).await?;
                self.forget(owner, key);
            }
        }
        self.write().held.remove(owner);
        Ok(())
    }

    /// What a function has, by key.
    pub fn list(&self, function: &str) -> Vec<ListedSecret> {
        let known = self.read();
        let owner = known.owner(function);
        let told = |(key, held): (&String, &Held)| {
            let error = match &held.sealed {
                Ok(sealed) => self
                    .open(function, Place { owner, key }, sealed)
                    .err()
                    .map(|error| error.to_string()),
                Err(reason) => Some(reason.clone()),
            };
            ListedSecret {
                key: key.clone(),
                set_ms: held.sealed.as_ref().ok().map(|sealed| sealed.set_ms),
                error,
            }
        };
        known.of(function).into_iter().flatten().map(told).collect()
    }

    /// Names what each function's secrets are by now, and tells nothing of them. Those that have
    /// none are not there.
    pub fn revisions(&self) -> BTreeMap<String, u64> {
        let known = self.read();
        let names = known.identities.keys().chain(known.held.keys());
        let revisions = names.map(|function| (function.clone(), revision(known.of(function))));
        revisions.filter(|(_, revision)| *revision != 0).collect()
    }

    /// A function's secrets for a worker, opened.
    ///
    /// # Errors
    /// [`SecretError`] when one of them does not open: a function does not run with some of its
    /// secrets.
    pub fn for_worker(&self, function: &str) -> Result<OwnedFd, SecretError> {
        let known = self.read();
        let (owner, keys) = (known.owner(function), known.of(function));
        let mut secrets = abi::secrets::Secrets { revision: revision(keys), values: Vec::new() };
        for (key, held) in keys.into_iter().flatten() {
            let unfit = || SecretError::Unfit { function: function.to_owned(), key: key.clone() };
            let sealed = held.sealed.as_ref().map_err(|_| unfit())?;
            let mut value = self.open(function, Place { owner, key }, sealed)?;
            secrets.values.push((key.clone(), std::mem::take(&mut *value)));
        }
        Ok(secrets.seal()?)
    }

    fn open(
        &self,
        function: &str,
        place: Place<'_>,
        sealed: &Sealed,
    ) -> Result<zeroize::Zeroizing<String>, SecretError> {
        let (function, name) = (function.to_owned(), place.key.to_owned());
        let key = self.key.get()?;
        match key.filter(|key| key.id() == sealed.key) {
            Some(key) => {
                sealed.open(key, place).map_err(|_| SecretError::Unfit { function, key: name })
            }
            None => Err(SecretError::OtherKey {
                function,
                key: name,
                theirs: sealed.key.clone(),
                ours: key.map_or("none", |key| key.id()).to_owned(),
                path: self.key.path().to_owned(),
            }),
        }
    }

    fn forget(&self, owner: &str, key: &str) {
        let mut known = self.write();
        if let Some(keys) = known.held.get_mut(owner) {
            keys.remove(key);
            if keys.is_empty() {
                known.held.remove(owner);
            }
        }
    }

    fn flattened(&self) -> HashMap<(String, String), Held> {
        let known = self.read();
        let flat = known.held.iter().flat_map(|(owner, keys)| {
            keys.iter().map(|(key, held)| ((owner.clone(), key.clone()), held.clone()))
        });
        flat.collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn insert(all: &mut All, owner: &str, key: &str, held: Held) {
    all.entry(owner.to_owned()).or_default().insert(key.to_owned(), held);
}

/// Whose an object is, and its key; none when it is not one of a secret. A UUID could be a name,
/// too.
fn place_of(object: &str) -> Option<(&str, &str)> {
    let (owner, key) = object.strip_prefix(PREFIX)?.split_once('/')?;
    (abi::name::check(owner).is_ok() && check_key(key).is_ok()).then_some((owner, key))
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

#[cfg(test)]
mod tests;
