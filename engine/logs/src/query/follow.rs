//! Follows the log: reads the segments of all workers of this node as they grow.
//!
//! Workers do not know of it. A segment that is shipped and removed meanwhile is read to its end,
//! as the file exists while it is open. A reader that is too slow misses entries, and is told how
//! many. Owns a file for each segment that is not at its end.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use api::logs::Entry;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use uuid::Uuid;

use super::select::Filter;
use crate::Logs;
use crate::entry::{self, Key};
use crate::reader::{End, Reader};

/// How often segments are read.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Entries that wait for the reader. It misses more.
const WAITING_MAX: usize = 4096;

/// What the reader gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Update {
    /// An entry of the log.
    Entry(Entry),
    /// So many entries were dropped, because the reader was too slow.
    Missed(u64),
    /// Why a part of the log cannot be read.
    Note(String),
}

/// A segment that is read as it grows.
#[derive(Debug)]
struct Tail {
    reader: Reader<File>,
    /// The records that were read so far.
    at: u64,
}

/// Follows the records that `filter` takes, from its first time on. It ends when the receiver is
/// dropped.
pub fn follow(logs: Arc<Logs>, filter: Filter) -> Receiver<Update> {
    let (updates, receiver) = channel(WAITING_MAX);
    tokio::spawn(async move {
        let (mut follower, mut missed) = (Follower::new(filter), 0);
        loop {
            let theirs = Arc::clone(&logs);
            let looked = tokio::task::spawn_blocking(move || {
                let found = follower.look(&theirs);
                (follower, found)
            });
            let Ok((same, found)) = looked.await else { return };
            follower = same;
            if !found.into_iter().all(|what| send(&updates, what, &mut missed))
                || !send_missed(&updates, &mut missed)
            {
                return;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    });
    receiver
}

/// Sends how many entries were missed, if there is room. Returns whether the receiver exists still.
fn send_missed(to: &Sender<Update>, missed: &mut u64) -> bool {
    if *missed > 0 && to.try_send(Update::Missed(*missed)).is_ok() {
        *missed = 0;
    }
    !to.is_closed()
}

/// Sends an update behind the number of those that were missed before it. Returns whether the
/// receiver exists still.
fn send(to: &Sender<Update>, what: Update, missed: &mut u64) -> bool {
    if !send_missed(to, missed) {
        return false;
    }
    match to.try_send(what) {
        Err(TrySendError::Full(Update::Missed(more))) => *missed += more,
        Err(TrySendError::Full(_)) => *missed += 1,
        Err(TrySendError::Closed(_)) => return false,
        Ok(()) => {}
    }
    true
}

/// What a follower has read so far.
struct Follower {
    filter: Filter,
    tails: HashMap<Uuid, Tail>,
    /// The segments that cannot be read. The reader got a note of each.
    unreadable: HashSet<Uuid>,
}

impl Follower {
    fn new(filter: Filter) -> Self {
        Self { filter, tails: HashMap::new(), unreadable: HashSet::new() }
    }

    /// Returns what was logged since the last call, in order.
    fn look(&mut self, logs: &Logs) -> Vec<Update> {
        let mut updates = Vec::new();
        // Segments that were removed are read for the last time now.
        let before: HashSet<Uuid> = self.tails.keys().copied().collect();
        let mut there = HashSet::new();
        match logs.spool.segments() {
            Ok(segments) => {
                for segment in segments {
                    there.insert(segment.id);
                    if self.tails.contains_key(&segment.id) || self.unreadable.contains(&segment.id)
                    {
                        continue;
                    }
                    if let Ok(file) = File::open(&segment.path) {
                        self.tails.insert(segment.id, Tail { reader: Reader::new(file), at: 0 });
                    }
                }
            }
            Err(error) => {
                updates.push(Update::Note(format!("the spool cannot be read: {error}")));
                there.clone_from(&before);
            }
        }
        let (mut found, mut beyond) = (Vec::new(), 0);
        for (id, tail) in &mut self.tails {
            if let Err(error) = tail.read_on(*id, &self.filter, &mut found, &mut beyond) {
                self.unreadable.insert(*id);
                updates.push(Update::Note(format!("the segment {id} is passed over: {error}")));
            }
        }
        let unreadable = &self.unreadable;
        self.tails.retain(|id, _| there.contains(id) && !unreadable.contains(id));
        self.unreadable.retain(|id| there.contains(id));
        found.sort_by_key(|(key, _)| *key);
        updates.extend(found.into_iter().map(|(_, entry)| Update::Entry(entry)));
        updates.extend((beyond > 0).then_some(Update::Missed(beyond)));
        updates
    }
}

impl Tail {
    /// Reads to the end. Records beyond those that can wait are only counted, in `beyond`.
    fn read_on(
        &mut self,
        id: Uuid,
        filter: &Filter,
        found: &mut Vec<(Key, Entry)>,
        beyond: &mut u64,
    ) -> io::Result<()> {
        while let Some((_, record)) = self.reader.next(End::Growing)? {
            match record.filter(|record| filter.takes(record)) {
                Some(_) if found.len() >= WAITING_MAX => *beyond += 1,
                Some(record) => {
                    found.push((
                        Key { time_us: record.time_us(), segment: id, at: self.at },
                        entry::of(&record),
                    ));
                }
                None => {}
            }
            self.at += 1;
        }
        Ok(())
    }
}
