//! Secrets of functions: encrypted in the store and in the engine's memory, and decrypted only for
//! a worker that asks for those of a function it runs.
//!
//! They belong to a function's [`identity`], not to its name. [`key`] is the node's key, [`object`]
//! a secret in the store, [`known`] what the node knows of all of them, [`copy`] its copy for times
//! when the store is away, [`rules`] what a secret may be. [`Secrets`] holds them all. The caller
//! that changes one publishes the functions' [revisions](Secrets::revisions) with the next
//! catalogue. [`Envelope`] seals with the same key what others keep in the store. Owns no fds; a
//! function's decrypted secrets leave as a sealed memfd.

#![expect(
    missing_docs,
    reason = "names of fields say what they are, and each variant of an error has its sentence"
)]

mod copy;
mod envelope;
mod identity;
mod key;
mod known;
mod object;
mod rules;

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use api::secrets::ListedSecret;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Mutex;

use self::copy::Copy;
pub use self::envelope::{Envelope, Unfit};
pub use self::key::{Key, KeyError, KeyFile};
use self::known::{All, Held, Known, insert, place_of, revision};
use self::object::{OBJECT_BYTES_MAX, PREFIX, Place, Sealed};
pub use self::rules::{RuleError, check_key, check_value};
use host::clock;
use host::fault::Fault;
use store::error::StoreError;
use store::objects::{Objects, checked};
use store::removed::KeptSecrets;

/// How many objects are read at a time.
const READS_AT_ONCE: usize = 16;

/// Why a secret cannot be set, removed or read. No message has any part of a value.
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
            Self::Key(KeyError::Io { source, .. }) => Fault::of_file(source),
            Self::Key(_) | Self::OtherKey { .. } | Self::Encrypt { .. } | Self::Pass(_) => {
                Fault::NODE_BROKEN
            }
        }
    }
}

/// The secrets of all functions of the store, and of those that are not deployed yet.
#[derive(Debug)]
pub struct Secrets {
    objects: Arc<dyn Objects>,
    key: Arc<KeyFile>,
    copy: Copy,
    /// What the copy on disk has.
    copied: Mutex<Known>,
    known: RwLock<Known>,
    /// One change or reading at a time.
    changing: Mutex<()>,
}

