//! Jobs in a database of this node, which is one file. Reads are done by whoever asks, writes by the
//! database's thread, many in one commit. Owns the database.

mod tables;
mod task;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use database::{Counts, Database, Medium, Mode};

use self::task::Contents;
use crate::JobId;
use crate::record::{Finished, Record, Request};

/// How many jobs there may be, dead letters included. A function may have half of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// In number.
    pub jobs_max: u64,
    /// In bytes of their requests.
    pub bytes_max: u64,
}

/// A job that is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct New {
    /// Its id.
    pub id: JobId,
    /// What is kept of it.
    pub record: Record,
    /// Its request.
    pub request: Request,
}

/// A job that follows from what came of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follower {
    /// The job.
    pub new: New,
    /// Its request if there is no room for the other one.
    pub small: Request,
    /// How much room there is.
    pub bounds: Bounds,
}

/// What is done in a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Keep a job, if there is room.
    Enqueue(New, Bounds),
    /// Keep what has become of a job that stays, and what follows from that. Does nothing if it has
    /// gone.
    Update(JobId, Record, Vec<Follower>),
    /// Remove a job that is done, and keep for a while what came of it, and what follows from that.
    /// Does nothing if it has gone.
    Finish {
        /// Its id.
        id: JobId,
        /// What came of it.
        finished: Finished,
        /// What follows.
        then: Vec<Follower>,
    },
    /// Remove a job.
    Remove(JobId),
    /// Read a job with its request.
    Load(JobId),
    /// Read what is known of a job.
    Show(JobId),
    /// Read what is known of the newest jobs.
    List(Filter),
    /// Read what a [queue](crate::queue) has of all jobs.
    Scan,
}

/// Which jobs are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those of this function.
    pub function: Option<String>,
    /// Those that are kept to be tried.
    pub with_queued: bool,
    /// Dead letters.
    pub with_dead: bool,
    /// Those that are done.
    pub with_done: bool,
    /// So many at most.
    pub limit: usize,
}

/// What is known of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is kept.
    Kept(Record),
    /// It is done.
    Finished(Finished),
}

/// What a queue has of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexed {
    /// Its id.
    pub id: JobId,
    /// The function's name.
    pub function: String,
    /// It is not tried before.
    pub due_ms: u64,
    /// Whether it is a dead letter.
    pub is_dead: bool,
}

/// What comes of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is done, and a crash cannot undo it.
    Done,
    /// There is no such job.
    Unknown,
    /// There are too many jobs: a sentence that says which.
    Full(String),
    /// The database cannot be used: a sentence that says why.
    Unavailable(String),
    /// A job.
    Loaded(Box<(Record, Request)>),
    /// What is known of a job.
    Shown(Box<Found>),
    /// Jobs, the newest last.
    Listed(Vec<(JobId, Found)>),
    /// What a queue has of all jobs.
    Scanned(Vec<Indexed>),
}

/// What is done with an answer, on whatever thread has it. It must not block.
pub type Done = database::Done<Answer>;

/// The database of this node.
#[derive(Debug)]
pub struct Local(Database<Contents>);

impl Local {
    /// Starts the thread of the database in `file`. If the file is there, the database is opened;
    /// whether that fails is told by every answer.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(file: PathBuf, mode: Mode) -> std::io::Result<Self> {
        Database::start(file, mode).map(Self)
    }

    /// The same with a database at another place.
    ///
    /// # Errors
    /// The same.
    pub fn on(medium: Box<dyn Medium>, mode: Mode) -> std::io::Result<Self> {
        Database::on(medium, mode).map(Self)
    }

    /// Does a task, and passes the answer to `done`, perhaps before this returns. May block for as
    /// long as a page takes from the disk.
    pub fn submit(&self, task: Task, done: Done) {
        if task.is_write() {
            return self.0.submit(task, done);
        }
        match self.0.read(|transaction| tables::read(transaction, &task)) {
            Ok(Some(answer)) => done(answer),
            Ok(None) => self.0.submit(task, done),
            Err(why) => done(Answer::Unavailable(why)),
        }
    }

    /// From now on another engine may need the database: it is closed after each batch.
    pub fn share(&self) {
        self.0.share();
    }

    /// The other engine has gone, and the database is this one's.
    pub fn own(&self) {
        self.0.own();
    }

    /// Does what was submitted before, and closes the database in order.
    pub fn close(&self) {
        self.0.close();
    }

    /// Returns what was done since the node has started.
    pub fn counts(&self) -> &Counts {
        self.0.counts()
    }
}
