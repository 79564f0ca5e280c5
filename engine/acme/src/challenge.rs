//! Answers to the CA's challenges, on every node: in the store before the CA is told to ask, and
//! read from there when it asks a node that does not know them yet. Owns no fds.
//!
//! Anybody can ask for answers that are not there. So misses read the store only so often, whoever
//! asks; [`Misses`] counts that.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use store::objects::{Objects, checked};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::certificate::PrivateKey;
use crate::names;
use crate::place::{Place, is_token};

/// The most bytes of an answer in the store.
pub(crate) const OBJECT_BYTES_MAX: usize = 8 * 1024;
/// How many misses read the store at once, and how long until one more may.
const MISSES_AT_ONCE: u32 = 20;
const MISS_INTERVAL: Duration = Duration::from_millis(100);
/// How long a miss waits for the store. The CA waits some ten seconds.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer is kept.
pub(crate) const KEPT: Duration = Duration::from_secs(60 * 60);

/// What the CA wants to see, as it stands in the store. It is no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) format: u32,
    /// The key authorization (RFC 8555 8.1).
    pub(crate) authorization: String,
    /// From when on nobody asks for it, in milliseconds since 1970.
    pub(crate) until_ms: u64,
}

/// A certificate that answers a challenge by TLS-ALPN-01 (RFC 8737), and nothing else: to be shown
/// to a client that offers the protocol `acme-tls/1` for this name. Its extension is critical, and
/// rustls takes such a certificate only as a `CertifiedKey` that is made without a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChallengeCertificate {
    /// The name that the client asks for.
    pub name: String,
    /// The certificate in DER, which is signed with its own key.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: PrivateKey,
}

impl ChallengeCertificate {
    /// Makes the certificate that proves `authorization`. Each node makes one of its own.
    ///
    /// # Errors
    /// When there is no randomness, or the name is none.
    pub(crate) fn new(name: &str, authorization: &str) -> Result<Self, rcgen::Error> {
        let mut parameters = CertificateParams::new(vec![name.to_owned()])?;
        parameters.distinguished_name = DistinguishedName::new();
        let digest = Sha256::digest(authorization);
        parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
        let key = KeyPair::generate()?;
        let certificate = parameters.self_signed(&key)?.der().to_vec();
        let key = PrivateKey::new(Zeroizing::new(key.serialize_der()));
        Ok(Self { name: name.to_owned(), certificate, key })
    }
}

/// How often misses read the store.
#[derive(Debug)]
struct Misses {
    left: u32,
    counted: Instant,
}

impl Misses {
    /// Returns whether one more may read the store.
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.counted).as_millis();
        let more = u32::try_from(passed / MISS_INTERVAL.as_millis()).unwrap_or(u32::MAX);
        if more > 0 {
            self.left = self.left.saturating_add(more).min(MISSES_AT_ONCE);
            self.counted = now;
        }
        let taken = self.left.checked_sub(1);
        self.left = taken.unwrap_or(0);
        taken.is_some()
    }
}

#[derive(Debug, Default)]
struct Known {
    /// By token.
    http: BTreeMap<String, String>,
    /// By name; with the key authorization that the certificate proves.
    tls: BTreeMap<String, (String, Arc<ChallengeCertificate>)>,
}

/// The answers that this node knows, and the way to those that it does not.
pub(crate) struct Challenges {
    objects: Arc<dyn Objects>,
    known: Mutex<Known>,
    misses: Mutex<Misses>,
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenges").field("known", &*self.known()).finish_non_exhaustive()
    }
}

impl Challenges {
    pub(crate) fn new(objects: Arc<dyn Objects>) -> Self {
        let misses = Misses { left: MISSES_AT_ONCE, counted: Instant::now() };
        Self { objects, known: Mutex::default(), misses: Mutex::new(misses) }
    }

    /// Returns the answer to a challenge by HTTP-01: what `/.well-known/acme-challenge/TOKEN` is
    /// answered with. Returns `None` if there is none.
    pub(crate) async fn http(&self, token: &str) -> Option<String> {
        if !is_token(token) {
            return None;
        }
        if let Some(known) = self.known().http.get(token) {
            return Some(known.clone());
        }
        let place = Place::HttpChallenge { token };
        let answer = self.read(place).await?.authorization;
        self.learn(place, &answer);
        Some(answer)
    }

    /// Returns the certificate that answers a challenge by TLS-ALPN-01 for a name. Returns `None`
    /// if there is none.
    pub(crate) async fn tls(&self, name: &str) -> Option<Arc<ChallengeCertificate>> {
        let name = names::check(name).ok()?;
        if let Some((_, known)) = self.known().tls.get(&name) {
            return Some(Arc::clone(known));
        }
        let place = Place::TlsChallenge { name: &name };
        let answer = self.read(place).await?.authorization;
        self.learn(place, &answer);
        self.known().tls.get(&name).map(|(_, known)| Arc::clone(known))
    }

    /// Returns the certificates that answer challenges just now.
    pub(crate) fn certificates(&self) -> Vec<Arc<ChallengeCertificate>> {
        self.known().tls.values().map(|(_, certificate)| Arc::clone(certificate)).collect()
    }

