//! State in a database of this node, which is one file.
//!
//! Whoever submits a read reads by itself, as of the last commit. Writes go to a thread of the
//! database, which takes all that wait into one transaction, commits that, and then answers: so
//! many writes share one wait for the disk, and an answered write survives a crash.
//!
//! The file is made by the first write. Only one process can have it open. While a node is taken
//! over from, two engines need it: each then opens it for a batch at a time ([`Local::share`]).
//!
//! After an error the database is closed, and opened anew a little later. Owns the file while it is
//! open, and the thread.

mod entry;
mod fault;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::fs::File;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use abi::state::{Answer, Failure};
use redb::{Database, DatabaseError};

pub use self::fault::Fault;
use crate::{Bucket, Done, DoneBuckets, Request, Store, Usage};

/// What of the file is kept in memory. The library's default is a GiB.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// How long the database is left alone after an error: to open it after one may be to read all of
/// it.
const PAUSE: Duration = Duration::from_secs(1);

/// A place for a database.
pub(crate) trait Medium: Send + Sync + fmt::Debug {
    /// Opens the database. Returns `None` if there is none, unless it is to be made.
    fn open(&self, make: bool) -> Result<Option<Database>, DatabaseError>;

    /// Returns how many bytes can be written before there is no more room.
    fn room(&self) -> u64;
}

/// A file. Its folder is made with it.
#[derive(Debug)]
struct OnDisk(PathBuf);

impl Medium for OnDisk {
    fn open(&self, make: bool) -> Result<Option<Database>, DatabaseError> {
        if !self.0.try_exists()? {
            if !make {
                return Ok(None);
            }
            self.make()?;
        }
        builder().open(&self.0).map(Some)
    }

    fn room(&self) -> u64 {
        let folder = self.0.parent().filter(|folder| folder.is_dir());
        let room = folder.and_then(|folder| nix::sys::statvfs::statvfs(folder).ok());
        room.map_or(u64::MAX, |of| of.blocks_available().saturating_mul(of.fragment_size()))
    }
}

impl OnDisk {
    /// Makes an empty database. It gets its name when it is whole: one that a crash has left half
    /// made could not be opened.
    fn make(&self) -> Result<(), DatabaseError> {
        let folder = self.0.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        // Another engine may be at it, too.
        let lock = File::create(folder.join("lock"))?;
        lock.lock()?;
        if self.0.try_exists()? {
            return Ok(());
        }
        let beside = self.0.with_extension("new");
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        builder().create(&beside)?.close()?;
        std::fs::rename(&beside, &self.0)?;
        Ok(File::open(folder)?.sync_all()?)
    }
}

fn builder() -> redb::Builder {
    let mut builder = redb::Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// The database of this node.
#[derive(Debug)]
pub struct Local {
    shared: Arc<Shared>,
    queue: Sender<Work>,
}

/// What the thread of the database is to do.
enum Work {
    Request(Request, Done),
    Clear(Bucket, Done),
    /// Close the database after each batch from now on.
    Share,
    /// Keep the database open from now on.
    Own,
    /// Close the database, and end.
    Close(SyncSender<()>),
}

/// What the thread of the database and those that read share.
#[derive(Debug)]
struct Shared {
    medium: Box<dyn Medium>,
    database: Mutex<State>,
    counts: Counts,
}

#[derive(Debug)]
struct State {
    database: Option<Arc<Database>>,
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
    /// Operations that only read.
    pub reads: AtomicU64,
    /// Operations that may write.
    pub writes: AtomicU64,
    /// Transactions that were written.
    pub commits: AtomicU64,
    /// How long commits took, together.
    pub commit_us: AtomicU64,
    /// Operations that failed because of the database.
    pub failed: AtomicU64,
}

/// A database that can be read.
enum Readable {
    Database(Arc<Database>),
    /// There is none yet.
    Nothing,
    /// Only the thread can read it.
    ByThread,
}

impl Local {
    /// Starts the thread of the database in `file`. If the file is there, the database is opened;
    /// whether that fails is told by every answer.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(file: PathBuf, mode: Mode) -> std::io::Result<Self> {
        Self::on(Box::new(OnDisk(file)), mode)
    }

    fn on(medium: Box<dyn Medium>, mode: Mode) -> std::io::Result<Self> {
        let state = State { database: None, shares: mode == Mode::Shared, failed: None };
        let (database, counts) = (Mutex::new(state), Counts::default());
        let shared = Arc::new(Shared { medium, database, counts });
        let (queue, work) = channel();
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("state-commit".to_owned())
            .spawn(move || writer::run(&of_thread, &work))?;
        if mode == Mode::Owned
            && let Err(why) = shared.readable()
        {
            tracing::error!("state of functions cannot be used: {why}");
        }
        Ok(Self { shared, queue })
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

    /// Returns every bucket that has something in it.
    ///
    /// # Errors
    /// A sentence that says why they cannot be read.
    pub fn buckets(&self) -> Result<Vec<(Bucket, Usage)>, String> {
        match self.shared.readable()? {
            Readable::Nothing => Ok(Vec::new()),
            Readable::ByThread => Err("the node is being taken over from; ask again".to_owned()),
            Readable::Database(database) => caught(|| tables::buckets(&begin_read(&database)?))
                .map_err(|fault| self.shared.failed(&fault)),
        }
    }

    fn put(&self, work: Work) {
        // After the end nobody waits for an answer but who is about to end, too.
        if let Err(unsent) = self.queue.send(work)
            && let Work::Request(_, done) | Work::Clear(_, done) = unsent.0
        {
            done(unavailable("the node is stopping"));
        }
    }
}

/// Who else may need the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nobody.
    Owned,
    /// The engine that this one takes over from, until [`Local::own`].
    Shared,
}

