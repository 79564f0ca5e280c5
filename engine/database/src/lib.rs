//! A database of this node, which is one file.
//!
//! What is in it, a [`Schema`] says: its tasks are values, and their answers come by a callback.
//! Whoever reads does so by itself, as of the last commit. Writes go to a thread of the database,
//! which takes all that wait into one transaction, commits that, and then answers: so many writes
//! share one wait for the disk, and an answered write survives a crash.
//!
//! The file is made by the first write. Only one process can have it open. While a node is taken
//! over from, two engines need it: each then opens it for a batch at a time
//! ([`Database::share`]).
//!
//! After an error the database is closed, and opened anew a little later. [`entry`] is how a value
//! stands in it with a checksum. Owns the file while it is open, and the thread.

pub mod entry;
mod fault;
mod format;
mod medium;
#[cfg(feature = "power-loss")]
pub mod power_loss;
mod writer;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redb::{ReadTransaction, ReadableDatabase as _, WriteTransaction};

pub use self::fault::Fault;
pub use self::medium::{Medium, builder};

/// With less room on the disk, nothing is written that makes the database larger,
pub const ROOM_MIN: u64 = 16 * 1024 * 1024;
/// and with less than this, nothing is removed either, which takes some room, too.
pub const ROOM_TO_DELETE_MIN: u64 = 4 * 1024 * 1024;
/// How long the database is left alone after an error: to open it after one may be to read all of
/// it.
const PAUSE: Duration = Duration::from_secs(1);

/// What is in a database.
pub trait Schema: Send + Sync + fmt::Debug + 'static {
    /// What is done in a transaction, with others of its kind.
    type Task: Send + 'static;
    /// What comes of a task.
    type Answer: Send + 'static;

    /// The format of all of it. Raise it when an earlier build must not write to it any more.
    const FORMAT: u64;
    /// What it holds, as a message says that: `{CONTENTS} cannot be used`.
    const CONTENTS: &'static str;
    /// The name of its thread, of at most 15 bytes.
    const THREAD: &'static str;

    /// Returns whether a task may write.
    fn is_write(task: &Self::Task) -> bool;

    /// Returns how many bytes a task has.
    fn bytes(task: &Self::Task) -> usize;

    /// Does all `tasks` in a transaction. `room` is how many bytes the disk has left.
    ///
    /// # Errors
    /// When the database cannot be used. Then nothing of it is done.
    fn perform(
        transaction: &WriteTransaction,
        tasks: &[Self::Task],
        room: u64,
    ) -> Result<Performed<Self::Answer>, Fault>;

    /// Returns what comes of a task that only reads while there is no database yet.
    fn nothing(task: &Self::Task) -> Self::Answer;

    /// Returns what comes of a task when the database cannot be used.
    fn unavailable(why: &str) -> Self::Answer;
}

/// What has come of the tasks of one transaction.
#[derive(Debug)]
pub struct Performed<A> {
    /// An answer each, in their order.
    pub answers: Vec<A>,
    /// Whether there is anything to commit.
    pub has_changed: bool,
}

/// What is done with an answer, on whatever thread has it. It must not block.
pub type Done<A> = Box<dyn FnOnce(A) + Send>;

/// The database.
#[derive(Debug)]
pub struct Database<S: Schema> {
    shared: Arc<Shared<S>>,
    queue: Sender<Work<S>>,
}

/// What the thread of the database is to do.
enum Work<S: Schema> {
    Task(S::Task, Done<S::Answer>),
    /// Close the database after each batch from now on.
    Share,
    /// Keep the database open from now on.
    Own,
    /// Close the database, and end.
    Close(SyncSender<()>),
}

/// What the thread of the database and those that read share.
#[derive(Debug)]
struct Shared<S> {
    medium: Box<dyn Medium>,
    database: Mutex<State>,
    counts: Counts,
    schema: std::marker::PhantomData<S>,
}

#[derive(Debug)]
struct State {
    database: Option<Arc<redb::Database>>,
    /// Whether another process may need it: then only the thread opens it.
    shares: bool,
    failed: Option<Failed>,
}

/// Why the database could not be used, and when it is tried again.
#[derive(Debug)]
struct Failed {
    why: String,
    until: Instant,
}

/// What was done since the node has started.
#[derive(Debug, Default)]
pub struct Counts {
    /// Tasks that only read.
    pub reads: AtomicU64,
    /// Tasks that may write.
    pub writes: AtomicU64,
    /// Transactions that were written.
    pub commits: AtomicU64,
    /// How long commits took, together.
    pub commit_us: AtomicU64,
    /// Tasks that failed because of the database.
    pub failed: AtomicU64,
}

impl Counts {
    /// Returns what was counted so far.
    #[must_use]
    pub fn read(&self) -> Counted {
        let [reads, writes, commits, commit_us, failed] =
            [&self.reads, &self.writes, &self.commits, &self.commit_us, &self.failed]
                .map(|count| count.load(Relaxed));
        Counted { reads, writes, commits, commit_us, failed }
    }
}