    /// Remembers an answer that stands in the store.
    pub(crate) fn learn(&self, place: Place<'_>, authorization: &str) {
        match place {
            Place::HttpChallenge { token } => {
                self.known().http.insert(token.to_owned(), authorization.to_owned());
            }
            Place::TlsChallenge { name } => {
                let known = self.known().tls.get(name).map(|(known, _)| known.clone());
                if known.as_deref() == Some(authorization) {
                    return;
                }
                match ChallengeCertificate::new(name, authorization) {
                    Ok(made) => {
                        let made = (authorization.to_owned(), Arc::new(made));
                        self.known().tls.insert(name.to_owned(), made);
                    }
                    Err(error) => tracing::error!(
                        "the challenge for {name} cannot be answered: no certificate can be made: {error}"
                    ),
                }
            }
            _ => {}
        }
    }

    /// Returns the keys of the objects that it knows the answers of.
    pub(crate) fn keys(&self) -> Vec<String> {
        let known = self.known();
        let http = known.http.keys().map(|token| Place::HttpChallenge { token }.key());
        http.chain(known.tls.keys().map(|name| Place::TlsChallenge { name }.key())).collect()
    }

    /// Forgets the answer of the object with this key.
    pub(crate) fn forget(&self, key: &str) {
        match Place::of(key) {
            Some(Place::HttpChallenge { token }) => drop(self.known().http.remove(token)),
            Some(Place::TlsChallenge { name }) => drop(self.known().tls.remove(name)),
            _ => {}
        }
    }

    async fn read(&self, place: Place<'_>) -> Option<Answer> {
        if !self.misses.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now()) {
            return None;
        }
        let key = place.key();
        match timeout(READ_TIMEOUT, self.objects.get(&key, OBJECT_BYTES_MAX)).await {
            Ok(Ok(object)) => parse(&key, object?),
            Ok(Err(error)) => {
                tracing::warn!("an answer to a CA's challenge cannot be read: {error}");
                None
            }
            Err(_) => {
                tracing::warn!("an answer to a CA's challenge cannot be read: the store is slow");
                None
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads an answer of the store. Returns `None` if it is none.
pub(crate) fn parse(key: &str, object: Vec<u8>) -> Option<Answer> {
    let json = checked::open(key, object).ok()?;
    serde_json::from_slice::<Answer>(&json).ok().filter(|answer| answer.format == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::objects::directory::Directory;
    use x509_parser::prelude::*;

    #[test]
    fn misses_read_the_store_so_often_and_no_more() {
        let start = Instant::now();
        let mut misses = Misses { left: MISSES_AT_ONCE, counted: start };
        let mut taken = |after_ms: u64, times: u32| {
            let now = start + Duration::from_millis(after_ms);
            (0..times).filter(|_| misses.take(now)).count()
        };
        assert_eq!(taken(0, 100), 20);
        assert_eq!(taken(50, 10), 0);
        assert_eq!(taken(350, 10), 3);
        assert_eq!(taken(60_000, 100), 20);
    }

    #[test]
    fn a_challenge_certificate_has_the_name_and_the_digest_in_a_critical_extension() {
        let made = ChallengeCertificate::new("shop.example.com", "token.thumb").unwrap();
        let (_, certificate) = X509Certificate::from_der(&made.certificate).unwrap();
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names, [GeneralName::DNSName("shop.example.com")]);
        let identifier = certificate
            .extensions()
            .iter()
            .find(|extension| extension.oid.to_string() == "1.3.6.1.5.5.7.1.31")
            .unwrap();
        assert!(identifier.critical);
        assert_eq!(identifier.value[..2], [4, 32]);
        assert_eq!(identifier.value[2..], Sha256::digest("token.thumb")[..]);
        assert!(format!("{made:?}").contains("PrivateKey(..)"));
    }

    #[tokio::test]
    async fn an_answer_that_another_node_has_written_is_read_there_and_then() {
        let folder = tempfile::tempdir().unwrap();
        let objects: Arc<dyn Objects> = Arc::new(Directory::new(folder.path().to_owned()));
        let challenges = Challenges::new(Arc::clone(&objects));
        assert_eq!(challenges.http("t0").await, None);
        let answer = Answer { format: 1, authorization: "t0.thumb".to_owned(), until_ms: 9 };
        let object = checked::seal(&serde_json::to_vec(&answer).unwrap());
        let (http, tls) =
            (Place::HttpChallenge { token: "t0" }, Place::TlsChallenge { name: "a.example" });
        for place in [http, tls] {
            objects.put(&place.key(), object.clone()).await.unwrap();
        }
        assert_eq!(challenges.http("t0").await.as_deref(), Some("t0.thumb"));
        let certificate = challenges.tls("A.example").await.unwrap();
        assert_eq!(certificate.name, "a.example");
        // From then on it is known, and the same certificate is shown.
        objects.delete(&http.key()).await.unwrap();
        objects.delete(&tls.key()).await.unwrap();
        assert!(challenges.http("t0").await.is_some());
        assert_eq!(challenges.tls("a.example").await.unwrap(), certificate);
        challenges.keys().iter().for_each(|key| challenges.forget(key));
        assert!(challenges.http("t0").await.is_none() && challenges.certificates().is_empty());
        for token in ["../x", "", "a/b", &"a".repeat(200)] {
            assert_eq!(challenges.http(token).await, None);
        }
        assert!(challenges.tls("*").await.is_none());
    }
}
