//! What the database of jobs does in a transaction. Owns no fds.

use database::{Fault, Performed, ROOM_MIN, ROOM_TO_DELETE_MIN, Schema};
use redb::WriteTransaction;

use super::tables::{self, Tables};
use crate::store::{Answer, Task};

/// What each task counts besides its request.
const TASK_BYTES: usize = 512;

/// Jobs.
#[derive(Debug)]
pub(super) struct Contents;

impl Task {
    /// Returns how much room there must be on the disk. Before there really is none: the database
    /// would have to be opened anew after that.
    fn room_min(&self) -> u64 {
        match self {
            Self::Enqueue(..) => ROOM_MIN,
            Self::Update(..) | Self::Finish { .. } | Self::Retry(..) | Self::Remove(_) => {
                ROOM_TO_DELETE_MIN
            }
            Self::Load(_) | Self::Show(_) | Self::List(_) | Self::Scan => 0,
        }
    }
}

impl Schema for Contents {
    type Task = Task;
    type Answer = Answer;

    const FORMAT: u64 = tables::FORMAT;
    const CONTENTS: &'static str = "asynchronous invocations";
    const THREAD: &'static str = "jobs-commit";

    fn is_write(task: &Task) -> bool {
        task.is_write()
    }

    fn bytes(task: &Task) -> usize {
        let request = match task {
            Task::Enqueue(new, _) => new.record.bytes,
            Task::Update(.., then) | Task::Finish { then, .. } => {
                then.iter().map(|then| then.new.record.bytes).sum()
            }
            _ => 0,
        };
        TASK_BYTES + usize::try_from(request).unwrap_or(usize::MAX / 2)
    }

    fn perform(
        transaction: &WriteTransaction,
        tasks: &[Task],
        room: u64,
    ) -> Result<Performed<Answer>, Fault> {
        let mut tables = Tables::open(transaction)?;
        let perform_one = |task: &Task| match room < task.room_min() {
            true => Ok(Answer::Unavailable(Fault::Full.to_string())),
            false => tables.apply(task),
        };
        let answers: Result<Vec<Answer>, Fault> = tasks.iter().map(perform_one).collect();
        let answers = answers?;
        Ok(Performed { answers, has_changed: tables.close()? })
    }

    fn nothing(task: &Task) -> Answer {
        tables::nothing(task)
    }

    fn unavailable(why: &str) -> Answer {
        Answer::Unavailable(why.to_owned())
    }
}
