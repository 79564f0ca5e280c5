//! A certificate with its private key: read from what a CA answers, and checked before it counts.
//! Pure; owns no fds.

use std::fmt;

use certificates::host_names;
use rcgen::KeyPair;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;
use zeroize::Zeroizing;

use crate::plan::Validity;

/// The most certificates of a chain.
const CHAIN_MAX: usize = 10;
/// The most bytes of a chain or key in the store.
pub(crate) const BYTES_MAX: usize = 128 * 1024;
/// How far a CA's clock may be ahead of this node's.
const CLOCK_DIFFERENCE_MS: u64 = 10 * 60 * 1000;

/// A private key as PKCS#8 in DER. It is overwritten when it is dropped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Zeroizing<Vec<u8>>);

impl PrivateKey {
    pub(crate) fn new(pkcs8: Zeroizing<Vec<u8>>) -> Self {
        Self(pkcs8)
    }

    /// Returns the key as PKCS#8 in DER.
    pub fn pkcs8_der(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// A certificate, the chain that vouches for it, and its private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The host names that it is for.
    pub names: Vec<String>,
    /// The chain in DER, the certificate itself first.
    pub chain: Vec<Vec<u8>>,
    /// The private key of the first one.
    pub key: PrivateKey,
    /// From when to when it is valid.
    pub validity: Validity,
}

impl Certificate {
    /// Checks what a CA has issued for `name` with `key`: that it can be read, is for that name and
    /// that key, is valid at `now_ms`, and that each certificate is signed by the next.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn of_answer(
        name: &str,
        key: &KeyPair,
        pem: &str,
        now_ms: u64,
    ) -> Result<Self, String> {
        let chain = chain(pem)?;
        let parsed = parsed(&chain)?;
        let Some(leaf) = parsed.first() else { return Err("it has no certificate".to_owned()) };
        let names = names(leaf)?;
        if !names.iter().any(|other| other == name) {
            return Err(format!("it is for {}", names.join(", ")));
        }
        if *leaf.public_key().subject_public_key.data != *key.public_key_raw() {
            return Err("it is for another key than the one that was asked for".to_owned());
        }
        for pair in parsed.windows(2) {
            if let [signed, by] = pair {
                check_signature(signed, by)?;
            }
        }
        let validity = validity(leaf)?;
        if validity.issued_ms > now_ms.saturating_add(CLOCK_DIFFERENCE_MS) {
            return Err("it is not valid yet; is this node's clock right?".to_owned());
        }
        if validity.ends_ms <= now_ms {
            return Err("it is not valid any more; is this node's clock right?".to_owned());
        }
        let key = PrivateKey::new(Zeroizing::new(key.serialize_der()));
        Ok(Self { names, chain, key, validity })
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Result<Self, String> {
        let mut parts = Parts(bytes);
        let cut_short = || "it is cut short".to_owned();
        let key = parts.next().ok_or_else(cut_short)?.to_vec();
        let mut chain = Vec::new();
        while !parts.0.is_empty() && chain.len() < CHAIN_MAX {
            chain.push(parts.next().ok_or_else(cut_short)?.to_vec());
        }
        let parsed = parsed(&chain)?;
        let leaf = parsed.first().ok_or_else(cut_short)?;
        let (names, validity) = (names(leaf)?, validity(leaf)?);
        Ok(Self { names, chain, key: PrivateKey::new(Zeroizing::new(key)), validity })
    }

    /// Returns the key and the chain, each behind its length.
    pub(crate) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let parts =
            || [self.key.pkcs8_der()].into_iter().chain(self.chain.iter().map(|der| &**der));
        // All of it at once: a vector that grows leaves copies of the key in freed memory.
        let mut bytes = Vec::with_capacity(parts().map(|part| part.len() + 4).sum());
        for part in parts() {
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        Zeroizing::new(bytes)
    }
}

/// Byte strings, each behind its length.
#[derive(Debug)]
pub(crate) struct Parts<'a>(pub(crate) &'a [u8]);

impl<'a> Parts<'a> {
    pub(crate) fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (part, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(part)
    }
}

fn chain(pem: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut chain = Vec::new();
    for block in Pem::iter_from_buffer(pem.as_bytes()) {
        let block = block.map_err(|error| format!("it is no PEM: {error}"))?;
        if block.label != "CERTIFICATE" {
            return Err(format!("a {:?} is among its certificates", block.label));
        }
        if chain.len() == CHAIN_MAX {
            return Err(format!("its chain has more than {CHAIN_MAX} certificates"));
        }
        chain.push(block.contents);
    }
    Ok(chain)
}

fn parsed(chain: &[Vec<u8>]) -> Result<Vec<X509Certificate<'_>>, String> {
    chain
        .iter()
        .map(|der| match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Ok(certificate),
            Ok(_) => Err("bytes follow a certificate".to_owned()),
            Err(error) => Err(format!("it is no certificate: {error}")),
        })
        .collect()
}

/// Checks that a certificate of a chain is signed by the next one.
fn check_signature(signed: &X509Certificate<'_>, by: &X509Certificate<'_>) -> Result<(), String> {
    let names = (signed.issuer().as_raw() == by.subject().as_raw()).then_some(());
    let broken =
        || format!("its chain is broken: {} is not signed by {}", signed.subject(), by.subject());
    names.ok_or_else(broken)?;
    match signed.verify_signature(Some(by.public_key())) {
        // Clients may know an algorithm that is not known here.
        Ok(()) | Err(X509Error::SignatureUnsupportedAlgorithm) => Ok(()),
        Err(_) => Err(broken()),
    }
}

fn names(leaf: &X509Certificate<'_>) -> Result<Vec<String>, String> {
    host_names(leaf).map_err(|error| error.to_string())
}

fn validity(leaf: &X509Certificate<'_>) -> Result<Validity, String> {
    let validity = leaf.validity();
    let ms = |time: i64| u64::try_from(time).ok()?.checked_mul(1000);
    let read = ms(validity.not_before.timestamp()).zip(ms(validity.not_after.timestamp()));
    match read {
        Some((issued_ms, ends_ms)) if issued_ms < ends_ms => Ok(Validity { issued_ms, ends_ms }),
        _ => Err("it ends before it begins".to_owned()),
    }
}
