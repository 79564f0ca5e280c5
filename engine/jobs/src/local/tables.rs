//! What is in the database of jobs, and what each task does to it. Owns no fds.
//!
//! | table | key | value |
//! |---|---|---|
//! | `jobs` | id | a record |
//! | `requests` | id | a request |
//! | `functions` | function | how many jobs it has, and bytes |
//! | `finished` | id | what came of a job |
//! | `ended` | when it ended, id | |
//! | `about` | `format`, `jobs`, `bytes`, `finished` | a number |
//!
//! Ids are numbers there, which sort as ids do. What is damaged of one job holds up no other: it is
//! passed over where many are read.

use std::collections::HashMap;

use database::Fault;
use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, TableError, WriteTransaction};

use crate::JobId;
use crate::record::{self, Finished, Record};
use crate::store::{Answer, Bounds, Filter, Follower, Found, Indexed, New, Task};
use crate::usage::{self, Usage};

type Bytes = &'static [u8];

const JOBS: TableDefinition<'_, u128, Bytes> = TableDefinition::new("jobs");
const REQUESTS: TableDefinition<'_, u128, Bytes> = TableDefinition::new("requests");
const FUNCTIONS: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("functions");
const FINISHED: TableDefinition<'_, u128, Bytes> = TableDefinition::new("finished");
const ENDED: TableDefinition<'_, (u64, u128), ()> = TableDefinition::new("ended");
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");

/// The format of all of this. Raise it when an earlier build must not write to it any more.
pub(super) const FORMAT: u64 = 1;
const JOBS_KEY: &str = "jobs";
const BYTES_KEY: &str = "bytes";
const FINISHED_KEY: &str = "finished";

/// So long is kept what came of a job,
const FINISHED_MS: u64 = 24 * 60 * 60 * 1000;
/// and of so many.
const FINISHED_MAX: u64 = 100_000;

fn key(id: JobId) -> u128 {
    u128::from_be_bytes(id.bytes())
}

fn id(key: u128) -> JobId {
    JobId::from_bytes(key.to_be_bytes())
}

/// Returns what comes of reading an empty database.
pub(super) fn nothing(task: &Task) -> Answer {
    match task {
        Task::List(_) => Answer::Listed(Vec::new()),
        Task::Scan => Answer::Scanned(Vec::new()),
        _ => Answer::Unknown,
    }
}

/// Reads what a task asks for. `transaction` is none while there is no database yet.
pub(super) fn read(transaction: Option<&ReadTransaction>, task: &Task) -> Result<Answer, Fault> {
    let Some(transaction) = transaction else { return Ok(nothing(task)) };
    let open = |table| match transaction.open_table(table) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(Fault::of(error)),
    };
    // All are made in one transaction.
    match (open(JOBS)?, open(REQUESTS)?, open(FINISHED)?) {
        (Some(jobs), Some(requests), Some(finished)) => {
            read_from(&jobs, &requests, &finished, task)
        }
        _ => Ok(nothing(task)),
    }
}

fn read_from(
    jobs: &impl ReadableTable<u128, Bytes>,
    requests: &impl ReadableTable<u128, Bytes>,
    finished: &impl ReadableTable<u128, Bytes>,
    task: &Task,
) -> Result<Answer, Fault> {
    match task {
        Task::Load(id) => {
            let record = jobs.get(key(*id)).map_err(Fault::of)?;
            let request = requests.get(key(*id)).map_err(Fault::of)?;
            let (Some(record), Some(request)) = (record, request) else {
                return Ok(Answer::Unknown);
            };
            let record = record::decode(record.value())?;
            Ok(Answer::Loaded(Box::new((record, record::decode_request(request.value())?))))
        }
        Task::Show(id) => {
            if let Some(record) = jobs.get(key(*id)).map_err(Fault::of)? {
                return Ok(Answer::Shown(Box::new(Found::Kept(record::decode(record.value())?))));
            }
            let finished = finished.get(key(*id)).map_err(Fault::of)?;
            finished.map_or(Ok(Answer::Unknown), |finished| {
                Ok(Answer::Shown(Box::new(Found::Finished(record::decode(finished.value())?))))
            })
        }
        Task::List(filter) => {
            let mut listed = kept(jobs, filter)?;
            listed.extend(done(finished, filter)?);
            listed.sort_by_key(|(id, _)| *id);
            Ok(Answer::Listed(listed.split_off(listed.len().saturating_sub(filter.limit))))
        }
        Task::Scan => {
            let mut scanned = Vec::new();
            for item in jobs.iter().map_err(Fault::of)? {
                let (at, record) = item.map_err(Fault::of)?;
                let id = id(at.value());
                let Some(Record { function, due_ms, death, .. }) = whole(id, record.value()) else {
                    continue;
                };
                scanned.push(Indexed { id, function, due_ms, is_dead: death.is_some() });
            }
            Ok(Answer::Scanned(scanned))
        }
        // A write is nothing to read.
        _ => Ok(Answer::Unavailable("it writes".to_owned())),
    }
}

