//! A secret as an object of the store: XChaCha20-Poly1305 under the node's key, with its place as
//! associated data.
//!
//! JSON in a [`checked`] object: `format`, `key` (the id of the node's key), `set_ms`, `nonce` and
//! `ciphertext`. Function, key and time are bound to the ciphertext: if one of them is changed, or
//! the object is moved, it does not decrypt. Pure but for the nonce's randomness; owns no fds.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::envelope::{Unfit, decrypt, digits, encrypt};
use super::key::Key;
use store::error::StoreError;
use store::objects::checked;

/// What the keys of secrets begin with.
pub(super) const PREFIX: &str = "secrets/";
/// The format of the object.
const FORMAT: u32 = 1;
/// The most bytes of an object: two digits for each byte of the largest secret, and room for the
/// other fields.
pub(super) const OBJECT_BYTES_MAX: usize = 2 * abi::limits::SECRET_BYTES_MAX + 4096;

/// The owner of a secret, and its key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// The function's identity, or its name if an earlier build set the secret.
    pub(super) owner: &'a str,
    pub(super) key: &'a str,
}

impl Place<'_> {
    /// Returns the object's key in the store.
    pub(super) fn object_key(self) -> String {
        format!("{PREFIX}{}/{}", self.owner, self.key)
    }

    /// Returns what the ciphertext is bound to. Neither name nor key can have a zero byte.
    fn associated_data(self, set_ms: u64) -> Vec<u8> {
        format!("sockhop secret {FORMAT}\0{}\0{}\0{set_ms}", self.owner, self.key).into_bytes()
    }
}

/// The JSON of the object.
#[derive(Serialize, Deserialize)]
struct Written<S> {
    format: u32,
    #[serde(flatten)]
    sealed: S,
}

/// An encrypted secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sealed {
    /// The id of the node's key that it is encrypted with.
    pub(super) key: String,
    /// When it was set, in milliseconds since 1970.
    pub(super) set_ms: u64,
    #[serde(with = "digits")]
    nonce: [u8; 24],
    #[serde(with = "digits")]
    ciphertext: Vec<u8>,
}

impl Sealed {
    /// Encrypts a value.
    ///
    /// # Errors
    /// When the kernel has no randomness, or the value is too long.
    pub(super) fn new(
        key: &Key,
        place: Place<'_>,
        value: &str,
        set_ms: u64,
    ) -> Result<Self, std::io::Error> {
        let (nonce, ciphertext) = encrypt(key, &place.associated_data(set_ms), value.as_bytes())?;
        Ok(Self { key: key.id().to_owned(), set_ms, nonce, ciphertext })
    }

