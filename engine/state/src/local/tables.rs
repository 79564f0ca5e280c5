//! What is in the database, and what each operation does to it. Owns no fds.
//!
//! | table | key | value |
//! |---|---|---|
//! | `entries` | bucket and key | an [entry] |
//! | `buckets` | bucket | how many keys it has, and bytes |
//! | `about` | `format`, `revision` | a number |

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use abi::limits::{STATE_PAGE_BYTES_MAX, STATE_PAGE_KEYS_MAX, STATE_VALUE_BYTES_MAX};
use abi::state::{Answer, Entry, Failure, Operation, Position};
use database::{Fault, entry};
use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, TableError, WriteTransaction};

use crate::number::{add, digits};
use crate::{Bucket, Quota, Request, Usage};

const ENTRIES: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("entries");
const BUCKETS: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("buckets");
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");

/// The format of all of this. Raise it when an earlier build must not write to it any more.
pub(super) const FORMAT: u64 = 1;
/// What the revision that was given last stands under. The format stands beside it.
const REVISION_KEY: &str = "revision";

/// Returns what a bucket is called in the database.
fn name(bucket: &Bucket) -> String {
    match bucket {
        Bucket::Function(name) => format!("f:{name}"),
        Bucket::Shared(name) => format!("s:{name}"),
    }
}

fn bucket(name: &str) -> Option<Bucket> {
    let (kind, name) = name.split_once(':')?;
    match kind {
        "f" => Some(Bucket::Function(name.to_owned())),
        "s" => Some(Bucket::Shared(name.to_owned())),
        _ => None,
    }
}

/// Returns every bucket.
pub(super) fn buckets(transaction: &ReadTransaction) -> Result<Vec<(Bucket, Usage)>, Fault> {
    let buckets = match transaction.open_table(BUCKETS) {
        Ok(buckets) => buckets,
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(Fault::of(error)),
    };
    let mut found = Vec::new();
    for item in buckets.iter().map_err(Fault::of)? {
        let (name, usage) = item.map_err(Fault::of)?;
        let (keys, bytes) = usage.value();
        found.extend(bucket(name.value()).map(|bucket| (bucket, Usage { keys, bytes })));
    }
    Ok(found)
}

/// Reads what was asked for. `transaction` is none while there is no database yet.
pub(super) fn read(
    transaction: Option<&ReadTransaction>,
    request: &Request,
) -> Result<Answer, Fault> {
    let Some(transaction) = transaction else { return Ok(nothing(&request.operation)) };
    match transaction.open_table(ENTRIES) {
        Ok(entries) => read_from(&entries, &name(&request.bucket), &request.operation),
        Err(TableError::TableDoesNotExist(_)) => Ok(nothing(&request.operation)),
        Err(error) => Err(Fault::of(error)),
    }
}

/// Returns what is read from an empty database.
pub(super) fn nothing(operation: &Operation) -> Answer {
    match operation {
        Operation::Exists { .. } => Answer::Exists(false),
        Operation::List { .. } => Answer::Keys { keys: Vec::new(), more: false },
        Operation::GetMany { keys } => Answer::Entries(vec![None; keys.len()]),
        _ => Answer::Entry(None),
    }
}

type Entries<'a> = &'a dyn Readable;

/// A table of entries, in a transaction that reads or in one that writes.
trait Readable {
    fn entry(&self, bucket: &str, key: &str) -> Result<Option<Entry>, Fault>;
    fn exists(&self, bucket: &str, key: &str) -> Result<bool, Fault>;
    fn page(&self, bucket: &str, from: &Position) -> Result<Answer, Fault>;
}

