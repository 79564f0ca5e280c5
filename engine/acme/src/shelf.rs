//! What stands in the store about certificates: read as a whole, and written object by object.
//! Owns no fds.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use secrets::KeyFile;
use serde::Serialize;
use serde::de::DeserializeOwned;
use store::error::StoreError;
use store::objects::{Listed, Objects, checked};

use crate::certificate::Certificate;
use crate::challenge::{self, Answer};
use crate::error::AcmeError;
use crate::place::{FOLDER, Place};
use crate::plan::Validity;
use crate::record::Attempts;
use crate::sealed;

/// How many objects are read at a time.
const READS_AT_ONCE: usize = 16;
/// How long a record is kept of a name that has no certificate; no pause is as long.
const RECORD_KEPT_MS: u64 = 30 * 24 * 60 * 60 * 1000;
/// The most bytes of a record.
const RECORD_BYTES_MAX: usize = 16 * 1024;

/// An object, as it was read.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// A certificate, with its object as it stands in the store; or why it does not open.
    Certificate {
        read: Result<Arc<Certificate>, String>,
        object: Arc<Vec<u8>>,
    },
    Attempts(Attempts),
    Answer(Answer),
    /// One that is read when it is needed, or cannot be.
    Other,
}

/// All objects by key, each with the tag that it was listed with.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub(crate) objects: BTreeMap<String, (String, Content)>,
}

impl View {
    /// Returns the readable certificates, each with the name that it was ordered for, and whether
    /// the CA `ca` has issued it.
    pub(crate) fn certificates<'a>(
        &'a self,
        ca: &'a str,
    ) -> impl Iterator<Item = (&'a str, bool, &'a Arc<Certificate>)> {
        self.objects.iter().filter_map(move |(key, (_, content))| {
            match (Place::of(key)?, content) {
                (Place::Certificate { ca: by, name, .. }, Content::Certificate { read, .. }) => {
                    Some((name, by == ca, read.as_ref().ok()?))
                }
                _ => None,
            }
        })
    }

    /// Returns the latest certificate of each name that the CA `ca` has issued.
    pub(crate) fn held(&self, ca: &str) -> BTreeMap<String, Validity> {
        let mut held: BTreeMap<String, Validity> = BTreeMap::new();
        for (name, _, certificate) in self.certificates(ca).filter(|(_, ours, _)| *ours) {
            let known = held.entry(name.to_owned()).or_insert(certificate.validity);
            if certificate.validity.ends_ms > known.ends_ms {
                *known = certificate.validity;
            }
        }
        held
    }

    /// Returns what was tried with the CA `ca` for each name, and for none in particular.
    pub(crate) fn attempts(&self, ca: &str) -> (BTreeMap<String, Attempts>, Attempts) {
        let (mut of_names, mut of_authority) = (BTreeMap::new(), Attempts::default());
        for (key, (_, content)) in &self.objects {
            match (Place::of(key), content) {
                (Some(Place::Attempts { ca: by, name }), Content::Attempts(attempts))
                    if by == ca =>
                {
                    of_names.insert(name.to_owned(), attempts.clone());
                }
                (Some(Place::Authority { ca: by }), Content::Attempts(attempts)) if by == ca => {
                    of_authority = attempts.clone();
                }
                _ => {}
            }
        }
        (of_names, of_authority)
    }

    /// Takes what was just written, which the next listing has, too.
    pub(crate) fn put(&mut self, key: String, content: Content) {
        self.objects.insert(key, (String::new(), content));
    }

    /// Takes what `other` was told of by [`Self::put`].
    pub(crate) fn put_all(&mut self, other: Self) {
        let written = other.objects.into_iter().filter(|(_, (tag, _))| tag.is_empty());
        self.objects.extend(written);
    }
}

/// The part of the store.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) objects: Arc<dyn Objects>,
    pub(crate) keys: Arc<KeyFile>,
    /// The CA, as keys call it.
    pub(crate) ca: String,
}

