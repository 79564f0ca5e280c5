//! Looks things up in the log: one invocation by its id, or a function's entries in order, a page
//! at a time.
//!
//! A look-up reads the segments that may have what is wanted: those in this node's spool, and those
//! in the store by their names and then by their indexes. It holds a page of entries and one block,
//! however long the log is. What cannot be read is passed over, and a note says so.
//!
//! [`select`] decides what belongs to a page and is pure. [`local`] and [`stored`] read segments,
//! and [`follow`] sends entries as they are logged.

pub mod follow;
mod local;
pub mod select;
mod stored;

use std::collections::HashSet;

use abi::invocation_id::InvocationId;
use abi::spool::Record;
use api::logs::{Entries, Entry, OneInvocation};
use uuid::Uuid;

use self::select::Selection;
pub use self::select::{Filter, Order, Page, Status};
use super::Logs;
use super::entry::{self, Key};
pub use super::index::Times;
use super::spool::Segment;
use store::segment::{self, SegmentName};

/// The most that one answer may be, besides the limit on entries.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How many hours before an id the first time of its segment may be, if the segment has a long
/// invocation. The first number is tried first, and the second if nothing was found.
const HOURS_BEFORE: [u64; 2] = [1, 24];
const HOUR_MS: u64 = 60 * 60 * 1000;

/// Where a segment is.
#[derive(Debug, Clone)]
enum Place {
    Spool(Segment),
    Store { key: String, bytes: u64 },
}

/// A segment that may have what is wanted.
#[derive(Debug, Clone)]
struct Source {
    id: Uuid,
    /// The times of its records, or a bit more where they are not known exactly.
    times: Times,
    place: Place,
}

/// What is looked for in a segment.
#[derive(Debug, Clone)]
enum Wanted {
    Invocation(InvocationId),
    Entries(Filter),
}

impl Wanted {
    fn takes(&self, record: &Record<'_>) -> bool {
        match self {
            Self::Invocation(id) => record.id() == Some(*id),
            Self::Entries(filter) => filter.takes(record),
        }
    }
}

impl Source {
    fn of_store(key: String, bytes: u64) -> Option<Self> {
        let name = SegmentName::parse(&key)?;
        let times =
            Times { first_us: name.first_ms * 1000, last_us: name.last_ms.saturating_mul(1000) };
        Some(Self { id: name.id, times, place: Place::Store { key, bytes } })
    }
}

/// A look-up under way.
struct LookUp<'a> {
    logs: &'a Logs,
    wanted: Wanted,
    selection: Selection,
    notes: Vec<String>,
    /// The segments that were in the spool at the beginning, and are looked for there.
    here: HashSet<Uuid>,
    /// Those of them that had left it when they were to be read.
    gone: HashSet<Uuid>,
}

impl Logs {
    /// Returns all that was logged of one invocation.
    pub async fn invocation(&self, id: InvocationId) -> OneInvocation {
        let (mut look_up, local) = LookUp::begin(self, Wanted::Invocation(id), Page::all()).await;
        // All its records are written after it has begun, so earlier segments have none of them.
        let (mut hours, at_us) = (0, id.unix_ms().saturating_mul(1000));
        look_up
            .through(local.into_iter().filter(|source| source.times.last_us >= at_us).collect())
            .await;
        for before in HOURS_BEFORE {
            let from_ms = id.unix_ms().saturating_sub(before * HOUR_MS);
            let to_ms = id.unix_ms().saturating_sub(hours * HOUR_MS);
            for hour in Hour::all(from_ms, to_ms).into_iter().rev() {
                let mut sources = look_up.stored(&hour.prefix).await;
                sources.retain(|source| {
                    source.times.first_us <= at_us && at_us <= source.times.last_us
                });
                look_up.through(sources).await;
            }
            if !look_up.selection.is_empty() {
                break;
            }
            hours = before + 1;
        }
        let (selection, notes) = look_up.end().await;
        let mut found = OneInvocation {
            id: id.to_string(),
            record: None,
            after: None,
            lines: Vec::new(),
            notes,
        };
        let (entries, more) = selection.into_entries();
        if more.is_some() {
            found
                .notes
                .push(format!("these are the first {} bytes; there is more", ANSWER_BYTES_MAX));
        }
        for entry in entries {
            match entry {
                Entry::Line(line) => found.lines.push(line),
                Entry::Invocation(invocation) => found.record = Some(*invocation),
                Entry::After(after) => found.after = Some(after),
                Entry::Gap { .. } => {}
            }
        }
        found
    }

