//! What workers ask of the store and of the node's jobs, each by a socket of its own.
//!
//! A thread with a runtime of its own answers them. A worker says which function asks; the server
//! has [`Grants`] say whether this worker may, and what the function was granted. Of each worker it
//! holds a bounded number of bytes, and reads no further before they have left. One that breaks the
//! protocol is not listened to any more, and reported; so is one that submits something else as a
//! job than a request that can be made. Owns the engine's ends of the sockets, and the memory of
//! submissions until they are read.

use std::fmt;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use abi::channel::{Channel, ReceiveBuffer, ReceiveError, Received, SendError};
use abi::job::{JobId, Progress, Refused, Submission};
use abi::state::{Answer, Answered, Failure, Query, Question, Response};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, oneshot};
use tokio::task::{LocalSet, spawn_local};

use crate::tally::Tally;
use crate::{Bucket, Quota, Reading, Request, Store, Usage};

/// What is held of one worker's questions and of their answers.
const HELD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What each question counts besides its keys and values.
const QUESTION_BYTES: usize = 256;

/// Whose functions a worker runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runs {
    /// All that have no worker of their own.
    Shared,
    /// This one.
    Function(String),
}

/// Who may use which bucket.
pub trait Grants: Send + Sync + fmt::Debug {
    /// Returns how full `function` may make `bucket`, or the one of its own. Returns `None` if it
    /// was not granted that, or a worker that runs `runs` does not run it.
    fn quota(&self, runs: &Runs, function: &str, bucket: Option<&str>) -> Option<Quota>;

    /// Returns whether clients may have requests to `function` run as jobs, and a worker that runs
    /// `runs` runs it.
    fn takes_jobs(&self, runs: &Runs, function: &str) -> bool;
}

/// What is done with a submission's answer, on whatever thread has it. It must not block.
pub type Submitted = Box<dyn FnOnce(Result<JobId, Refused>) + Send>;
/// What is done with what there is to say of a job, likewise. `None` if there is no such job, a
/// sentence if nobody can say.
pub type LookedUp = Box<dyn FnOnce(Result<Option<Progress>, String>) + Send>;

/// What keeps jobs, and runs them.
pub trait Jobs: Send + Sync + fmt::Debug {
    /// Keeps a job of `function`. `submission` was checked. `done` is passed its id once a crash
    /// cannot lose it any more, or why it is not kept, perhaps before this returns. Must not block.
    fn submit(&self, function: &str, submission: Submission, done: Submitted);

    /// Passes to `done` how far a job of `function` is. Must not block.
    fn look_up(&self, function: &str, job: JobId, done: LookedUp);
}

/// A handle on the thread. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Server {
    commands: UnboundedSender<Command>,
    store: Arc<dyn Store>,
    tally: Arc<Tally>,
}

enum Command {
    Connect(Channel, Runs, UnboundedSender<String>),
    Call(Request, oneshot::Sender<Answer>),
    Clear(Bucket, oneshot::Sender<Answer>),
    Buckets(oneshot::Sender<Result<Vec<(Bucket, Usage)>, String>>),
}

/// The thread that answers has ended, because the node has.
#[derive(Debug, thiserror::Error)]
#[error("the node is stopping")]
pub struct Stopped;

