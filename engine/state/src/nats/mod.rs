//! State in NATS, for all nodes that share it.
//!
//! Everything is in one key-value bucket ([`keys`] says under which names). Reads ask the server
//! that leads, so they see what was answered before on any node. Writes are batches that take
//! effect whole ([`writer`]), on what [`plan`] says. [`pages`] lists. While NATS is away, all of this
//! fails. Runs on the thread of [`nats::Link`]; owns no fds.

mod keys;
mod pages;
mod plan;
mod writer;

use std::sync::Arc;

use abi::limits::STATE_VALUE_BYTES_MAX;
use abi::state::{Answer, Entry, Failure, Operation};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use self::pages::Pages;
use self::writer::Writer;
use crate::{Bucket, Done, DoneBuckets, Request, Store, Usage};

/// How many values of a batch are asked for at a time.
const VALUES_AT_A_TIME: usize = 16;

/// Buckets of functions in a bucket of NATS.
#[derive(Debug)]
pub struct InNats {
    shared: Arc<Shared>,
    writer: Arc<Writer>,
}

#[derive(Debug)]
struct Shared {
    nats: nats::Bucket,
    pages: Pages,
}

impl InNats {
    /// Returns what keeps buckets in `nats`.
    #[must_use]
    pub fn new(nats: nats::Bucket) -> Self {
        let writer = Writer::new(nats.clone());
        Self { shared: Arc::new(Shared { nats, pages: Pages::default() }), writer }
    }
}

impl Store for InNats {
    fn submit(&self, request: Request, done: Done) {
        if request.operation.is_write() {
            return self.writer.submit(request, done);
        }
        let shared = Arc::clone(&self.shared);
        self.shared.nats.spawn(async move {
            let read = shared.read(&request).await;
            done(read.unwrap_or_else(|failure| as_answer(&failure)));
        });
    }

    fn clear(&self, bucket: Bucket, done: Done) {
        let (nats, writer) = (self.shared.nats.clone(), Arc::clone(&self.writer));
        self.shared.nats.spawn(async move {
            let purged = nats.purge(&keys::root(&bucket)).await;
            writer.forget(&bucket);
            done(purged.map_or_else(|failure| as_answer(&failure), |()| Answer::Done));
        });
    }

    fn buckets(&self, done: DoneBuckets) {
        let nats = self.shared.nats.clone();
        self.shared.nats.spawn(async move {
            done(buckets(&nats).await.map_err(|failure| failure.to_string()));
        });
    }
}

impl Shared {
    async fn read(&self, request: &Request) -> Result<Answer, nats::Failure> {
        let bucket = &request.bucket;
        Ok(match &request.operation {
            Operation::Get { key } => {
                let found = self.nats.get(&keys::entry(bucket, key)).await?;
                let entry =
                    |of: nats::Entry| Entry { revision: of.revision, value: of.value.to_vec() };
                Answer::Entry(found.map(entry))
            }
            Operation::Exists { key } => {
                Answer::Exists(self.nats.get(&keys::entry(bucket, key)).await?.is_some())
            }
            Operation::List { from } => self.pages.read(&self.nats, bucket, from).await?,
            Operation::GetMany { keys } => self.values(bucket, keys).await?,
            // A write is nothing to read.
            _ => Answer::Failed(Failure::Unavailable("it writes".to_owned())),
        })
    }

    /// Returns the values of as many of the first keys as fit, at least one.
    async fn values(&self, bucket: &Bucket, keys: &[String]) -> Result<Answer, nats::Failure> {
        let (mut values, mut bytes) = (Vec::new(), 0);
        for some in keys.chunks(VALUES_AT_A_TIME) {
            let names = some.iter().map(|key| keys::entry(bucket, key)).collect();
            for found in self.nats.get_many(names).await? {
                let value = found.map(|entry| entry.value.to_vec());
                bytes += value.as_ref().map_or(0, Vec::len);
                if bytes > STATE_VALUE_BYTES_MAX {
                    return Ok(Answer::Entries(values));
                }
                values.push(value);
            }
        }
        Ok(Answer::Entries(values))
    }
}

/// Returns every bucket that has something in it.
async fn buckets(nats: &nats::Bucket) -> Result<Vec<(Bucket, Usage)>, nats::Failure> {
    let mut found = Vec::new();
    for name in nats.matching(keys::USAGES).await? {
        let Some(bucket) = keys::bucket(&name) else { continue };
        if let Some((_, usage)) = read_usage(nats, &bucket).await?
            && usage.keys > 0
        {
            found.push((bucket, usage));
        }
    }
    found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

/// A bucket's usage, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    keys: u64,
    bytes: u64,
}

fn write_usage(Usage { keys, bytes }: Usage) -> Bytes {
    serde_json::to_vec(&Written { keys, bytes }).unwrap_or_default().into()
}

/// Returns a bucket's usage with its revision. There is none where nobody has written.
async fn read_usage(
    nats: &nats::Bucket,
    bucket: &Bucket,
) -> Result<Option<(u64, Usage)>, nats::Failure> {
    let Some(entry) = nats.get(&keys::usage(bucket)).await? else { return Ok(None) };
    match serde_json::from_slice(&entry.value) {
        Ok(Written { keys, bytes }) => Ok(Some((entry.revision, Usage { keys, bytes }))),
        Err(error) => {
            Err(nats::Failure::Away(format!("the usage of {bucket} is damaged: {error}")))
        }
    }
}

fn as_answer(failure: &nats::Failure) -> Answer {
    Answer::Failed(Failure::Unavailable(failure.to_string()))
}