    /// Decrypts the value. [`Self::key`] says whether `key` is the right one.
    pub(super) fn open(&self, key: &Key, place: Place<'_>) -> Result<Zeroizing<String>, Unfit> {
        let associated = place.associated_data(self.set_ms);
        let value = decrypt(key, &associated, self.nonce, &self.ciphertext)?;
        let text = std::str::from_utf8(&value).map_err(|_| Unfit)?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    /// Returns the length of the value in bytes.
    pub(super) fn value_bytes(&self) -> usize {
        self.ciphertext.len().saturating_sub(16)
    }

    /// Returns the contents of the object.
    pub(super) fn to_object(&self) -> Vec<u8> {
        // JSON of strings and numbers cannot fail.
        checked::seal(
            &serde_json::to_vec(&Written { format: FORMAT, sealed: self }).unwrap_or_default(),
        )
    }

    /// Reads the contents of the object at `place`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] names the object.
    pub(super) fn read(place: Place<'_>, object: Vec<u8>) -> Result<Self, StoreError> {
        let json = checked::open(&place.object_key(), object)?;
        let damaged = |reason: String| StoreError::Damaged { key: place.object_key(), reason };
        let format = serde_json::from_slice::<serde_json::Value>(&json).ok();
        let format = format.and_then(|json| json.get("format")?.as_u64());
        if format.is_some_and(|format| format > u64::from(FORMAT)) {
            let format = format.unwrap_or_default();
            return Err(damaged(format!(
                "its format is {format}, this build reads {FORMAT}: a newer sockhop set it"
            )));
        }
        let written = serde_json::from_slice::<Written<Self>>(&json);
        written.map(|written| written.sealed).map_err(|error| damaged(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLACE: Place<'_> = Place { owner: "shop", key: "API_KEY" };

    fn key(byte: u8) -> Key {
        Key::new(&[byte; 32])
    }

    #[test]
    fn a_value_opens_at_its_place_and_time_under_its_key_alone() {
        let sealed = Sealed::new(&key(1), PLACE, "hush", 7).unwrap();
        assert_eq!(*sealed.open(&key(1), PLACE).unwrap(), "hush");
        assert_eq!((sealed.value_bytes(), sealed.key.as_str()), (4, key(1).id()));
        assert_eq!(sealed.open(&key(2), PLACE), Err(Unfit));
        for place in [Place { owner: "shop2", ..PLACE }, Place { key: "API_KEY2", ..PLACE }] {
            assert_eq!(sealed.open(&key(1), place), Err(Unfit));
        }
        assert_eq!(Sealed { set_ms: 8, ..sealed.clone() }.open(&key(1), PLACE), Err(Unfit));
        assert_ne!(Sealed::new(&key(1), PLACE, "hush", 7).unwrap().ciphertext, sealed.ciphertext);
    }

    #[test]
    fn an_object_of_a_newer_format_and_one_that_is_none_are_told_apart() {
        let read = |json: &str| {
            Sealed::read(PLACE, checked::seal(json.as_bytes())).unwrap_err().to_string()
        };
        assert!(read(r#"{"format": 2, "other": 1}"#).contains("a newer sockhop"));
        assert!(read(r#"{"format": 1}"#).contains("missing field"));
        let json = |nonce: &str, text: &str| {
            format!(
                r#"{{"format":1,"key":"k","set_ms":1,"nonce":"{nonce}","ciphertext":"{text}"}}"#
            )
        };
        for (nonce, ciphertext) in
            [("00", "00"), (&*"00".repeat(24), "0"), (&*"00".repeat(24), "xy")]
        {
            assert!(
                read(&json(nonce, ciphertext)).contains("hexadecimal digits"),
                "{nonce} {ciphertext}"
            );
        }
        // Too short to have been encrypted.
        let short =
            Sealed::read(PLACE, checked::seal(json(&"00".repeat(24), "00").as_bytes())).unwrap();
        assert_eq!((short.open(&key(1), PLACE), short.value_bytes()), (Err(Unfit), 0));
    }

    proptest! {
        #[test]
        fn any_value_is_read_back(value in "\\PC{0,300}", set_ms: u64) {
            let sealed = Sealed::new(&key(1), PLACE, &value, set_ms).unwrap();
            let object = sealed.to_object();
            prop_assert!(value.len() < 4 || !object.windows(value.len()).any(|part| part == value.as_bytes()));
            let read = Sealed::read(PLACE, object).unwrap();
            prop_assert_eq!(&read, &sealed);
            prop_assert_eq!(&*read.open(&key(1), PLACE).unwrap(), &value);
        }

        /// Whatever is changed behind our back, even with a fresh check in front: an error, never
        /// another value.
        #[test]
        fn damage_is_an_error(at: prop::sample::Index, to: u8, cut: prop::sample::Index) {
            let sealed = Sealed::new(&key(1), PLACE, "correct horse", 7).unwrap();
            let json = checked::open("k", sealed.to_object()).unwrap();
            let mut damaged = json.clone();
            damaged[at.index(json.len())] = to;
            for json in [damaged, json[..cut.index(json.len())].to_vec()] {
                if let Ok(read) = Sealed::read(PLACE, checked::seal(&json))
                    && let Ok(value) = read.open(&key(1), PLACE)
                {
                    prop_assert_eq!(&*value, "correct horse");
                }
            }
        }
    }
}
