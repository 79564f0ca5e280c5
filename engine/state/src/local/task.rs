//! What the database of functions' state does in a transaction. Owns no fds.

use abi::state::{Answer, Failure, Operation};
use database::{Fault, Performed, ROOM_MIN, ROOM_TO_DELETE_MIN, Schema};
use redb::WriteTransaction;

use super::tables::{self, Tables};
use super::unavailable;
use crate::{Bucket, Request};

/// Something that is done in a transaction.
pub(super) enum Task {
    Request(Request),
    /// Remove some keys of a bucket. The answer says whether it has more.
    Clear(Bucket),
}

/// Buckets of keys and values.
#[derive(Debug)]
pub(super) struct Contents;

impl Schema for Contents {
    type Task = Task;
    type Answer = Answer;

    const FORMAT: u64 = tables::FORMAT;
    const CONTENTS: &'static str = "state of functions";
    const THREAD: &'static str = "state-commit";

    fn is_write(task: &Task) -> bool {
        match task {
            Task::Request(request) => request.operation.is_write(),
            Task::Clear(_) => true,
        }
    }

    fn bytes(task: &Task) -> usize {
        match task {
            Task::Request(request) => request.operation.bytes(),
            Task::Clear(_) => 0,
        }
    }

    fn perform(
        transaction: &WriteTransaction,
        tasks: &[Task],
        room: u64,
    ) -> Result<Performed<Answer>, Fault> {
        let mut tables = Tables::open(transaction)?;
        let answers: Result<Vec<Answer>, Fault> =
            tasks.iter().map(|task| perform_one(&mut tables, task, room)).collect();
        let answers = answers?;
        Ok(Performed { answers, has_changed: tables.close()? })
    }

    fn nothing(task: &Task) -> Answer {
        match task {
            Task::Request(request) => tables::nothing(&request.operation),
            Task::Clear(_) => Answer::Done,
        }
    }

    fn unavailable(why: &str) -> Answer {
        unavailable(why)
    }
}

fn perform_one(tables: &mut Tables<'_>, task: &Task, room: u64) -> Result<Answer, Fault> {
    let needed = match task {
        Task::Request(request) if !request.operation.is_write() => 0,
        Task::Request(Request { operation: Operation::DeleteMany { .. }, .. }) | Task::Clear(_) => {
            ROOM_TO_DELETE_MIN
        }
        Task::Request(_) => ROOM_MIN,
    };
    if room < needed {
        // Before it really is: the database would have to be opened anew after that.
        return Ok(Answer::Failed(Failure::Unavailable(Fault::Full.to_string())));
    }
    match task {
        Task::Request(request) => tables.apply(request),
        Task::Clear(bucket) => tables.clear(bucket),
    }
}