impl Secrets {
    /// Returns the secrets of a store, of which none is read yet. `cache` is the folder of the
    /// node's copy.
    pub fn new(objects: Arc<dyn Objects>, key: Arc<KeyFile>, cache: &Path) -> Self {
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

    /// Reads all secrets for the first time: from the store, or from the node's copy while the
    /// store is away.
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

    /// Writes the node's copy, unless it already has the secrets as they are now.
    pub async fn remember(&self) {
        let mut copied = self.copied.lock().await;
        let known = match self.read() {
            same if *copied == *same => return,
            other => other.clone(),
        };
        let (copy, writing) = (self.copy.clone(), known.clone());
        match tokio::task::spawn_blocking(move || copy.write(&writing)).await {
            Ok(Ok(())) => *copied = known,
            Ok(Err(error)) => {
                tracing::warn!(
                    "should the store be away at the next start, new secrets are missing: {error}"
                )
            }
            // The node stops.
            Err(_) => {}
        }
    }

    /// Reads what has changed in the store since the last call.
    ///
    /// # Errors
    /// When the store cannot be read. What was read before stays then.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let _lock = self.changing.lock().await;
        let identities = identity::read_all(&*self.objects).await?;
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
                // It may be larger than a secret, or changed by another program.
                Err(error @ StoreError::Damaged { .. }) => Some(Err(error)),
                object => object?.map(Ok),
            };
            Ok::<_, StoreError>((listed, object))
        });
        let mut read = read.by_ref().buffer_unordered(READS_AT_ONCE);
        while let Some((listed, object)) = read.try_next().await? {
            // An object that is gone by now was removed meanwhile.
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

    /// Returns the identity of a function, and gives it one if it has none. `is_there` says whether
    /// it is deployed already.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn identify(&self, function: &str, is_there: bool) -> Result<String, StoreError> {
        let _lock = self.changing.lock().await;
        self.identify_locked(function, is_there).await
    }

    async fn identify_locked(&self, function: &str, is_there: bool) -> Result<String, StoreError> {
        let id = identity::get_or_create(&*self.objects, function, is_there).await?;
        self.write().identities.insert(function.to_owned(), id.clone());
        Ok(id)
    }

    /// Encrypts a secret and writes it to the store, in place of an earlier one of the same key.
    /// The function may be missing; `is_there` says whether it is deployed.
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
        let _lock = self.changing.lock().await;
        let owner = self.identify_locked(function, is_there).await?;
        let (others, others_bytes) = self.others(function, key);
        rules::check_sum(others, others_bytes, value.len())?;
        let place = Place { owner: &owner, key };
        let failed = |source| SecretError::Encrypt { key: key.to_owned(), source };
        let sealed =
            Sealed::new(self.key.get_or_make()?, place, value, clock::unix_ms()).map_err(failed)?;
        let object = sealed.to_object();
        self.objects.put(&place.object_key(), object.clone()).await?;
        // A removal takes the identity, and looks for secrets after that: it finds this one, unless
        // the identity is gone by now.
        if identity::get(&*self.objects, function).await?.as_ref() != Some(&owner) {
            self.objects.delete(&place.object_key()).await?;
            return Err(SecretError::Removed {
                function: function.to_owned(),
                key: key.to_owned(),
            });
        }
        insert(&mut self.write().held, &owner, key, Held::new(place, String::new(), Ok(object)));
        Ok(())
    }

    /// Returns how many secrets a function has besides this one, and their bytes.
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
        let _lock = self.changing.lock().await;
        let owner = self.read().owner(function).to_owned();
        if !self.read().of(function).is_some_and(|keys| keys.contains_key(key)) {
            return Err(SecretError::Unknown {
                function: function.to_owned(),
                key: key.to_owned(),
            });
        }
        self.objects.delete(&Place { owner: &owner, key }.object_key()).await?;
        self.forget(&owner, key);
        Ok(())
    }

    /// Removes a function's secrets and its identity. Secrets that another node sets meanwhile
    /// belong to no function. Returns the owners that the secrets had.
    ///
    /// # Errors
    /// When the store cannot be written. A second call does the rest.
    pub async fn release(&self, function: &str) -> Result<Vec<String>, StoreError> {
        let _lock = self.changing.lock().await;
        let mut owners = identity::get_all(&*self.objects, function).await?;
        // For earlier builds the owner is the function's name.
        owners.extend([function.to_owned(), self.read().owner(function).to_owned()]);
        // The secrets go first: those of an identity that is gone would never be found.
        for owner in &owners {
            self.remove_all_locked(owner).await?;
        }
        owners.extend(identity::delete_all(&*self.objects, function).await?);
        self.write().identities.remove(function);
        owners.sort();
        owners.dedup();
        Ok(owners)
    }

    /// Reads a function's secrets from the store, encrypted, so that they can be kept while the
    /// function is removed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn kept(&self, function: &str) -> Result<KeptSecrets, StoreError> {
        self.refresh().await?;
        let known = self.read();
        let owner = known.of(function).map(|_| known.owner(function).to_owned());
        let sealed = known.of(function).into_iter().flatten().filter_map(|(key, held)| {
            // A secret that is unreadable now would be so after a restore, too.
            Some((key.clone(), serde_json::to_value(held.sealed.as_ref().ok()?).ok()?))
        });
        Ok(KeptSecrets {
            owner: owner.or_else(|| known.identities.get(function).cloned()),
            sealed: sealed.collect(),
        })
    }

    /// Checks that a function's secrets can be restored. This comes before anything else is
    /// restored.
    ///
    /// # Errors
    /// [`SecretError::InTheWay`] when other secrets are set for the next function of that name.
    pub async fn expect_restorable(
        &self,
        function: &str,
        kept: &KeptSecrets,
    ) -> Result<(), SecretError> {
        self.refresh().await?;
        let Some(owner) = &kept.owner else { return Ok(()) };
        let standing = identity::get_all(&*self.objects, function).await?;
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

    /// Restores the identity and the secrets of a function.
    ///
    /// # Errors
    /// Those of [`Self::expect_restorable`], and when the store cannot be written. A second call
    /// does the rest.
    pub async fn restore(&self, function: &str, kept: &KeptSecrets) -> Result<(), SecretError> {
        self.expect_restorable(function, kept).await?;
        let _lock = self.changing.lock().await;
        let Some(owner) = &kept.owner else { return Ok(()) };
        for other in
            identity::get_all(&*self.objects, function).await?.iter().filter(|id| *id != owner)
        {
            // It is left over from a deploy that was cut short, and has no secrets.
            identity::delete(&*self.objects, function, other).await?;
        }
        identity::put(&*self.objects, function, owner).await?;
        self.write().identities.insert(function.to_owned(), owner.clone());
        for (key, sealed) in &kept.sealed {
            let place = Place { owner, key };
            let unfit = |_| SecretError::Unfit { function: function.to_owned(), key: key.clone() };
            check_key(key)?;
            let object =
                serde_json::from_value::<Sealed>(sealed.clone()).map_err(unfit)?.to_object();
            self.objects.put(&place.object_key(), object.clone()).await?;
            insert(&mut self.write().held, owner, key, Held::new(place, String::new(), Ok(object)));
        }
        Ok(())
    }

    /// Removes all secrets that belong to `owner`, whichever node has set them.
    ///
    /// # Errors
    /// When the store cannot be written. Some of them may be removed by then.
    pub async fn remove_all(&self, owner: &str) -> Result<(), StoreError> {
        let _lock = self.changing.lock().await;
        self.remove_all_locked(owner).await
    }

    async fn remove_all_locked(&self, owner: &str) -> Result<(), StoreError> {
        for listed in self.objects.list(&format!("{PREFIX}{owner}/"), "").await? {
            if let Some((_, key)) = place_of(&listed.key) {
                self.objects.delete(&listed.key).await?;
                self.forget(owner, key);
            }
        }
        self.write().held.remove(owner);
        Ok(())
    }

    /// Returns a function's secrets by key, without their values.
    pub fn list(&self, function: &str) -> Vec<ListedSecret> {
        let known = self.read();
        let owner = known.owner(function);
        let listed = |(key, held): (&String, &Held)| {
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
        known.of(function).into_iter().flatten().map(listed).collect()
    }

    /// Returns a number for each function that has secrets, which changes with them and reveals
    /// nothing of them.
    pub fn revisions(&self) -> BTreeMap<String, u64> {
        let known = self.read();
        let names = known.identities.keys().chain(known.held.keys());
        let revisions = names.map(|function| (function.clone(), revision(known.of(function))));
        revisions.filter(|(_, revision)| *revision != 0).collect()
    }

    /// Decrypts a function's secrets for a worker.
    ///
    /// # Errors
    /// [`SecretError`] when one of them cannot be decrypted: a function does not run with a part of
    /// its secrets.
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

#[cfg(test)]
mod tests;
