//! Asynchronous invocations: kept until they are done, tried again, and what came of them.
//!
//! What is kept and what is next, the crate `jobs` says. [`runner`] is the task that runs them, on a
//! thread of its own, while this engine holds the data folder's [turn](crate::turn) for that;
//! [`attempt`] is one attempt, [`notification`] says what came of a job, [`callback`] tells that a
//! URL, [`trace`] has all of it in one trace, [`submission`] checks what is to be kept, [`change`] is
//! for operators, [`of_workers`] for workers, [`handover`] says what an engine that is taken over from
//! still runs, and [`tally`] counts. Owns what keeps them.

mod attempt;
mod callback;
mod change;
mod error;
mod handover;
mod notification;
mod of_workers;
mod runner;
mod submission;
pub(crate) mod tally;
mod trace;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use abi::limits::JOBS_RUNNING_MAX;
use api::jobs::JobsStatus;
use fleet::workers::supervise::Command;
use host::clock;
use jobs::local::Local;
use jobs::nats::InNats;
use jobs::queue::{Depth, Queue};
use jobs::store::{Answer, New, Store, Task};
use jobs::{JobId, new_id};
use logs::Logs;
use logs::traces::Kind;
use state::server::LookedUp;
use tokio::sync::mpsc::Sender;
use tokio::sync::{Notify, oneshot, watch};

pub use database::Mode;
pub use jobs::nats::Node;
pub use jobs::record::Target;
pub use jobs::store::Bounds;

pub use self::error::JobError;
pub use self::of_workers::OfWorkers;
pub use self::submission::Submission;
use self::tally::{Reading, Refusal, Tally};
use self::trace::{Begins, Tracer};
use crate::functions::Functions;
use crate::life::Life;

/// The file of the database in the data folder.
const FILE: &str = "jobs/local.redb";
/// How long a node that stops waits until what came of the last attempts is kept.
const SILENCE_WAIT: Duration = Duration::from_secs(5);

/// Where jobs are kept, and how many.
#[derive(Debug)]
pub struct Plan {
    /// The data folder.
    pub data: PathBuf,
    /// How many.
    pub bounds: Bounds,
    /// Who else may need the database.
    pub mode: Mode,
    /// Where spans go.
    pub logs: Arc<Logs>,
    /// Of a million submissions without a trace, so many begin one.
    pub trace_sample: u32,
    /// Where nodes share jobs, and what this one is called there.
    pub nats: Option<(nats::Bucket, Node)>,
}

/// What this engine knows of jobs.
#[derive(Debug)]
struct Known {
    queue: Queue,
    tally: Tally,
    /// Whether the queue has what is kept.
    is_loaded: bool,
}

/// Keeps jobs, and runs them.
#[derive(Debug)]
pub struct Jobs {
    functions: Arc<Functions>,
    supervisor: Sender<Command>,
    data: PathBuf,
    bounds: Bounds,
    tracer: Tracer,
    store: Arc<dyn Store>,
    known: Mutex<Known>,
    /// Something may be due, or is to be looked at.
    news: Notify,
    /// Whether no other engine needs the database.
    owned: watch::Sender<bool>,
    /// Whether the runner is there.
    runs: watch::Sender<bool>,
}

impl Jobs {
    /// Opens what keeps jobs: NATS, where there is one, and otherwise a database. See
    /// [`start`](Self::start).
    ///
    /// # Errors
    /// If its thread cannot be started.
    pub fn open(
        functions: Arc<Functions>,
        supervisor: Sender<Command>,
        plan: Plan,
    ) -> std::io::Result<Self> {
        let Plan { data, bounds, mode, logs, trace_sample, nats } = plan;
        let tracer = Tracer::new(logs, trace_sample);
        let file = data.join(FILE);
        let store: Arc<dyn Store> = match nats {
            Some((nats, node)) => Arc::new(InNats::start(nats, node, &file)?),
            None => Arc::new(Local::start(file, mode)?),
        };
        let queue = Queue::new(JOBS_RUNNING_MAX);
        let known = Mutex::new(Known { queue, tally: Tally::default(), is_loaded: false });
        let (owned, runs) = (watch::Sender::new(mode == Mode::Owned), watch::Sender::new(false));
        let news = Notify::new();
        Ok(Self { functions, supervisor, data, bounds, tracer, store, known, news, owned, runs })
    }

