//! The state of functions: buckets of keys and values, which outlive versions of a function and its
//! removal.
//!
//! [`Store`] is what keeps them: [`local`], a database in the data folder of this node, or
//! [`nats`](mod@nats), which all nodes share that ask the same servers. [`server`] is what workers
//! talk to: it checks what each may ask. Owns the database's file and the engine's ends of workers'
//! state sockets.

pub mod local;
pub mod nats;
mod number;
pub mod server;
mod tally;

use std::fmt;

use abi::state::{Answer, Operation};
use database::Counted;

pub use self::tally::Reading;

/// A collection of keys and values.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bucket {
    /// The one that the function of this name has for itself.
    Function(String),
    /// One of the node, for all functions that were granted it.
    Shared(String),
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(name) => write!(f, "the bucket of the function {name:?}"),
            Self::Shared(name) => write!(f, "the shared bucket {name:?}"),
        }
    }
}

/// How full whoever writes may make a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Of keys.
    pub keys_max: u64,
    /// Of keys and values together.
    pub bytes_max: u64,
}

impl Quota {
    /// For the operator.
    pub const NONE: Self = Self { keys_max: u64::MAX, bytes_max: u64::MAX };

    /// Returns what a bucket would have too much of after a write. One that is fuller than it may
    /// be can be written to as long as it becomes no fuller.
    fn exceeded(self, before: Usage, after: Usage) -> Option<String> {
        if after.keys > self.keys_max.max(before.keys) {
            return Some(format!("its bucket would have more than {} keys", self.keys_max));
        }
        if after.bytes > self.bytes_max.max(before.bytes) {
            return Some(format!("its bucket would have more than {} bytes", self.bytes_max));
        }
        None
    }
}

/// How full a bucket is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many keys it has.
    pub keys: u64,
    /// Of keys and values together.
    pub bytes: u64,
}

/// What a store is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Of which bucket.
    pub bucket: Bucket,
    /// How full this may make it.
    pub quota: Quota,
    /// What is to be done.
    pub operation: Operation,
}

/// What is done with an answer, on whatever thread has it. It must not block.
pub type Done = Box<dyn FnOnce(Answer) + Send>;

/// What is done with every bucket that has something in it, or with a sentence that says why they
/// cannot be read. It must not block.
pub type DoneBuckets = Box<dyn FnOnce(Result<Vec<(Bucket, Usage)>, String>) + Send>;

/// What keeps buckets.
pub trait Store: Send + Sync + fmt::Debug {
    /// Does what was asked for, and passes the answer to `done`, perhaps before this returns. An
    /// answer to a write comes when a crash cannot undo it any more. May block for as long as a
    /// page takes from the disk.
    fn submit(&self, request: Request, done: Done);

    /// Removes all of a bucket.
    fn clear(&self, bucket: Bucket, done: Done);

    /// Passes every bucket that has something in it to `done`, perhaps before this returns.
    fn buckets(&self, done: DoneBuckets);

    /// Returns what the database of this node has done. Returns `None` if there is none: then
    /// nothing is known at once.
    fn counted(&self) -> Option<Counted> {
        None
    }
}
