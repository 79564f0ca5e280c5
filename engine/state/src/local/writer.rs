//! The thread of the database: group commit. Owns no fds.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use abi::state::{Answer, Failure, Operation};
use redb::Database;

use super::tables::Tables;
use super::{Fault, Shared, Work, caught, unavailable};
use crate::{Bucket, Done, Request};

/// The most operations in one transaction,
const BATCH_MAX: usize = 1000;
/// and the most bytes of keys and values.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// With less room on the disk, nothing is set,
const ROOM_MIN: u64 = 16 * 1024 * 1024;
/// and with less than this, nothing is removed either, which takes some room, too.
const ROOM_TO_DELETE_MIN: u64 = 4 * 1024 * 1024;
/// How long another engine may have the database.
const HELD_TIMEOUT: Duration = Duration::from_secs(10);
/// How often is looked whether it still has it.
const HELD_INTERVAL: Duration = Duration::from_millis(1);

/// Something that is done in a transaction.
enum Task {
    Request(Request),
    Clear(Bucket),
}

/// What one transaction does.
#[derive(Default)]
struct Batch {
    tasks: Vec<(Task, Done)>,
    bytes: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.tasks.len() >= BATCH_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    /// Takes work up. Returns what is not done in a transaction.
    fn take(&mut self, work: Work) -> Option<Order> {
        match work {
            Work::Request(request, done) => {
                self.bytes += request.operation.bytes();
                self.tasks.push((Task::Request(request), done));
                None
            }
            Work::Clear(bucket, done) => {
                self.tasks.push((Task::Clear(bucket), done));
                None
            }
            Work::Share => Some(Order::Share),
            Work::Own => Some(Order::Own),
            Work::Close(closed) => Some(Order::Close(closed)),
        }
    }
}

enum Order {
    Share,
    Own,
    Close(SyncSender<()>),
}

/// Does what is in the queue, until it is told to close or nobody is left who could.
pub(super) fn run(shared: &Arc<Shared>, queue: &Receiver<Work>) {
    while let Ok(first) = queue.recv() {
        let mut batch = Batch::default();
        let mut order = batch.take(first);
        while order.is_none() && !batch.is_full() {
            match queue.try_recv() {
                Ok(work) => order = batch.take(work),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        if !batch.tasks.is_empty() {
            commit(shared, batch);
        }
        match order {
            Some(Order::Share) => {
                let mut state = shared.lock();
                (state.shares, state.database) = (true, None);
            }
            Some(Order::Own) => shared.lock().shares = false,
            Some(Order::Close(closed)) => {
                close(shared);
                let _ = closed.send(());
                return;
            }
            None => {}
        }
    }
    close(shared);
}

/// Closes the database. Those that are reading still have it: the last one closes it.
fn close(shared: &Shared) {
    let database = shared.lock().database.take();
    drop(database);
}

/// Does all of a batch in one transaction, and answers.
fn commit(shared: &Shared, Batch { tasks, .. }: Batch) {
    let (tasks, done): (Vec<Task>, Vec<Done>) = tasks.into_iter().unzip();
    let begun = Instant::now();
    let answers = match database(shared, tasks.iter().any(is_write)) {
        Ok(database) => {
            let room = shared.medium.room();
            let answers = caught(|| perform(database.as_deref(), &tasks, room));
            drop(database);
            answers.map_err(|fault| shared.failed(&fault))
        }
        Err(why) => Err(why),
    };
    let shares = shared.lock().shares;
    if shares {
        close(shared);
        // The other engine looks for its turn now and then.
        std::thread::sleep(2 * HELD_INTERVAL);
    }
    let counts = &shared.counts;
    let writes = tasks.iter().filter(|task| is_write(task)).count() as u64;
    counts.writes.fetch_add(writes, Relaxed);
    counts.reads.fetch_add(tasks.len() as u64 - writes, Relaxed);
    match answers {
        Ok(answers) => {
            if writes > 0 {
                let us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                counts.commits.fetch_add(1, Relaxed);
                counts.commit_us.fetch_add(us, Relaxed);
            }
            done.into_iter().zip(answers).for_each(|(done, answer)| done(answer));
        }
        Err(why) => {
            counts.failed.fetch_add(tasks.len() as u64, Relaxed);
            done.into_iter().for_each(|done| done(unavailable(&why)));
        }
    }
}

fn is_write(task: &Task) -> bool {
    match task {
        Task::Request(request) => request.operation.is_write(),
        Task::Clear(_) => true,
    }
}

/// Returns the database, when no other engine has it. Returns `None` if there is none, and none is
/// to be made.
fn database(shared: &Shared, make: bool) -> Result<Option<Arc<Database>>, String> {
    let until = Instant::now() + HELD_TIMEOUT;
    loop {
        let mut state = shared.database.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.shares {
            return shared.opened(&mut state, make);
        }
        if let Some(database) = &state.database {
            return Ok(Some(Arc::clone(database)));
        }
        match caught(|| shared.open(make)) {
            Ok(database) => {
                state.database = database.map(Arc::new);
                return Ok(state.database.clone());
            }
            Err(Fault::Held) if Instant::now() < until => drop(state),
            Err(fault) => return Err(super::fail(&mut state, &fault)),
        }
        std::thread::sleep(HELD_INTERVAL);
    }
}

/// Does all tasks. What they have changed is on the disk when this returns.
fn perform(database: Option<&Database>, tasks: &[Task], room: u64) -> Result<Vec<Answer>, Fault> {
    let Some(database) = database else {
        let read = |task: &Task| match task {
            Task::Request(request) => super::tables::read(None, request),
            Task::Clear(_) => Ok(Answer::Done),
        };
        return tasks.iter().map(read).collect();
    };
    let transaction = database.begin_write().map_err(Fault::of)?;
    let mut tables = Tables::open(&transaction)?;
    let answers: Result<Vec<Answer>, Fault> =
        tasks.iter().map(|task| perform_one(&mut tables, task, room)).collect();
    let answers = answers?;
    if tables.close()? {
        transaction.commit().map_err(Fault::of)?;
    } else {
        transaction.abort().map_err(Fault::of)?;
    }
    Ok(answers)
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