impl Server {
    /// Starts the thread.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(
        store: Arc<dyn Store>,
        jobs: Arc<dyn Jobs>,
        grants: Arc<dyn Grants>,
    ) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (commands, received) = unbounded_channel();
        let tally = Arc::<Tally>::default();
        let server = Self { commands, store: Arc::clone(&store), tally: Arc::clone(&tally) };
        std::thread::Builder::new().name("state".to_owned()).spawn(move || {
            LocalSet::new().block_on(&runtime, run(received, (&store, &tally), &jobs, &grants));
        })?;
        Ok(server)
    }

    /// Returns what was asked so far, and how full the buckets are that this node has in its
    /// database. May block for as long as a page takes from the disk.
    #[must_use]
    pub fn reading(&self) -> Reading {
        let mut reading = Reading { database: self.store.counted(), ..self.tally.read() };
        if reading.database.is_some() {
            let (found, buckets) = std::sync::mpsc::sync_channel(1);
            self.store.buckets(Box::new(move |buckets| drop(found.try_send(buckets))));
            reading.buckets = buckets.try_recv().ok().and_then(Result::ok).unwrap_or_default();
        }
        reading
    }

    /// Answers a worker that runs `runs` from now on. If it breaks the protocol, the returned
    /// receiver has a sentence about that.
    pub fn connect(&self, channel: Channel, runs: Runs) -> UnboundedReceiver<String> {
        let (breach, breaches) = unbounded_channel();
        // Without the thread, the other end is closed.
        let _ = self.commands.send(Command::Connect(channel, runs, breach));
        breaches
    }

    /// Does what the operator asks for.
    ///
    /// # Errors
    /// [`Stopped`] if the node has.
    pub async fn call(&self, request: Request) -> Result<Answer, Stopped> {
        let (done, answer) = oneshot::channel();
        self.commands.send(Command::Call(request, done)).map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// Removes all of a bucket.
    ///
    /// # Errors
    /// [`Stopped`] if the node has.
    pub async fn clear(&self, bucket: Bucket) -> Result<Answer, Stopped> {
        let (done, answer) = oneshot::channel();
        self.commands.send(Command::Clear(bucket, done)).map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// Returns every bucket that has something in it.
    ///
    /// # Errors
    /// A sentence that says why they cannot be read.
    pub async fn buckets(&self) -> Result<Vec<(Bucket, Usage)>, String> {
        let (done, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Buckets(done)).map_err(|_| Stopped);
        sent.map_err(|stopped| stopped.to_string())?;
        answer.await.map_err(|_| Stopped.to_string())?
    }
}

async fn run(
    mut commands: UnboundedReceiver<Command>,
    (store, tally): (&Arc<dyn Store>, &Arc<Tally>),
    jobs: &Arc<dyn Jobs>,
    grants: &Arc<dyn Grants>,
) {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Connect(channel, runs, breach) => {
                let (store, jobs) = (Arc::clone(store), Arc::clone(jobs));
                let (grants, held) = (Arc::clone(grants), Arc::default());
                let tally = Arc::clone(tally);
                let connection = Connection { runs, store, tally, jobs, grants, held };
                spawn_local(async move {
                    if let Err(why) = connection.serve(channel).await {
                        let _ = breach.send(why);
                    }
                });
            }
            Command::Call(request, done) => {
                let (tally, is_write) = (Arc::clone(tally), request.operation.is_write());
                let counted = move |answer| {
                    tally.count(is_write, &answer);
                    let _ = done.send(answer);
                };
                store.submit(request, Box::new(counted));
            }
            Command::Clear(bucket, done) => {
                store.clear(bucket, Box::new(move |answer| drop(done.send(answer))));
            }
            Command::Buckets(done) => {
                store.buckets(Box::new(move |buckets| drop(done.send(buckets))));
            }
        }
    }
}

/// What is held of a worker's questions and answers.
#[derive(Debug, Default)]
struct Held {
    bytes: AtomicUsize,
    room: Notify,
}

impl Held {
    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn remove(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.room.notify_one();
    }

    async fn until_room(&self) {
        while self.bytes.load(Ordering::Relaxed) > HELD_BYTES_MAX {
            self.room.notified().await;
        }
    }
}

/// An answer on its way, and how much is held for it.
type Outgoing = (Answered, usize);

struct Connection {
    runs: Runs,
    store: Arc<dyn Store>,
    tally: Arc<Tally>,
    jobs: Arc<dyn Jobs>,
    grants: Arc<dyn Grants>,
    held: Arc<Held>,
}