/// Returns a record that is as it was written.
fn whole<T: serde::de::DeserializeOwned>(id: JobId, bytes: &[u8]) -> Option<T> {
    let record = record::decode(bytes);
    if record.is_err() {
        tracing::error!("the job {id} is damaged, and left alone");
    }
    record.ok()
}

/// Returns the newest jobs that are kept, the newest first.
fn kept(
    jobs: &impl ReadableTable<u128, Bytes>,
    filter: &Filter,
) -> Result<Vec<(JobId, Found)>, Fault> {
    let mut found = Vec::new();
    if !filter.with_queued && !filter.with_dead {
        return Ok(found);
    }
    for item in jobs.iter().map_err(Fault::of)?.rev() {
        let (at, record) = item.map_err(Fault::of)?;
        let Some(record) = whole::<Record>(id(at.value()), record.value()) else { continue };
        let wanted = if record.death.is_some() { filter.with_dead } else { filter.with_queued };
        if wanted && is_of(filter, &record.function) {
            found.push((id(at.value()), Found::Kept(record)));
        }
        if found.len() >= filter.limit {
            break;
        }
    }
    Ok(found)
}

/// Returns the newest jobs that are done, the newest first.
fn done(
    finished: &impl ReadableTable<u128, Bytes>,
    filter: &Filter,
) -> Result<Vec<(JobId, Found)>, Fault> {
    let mut found = Vec::new();
    if !filter.with_done {
        return Ok(found);
    }
    for item in finished.iter().map_err(Fault::of)?.rev() {
        let (at, bytes) = item.map_err(Fault::of)?;
        let Some(finished) = whole::<Finished>(id(at.value()), bytes.value()) else { continue };
        if is_of(filter, &finished.function) {
            found.push((id(at.value()), Found::Finished(finished)));
        }
        if found.len() >= filter.limit {
            break;
        }
    }
    Ok(found)
}

fn is_of(filter: &Filter, function: &str) -> bool {
    filter.function.as_deref().is_none_or(|wanted| wanted == function)
}

/// The tables in a transaction that writes.
pub(super) struct Tables<'a> {
    jobs: Table<'a, u128, Bytes>,
    requests: Table<'a, u128, Bytes>,
    functions: Table<'a, &'static str, (u64, u64)>,
    finished: Table<'a, u128, Bytes>,
    ended: Table<'a, (u64, u128), ()>,
    about: Table<'a, &'static str, u64>,
    /// Of all functions.
    all: Usage,
    /// Of functions whose jobs have changed.
    of_functions: HashMap<String, Usage>,
    finished_count: u64,
    changed: bool,
}

impl<'a> Tables<'a> {
    pub(super) fn open(transaction: &'a WriteTransaction) -> Result<Self, Fault> {
        let about = transaction.open_table(ABOUT).map_err(Fault::of)?;
        let number = |key| -> Result<u64, Fault> {
            Ok(about.get(key).map_err(Fault::of)?.map_or(0, |found| found.value()))
        };
        let all = Usage { jobs: number(JOBS_KEY)?, bytes: number(BYTES_KEY)? };
        let finished_count = number(FINISHED_KEY)?;
        Ok(Self {
            jobs: transaction.open_table(JOBS).map_err(Fault::of)?,
            requests: transaction.open_table(REQUESTS).map_err(Fault::of)?,
            functions: transaction.open_table(FUNCTIONS).map_err(Fault::of)?,
            finished: transaction.open_table(FINISHED).map_err(Fault::of)?,
            ended: transaction.open_table(ENDED).map_err(Fault::of)?,
            about,
            all,
            of_functions: HashMap::new(),
            finished_count,
            changed: false,
        })
    }

    /// Writes what was counted. Returns whether anything has changed.
    pub(super) fn close(mut self) -> Result<bool, Fault> {
        if !self.changed {
            return Ok(false);
        }
        for (function, Usage { jobs, bytes }) in &self.of_functions {
            if *jobs == 0 {
                self.functions.remove(&**function).map_err(Fault::of)?;
            } else {
                self.functions.insert(&**function, (*jobs, *bytes)).map_err(Fault::of)?;
            }
        }
        for (key, number) in [
            (JOBS_KEY, self.all.jobs),
            (BYTES_KEY, self.all.bytes),
            (FINISHED_KEY, self.finished_count),
        ] {
            self.about.insert(key, number).map_err(Fault::of)?;
        }
        Ok(true)
    }