    /// Returns a page of the entries that the filter takes.
    pub async fn entries(&self, filter: Filter, page: Page) -> Entries {
        let within = page.within(filter.times);
        let wanted = Wanted::Entries(Filter { times: within, ..filter });
        let (mut look_up, mut local) = LookUp::begin(self, wanted, page).await;
        // A segment of the hour before may end within these times.
        let from_ms = (within.first_us / 1000).saturating_sub(HOUR_MS);
        let mut hours = Hour::all(from_ms, (within.last_us / 1000).min(host::clock::unix_ms()));
        local.retain(|source| source.times.overlaps(within));
        // In this order, a page is full soon, and the rest need not be read.
        if page.order == Order::Newest {
            hours.reverse();
            look_up.through(std::mem::take(&mut local)).await;
        }
        for hour in hours {
            if !look_up.selection.can_use(hour.times) {
                break;
            }
            let mut sources = look_up.stored(&hour.prefix).await;
            sources.retain(|source| source.times.overlaps(within));
            match page.order {
                Order::OldestFirst => sources.sort_by_key(|source| source.times.first_us),
                Order::Newest => {
                    sources.sort_by_key(|source| std::cmp::Reverse(source.times.last_us))
                }
            }
            look_up.through(sources).await;
        }
        look_up.through(local).await;
        let (selection, notes) = look_up.end().await;
        let (entries, next) = selection.into_entries();
        Entries { entries, next: next.map(|key| key.to_string()), notes }
    }
}

/// The segments in the store whose first time is in one hour, or all of them.
struct Hour {
    prefix: String,
    /// The times of their records, but for invocations that took hours.
    times: Times,
}

impl Hour {
    /// Returns the hours between two times, or one entry for everything if they are many.
    fn all(from_ms: u64, to_ms: u64) -> Vec<Self> {
        /// With more hours, one listing of everything is cheaper than one for each.
        const HOURS_MAX: u64 = 48;
        if to_ms.saturating_sub(from_ms) / HOUR_MS > HOURS_MAX {
            return vec![Self {
                prefix: segment::PREFIX.to_owned(),
                times: Times { first_us: 0, last_us: u64::MAX },
            }];
        }
        let hours = from_ms / HOUR_MS..=to_ms / HOUR_MS;
        let hour = |hour: u64| Self {
            prefix: segment::folder(hour * HOUR_MS),
            times: Times { first_us: hour * HOUR_MS * 1000, last_us: (hour + 3) * HOUR_MS * 1000 },
        };
        hours.map(hour).collect()
    }
}

impl<'a> LookUp<'a> {
    /// Begins a look-up. Returns it with the segments of the spool. A segment that leaves the spool
    /// later is in the store by then.
    async fn begin(logs: &'a Logs, wanted: Wanted, page: Page) -> (Self, Vec<Source>) {
        let (segments, notes) = match logs.spool.segments() {
            Ok(segments) => (segments, Vec::new()),
            Err(error) => {
                (Vec::new(), vec![format!("the spool of this node cannot be read: {error}")])
            }
        };
        let local = local::sources(segments).await;
        let here = local.iter().map(|source| source.id).collect();
        let selection = Selection::new(page, ANSWER_BYTES_MAX);
        (Self { logs, wanted, selection, notes, here, gone: HashSet::new() }, local)
    }

    /// The segments of the store under `prefix` that are not in the spool, too.
    async fn stored(&mut self, prefix: &str) -> Vec<Source> {
        let listed = self.logs.store.list(prefix, "").await.unwrap_or_else(|error| {
            self.notes.push(format!("the store's part of the log is missing here: {error}"));
            Vec::new()
        });
        let sources =
            listed.into_iter().filter_map(|listed| Source::of_store(listed.key, listed.bytes));
        sources.filter(|source| !self.here.contains(&source.id)).collect()
    }

    /// Looks through these segments.
    async fn through(&mut self, sources: Vec<Source>) {
        for source in sources {
            if !self.selection.can_use(source.times) {
                continue;
            }
            let outcome = match source.place {
                Place::Spool(segment) => {
                    let empty = Selection::new(Page::all(), 0);
                    let selection = std::mem::replace(&mut self.selection, empty);
                    let (selection, outcome) =
                        local::search(segment, self.wanted.clone(), selection).await;
                    self.selection = selection;
                    outcome.map(|found| self.gone.extend((!found).then_some(source.id)))
                }
                Place::Store { key, bytes } => {
                    stored::search(
                        &*self.logs.store,
                        &key,
                        bytes,
                        &self.wanted,
                        &mut self.selection,
                    )
                    .await
                }
            };
            self.notes.extend(outcome.err());
        }
    }

    /// Reads the segments that have left the spool before they were read there. Returns what was
    /// found, and the notes.
    async fn end(mut self) -> (Selection, Vec<String>) {
        let gone = std::mem::take(&mut self.gone);
        if !gone.is_empty() {
            self.here.clear();
            let mut sources = self.stored(segment::PREFIX).await;
            sources.retain(|source| gone.contains(&source.id));
            self.through(sources).await;
        }
        (self.selection, self.notes)
    }
}

/// Adds a record to the selection, if it is wanted and has a place there.
fn offer(selection: &mut Selection, wanted: &Wanted, record: &Record<'_>, segment: Uuid, at: u64) {
    let key = Key { time_us: record.time_us(), segment, at };
    if wanted.takes(record) && selection.wants(key) {
        selection.add(key, entry::of(record));
    }
}