impl<T: ReadableTable<(&'static str, &'static str), &'static [u8]>> Readable for T {
    fn entry(&self, bucket: &str, key: &str) -> Result<Option<Entry>, Fault> {
        let Some(found) = self.get((bucket, key)).map_err(Fault::of)? else { return Ok(None) };
        let (revision, value) = entry::decode(found.value())?;
        Ok(Some(Entry { revision, value: value.to_owned() }))
    }

    fn exists(&self, bucket: &str, key: &str) -> Result<bool, Fault> {
        Ok(self.get((bucket, key)).map_err(Fault::of)?.is_some())
    }

    fn page(&self, bucket: &str, from: &Position) -> Result<Answer, Fault> {
        let (after, skip) = match from {
            Position::After(key) => (key.as_str(), 0),
            Position::Skip(count) => ("", usize::try_from(*count).unwrap_or(usize::MAX)),
        };
        // No key is empty.
        let range = (Bound::Excluded((bucket, after)), Bound::Unbounded);
        let (mut keys, mut bytes) = (Vec::new(), 0);
        for (at, item) in self.range::<(&str, &str)>(range).map_err(Fault::of)?.enumerate() {
            let (key, _) = item.map_err(Fault::of)?;
            let (of, key) = key.value();
            if of != bucket {
                break;
            }
            if at < skip {
                continue;
            }
            bytes += key.len();
            if keys.len() == STATE_PAGE_KEYS_MAX || bytes > STATE_PAGE_BYTES_MAX {
                return Ok(Answer::Keys { keys, more: true });
            }
            keys.push(key.to_owned());
        }
        Ok(Answer::Keys { keys, more: false })
    }
}

fn read_from(entries: Entries<'_>, bucket: &str, operation: &Operation) -> Result<Answer, Fault> {
    match operation {
        Operation::Exists { key } => Ok(Answer::Exists(entries.exists(bucket, key)?)),
        Operation::List { from } => entries.page(bucket, from),
        Operation::GetMany { keys } => {
            let (mut values, mut bytes) = (Vec::new(), 0);
            for key in keys {
                let value = entries.entry(bucket, key)?.map(|entry| entry.value);
                bytes += value.as_ref().map_or(0, Vec::len);
                if bytes > STATE_VALUE_BYTES_MAX {
                    break;
                }
                values.push(value);
            }
            Ok(Answer::Entries(values))
        }
        Operation::Get { key } => Ok(Answer::Entry(entries.entry(bucket, key)?)),
        // A write is nothing to read.
        _ => Ok(Answer::Failed(Failure::Unavailable("it writes".to_owned()))),
    }
}

/// The tables in a transaction that writes.
pub(super) struct Tables<'a> {
    entries: Table<'a, (&'static str, &'static str), &'static [u8]>,
    buckets: Table<'a, &'static str, (u64, u64)>,
    about: Table<'a, &'static str, u64>,
    /// How full the buckets are that were written to.
    usage: HashMap<String, Usage>,
    /// The revision that was given last.
    revision: u64,
    changed: bool,
}

impl<'a> Tables<'a> {
    pub(super) fn open(transaction: &'a WriteTransaction) -> Result<Self, Fault> {
        let about = transaction.open_table(ABOUT).map_err(Fault::of)?;
        let revision = about.get(REVISION_KEY).map_err(Fault::of)?.map_or(0, |last| last.value());
        Ok(Self {
            entries: transaction.open_table(ENTRIES).map_err(Fault::of)?,
            buckets: transaction.open_table(BUCKETS).map_err(Fault::of)?,
            about,
            usage: HashMap::new(),
            revision,
            changed: false,
        })
    }

    /// Writes what was counted. Returns whether anything has changed.
    pub(super) fn close(mut self) -> Result<bool, Fault> {
        for (bucket, Usage { keys, bytes }) in &self.usage {
            if *keys == 0 {
                self.buckets.remove(&**bucket).map_err(Fault::of)?;
            } else {
                self.buckets.insert(&**bucket, (*keys, *bytes)).map_err(Fault::of)?;
            }
        }
        if self.changed {
            self.about.insert(REVISION_KEY, self.revision).map_err(Fault::of)?;
        }
        Ok(self.changed)
    }

