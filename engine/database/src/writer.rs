//! The thread of the database: group commit. Owns no fds.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

use crate::fault::Fault;
use crate::{Done, Performed, Schema, Shared, Work, caught, fail};

/// The most tasks in one transaction,
const BATCH_MAX: usize = 1000;
/// and the most bytes of them.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long another engine may have the database.
const HELD_TIMEOUT: Duration = Duration::from_secs(10);
/// How often is looked whether it still has it.
const HELD_INTERVAL: Duration = Duration::from_millis(1);

/// What one transaction does.
struct Batch<S: Schema> {
    tasks: Vec<S::Task>,
    done: Vec<Done<S::Answer>>,
    bytes: usize,
}

impl<S: Schema> Batch<S> {
    fn is_full(&self) -> bool {
        self.tasks.len() >= BATCH_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    /// Takes work up. Returns what is not done in a transaction.
    fn take(&mut self, work: Work<S>) -> Option<Order> {
        match work {
            Work::Task(task, done) => {
                self.bytes += S::bytes(&task);
                self.tasks.push(task);
                self.done.push(done);
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
pub(crate) fn run<S: Schema>(shared: &Arc<Shared<S>>, queue: &Receiver<Work<S>>) {
    {
        let mut state = shared.lock();
        if !state.shares {
            // An error is logged there.
            let _ = shared.opened(&mut state, false);
        }
    }
    while let Ok(first) = queue.recv() {
        let mut batch = Batch { tasks: Vec::new(), done: Vec::new(), bytes: 0 };
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
fn close<S: Schema>(shared: &Shared<S>) {
    let database = shared.lock().database.take();
    drop(database);
}

/// Does all of a batch in one transaction, and answers.
fn commit<S: Schema>(shared: &Shared<S>, batch: Batch<S>) {
    let Batch { tasks, done, .. } = batch;
    let writes = tasks.iter().filter(|task| S::is_write(task)).count() as u64;
    let begun = Instant::now();
    let answers = match database(shared, writes > 0) {
        Ok(database) => {
            let room = shared.medium.room();
            let answers = caught(|| perform::<S>(database.as_deref(), &tasks, room));
            drop(database);
            answers.map_err(|fault| fail::<S>(&mut shared.lock(), &fault))
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
            done.into_iter().for_each(|done| done(S::unavailable(&why)));
        }
    }
}

/// Returns the database, when no other engine has it. Returns `None` if there is none, and none is
/// to be made.
fn database<S: Schema>(
    shared: &Shared<S>,
    make: bool,
) -> Result<Option<Arc<redb::Database>>, String> {
    let until = Instant::now() + HELD_TIMEOUT;
    loop {
        let mut state = shared.lock();
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
            Err(fault) => return Err(fail::<S>(&mut state, &fault)),
        }
        std::thread::sleep(HELD_INTERVAL);
    }
}

/// Does all tasks. What they have changed is on the disk when this returns.
fn perform<S: Schema>(
    database: Option<&redb::Database>,
    tasks: &[S::Task],
    room: u64,
) -> Result<Vec<S::Answer>, Fault> {
    let Some(database) = database else { return Ok(tasks.iter().map(S::nothing).collect()) };
    let transaction = database.begin_write().map_err(Fault::of)?;
    let Performed { answers, has_changed } = S::perform(&transaction, tasks, room)?;
    if has_changed {
        transaction.commit().map_err(Fault::of)?;
    } else {
        transaction.abort().map_err(Fault::of)?;
    }
    Ok(answers)
}