    /// Does a task.
    pub(super) fn apply(&mut self, task: &Task) -> Result<Answer, Fault> {
        match task {
            Task::Enqueue(new, bounds) => self.enqueue(new, *bounds),
            Task::Update(id, record, then) => {
                if self.jobs.get(key(*id)).map_err(Fault::of)?.is_none() {
                    return Ok(Answer::Unknown);
                }
                self.jobs.insert(key(*id), &*record::encode(record)).map_err(Fault::of)?;
                self.changed = true;
                then.iter().try_for_each(|then| self.follow(then))?;
                Ok(Answer::Done)
            }
            Task::Finish { id, finished, then } => {
                if !self.remove(*id)? {
                    return Ok(Answer::Unknown);
                }
                self.keep(*id, finished)?;
                then.iter().try_for_each(|then| self.follow(then))?;
                Ok(Answer::Done)
            }
            Task::Retry(id, now_ms) => {
                let record = {
                    let Some(found) = self.jobs.get(key(*id)).map_err(Fault::of)? else {
                        return Ok(Answer::Unknown);
                    };
                    record::decode::<Record>(found.value())?.retried(*now_ms)
                };
                self.jobs.insert(key(*id), &*record::encode(&record)).map_err(Fault::of)?;
                self.changed = true;
                Ok(Answer::Done)
            }
            Task::Remove(id) => Ok(if self.remove(*id)? { Answer::Done } else { Answer::Unknown }),
            reading => read_from(&self.jobs, &self.requests, &self.finished, reading),
        }
    }

    fn usage(&self, function: &str) -> Result<Usage, Fault> {
        if let Some(known) = self.of_functions.get(function) {
            return Ok(*known);
        }
        let stored = self.functions.get(function).map_err(Fault::of)?;
        let (jobs, bytes) = stored.map(|stored| stored.value()).unwrap_or_default();
        Ok(Usage { jobs, bytes })
    }

    /// Keeps what follows from a job, with the small request if there is no room for the other.
    fn follow(&mut self, Follower { new, small, bounds }: &Follower) -> Result<(), Fault> {
        if let Answer::Full(_) = self.enqueue(new, *bounds)? {
            let record = Record { bytes: small.bytes(), ..new.record.clone() };
            let new = New { id: new.id, record, request: small.clone() };
            self.enqueue(&new, Bounds { jobs_max: u64::MAX, bytes_max: u64::MAX })?;
        }
        Ok(())
    }

    fn enqueue(&mut self, new: &New, bounds: Bounds) -> Result<Answer, Fault> {
        let New { id, record, request } = new;
        let bytes = usage::bytes(record);
        let all = self.all.with(bytes);
        let own = self.usage(&record.function)?.with(bytes);
        if let Some(why) = usage::exceeded(all, own, &record.function, bounds) {
            return Ok(Answer::Full(why));
        }
        self.jobs.insert(key(*id), &*record::encode(record)).map_err(Fault::of)?;
        self.requests.insert(key(*id), &*record::encode_request(request)).map_err(Fault::of)?;
        self.all = all;
        self.of_functions.insert(record.function.clone(), own);
        self.changed = true;
        Ok(Answer::Done)
    }

    /// Removes a job with its request. Returns whether it was there.
    fn remove(&mut self, id: JobId) -> Result<bool, Fault> {
        let record = {
            let Some(removed) = self.jobs.remove(key(id)).map_err(Fault::of)? else {
                return Ok(false);
            };
            record::decode::<Record>(removed.value())?
        };
        self.requests.remove(key(id)).map_err(Fault::of)?;
        let bytes = usage::bytes(&record);
        let own = self.usage(&record.function)?.without(bytes);
        self.of_functions.insert(record.function, own);
        self.all = self.all.without(bytes);
        self.changed = true;
        Ok(true)
    }

    /// Keeps what came of a job, and less of what came of others.
    fn keep(&mut self, id: JobId, finished: &Finished) -> Result<(), Fault> {
        let ended_ms = finished.ended_ms;
        self.finished.insert(key(id), &*record::encode(finished)).map_err(Fault::of)?;
        self.ended.insert((ended_ms, key(id)), ()).map_err(Fault::of)?;
        self.finished_count += 1;
        // A few each time, so that no transaction has many to remove.
        for _ in 0..3 {
            let oldest = self.ended.first().map_err(Fault::of)?.map(|(at, _)| at.value());
            let Some((at_ms, oldest)) = oldest else { break };
            let is_old = at_ms.saturating_add(FINISHED_MS) < ended_ms;
            if !is_old && self.finished_count <= FINISHED_MAX {
                break;
            }
            self.ended.remove((at_ms, oldest)).map_err(Fault::of)?;
            self.finished.remove(oldest).map_err(Fault::of)?;
            self.finished_count = self.finished_count.saturating_sub(1);
        }
        Ok(())
    }
}