impl Shelf {
    /// Reads what has changed since `before`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn view(&self, before: &View) -> Result<View, StoreError> {
        let listed = self.objects.list(FOLDER, "").await?;
        let reading = listed.into_iter().map(|listed| async move {
            match before.objects.get(&listed.key) {
                Some((tag, content)) if *tag == listed.tag => {
                    Ok(Some((listed.key, (listed.tag, content.clone()))))
                }
                _ => self.read(listed).await,
            }
        });
        let read = stream::iter(reading).buffer_unordered(READS_AT_ONCE);
        let objects = read.try_filter_map(async |read| Ok(read)).try_collect().await?;
        self.objects.verify().await?;
        Ok(View { objects })
    }

    /// Reads one object. Returns `None` if it is gone.
    async fn read(
        &self,
        listed: Listed,
    ) -> Result<Option<(String, (String, Content))>, StoreError> {
        let key = &listed.key;
        let content = match Place::of(key) {
            Some(Place::Certificate { name, .. }) => {
                match got(checked::get(&*self.objects, key, sealed::OBJECT_BYTES_MAX).await)? {
                    Got::Gone => return Ok(None),
                    Got::Damaged(error) => {
                        tracing::error!("a certificate of {name} is unreadable: {error}");
                        Content::Other
                    }
                    Got::Object(object) => self.certificate(key, name, object),
                }
            }
            Some(Place::Attempts { .. } | Place::Authority { .. }) => {
                Content::Attempts(self.record(key).await?.unwrap_or_default())
            }
            Some(Place::HttpChallenge { .. } | Place::TlsChallenge { .. }) => {
                match self.objects.get(key, challenge::OBJECT_BYTES_MAX).await {
                    Ok(None) => return Ok(None),
                    Ok(Some(object)) => {
                        challenge::parse(key, object).map_or(Content::Other, Content::Answer)
                    }
                    Err(StoreError::Damaged { .. }) => Content::Other,
                    Err(error) => return Err(error),
                }
            }
            _ => Content::Other,
        };
        Ok(Some((listed.key, (listed.tag, content))))
    }

    /// Opens a certificate's object. One that does not open is told in the log, once.
    pub(crate) fn certificate(&self, key: &str, name: &str, object: Vec<u8>) -> Content {
        let what = format!("the certificate of {name}");
        let bytes = sealed::open(&self.keys, key, &what, object.clone());
        let read = bytes.and_then(|bytes| {
            let damaged = |reason| StoreError::Damaged { key: key.to_owned(), reason };
            Ok(Certificate::of_bytes(&bytes).map_err(damaged)?)
        });
        if let Err(error) = &read {
            tracing::error!("{error}");
        }
        let read = read.map(Arc::new).map_err(|error: AcmeError| error.to_string());
        Content::Certificate { read, object: Arc::new(object) }
    }

    /// Reads a record. Returns `None` if there is none, or none that can be read: the next one is
    /// written in its place.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn record<T: DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<T>, StoreError> {
        let object = match got(checked::get(&*self.objects, key, RECORD_BYTES_MAX).await)? {
            Got::Gone => return Ok(None),
            Got::Object(object) => object,
            Got::Damaged(error) => {
                tracing::warn!("it is as if this did not exist: {error}");
                return Ok(None);
            }
        };
        let json = checked::open(key, object)?;
        Ok(serde_json::from_slice(&json)
            .inspect_err(|error| tracing::warn!("{key:?} in the store is not understood: {error}"))
            .ok())
    }

    /// Writes a record, durably.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(crate) async fn put_record(
        &self,
        key: &str,
        record: &impl Serialize,
    ) -> Result<(), StoreError> {
        // JSON of strings and numbers cannot fail.
        let json = serde_json::to_vec(record).unwrap_or_default();
        self.objects.put(key, checked::seal(&json)).await
    }

    /// Keeps a certificate. Returns its key, and what stands there.
    ///
    /// # Errors
    /// When it cannot be sealed or written.
    pub(crate) async fn put_certificate(
        &self,
        name: &str,
        certificate: Certificate,
    ) -> Result<(String, Content), AcmeError> {
        let id = uuid::Uuid::now_v7().to_string();
        let key = Place::Certificate { ca: &self.ca, name, id: &id }.key();
        let what = format!("the certificate of {name}");
        let object = sealed::seal(&self.keys, &key, &what, &certificate.to_bytes())?;
        self.objects.put(&key, object.clone()).await?;
        Ok((
            key,
            Content::Certificate { read: Ok(Arc::new(certificate)), object: Arc::new(object) },
        ))
    }

    /// Removes certificates that are long over, answers that nobody asks for any more, and records
    /// of names that had no certificate for long: those alone that are proven to be ours, since
    /// they open with this node's key, or are read as what this build writes there.
    pub(crate) async fn clear(&self, view: &View, now_ms: u64) {
        let held = view.held(&self.ca);
        for (key, (_, content)) in &view.objects {
            let is_over = match content {
                Content::Attempts(attempts) => match Place::of(key) {
                    Some(Place::Attempts { ca, name }) => {
                        let is_old = attempts.began_ms.saturating_add(RECORD_KEPT_MS) < now_ms;
                        ca == self.ca && !held.contains_key(name) && is_old
                    }
                    _ => false,
                },
                Content::Certificate { read: Ok(certificate), .. } => {
                    certificate.validity.is_long_over(now_ms)
                }
                Content::Answer(answer) => answer.until_ms < now_ms,
                _ => false,
            };
            if is_over && let Err(error) = self.objects.delete(key).await {
                tracing::warn!("{key:?} is not needed any more and cannot be removed: {error}");
            }
        }
    }
}

enum Got {
    Object(Vec<u8>),
    Gone,
    Damaged(StoreError),
}

/// Tells an object that is damaged from a store that cannot be read.
fn got(read: Result<Option<Vec<u8>>, StoreError>) -> Result<Got, StoreError> {
    match read {
        Ok(Some(object)) => Ok(Got::Object(object)),
        Ok(None) => Ok(Got::Gone),
        Err(error @ StoreError::Damaged { .. }) => Ok(Got::Damaged(error)),
        Err(error) => Err(error),
    }
}
