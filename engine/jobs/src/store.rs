//! What keeps jobs, and what it is asked for. Owns no fds.

use std::fmt;

use database::Counted;

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
    /// Have a job be due at this time. A dead letter has all its attempts again.
    Retry(JobId, u64),
    /// Remove a job.
    Remove(JobId),
    /// Read a job of this node with its request.
    Load(JobId),
    /// Read what is known of a job.
    Show(JobId),
    /// Read what is known of the newest jobs.
    List(Filter),
    /// Read what a [queue](crate::queue) has of all jobs of this node. Those of nodes that have gone
    /// become this node's before.
    Scan,
}

impl Task {
    /// Returns whether it changes what is kept of a job.
    pub(crate) fn is_write(&self) -> bool {
        match self {
            Self::Enqueue(..)
            | Self::Update(..)
            | Self::Finish { .. }
            | Self::Retry(..)
            | Self::Remove(_) => true,
            Self::Load(_) | Self::Show(_) | Self::List(_) | Self::Scan => false,
        }
    }
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
pub type Done = Box<dyn FnOnce(Answer) + Send>;

/// What a queue does not know of jobs, as somebody else has changed them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// One of this node.
    Job(JobId),
    /// Any.
    All,
}

/// What is done with news. It must not block.
pub type OnNews = Box<dyn Fn(News) + Send + Sync>;

/// What keeps jobs.
pub trait Store: Send + Sync + fmt::Debug {
    /// Does a task, and passes the answer to `done`, perhaps before this returns. An answer to a
    /// write comes when a crash cannot undo it any more. May block for as long as a page takes from
    /// the disk.
    fn submit(&self, task: Task, done: Done);

    /// Returns whether other nodes have jobs there, and can change this one's.
    fn is_shared(&self) -> bool {
        false
    }

    /// Passes to `on_news` from now on what others have changed. Called once, by whoever runs this
    /// node's jobs.
    fn listen(&self, _on_news: OnNews) {}

    /// From now on another engine of this node may need it.
    fn share(&self);

    /// The other engine has gone.
    fn own(&self);

    /// Does what was submitted before, and closes it in order.
    fn close(&self);

    /// Returns what the database of this node has done. Returns `None` if there is none.
    fn counted(&self) -> Option<Counted> {
        None
    }
}