    /// Does what was asked for, or nothing of it.
    pub(super) fn apply(&mut self, request: &Request) -> Result<Answer, Fault> {
        let (bucket, quota) = (name(&request.bucket), request.quota);
        match &request.operation {
            Operation::Set { key, value } => self.put(&bucket, quota, &[(key, value)]),
            Operation::SetMany { entries } => {
                // Of several values of a key the last one counts.
                let last: BTreeMap<&str, &[u8]> =
                    entries.iter().map(|(key, value)| (&**key, &**value)).collect();
                let entries: Vec<(&str, &[u8])> = last.into_iter().collect();
                self.put(&bucket, quota, &entries)
            }
            Operation::Swap { key, revision, value } => {
                let current = self.entries.entry(&bucket, key)?.map_or(0, |entry| entry.revision);
                if current != *revision {
                    return Ok(Answer::Swapped(false));
                }
                Ok(match self.put(&bucket, quota, &[(key, value)])? {
                    Answer::Done => Answer::Swapped(true),
                    other => other,
                })
            }
            Operation::Increment { key, delta } => {
                let current = self.entries.entry(&bucket, key)?.map(|entry| entry.value);
                let number = match add(current.as_deref().unwrap_or(b"0"), *delta) {
                    Ok(number) => number,
                    Err(why) => return Ok(Answer::Failed(Failure::Refused(why.to_owned()))),
                };
                let value = digits(number);
                Ok(match self.put(&bucket, quota, &[(key, value.as_bytes())])? {
                    Answer::Done => Answer::Number(number),
                    other => other,
                })
            }
            Operation::DeleteMany { keys } => {
                keys.iter().try_for_each(|key| self.delete(&bucket, key))?;
                Ok(Answer::Done)
            }
            reading => read_from(&self.entries, &bucket, reading),
        }
    }

    /// Removes a page of a bucket. Returns `Done` if that was all, and a page that is empty if it
    /// has more.
    pub(super) fn clear(&mut self, bucket: &Bucket) -> Result<Answer, Fault> {
        let bucket = name(bucket);
        let first = Position::After(String::new());
        let Answer::Keys { keys, more } = self.entries.page(&bucket, &first)? else {
            return Ok(Answer::Done);
        };
        keys.iter().try_for_each(|key| self.delete(&bucket, key))?;
        Ok(if more { Answer::Keys { keys: Vec::new(), more } } else { Answer::Done })
    }

    fn usage(&mut self, bucket: &str) -> Result<Usage, Fault> {
        if let Some(known) = self.usage.get(bucket) {
            return Ok(*known);
        }
        let stored = self.buckets.get(bucket).map_err(Fault::of)?;
        let (keys, bytes) = stored.map(|stored| stored.value()).unwrap_or_default();
        Ok(Usage { keys, bytes })
    }

    /// Sets all of these, whose keys differ, or none if they are more than there may be.
    fn put(
        &mut self,
        bucket: &str,
        quota: Quota,
        entries: &[(&str, &[u8])],
    ) -> Result<Answer, Fault> {
        let before = self.usage(bucket)?;
        let mut after = before;
        for (key, value) in entries {
            let old = self.entries.get((bucket, *key)).map_err(Fault::of)?;
            if let Some(old) = old {
                after.bytes = after.bytes.saturating_sub(entry::value_bytes(old.value()));
            } else {
                after.keys += 1;
                after.bytes += key.len() as u64;
            }
            after.bytes += value.len() as u64;
        }
        if let Some(full) = quota.exceeded(before, after) {
            return Ok(Answer::Failed(Failure::Full(full)));
        }
        for (key, value) in entries {
            self.revision += 1;
            let entry = entry::encode(self.revision, value);
            self.entries.insert((bucket, *key), &*entry).map_err(Fault::of)?;
            self.changed = true;
        }
        self.usage.insert(bucket.to_owned(), after);
        Ok(Answer::Done)
    }

    fn delete(&mut self, bucket: &str, key: &str) -> Result<(), Fault> {
        let removed = self.entries.remove((bucket, key)).map_err(Fault::of)?;
        let Some(value_bytes) = removed.map(|old| entry::value_bytes(old.value())) else {
            return Ok(());
        };
        self.changed = true;
        let before = self.usage(bucket)?;
        let after = Usage {
            keys: before.keys.saturating_sub(1),
            bytes: before.bytes.saturating_sub(value_bytes + key.len() as u64),
        };
        self.usage.insert(bucket.to_owned(), after);
        Ok(())
    }
}