    /// Runs jobs, on a thread and runtime of its own, until the node stops or another engine has
    /// taken over.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(self: &Arc<Self>, life: watch::Receiver<Life>) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let jobs = Arc::clone(self);
        let run = move || runtime.block_on(runner::run(jobs, life));
        std::thread::Builder::new().name("jobs".to_owned()).spawn(run)?;
        Ok(())
    }

    /// Keeps an invocation of `function` to be made. `done` has the job's id once a crash cannot lose
    /// it. It is called on whatever thread knows, perhaps before this returns, and must not block.
    pub fn submit(
        self: &Arc<Self>,
        function: &str,
        submission: Submission,
        done: Box<dyn FnOnce(Result<JobId, JobError>) + Send>,
    ) {
        // Whoever has passed it on has sampled it.
        self.keep_new(function, submission, Begins::Never, done);
    }

    fn keep_new(
        self: &Arc<Self>,
        function: &str,
        submission: Submission,
        begins: Begins,
        done: Box<dyn FnOnce(Result<JobId, JobError>) + Send>,
    ) {
        let now_ms = clock::unix_ms();
        let checked = self.functions.listing.function(function).map_err(JobError::from);
        let checked = checked.and_then(|_| submission.check(function, now_ms));
        let (mut record, mut request) = match checked {
            Ok(checked) => checked,
            Err(error) => return done(Err(error)),
        };
        let (id, function, jobs) = (new_id(), function.to_owned(), Arc::clone(self));
        let span = self.tracer.enqueue(id, &mut request.head.headers, begins);
        record.bytes = request.bytes();
        let task = Task::Enqueue(New { id, record, request }, self.bounds);
        let kept = move |answer| match answer {
            Answer::Full(why) => {
                jobs.known().tally.refused(&function, Refusal::Full);
                done(Err(JobError::Full(why)));
            }
            Answer::Unavailable(why) => {
                jobs.known().tally.refused(&function, Refusal::Unavailable);
                done(Err(JobError::Unavailable(why)));
            }
            _ => {
                jobs.submitted(id, &function, now_ms);
                let attributes =
                    vec![("faas.name", function.clone()), ("sockhop.job", id.to_string())];
                let name = (Kind::Producer, format!("enqueue {function}"));
                jobs.tracer.end(span, name, attributes, None);
                done(Ok(id));
            }
        };
        self.store.submit(task, Box::new(kept));
    }

    /// Has the runner run a job that is kept now.
    fn submitted(&self, id: JobId, function: &str, now_ms: u64) {
        let mut known = self.known();
        known.tally.submitted(function);
        // What is not loaded yet will be, with this.
        if known.is_loaded {
            known.queue.insert(id, function, now_ms, now_ms);
            drop(known);
            self.news.notify_one();
        }
    }

    /// The same for those who can wait.
    ///
    /// # Errors
    /// A [`JobError`] that says why it is not kept.
    pub async fn submit_and_wait(
        self: &Arc<Self>,
        function: &str,
        submission: Submission,
    ) -> Result<JobId, JobError> {
        let (done, kept) = oneshot::channel();
        let done = Box::new(move |id| drop(done.send(id)));
        self.keep_new(function, submission, Begins::Sampled, done);
        kept.await.unwrap_or(Err(JobError::NotHere))
    }

    /// Passes to `done` what there is to say of a job of `function`, `None` if it has no such job, or
    /// why that is not known now.
    pub fn look_up(self: &Arc<Self>, function: &str, id: JobId, done: LookedUp) {
        let (jobs, function) = (Arc::clone(self), function.to_owned());
        let shown = move |answer| {
            let found = match answer {
                Answer::Shown(found) => *found,
                Answer::Unavailable(why) => return done(Err(why)),
                _ => return done(Ok(None)),
            };
            let state = jobs.known().queue.state(id);
            let (of, progress) = change::progress(found, state);
            done(Ok((of == function).then_some(progress)));
        };
        self.store.submit(Task::Show(id), Box::new(shown));
    }

    /// From now on another engine of this node may need what keeps jobs.
    pub fn share(&self) {
        self.store.share();
    }

    /// The other engine has gone: what it has left is this one's.
    pub fn own(&self) {
        self.store.own();
        self.owned.send_replace(true);
    }

    /// Returns once no attempt is under way and what came of them is kept, or that takes too long.
    /// For an engine that is stopping.
    pub async fn until_silent(&self) {
        let mut runs = self.runs.subscribe();
        let _ = tokio::time::timeout(SILENCE_WAIT, runs.wait_for(|runs| !runs)).await;
    }

    /// Closes what keeps jobs.
    pub fn close(&self) {
        self.store.close();
    }

    /// Returns how many jobs there are.
    pub(crate) fn status(&self) -> JobsStatus {
        let mut status = JobsStatus::default();
        for JobsStatus { queued, running, dead } in self.depths().into_values() {
            status.queued += queued;
            status.running += running;
            status.dead += dead;
        }
        status
    }

    /// Returns how many jobs there are of each function that has any.
    pub(crate) fn depths(&self) -> BTreeMap<String, JobsStatus> {
        let known = self.known();
        let status = |Depth { queued, running, dead }| JobsStatus { queued, running, dead };
        let depths = known.queue.depths();
        depths.map(|(function, depth)| (function.to_owned(), status(depth))).collect()
    }

    /// Returns what was counted, and what there is.
    pub(crate) fn reading(&self) -> Reading {
        let depths = self.depths();
        let known = self.known();
        let oldest = known.queue.oldest().map(|id| clock::unix_ms().saturating_sub(id.unix_ms()));
        Reading {
            depths,
            tally: known.tally.clone(),
            database: self.store.counted(),
            oldest_ms: oldest.unwrap_or(0),
        }
    }

    /// Does a task with the database.
    async fn ask(&self, task: Task) -> Answer {
        let (done, answer) = oneshot::channel();
        self.store.submit(task, Box::new(move |answer| drop(done.send(answer))));
        answer.await.unwrap_or_else(|_| Answer::Unavailable("the node is stopping".to_owned()))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
