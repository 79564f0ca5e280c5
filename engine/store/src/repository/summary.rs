//! What many versions and aliases said when somebody read them one by one, in one object, so that a
//! new node needs not.
//!
//! Its reader takes of it what is as it was by the listing, and reads the rest. It is no more than
//! a hint, may be old, and may be missing; two nodes that write it at once do no harm. Owns no fds.

use crate::contents::Contents;
use crate::objects::{Objects, checked, packed};
use crate::written;

/// Where it is.
pub(super) const SUMMARY: &str = "summary";
/// Fewer reads than this are not worth one.
const DUE_READS: usize = 500;
const PACKED_BYTES_MAX: usize = 256 << 20;
const JSON_BYTES_MAX: usize = 1 << 30;

/// Whether so many reads are worth a summary: reading it before them, or writing one after them.
pub(super) fn is_due(reads: usize) -> bool {
    reads >= DUE_READS
}

/// What the store's says; nothing when there is none that can be used.
pub(super) async fn read(objects: &dyn Objects) -> Contents {
    let read = async {
        let object = checked::get(objects, SUMMARY, PACKED_BYTES_MAX)
            .await
            .map_err(|error| error.to_string())?;
        let Some(object) = object else { return Ok(Contents::new()) };
        // It may be large, and others wait for this thread.
        let unpacked = tokio::task::spawn_blocking(|| unpack(object)).await;
        unpacked.map_err(|error| error.to_string())?
    };
    read.await.unwrap_or_else(|error| {
        tracing::warn!(
            "{}: the summary cannot be used, and everything is read one by one: {error}",
            objects.name()
        );
        Contents::new()
    })
}

/// Writes another one.
pub(super) async fn write(objects: &dyn Objects, contents: &Contents) {
    let write = async {
        let (store, contents) = (objects.name(), contents.clone());
        let packed = tokio::task::spawn_blocking(move || pack(&store, &contents)).await;
        let object = packed.map_err(|error| error.to_string())??;
        objects.put(SUMMARY, object).await.map_err(|error| error.to_string())
    };
    if let Err(error) = write.await {
        // A node that may only read goes on as well.
        tracing::debug!("{}: no summary is written: {error}", objects.name());
    }
}

/// Returns the object that holds `contents`, which were read of `store`.
fn pack(store: &str, contents: &Contents) -> Result<Vec<u8>, String> {
    let json = written::write(store, contents).map_err(|error| error.to_string())?;
    let packed = packed::pack(&json).map_err(|error| error.to_string())?;
    Ok(checked::seal(&packed))
}

/// Returns what the summary `object` holds.
fn unpack(object: Vec<u8>) -> Result<Contents, String> {
    let packed = checked::open(SUMMARY, object).map_err(|error| error.to_string())?;
    let json = packed::unpack(&packed, JSON_BYTES_MAX).ok_or("it cannot be unpacked")?;
    let (_, contents) = written::read(&json).map_err(|error| error.to_string())?;
    Ok(contents)
}
