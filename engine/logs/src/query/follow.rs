//! The log as it comes: from every worker of this node, by reading on in the segments that they
//! write.
//!
//! Nobody who writes knows of it. A segment that is shipped and removed while it is read is read to
//! its end: the file is there for as long as it is open. Whoever reads too slowly misses entries,
//! and is told how many. Owns a file for each segment that is not at its end.

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

/// How often segments are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Entries that wait for whoever reads.
const WAITING_MAX: usize = 4096;

/// What is told.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    Entry(Entry),
    /// So many did not wait for the reader.
    Missed(u64),
    /// Something cannot be read.
    Note(String),
}

/// A segment that is read on.
#[derive(Debug)]
struct Tail {
    reader: Reader<File>,
    /// Records so far.
    at: u64,
}

/// Follows what `filter` takes, from its first time on, until nobody listens.
pub fn follow(logs: Arc<Logs>, filter: Filter) -> Receiver<Told> {
    let (told, listen) = channel(WAITING_MAX);
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
            if !found.into_iter().all(|what| tell(&told, what, &mut missed))
                || !tell_missed(&told, &mut missed)
            {
                return;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    });
    listen
}

/// Tells what was missed, as soon as there is room for it. Whether anybody listens still.
fn tell_missed(to: &Sender<Told>, missed: &mut u64) -> bool {
    if *missed > 0 && to.try_send(Told::Missed(*missed)).is_ok() {
        *missed = 0;
    }
    !to.is_closed()
}

/// Tells something, behind what was missed before it. Whether anybody listens still.
fn tell(to: &Sender<Told>, what: Told, missed: &mut u64) -> bool {
    if !tell_missed(to, missed) {
        return false;
    }
    match to.try_send(what) {
        Err(TrySendError::Full(Told::Missed(more))) => *missed += more,
        Err(TrySendError::Full(_)) => *missed += 1,
        Err(TrySendError::Closed(_)) => return false,
        Ok(()) => {}
    }
    true
}

struct Follower {
    filter: Filter,
    tails: HashMap<Uuid, Tail>,
    /// Cannot be read, and was told.
    unreadable: HashSet<Uuid>,
}

impl Follower {
    fn new(filter: Filter) -> Self {
        Self { filter, tails: HashMap::new(), unreadable: HashSet::new() }
    }

    /// What has come since the last look, in order.
    fn look(&mut self, logs: &Logs) -> Vec<Told> {
        let mut told = Vec::new();
        // Those that nobody writes to and that were removed end with this look.
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
                told.push(Told::Note(format!("the spool cannot be read: {error}")));
                there.clone_from(&before);
            }
        }
        let (mut found, mut beyond) = (Vec::new(), 0);
        for (id, tail) in &mut self.tails {
            if let Err(error) = tail.read_on(*id, &self.filter, &mut found, &mut beyond) {
                self.unreadable.insert(*id);
                told.push(Told::Note(format!("the segment {id} is passed over: {error}")));
            }
        }
        let unreadable = &self.unreadable;
        self.tails.retain(|id, _| there.contains(id) && !unreadable.contains(id));
        self.unreadable.retain(|id| there.contains(id));
        found.sort_by_key(|(key, _)| *key);
        told.extend(found.into_iter().map(|(_, entry)| Told::Entry(entry)));
        told.extend((beyond > 0).then_some(Told::Missed(beyond)));
        told
    }
}

impl Tail {
    /// Reads to the end. What is beyond so much as can wait is only counted.
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
