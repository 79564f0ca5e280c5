//! Anything sealed with the node's key: XChaCha20-Poly1305, bound to the place where it is kept.
//!
//! [`Envelope`] is for what other crates keep in the store beside secrets, such as the keys of
//! certificates. Pure but for the nonce's randomness; owns no fds.

use std::io;

use chacha20poly1305::XNonce;
use chacha20poly1305::aead::{Aead as _, Generate as _, Payload};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::key::Key;

/// What is sealed does not open: the key is another one, or it was changed or moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it does not open: it was changed, or moved from another place")]
pub struct Unfit;

/// Encrypts a message. Returns its nonce and the ciphertext.
pub(crate) fn encrypt(
    key: &Key,
    associated: &[u8],
    message: &[u8],
) -> io::Result<([u8; 24], Vec<u8>)> {
    let nonce = <[u8; 24]>::try_generate().map_err(io::Error::other)?;
    let payload = Payload { msg: message, aad: associated };
    let ciphertext = key.cipher.encrypt(&XNonce::from(nonce), payload);
    let too_long = |_| io::Error::other("the value is too long to encrypt");
    Ok((nonce, ciphertext.map_err(too_long)?))
}

pub(crate) fn decrypt(
    key: &Key,
    associated: &[u8],
    nonce: [u8; 24],
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Unfit> {
    let payload = Payload { msg: ciphertext, aad: associated };
    key.cipher.decrypt(&XNonce::from(nonce), payload).map(Zeroizing::new).map_err(|_| Unfit)
}

/// A sealed message. As JSON it has the fields `key`, `nonce` and `ciphertext`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    key: String,
    #[serde(with = "digits")]
    nonce: [u8; 24],
    #[serde(with = "digits")]
    ciphertext: Vec<u8>,
}

impl Envelope {
    /// Seals a message. It opens only with the same `associated` bytes, which say what it is and
    /// where it is kept.
    ///
    /// # Errors
    /// When the kernel has no randomness, or the message is too long.
    pub fn seal(key: &Key, associated: &[u8], message: &[u8]) -> io::Result<Self> {
        let (nonce, ciphertext) = encrypt(key, associated, message)?;
        Ok(Self { key: key.id().to_owned(), nonce, ciphertext })
    }

    /// Returns the id of the key that it is sealed with.
    pub fn key_id(&self) -> &str {
        &self.key
    }

    /// Opens it. [`Self::key_id`] says whether `key` is the right one.
    ///
    /// # Errors
    /// [`Unfit`] when the key is another one, or it was changed or moved.
    pub fn open(&self, key: &Key, associated: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unfit> {
        decrypt(key, associated, self.nonce, &self.ciphertext)
    }
}

/// Bytes as hexadecimal digits.
pub(crate) mod digits {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(
        bytes: &impl AsRef<[u8]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>, T: TryFrom<Vec<u8>>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let bytes = hex::decode(String::deserialize(deserializer)?).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| {
            D::Error::custom(
                "expected hexadecimal digits, and no fewer or more than there should be",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_opens_with_its_key_at_its_place_alone() {
        let [key, other] = [1, 2].map(|byte| Key::new(&[byte; 32]));
        let envelope = Envelope::seal(&key, b"here", b"hush").unwrap();
        let json = serde_json::to_string(&envelope).unwrap();
        assert!(!json.contains(&hex::encode("hush")));
        let read: Envelope = serde_json::from_str(&json).unwrap();
        assert_eq!((read.key_id(), &read), (key.id(), &envelope));
        assert_eq!(**read.open(&key, b"here").unwrap(), *b"hush");
        assert_eq!(read.open(&key, b"there"), Err(Unfit));
        assert_eq!(read.open(&other, b"here"), Err(Unfit));
    }
}
