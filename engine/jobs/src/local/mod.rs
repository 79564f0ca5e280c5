//! Jobs in a database of this node, which is one file. Reads are done by whoever asks, writes by the
//! database's thread, many in one commit. Owns the database.

mod tables;
mod task;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use database::{Counted, Database, Medium, Mode};

use self::task::Contents;
use crate::store::{Answer, Done, Store, Task};

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
}

impl Store for Local {
    fn submit(&self, task: Task, done: Done) {
        if task.is_write() {
            return self.0.submit(task, done);
        }
        match self.0.read(|transaction| tables::read(transaction, &task)) {
            Ok(Some(answer)) => done(answer),
            Ok(None) => self.0.submit(task, done),
            Err(why) => done(Answer::Unavailable(why)),
        }
    }

    fn share(&self) {
        self.0.share();
    }

    fn own(&self) {
        self.0.own();
    }

    fn close(&self) {
        self.0.close();
    }

    fn counted(&self) -> Option<Counted> {
        Some(self.0.counts().read())
    }
}
