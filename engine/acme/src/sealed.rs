//! An object of the store that is sealed with the node's key: JSON in a checked object, with the
//! key's id, and the object's own key bound to it. Pure but for the nonce; owns no fds.

use secrets::{Envelope, KeyFile};
use serde::{Deserialize, Serialize};
use store::error::StoreError;
use store::objects::checked;
use zeroize::Zeroizing;

use crate::certificate;
use crate::error::AcmeError;

const FORMAT: u32 = 1;
/// The most bytes of an object: two digits for each byte, and room for the other fields.
pub(crate) const OBJECT_BYTES_MAX: usize = 2 * certificate::BYTES_MAX + 4096;

#[derive(Serialize, Deserialize)]
struct Written {
    format: u32,
    #[serde(flatten)]
    envelope: Envelope,
}

/// Returns what the ciphertext is bound to.
fn associated_data(key: &str) -> Vec<u8> {
    format!("sockhop acme {FORMAT}\0{key}").into_bytes()
}

/// Returns the object with the key `key` that has `message`, and makes the node's key if there is
/// none. `what` is its name in errors.
///
/// # Errors
/// When there is no key to seal with, or no randomness.
pub(crate) fn seal(
    keys: &KeyFile,
    key: &str,
    what: &str,
    message: &[u8],
) -> Result<Vec<u8>, AcmeError> {
    let failed = |reason: String| AcmeError::Crypto { what: what.to_owned(), reason };
    if message.len() > certificate::BYTES_MAX {
        return Err(failed(format!("it has more than {} bytes", certificate::BYTES_MAX)));
    }
    let envelope = Envelope::seal(keys.get_or_make()?, &associated_data(key), message)
        .map_err(|error| failed(error.to_string()))?;
    let json = serde_json::to_vec(&Written { format: FORMAT, envelope })
        .map_err(|error| failed(error.to_string()))?;
    Ok(checked::seal(&json))
}

/// Returns the message of an object that [`seal`] made.
///
/// # Errors
/// When it was changed, is a newer build's, or is sealed with another key.
pub(crate) fn open(
    keys: &KeyFile,
    key: &str,
    what: &str,
    object: Vec<u8>,
) -> Result<Zeroizing<Vec<u8>>, AcmeError> {
    let json = checked::open(key, object)?;
    let damaged = |reason: String| StoreError::Damaged { key: key.to_owned(), reason };
    let written: Written =
        serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
    if written.format != FORMAT {
        let format = written.format;
        let reason = format!("its format is {format}, this build reads {FORMAT}");
        return Err(damaged(reason).into());
    }
    let ours = keys.get()?;
    match ours.filter(|ours| ours.id() == written.envelope.key_id()) {
        Some(ours) => written
            .envelope
            .open(ours, &associated_data(key))
            .map_err(|_| AcmeError::Unfit { what: what.to_owned(), key: key.to_owned() }),
        None => Err(AcmeError::OtherKey {
            what: what.to_owned(),
            theirs: written.envelope.key_id().to_owned(),
            ours: ours.map_or("none", |ours| ours.id()).to_owned(),
            path: keys.path().to_owned(),
            key: key.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_at_its_place_with_its_key_and_errors_say_what_is_wrong() {
        let [data, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let keys = KeyFile::open(None, data.path()).unwrap();
        let object = seal(&keys, "acme/a", "the account", b"hush").unwrap();
        assert!(!object.windows(4).any(|part| part == b"hush"));
        assert_eq!(**open(&keys, "acme/a", "the account", object.clone()).unwrap(), *b"hush");
        let moved = open(&keys, "acme/b", "the account", object.clone()).unwrap_err();
        assert!(matches!(moved, AcmeError::Unfit { .. }), "{moved}");
        let others = KeyFile::open(None, other.path()).unwrap();
        let told = open(&others, "acme/a", "the account", object.clone()).unwrap_err();
        assert!(told.to_string().contains("this node has none"), "{told}");
        others.get_or_make().unwrap();
        let told = open(&others, "acme/a", "the account", object.clone()).unwrap_err();
        assert!(matches!(told, AcmeError::OtherKey { .. }), "{told}");
        assert!(told.to_string().contains("--secrets-key"), "{told}");
        let cut = object[..object.len() - 1].to_vec();
        assert!(matches!(open(&keys, "acme/a", "it", cut), Err(AcmeError::Store(_))));
        assert!(seal(&keys, "acme/a", "it", &vec![0; certificate::BYTES_MAX + 1]).is_err());
    }
}
