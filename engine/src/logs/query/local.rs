//! Looking through a segment of this node's spool, whoever may still write to it: all of it, from beginning to end, on a thread that
//! may block. Owns its file meanwhile.

use std::fs::File;
use std::io;

use super::select::Selection;
use super::{Wanted, offer};
use crate::logs::reader::{End, Reader};
use crate::logs::spool::Segment;

/// Adds what is wanted to the selection. `Ok(false)` when the segment is not there any more.
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

fn search_now(segment: &Segment, wanted: &Wanted, selection: &mut Selection) -> io::Result<bool> {
    let file = match File::open(&segment.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    let (mut reader, mut at) = (Reader::new(file), 0);
    // What is being written at this moment is not whole, and not damaged.
    while let Some((_, record)) = reader.next(End::Growing)? {
        if let Some(record) = record {
            offer(selection, wanted, &record, segment.id, at);
        }
        at += 1;
    }
    Ok(true)
}