impl Store for Local {
    fn submit(&self, request: Request, done: Done) {
        if request.operation.is_write() {
            return self.put(Work::Request(request, done));
        }
        match self.shared.readable() {
            Ok(Readable::ByThread) => self.put(Work::Request(request, done)),
            Ok(Readable::Database(database)) => {
                done(self.shared.guarded(|| tables::read(Some(&begin_read(&database)?), &request)));
            }
            Ok(Readable::Nothing) => done(self.shared.guarded(|| tables::read(None, &request))),
            Err(why) => {
                self.shared.counts.failed.fetch_add(1, Relaxed);
                done(unavailable(&why));
            }
        }
    }

    fn clear(&self, bucket: Bucket, done: Done) {
        self.put(Work::Clear(bucket, done));
    }

    fn buckets(&self, done: DoneBuckets) {
        done(Local::buckets(self));
    }
}

fn begin_read(database: &Database) -> Result<redb::ReadTransaction, Fault> {
    use redb::ReadableDatabase as _;
    database.begin_read().map_err(Fault::of)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how the database can be read now.
    fn readable(&self) -> Result<Readable, String> {
        let mut state = self.lock();
        if state.shares {
            return Ok(Readable::ByThread);
        }
        Ok(self.opened(&mut state, false)?.map_or(Readable::Nothing, Readable::Database))
    }

    /// Returns the database, opened if need be.
    fn opened(&self, state: &mut State, make: bool) -> Result<Option<Arc<Database>>, String> {
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
            Err(fault) => Err(fail(state, &fault)),
        }
    }

    fn open(&self, make: bool) -> Result<Option<Database>, Fault> {
        let Some(database) = self.medium.open(make).map_err(Fault::of)? else { return Ok(None) };
        tables::prepare(database.begin_write().map_err(Fault::of)?)?;
        Ok(Some(database))
    }

    /// Reads, and counts that.
    fn guarded(&self, read: impl FnOnce() -> Result<Answer, Fault>) -> Answer {
        self.counts.reads.fetch_add(1, Relaxed);
        caught(read).unwrap_or_else(|fault| {
            self.counts.failed.fetch_add(1, Relaxed);
            unavailable(&self.failed(&fault))
        })
    }

    /// Closes the database because of a fault. Returns the fault as a sentence.
    fn failed(&self, fault: &Fault) -> String {
        fail(&mut self.lock(), fault)
    }
}

/// Closes the database because of a fault, and leaves it so for a while. Returns the fault as a
/// sentence.
fn fail(state: &mut State, fault: &Fault) -> String {
    let why = fault.to_string();
    if state.failed.as_ref().is_none_or(|before| before.why != why) {
        tracing::error!("state of functions cannot be used: {why}");
    }
    state.database = None;
    state.failed = Some(Failed { why: why.clone(), until: Instant::now() + PAUSE });
    why
}

/// Does something with the database. It panics about files that others have changed.
fn caught<T>(act: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| Err(Fault::of_panic(panic.as_ref())))
}

fn unavailable(why: &str) -> Answer {
    Answer::Failed(Failure::Unavailable(why.to_owned()))
}
