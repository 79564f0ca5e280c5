//! The summary: many versions and aliases in one object, so that a new node does not read them one
//! by one.
//!
//! A reader uses what has the same tag in the listing, and reads the rest. The summary is only a
//! hint: it may be old or missing, and two nodes may write it at once. Owns no fds.

use crate::contents::Contents;
use crate::objects::{Objects, checked, packed};
use crate::written;

/// The key of the summary.
pub(super) const SUMMARY: &str = "summary";
/// The number of reads from which on a summary saves time.
const DUE_READS: usize = 500;
const PACKED_BYTES_MAX: usize = 256 << 20;
const JSON_BYTES_MAX: usize = 1 << 30;

/// Returns whether so many reads are worth a summary: to read it before them, or to write one after
/// them.
pub(super) fn is_due(reads: usize) -> bool {
    reads >= DUE_READS
}

/// Reads the summary. Returns nothing if there is none that can be used.
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

/// Writes a summary of `contents`.
pub(super) async fn write(objects: &dyn Objects, contents: &Contents) {
    let write = async {
        let (store, contents) = (objects.name(), contents.clone());
        let packed = tokio::task::spawn_blocking(move || pack(&store, &contents)).await;
        let object = packed.map_err(|error| error.to_string())??;
        objects.put(SUMMARY, object).await.map_err(|error| error.to_string())
    };
    if let Err(error) = write.await {
        // A node that may only read works without it.
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
