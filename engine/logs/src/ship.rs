//! Ships a sealed segment into the store: it is packed, put and read back, and only then removed
//! from the spool.
//!
//! Its key follows from what is in it, so another try after a failure writes the same object under
//! the same key. Until the segment is removed from the spool, look-ups may find it in both places,
//! and know it by its id.

use std::io::{Seek as _, SeekFrom};

use sha2::{Digest as _, Sha256};

use super::index::{Builder, Index};
use super::reader::{End, Reader};
use super::spool::Sealed;
use store::error::StoreError;
use store::objects::Objects;
use store::segment::SegmentName;

/// How much is read back at a time.
const READ_BYTES: usize = 1024 * 1024;

/// Why a segment was not shipped. It stays in the spool.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    #[error("a segment of the log in the spool cannot be read: {0}")]
    Read(std::io::Error),
    #[error("a segment of the log cannot be shipped: {0}")]
    Store(#[from] StoreError),
    #[error(
        "the store {store} has something else under {key:?} than was just written there; look at what is between"
    )]
    Different { store: String, key: String },
    #[error("a segment of the log was shipped and cannot be removed from the spool: {0}")]
    Remove(std::io::Error),
}

/// A segment that was shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipped {
    /// Its key in the store. `None` if there was no record in the segment.
    pub key: Option<String>,
    /// Its size in the spool.
    pub bytes: u64,
    /// Its size in the store.
    pub packed_bytes: u64,
    /// Places where a record should have been.
    pub damaged: u64,
}

/// A segment that is packed.
struct Packed {
    /// Its key and the object. `None` if there was no record in it.
    object: Option<(String, Vec<u8>)>,
    damaged: u64,
    sealed: Sealed,
}

/// Ships a segment and removes it from the spool.
///
/// # Errors
/// Returns [`ShipError`] if it has to be tried again.
pub async fn ship(sealed: Sealed, node: &str, store: &dyn Objects) -> Result<Shipped, ShipError> {
    let (bytes, node) = (sealed.segment.bytes, node.to_owned());
    let packed = tokio::task::spawn_blocking(move || pack(sealed, &node)).await;
    let packed = packed.map_err(|error| ShipError::Read(std::io::Error::other(error)))?;
    let Packed { object, damaged, sealed } = packed.map_err(ShipError::Read)?;
    let mut shipped = Shipped { key: None, bytes, packed_bytes: 0, damaged };
    if let Some((key, object)) = object {
        let (digest, length) = (Sha256::digest(&object), object.len() as u64);
        store.put(&key, object).await?;
        if read_back(store, &key).await? != (length, digest.into()) {
            return Err(ShipError::Different { store: store.name(), key });
        }
        (shipped.key, shipped.packed_bytes) = (Some(key), length);
    }
    sealed.remove().map_err(ShipError::Remove)?;
    Ok(shipped)
}

/// Returns the length of an object and its SHA-256.
async fn read_back(store: &dyn Objects, key: &str) -> Result<(u64, [u8; 32]), StoreError> {
    let (mut hash, mut length) = (Sha256::new(), 0);
    loop {
        let piece = store.get_range(key, length, READ_BYTES).await?.unwrap_or_default();
        hash.update(&piece);
        length += piece.len() as u64;
        if piece.len() < READ_BYTES {
            return Ok((length, hash.finalize().into()));
        }
    }
}

/// Packs the records of a segment.
fn pack(mut sealed: Sealed, node: &str) -> std::io::Result<Packed> {
    sealed.file.seek(SeekFrom::Start(0))?;
    let (mut reader, mut builder) = (Reader::new(&sealed.file), Builder::new());
    while let Some((frame, record)) = reader.next(End::Final)? {
        builder.add(frame, record.as_ref())?;
    }
    let damaged = reader.damaged();
    let packed = builder.end(damaged)?;
    let object = packed.map(|(object, Index { times, .. })| {
        let (first_ms, last_ms) = (times.first_us / 1000, times.last_us.div_ceil(1000));
        let name = SegmentName { first_ms, last_ms, node: node.to_owned(), id: sealed.segment.id };
        (name.key(), object)
    });
    Ok(Packed { object, damaged, sealed })
}
