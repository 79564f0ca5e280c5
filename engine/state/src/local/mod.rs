//! State in a database of this node, which is one file: `Local`. Reads are done by whoever asks,
//! writes by the database's thread, many in one commit. Owns the database.

mod tables;
mod task;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use abi::state::{Answer, Failure};
use database::{Counted, Database, Medium};

pub use database::Mode;

use self::task::{Contents, Task};
use crate::{Bucket, Done, DoneBuckets, Request, Store, Usage};

/// The database of this node.
#[derive(Debug)]
pub struct Local(Arc<Database<Contents>>);

impl Local {
    /// Starts the thread of the database in `file`. If the file is there, the database is opened;
    /// whether that fails is told by every answer.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(file: PathBuf, mode: Mode) -> std::io::Result<Self> {
        Database::start(file, mode).map(Arc::new).map(Self)
    }

    /// The same with a database at another place.
    ///
    /// # Errors
    /// The same.
    pub fn on(medium: Box<dyn Medium>, mode: Mode) -> std::io::Result<Self> {
        Database::on(medium, mode).map(Arc::new).map(Self)
    }

    /// From now on another engine may need the database: it is closed after each batch.
    pub fn share(&self) {
        self.0.share();
    }

    /// The other engine has gone, and the database is this one's.
    pub fn own(&self) {
        self.0.own();
    }

    /// Does what was submitted before, and closes the database in order, so that the next start
    /// need not read all of it.
    pub fn close(&self) {
        self.0.close();
    }

    /// Returns every bucket that has something in it.
    ///
    /// # Errors
    /// A sentence that says why they cannot be read.
    pub fn buckets(&self) -> Result<Vec<(Bucket, Usage)>, String> {
        let read = self.0.read(|transaction| transaction.map_or(Ok(Vec::new()), tables::buckets));
        read?.ok_or_else(|| "the node is being taken over from; ask again".to_owned())
    }
}

impl Store for Local {
    fn submit(&self, request: Request, done: Done) {
        if request.operation.is_write() {
            return self.0.submit(Task::Request(request), done);
        }
        match self.0.read(|transaction| tables::read(transaction, &request)) {
            Ok(Some(answer)) => done(answer),
            Ok(None) => self.0.submit(Task::Request(request), done),
            Err(why) => done(unavailable(&why)),
        }
    }

    fn clear(&self, bucket: Bucket, done: Done) {
        clear(&self.0, bucket, done);
    }

    fn buckets(&self, done: DoneBuckets) {
        done(Local::buckets(self));
    }

    fn counted(&self) -> Option<Counted> {
        Some(self.0.counts().read())
    }
}

/// Removes all of a bucket, some keys at a time, so that the writes of others need not wait for all
/// of them.
fn clear(database: &Arc<Database<Contents>>, bucket: Bucket, done: Done) {
    let again = Arc::clone(database);
    let part = Task::Clear(bucket.clone());
    let then = move |answer| match answer {
        Answer::Keys { more: true, .. } => clear(&again, bucket, done),
        answer => done(answer),
    };
    database.submit(part, Box::new(then));
}

fn unavailable(why: &str) -> Answer {
    Answer::Failed(Failure::Unavailable(why.to_owned()))
}
