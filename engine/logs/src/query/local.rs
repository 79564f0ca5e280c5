//! Reads a segment of this node's spool, which a worker may still write to: all of it, from
//! beginning to end, on a thread that may block. Owns its file meanwhile.

use std::fs::File;
use std::io;

use std::os::unix::fs::FileExt as _;
use std::time::UNIX_EPOCH;

use abi::limits::RECORD_BYTES_MAX;
use abi::spool::{FRAME_BYTES, HEADER, Records};

use super::select::Selection;
use super::{Place, Source, Wanted, offer};
use crate::index::Times;
use crate::reader::{End, Reader};
use crate::spool::Segment;

/// How much the records of one segment may be out of order, and how much a file's time may be
/// behind its contents.
const SLACK_US: u64 = 2_000_000;

/// Returns those of the segments that are not empty, with the times of their records.
pub(super) async fn sources(segments: Vec<Segment>) -> Vec<Source> {
    let source = |segment: Segment| {
        let changed = segment.changed.duration_since(UNIX_EPOCH).unwrap_or_default();
        let last_us =
            u64::try_from(changed.as_micros()).unwrap_or(u64::MAX).saturating_add(SLACK_US);
        let first_us = first_time_us(&segment).unwrap_or(0).saturating_sub(SLACK_US);
        Source { id: segment.id, times: Times { first_us, last_us }, place: Place::Spool(segment) }
    };
    let read =
        move || segments.into_iter().filter(|segment| !segment.is_empty()).map(source).collect();
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}

/// Returns the time of the first record, as a worker writes them in order. Returns `None` if it
/// cannot be read.
fn first_time_us(segment: &Segment) -> Option<u64> {
    let mut bytes = [0; FRAME_BYTES + RECORD_BYTES_MAX];
    let read = File::open(&segment.path).ok()?.read_at(&mut bytes, HEADER.len() as u64).ok()?;
    Some(Records::of(&bytes[..read]).next()??.time_us())
}

/// Adds what is wanted to the selection. Returns `Ok(false)` with it if the segment is not there
/// any more.
///
/// # Errors
/// Returns a note if the segment cannot be read.
pub(super) async fn search(
    segment: Segment,
    wanted: Wanted,
    selection: Selection,
) -> (Selection, Result<bool, String>) {
    let path = segment.path.clone();
    let searched = tokio::task::spawn_blocking(move || {
        let mut selection = selection;
        let outcome = search_now(&segment, &wanted, &mut selection);
        (selection, outcome)
    });
    // The thread can only be lost with the process.
    let Ok((selection, outcome)) = searched.await else { std::process::abort() };
    (selection, outcome.map_err(|error| format!("the segment {path:?} is passed over: {error}")))
}

/// Reads the segment on this thread. Returns `false` if it is not there any more.
fn search_now(segment: &Segment, wanted: &Wanted, selection: &mut Selection) -> io::Result<bool> {
    let file = match File::open(&segment.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    let (mut reader, mut at) = (Reader::new(file), 0);
    // A record that is written at this moment is not whole, and not damaged.
    while let Some((_, record)) = reader.next(End::Growing)? {
        if let Some(record) = record {
            offer(selection, wanted, &record, segment.id, at);
        }
        at += 1;
    }
    Ok(true)
}
