//! Reads a segment in the store: its index, and the blocks that may have what is wanted. Owns no
//! fds.

use abi::spool::Records;
use uuid::Uuid;

use super::select::Selection;
use super::{Wanted, offer};
use crate::index::{self, Block, Damaged, FOOTER_BYTES, HEADER, Index};
use store::error::StoreError;
use store::objects::Objects;
use store::segment::SegmentName;

/// How much of an object's end is read at first. Most indexes are smaller.
const END_BYTES: u64 = 64 * 1024;

/// Why a segment is passed over.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Damaged(#[from] Damaged),
    #[error("it is gone")]
    Gone,
}

/// Adds what is wanted to the selection.
///
/// # Errors
/// Returns a note if the segment, or a block of it, cannot be read.
pub(super) async fn search(
    store: &dyn Objects,
    key: &str,
    bytes: u64,
    wanted: &Wanted,
    selection: &mut Selection,
) -> Result<(), String> {
    let outcome = async {
        let id = SegmentName::parse(key).map(|name| name.id).unwrap_or_default();
        let index = index(store, key, bytes).await?;
        let mut unread = None;
        for block in &index.blocks {
            if !selection.can_use(block.times) || !may_have(&index, block, wanted) {
                continue;
            }
            // A block that cannot be read does not keep the others from being read.
            match read(store, key, block).await {
                Ok(records) => search_block(&records, block, wanted, id, selection),
                Err(error) => unread = Some(error),
            }
        }
        unread.map_or(Ok(()), Err)
    };
    let outcome: Result<(), Unread> = outcome.await;
    outcome.map_err(|error| {
        format!("the segment {key:?} in the store is passed over, or a part of it: {error}")
    })
}

/// Returns whether a block may have what is wanted.
fn may_have(index: &Index, block: &Block, wanted: &Wanted) -> bool {
    match wanted {
        Wanted::Invocation(id) => Index::may_have(block, *id),
        Wanted::Entries(filter) => {
            filter.times.overlaps(block.times)
                && (filter.functions.is_empty()
                    || filter.functions.iter().any(|of| index.has_function(block, of)))
                && filter.status.is_none_or(|status| Index::has_status(block, status.hundreds()))
        }
    }
}

/// Adds what is wanted of a block to the selection.
fn search_block(
    records: &[u8],
    block: &Block,
    wanted: &Wanted,
    segment: Uuid,
    selection: &mut Selection,
) {
    for (at, record) in Records::of(records).enumerate() {
        if let Some(record) = record {
            offer(selection, wanted, &record, segment, block.before + at as u64);
        }
    }
}

/// Reads the index of an object.
async fn index(store: &dyn Objects, key: &str, bytes: u64) -> Result<Index, Unread> {
    let end = bytes.min(END_BYTES);
    let last = get(store, key, bytes - end, usize::try_from(end).unwrap_or_default()).await?;
    let footer = last.len().saturating_sub(FOOTER_BYTES);
    let (start, length, digest) = index::locate(bytes, &last[footer..])?;
    if let Some(packed) = footer.checked_sub(length).and_then(|start| last.get(start..footer)) {
        return Ok(index::open(packed, digest)?);
    }
    Ok(index::open(&get(store, key, start, length).await?, digest)?)
}

/// Reads the records of a block.
async fn read(store: &dyn Objects, key: &str, block: &Block) -> Result<Vec<u8>, Unread> {
    if block.offset < HEADER.len() as u64 || block.bytes > index::INDEX_BYTES_MAX {
        return Err(Unread::Gone);
    }
    let packed = get(store, key, block.offset, block.bytes).await?;
    Ok(index::open_block(block, &packed)?)
}

/// Reads a part of an object.
async fn get(store: &dyn Objects, key: &str, start: u64, bytes: usize) -> Result<Vec<u8>, Unread> {
    store.get_range(key, start, bytes).await?.ok_or(Unread::Gone)
}
