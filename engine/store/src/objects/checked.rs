//! Small objects with a checksum: a line with the digest of what follows it.
//!
//! `sockhop 1 sha256=<64 hexadecimal digits>
//! `, then the contents. Whatever damage an object takes on its way or in the store, a read returns
//! what was written, or an error. Owns no fds.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::error::StoreError;
use crate::objects::Objects;
use host::files;

const BEFORE: &str = "sockhop 1 sha256=";
/// How many times an object is read that arrives damaged.
pub const READS_OF_DAMAGED: u32 = 3;
/// The length of the first line.
pub const HEADER_BYTES: usize = BEFORE.len() + 64 + 1;

/// Returns the object that holds `contents`.
pub fn seal(contents: &[u8]) -> Vec<u8> {
    let digest = files::hex(&Sha256::digest(contents));
    [BEFORE.as_bytes(), digest.as_bytes(), b"\n", contents].concat()
}

/// Returns the contents of `object`, which was read under `key`.
///
/// # Errors
/// [`StoreError::Damaged`] when it is not what was written.
pub fn open(key: &str, mut object: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    let damaged =
        |reason: &str| StoreError::Damaged { key: key.to_owned(), reason: reason.to_owned() };
    let head = object.get(..HEADER_BYTES).and_then(|head| std::str::from_utf8(head).ok());
    let digest =
        head.and_then(|head| head.strip_prefix(BEFORE)).and_then(|rest| rest.strip_suffix('\n'));
    let digest =
        digest.and_then(files::unhex).ok_or_else(|| damaged("its first line is not sockhop's"))?;
    let contents = object.split_off(HEADER_BYTES);
    if <[u8; 32]>::from(Sha256::digest(&contents)) != digest {
        return Err(damaged("its SHA-256 is not the one it was written with"));
    }
    Ok(contents)
}

/// Reads a file that [`write_file`] has written. Returns `None` if it cannot be read: such a file is
/// a copy, which may be lost.
///
/// # Errors
/// What is wrong with the file.
pub fn read_file<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    let Ok(object) = std::fs::read(path) else { return Ok(None) };
    let json = open(&path.to_string_lossy(), object).map_err(|error| error.to_string())?;
    serde_json::from_slice(&json).map(Some).map_err(|error| error.to_string())
}

/// Writes `value` as JSON to a file on this node's disk, with a checksum.
///
/// # Errors
/// When the file cannot be written.
pub fn write_file(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let json =
        serde_json::to_vec(value).map_err(|error| StoreError::io("write", path)(error.into()));
    files::write(path, &seal(&json?)).map_err(StoreError::io("write", path))
}

/// Reads an object and what it says, by `parse`. Returns `None` if there is none, and why if it is
/// damaged or not understood.
///
/// # Errors
/// Those of the store.
pub async fn get_as<T>(
    objects: &dyn Objects,
    key: &str,
    bytes_max: usize,
    parse: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<Option<Result<T, StoreError>>, StoreError> {
    match get(objects, key, bytes_max).await {
        Ok(None) => Ok(None),
        Ok(Some(object)) => Ok(Some(open(key, object).and_then(|json| {
            parse(&json).map_err(|reason| StoreError::Unfit { key: key.to_owned(), reason })
        }))),
        Err(error @ StoreError::Damaged { .. }) => Ok(Some(Err(error))),
        Err(error) => Err(error),
    }
}

/// Reads an object and checks it. Returns it with its first line. An object that arrives damaged is
/// read again, as it may have been damaged on its way only.
///
/// # Errors
/// [`StoreError::Damaged`] when each read is damaged, and the errors of the store.
pub async fn get(
    objects: &dyn Objects,
    key: &str,
    bytes_max: usize,
) -> Result<Option<Vec<u8>>, StoreError> {
    for _ in 1..READS_OF_DAMAGED {
        let Some(object) = objects.get(key, bytes_max).await? else { return Ok(None) };
        if open(key, object.clone()).is_ok() {
            return Ok(Some(object));
        }
    }
    let Some(object) = objects.get(key, bytes_max).await? else { return Ok(None) };
    open(key, object.clone()).map(|_| Some(object))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_sealed_is_opened_and_what_is_damaged_is_not(
            contents in proptest::collection::vec(any::<u8>(), 0..300), at: prop::sample::Index, to: u8, cut: prop::sample::Index,
        ) {
            let object = seal(&contents);
            prop_assert_eq!(open("k", object.clone()).unwrap(), contents);
            let mut damaged = object.clone();
            let at = at.index(object.len());
            damaged[at] = to;
            prop_assert_eq!(open("k", damaged).is_ok(), to == object[at]);
            prop_assert!(open("k", object[..cut.index(object.len())].to_vec()).is_err());
        }
    }
}