/// [`Counts`] at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "as of `Counts`")]
pub struct Counted {
    pub reads: u64,
    pub writes: u64,
    pub commits: u64,
    pub commit_us: u64,
    pub failed: u64,
}

/// Who else may need the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nobody.
    Owned,
    /// The engine that this one takes over from, until [`Database::own`].
    Shared,
}

impl<S: Schema> Database<S> {
    /// Starts the thread of the database in `file`. If the file is there, the thread opens it, which
    /// takes a while after a crash: who needs none of it does not wait. Whether it fails is told by
    /// every answer.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(file: PathBuf, mode: Mode) -> std::io::Result<Self> {
        Self::on(Box::new(medium::OnDisk(file)), mode)
    }

    /// The same with a database at another place.
    ///
    /// # Errors
    /// The same.
    pub fn on(medium: Box<dyn Medium>, mode: Mode) -> std::io::Result<Self> {
        let state = State { database: None, shares: mode == Mode::Shared, failed: None };
        let (database, counts) = (Mutex::new(state), Counts::default());
        let shared =
            Arc::new(Shared { medium, database, counts, schema: std::marker::PhantomData });
        let (queue, work) = channel();
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name(S::THREAD.to_owned())
            .spawn(move || writer::run(&of_thread, &work))?;
        Ok(Self { shared, queue })
    }

    /// Has the thread do a task, and pass the answer to `done`. An answer to a write comes when a
    /// crash cannot undo it any more.
    pub fn submit(&self, task: S::Task, done: Done<S::Answer>) {
        // After the end nobody waits for an answer but who is about to end, too.
        if let Err(unsent) = self.queue.send(Work::Task(task, done))
            && let Work::Task(_, done) = unsent.0
        {
            done(S::unavailable("the node is stopping"));
        }
    }

    /// Reads as of the last commit, on the caller's thread. There is no transaction while there is
    /// no database yet. Returns `None` if only the thread can read now: then [submit](Self::submit)
    /// the task. May block for as long as a page takes from the disk.
    ///
    /// # Errors
    /// A sentence that says why the database cannot be read.
    pub fn read<T>(
        &self,
        read: impl FnOnce(Option<&ReadTransaction>) -> Result<T, Fault>,
    ) -> Result<Option<T>, String> {
        let shared = &self.shared;
        let found = {
            let mut state = shared.lock();
            if state.shares {
                return Ok(None);
            }
            shared.opened(&mut state, false).inspect_err(|_| {
                shared.counts.failed.fetch_add(1, Relaxed);
            })?
        };
        shared.counts.reads.fetch_add(1, Relaxed);
        let read = caught(|| match found {
            Some(database) => read(Some(&database.begin_read().map_err(Fault::of)?)),
            None => read(None),
        });
        let failed = |fault| {
            shared.counts.failed.fetch_add(1, Relaxed);
            fail::<S>(&mut shared.lock(), &fault)
        };
        read.map(Some).map_err(failed)
    }

    /// From now on another engine may need the database: it is closed after each batch.
    pub fn share(&self) {
        let _ = self.queue.send(Work::Share);
    }

    /// The other engine has gone, and the database is this one's.
    pub fn own(&self) {
        let _ = self.queue.send(Work::Own);
    }

    /// Does what was submitted before, and closes the database in order, so that the next start
    /// need not read all of it.
    pub fn close(&self) {
        let (closed, wait) = sync_channel(1);
        if self.queue.send(Work::Close(closed)).is_ok() {
            let _ = wait.recv();
        }
    }

    /// Returns what was done since the node has started.
    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }
}

impl<S: Schema> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the database, opened if need be.
    fn opened(&self, state: &mut State, make: bool) -> Result<Option<Arc<redb::Database>>, String> {
        if let Some(database) = &state.database {
            return Ok(Some(Arc::clone(database)));
        }
        if let Some(Failed { why, until }) = &state.failed
            && *until > Instant::now()
        {
            return Err(why.clone());
        }
        match caught(|| self.open(make)) {
            Ok(database) => {
                state.failed = None;
                state.database = database.map(Arc::new);
                Ok(state.database.clone())
            }
            Err(fault) => Err(fail::<S>(state, &fault)),
        }
    }

    fn open(&self, make: bool) -> Result<Option<redb::Database>, Fault> {
        let Some(database) = self.medium.open(make).map_err(Fault::of)? else { return Ok(None) };
        format::prepare(database.begin_write().map_err(Fault::of)?, S::FORMAT)?;
        Ok(Some(database))
    }
}

/// Closes the database because of a fault, and leaves it so for a while. Returns the fault as a
/// sentence.
fn fail<S: Schema>(state: &mut State, fault: &Fault) -> String {
    let why = fault.to_string();
    if state.failed.as_ref().is_none_or(|before| before.why != why) {
        tracing::error!("{} cannot be used: {why}", S::CONTENTS);
    }
    state.database = None;
    state.failed = Some(Failed { why: why.clone(), until: Instant::now() + PAUSE });
    why
}

/// Does something with the database. It panics about files that others have changed.
fn caught<T>(act: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| Err(Fault::of_panic(panic.as_ref())))
}