impl Connection {
    /// Answers until the worker has gone.
    ///
    /// # Errors
    /// A sentence if the worker has broken the protocol.
    async fn serve(&self, channel: Channel) -> Result<(), String> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        // SAFETY: the channel owns its fd, and goes with what that is registered for.
        let channel = unsafe { AsyncFd::register_with_interest(channel, interest) };
        let channel = Rc::new(channel.map_err(|error| error.to_string())?);
        let (answers, outgoing) = unbounded_channel();
        let sender = spawn_local(send(Rc::clone(&channel), outgoing, Arc::clone(&self.held)));
        let ended = self.receive(&channel, &answers).await;
        sender.abort();
        ended
    }

    async fn receive(
        &self,
        channel: &AsyncFd<Channel>,
        answers: &UnboundedSender<Outgoing>,
    ) -> Result<(), String> {
        let mut buffer = ReceiveBuffer::default();
        loop {
            self.held.until_room().await;
            match channel.get_ref().receive::<Question>(&mut buffer) {
                Ok(received) => self.answer(received, answers)?,
                Err(ReceiveError::Empty) => {
                    let Ok(mut ready) = channel.readable().await else { return Ok(()) };
                    // Only when there really is nothing: what has come since would not be told.
                    match channel.get_ref().receive::<Question>(&mut buffer) {
                        Ok(received) => self.answer(received, answers)?,
                        Err(ReceiveError::Empty) => ready.clear_ready(),
                        Err(error) => return ended(&error),
                    }
                }
                Err(error) => return ended(&error),
            }
            // A flood of one worker must not hold up the others.
            tokio::task::consume_budget().await;
        }
    }

    /// Has a question answered.
    ///
    /// # Errors
    /// A sentence if what came with it breaks the protocol.
    fn answer(
        &self,
        Received { message, fd }: Received<Question>,
        answers: &UnboundedSender<Outgoing>,
    ) -> Result<(), String> {
        let Question { id, function, query } = message;
        let to = Asker { id, answers: answers.clone(), held: Arc::clone(&self.held) };
        match query {
            Query::State { bucket, operation } => {
                let quota = self.grants.quota(&self.runs, &function, bucket.as_deref());
                let to = to.hold(operation.bytes());
                let (tally, is_write) = (Arc::clone(&self.tally), operation.is_write());
                let done = move |answer: Answer| {
                    tally.count(is_write, &answer);
                    to.answer(Response::State(answer));
                };
                let Some(quota) = quota else {
                    done(Answer::Failed(Failure::Denied));
                    return Ok(());
                };
                let bucket = bucket.map_or(Bucket::Function(function), Bucket::Shared);
                let request = Request { bucket, quota, operation };
                self.store.submit(request, Box::new(done));
            }
            Query::Submit => {
                let submission = submission(fd)?;
                let to = to.hold(submission.bytes());
                if !self.grants.takes_jobs(&self.runs, &function) {
                    to.answer(Response::Submitted(Err(Refused::Denied)));
                    return Ok(());
                }
                let done = |kept: Result<JobId, Refused>| {
                    to.answer(Response::Submitted(kept.map(|job| job.bytes())));
                };
                self.jobs.submit(&function, submission, Box::new(done));
            }
            Query::Progress { job } => {
                let to = to.hold(0);
                if !self.grants.takes_jobs(&self.runs, &function) {
                    to.answer(Response::Progress(Ok(None)));
                    return Ok(());
                }
                let done = |progress| to.answer(Response::Progress(progress));
                self.jobs.look_up(&function, JobId::from_bytes(job), Box::new(done));
            }
        }
        Ok(())
    }
}

/// Reads what a worker has submitted.
fn submission(memory: Option<OwnedFd>) -> Result<Submission, String> {
    let memory = memory.ok_or("it submits a job without its memory")?;
    Submission::open(memory).map_err(|error| format!("it breaks the protocol: {error}"))
}

/// Where the answer to a question goes.
struct Asker {
    id: u64,
    answers: UnboundedSender<Outgoing>,
    held: Arc<Held>,
}

/// The same, with so many bytes held for it.
struct Waiting {
    asker: Asker,
    bytes: usize,
}

impl Asker {
    /// Holds a question of so many bytes besides itself.
    fn hold(self, bytes: usize) -> Waiting {
        let bytes = QUESTION_BYTES + bytes;
        self.held.add(bytes);
        Waiting { asker: self, bytes }
    }
}

impl Waiting {
    fn answer(self, response: Response) {
        let Self { asker: Asker { id, answers, held }, bytes } = self;
        let added = if let Response::State(answer) = &response { answer.bytes() } else { 0 };
        held.add(added);
        let _ = answers.send((Answered { id, response }, bytes + added));
    }
}

fn ended(error: &ReceiveError) -> Result<(), String> {
    match error {
        ReceiveError::Malformed(_) => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// Sends answers, as fast as the worker takes them.
async fn send(
    channel: Rc<AsyncFd<Channel>>,
    mut answers: UnboundedReceiver<Outgoing>,
    held: Arc<Held>,
) {
    while let Some((answered, bytes)) = answers.recv().await {
        loop {
            match channel.get_ref().send(&answered, None) {
                Ok(()) => break,
                Err(SendError::Busy) => {
                    let Ok(mut ready) = channel.writable().await else { return };
                    ready.clear_ready();
                }
                Err(SendError::Gone) => return,
                Err(error) => {
                    tracing::error!("an answer to a worker's question is lost: {error}");
                    break;
                }
            }
        }
        held.remove(bytes);
    }
}
