//! The task that runs jobs: it begins an attempt when there is one to make, and sleeps until there
//! is. Owns the [turn](crate::turn) to run them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use abi::function::Kind;
use host::clock;
use jobs::JobId;
use jobs::plan::{self, Next, Outcome, Policy, Reason, Standing};
use jobs::queue::{Ended, State};
use jobs::record::{Attempt, Death, Finished, Record, Request, Target};
use jobs::store::{Answer, Follower, Found, Indexed, News, Task};
use logs::traces::Kind as SpanKind;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Jobs;
use super::attempt::{self, Reply};
use super::callback;
use super::handover::Handover;
use super::notification::{self, Notification, Recipient};
use super::trace::{self, Headers};
use crate::failed;
use crate::life::Life;

/// After so long the database is asked again that could not be used.
const AGAIN: Duration = Duration::from_secs(1);
/// The clock is looked at so often at least: it may be stepped.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// What a function has its jobs tried by.
struct Rules {
    policy: Policy,
    /// Where those go that are tried no more.
    dead_letters: Option<String>,
    /// What its callbacks may reach besides the public internet.
    allow_outbound: Vec<String>,
}

/// A job that is tried.
struct Job {
    id: JobId,
    record: Record,
    rules: Rules,
    /// The trace that it belongs to.
    trace: Headers,
}

/// Runs jobs until the node stops, or another engine has taken over.
pub(super) async fn run(jobs: Arc<Jobs>, mut life: watch::Receiver<Life>) {
    let data = jobs.data.clone();
    let waiting = tokio::task::spawn_blocking(move || Handover::wait(&data));
    let turn = tokio::select! {
        turn = waiting => turn,
        _ = life.wait_for(|life| *life != Life::Serving) => return,
    };
    let turn = match turn {
        Ok(Ok(turn)) => turn,
        Ok(Err(error)) => {
            return tracing::error!(
                "no asynchronous invocation is run: jobs.lock in the data folder cannot be locked: {error}"
            );
        }
        // The node stops.
        Err(_) => return,
    };
    jobs.runs.send_replace(true);
    let mut running = JoinSet::new();
    let mut owned = jobs.owned.subscribe();
    let others = turn.read();
    let (told, mut news) = mpsc::unbounded_channel();
    jobs.store.listen(Box::new(move |one| told.send(one).unwrap_or_default()));
    let serve = async {
        let load = || jobs.load(if *jobs.owned.borrow() { &[] } else { &others });
        owned.mark_unchanged();
        let (mut loading, mut is_loading) = (Box::pin(load()), true);
        // Whether something has changed since that has begun.
        let mut is_old = false;
        loop {
            if is_old && !is_loading {
                (loading, is_loading, is_old) = (Box::pin(load()), true, false);
            }
            let pause = jobs.begin(&mut running);
            tokio::select! {
                biased;
                Ok(()) = owned.changed() => is_old = true,
                () = &mut loading, if is_loading => is_loading = false,
                Some(one) = news.recv() => match one {
                    News::Job(id) => jobs.look(id).await,
                    News::All => is_old = true,
                },
                Some(_) = running.join_next() => {}
                () = jobs.news.notified() => {}
                () = sleep(pause) => {}
            }
        }
    };
    tokio::select! {
        biased;
        _ = life.wait_for(|life| *life != Life::Serving) => {}
        never = serve => match never {},
    }
    let left: Vec<JobId> = {
        let mut known = jobs.known();
        known.is_loaded = false;
        known.queue.running().collect()
    };
    // The one that waits for the turn reads what is written before.
    let _ = tokio::task::spawn_blocking(move || turn.give(&left)).await;
    while running.join_next().await.is_some() {}
    jobs.runs.send_replace(false);
}

impl Jobs {
    /// Has the queue be as what is kept, but for those that another engine runs.
    async fn load(&self, others: &[JobId]) {
        loop {
            let mut before: HashSet<JobId> = self.known().queue.all().collect();
            match self.ask(Task::Scan).await {
                Answer::Scanned(scanned) => {
                    let now_ms = clock::unix_ms();
                    let mut known = self.known();
                    for Indexed { id, function, due_ms, is_dead } in scanned {
                        let was_dead = known.queue.state(id) == Some(State::Dead);
                        if before.remove(&id) && was_dead != is_dead {
                            known.queue.remove(id);
                        }
                        if is_dead {
                            known.queue.insert_dead(id, &function);
                        } else if !others.contains(&id) {
                            known.queue.insert(id, &function, due_ms, now_ms);
                        }
                    }
                    // Those have become other nodes', or were removed there.
                    for id in before {
                        known.queue.remove(id);
                    }
                    let was_loaded = std::mem::replace(&mut known.is_loaded, true);
                    drop(known);
                    if was_loaded {
                        return;
                    }
                    // What was submitted while it was read is in neither: it is read once more.
                }
                // It is said once why.
                _ => sleep(AGAIN).await,
            }
        }
    }

    /// Has the queue be as a job is that somebody else has changed.
    async fn look(&self, id: JobId) {
        let found = match self.ask(Task::Show(id)).await {
            Answer::Shown(found) => Some(*found),
            // All is looked at, once it can be.
            Answer::Unavailable(_) => return,
            _ => None,
        };
        let (mut known, now_ms) = (self.known(), clock::unix_ms());
        if !known.is_loaded || known.queue.remove(id) == Some(State::Running) {
            return;
        }
        match found {
            Some(Found::Kept(record)) if record.death.is_some() => {
                known.queue.insert_dead(id, &record.function);
            }
            Some(Found::Kept(record)) => {
                known.queue.insert(id, &record.function, record.due_ms, now_ms);
            }
            Some(Found::Finished(_)) | None => {}
        }
    }

    /// Has the database be read again: the queue may not be as it is.
    pub(super) fn news_of_database(&self) {
        self.owned.send_modify(|_| {});
    }

    /// Begins as many attempts as may be made. Returns how long there will be no more by itself.
    fn begin(self: &Arc<Self>, running: &mut JoinSet<()>) -> Duration {
        let now_ms = clock::unix_ms();
        let mut known = self.known();
        while let Some(id) = known.queue.start(now_ms) {
            running.spawn(Arc::clone(self).run_one(id));
        }
        let left_ms = known.queue.next_due_ms().map(|due_ms| due_ms.saturating_sub(now_ms));
        left_ms.map_or(LOOK_INTERVAL, |left| Duration::from_millis(left).min(LOOK_INTERVAL))
    }

    /// Makes an attempt at a job, and keeps what has become of it.
    async fn run_one(self: Arc<Self>, id: JobId) {
        let ended = match self.ask(Task::Load(id)).await {
            Answer::Loaded(loaded) => {
                let (record, request) = *loaded;
                match &record.death {
                    Some(_) => Ended::Dead,
                    None => self.try_once(id, record, request).await,
                }
            }
            Answer::Unavailable(_) => Ended::PutOff { due_ms: clock::unix_ms() + 1000 },
            _ => Ended::Gone,
        };
        self.known().queue.ended(id, ended, clock::unix_ms());
    }

    async fn try_once(&self, id: JobId, record: Record, request: Request) -> Ended {
        let (rules, trace) = (self.rules(&record.function), trace::of(&request.head));
        let job = Job { id, record, rules, trace };
        if plan::is_too_old(job.rules.policy, job.record.since_ms, clock::unix_ms()) {
            return self.keep(job, (None, None), Next::Dead(Reason::Age)).await;
        }
        let ended = match &job.record.target {
            Target::Callback(url) => self.call_back(&job, url, request).await,
            Target::Function | Target::Event => self.call(&job, request).await,
        };
        self.decide(job, ended).await
    }

    /// Has the function do a job.
    async fn call(&self, Job { id, record, .. }: &Job, request: Request) -> attempt::Ended {
        let now_ms = clock::unix_ms();
        let found = self.functions.listing.find(&record.function, record.reference.as_deref());
        match found.await {
            Ok(()) => {
                let waited_ms = now_ms.saturating_sub(record.since_ms);
                self.known().tally.began(&record.function, record.attempts == 0, waited_ms);
                attempt::attempt(&self.supervisor, *id, record, request).await
            }
            Err(error) => {
                let outcome = match failed::status(error.fault()).is_client_error() {
                    true => Outcome::Gone,
                    false => Outcome::Refused { retry_after_ms: None },
                };
                let error = Some(error.to_string());
                let made = Attempt { began_ms: now_ms, error, ..Attempt::default() };
                attempt::Ended { outcome, made, reply: None }
            }
        }
    }

    /// Tells a URL what came of a job.
    async fn call_back(&self, job: &Job, url: &str, mut request: Request) -> attempt::Ended {
        let Job { id, record, rules, .. } = job;
        let span = self.tracer.call(&mut request.head.headers);
        let ended =
            callback::send(*id, record.attempts + 1, url, &rules.allow_outbound, request).await;
        let about = record.about.clone().unwrap_or_default();
        let attributes = vec![("sockhop.job", id.to_string()), ("sockhop.job.about", about)];
        let name = (SpanKind::Client, format!("call back {}", record.function));
        self.tracer.end(span, name, attributes, ended.made.error.clone());
        ended
    }

    /// Decides what becomes of a job after an attempt, and keeps that.
    async fn decide(&self, job: Job, ended: attempt::Ended) -> Ended {
        let attempt::Ended { outcome, made, reply } = ended;
        if outcome != Outcome::Ok && !self.known().is_loaded {
            // The node stops: whatever has ended this attempt, the next engine tries again.
            return Ended::PutOff { due_ms: u64::MAX };
        }
        let counts = matches!(outcome, Outcome::Ok | Outcome::Failed { .. });
        let attempts = job.record.attempts + u32::from(counts);
        let (put_off, since_ms) = (self.known().queue.put_off(job.id), job.record.since_ms);
        let standing = Standing { attempts, put_off, since_ms };
        let next =
            plan::next(job.rules.policy, standing, outcome, clock::unix_ms(), fastrand::f64());
        let job = Job { record: Record { attempts, ..job.record }, ..job };
        self.keep(job, (Some(made), reply), next).await
    }

    /// Returns what a job of this function is tried by: what the version says that its name means
    /// now.
    fn rules(&self, function: &str) -> Rules {
        let function = self.functions.listing.function(function).ok();
        let version = function.as_ref().and_then(|function| function.foremost());
        let limits = version.map(|version| version.limits.clone()).unwrap_or_default();
        Rules {
            policy: Policy {
                attempts_max: limits.job_attempts_max,
                age_max_ms: limits.job_age_ms.into(),
                pause_ms: limits.job_pause_ms.into(),
            },
            dead_letters: version.and_then(|version| version.dead_letters.clone()),
            allow_outbound: version
                .map(|version| version.allow_outbound.clone())
                .unwrap_or_default(),
        }
    }

    /// Keeps what has become of a job. While the database cannot be used, the job counts as running.
    async fn keep(
        &self,
        Job { id, record, rules, trace }: Job,
        (made, reply): (Option<Attempt>, Option<Reply>),
        next: Next,
    ) -> Ended {
        let now_ms = clock::unix_ms();
        self.known().tally.ended(&record.function, next);
        let last = made.or_else(|| record.last.clone());
        let told = Notification {
            id,
            record: &record,
            death: None,
            last: last.as_ref(),
            reply: reply.as_ref(),
            request: None,
            trace: &trace,
        };
        let (task, ended) = match next {
            Next::Done => {
                let then = self.followers(&told, None, now_ms);
                let finished = Finished {
                    function: record.function,
                    enqueued_ms: record.enqueued_ms,
                    ended_ms: now_ms,
                    attempts: record.attempts,
                    last: last.unwrap_or_default(),
                };
                (Task::Finish { id, finished, then }, Ended::Gone)
            }
            // It costs no write: after a restart it is tried at once.
            Next::PutOff { due_ms } => return Ended::PutOff { due_ms },
            Next::Retry { due_ms } => {
                let record = Record { due_ms, last, ..record };
                (Task::Update(id, record, Vec::new()), Ended::Retry { due_ms })
            }
            Next::Dead(why) => {
                let reason = reason(why, rules.policy, last.as_ref());
                let (function, log) =
                    (&record.function, last.as_ref().and_then(|last| last.invocation.as_ref()));
                let log = log.map(|it| format!("; see `sockhop logs {it}`")).unwrap_or_default();
                tracing::warn!("the job {id} of {function:?} is a dead letter: {reason}{log}");
                let death = Some(Death { at_ms: now_ms, reason });
                let to = rules.dead_letters.filter(|_| !record.is_message());
                let request = if to.is_some() { self.request(id).await } else { None };
                let (death_of, request) = (death.as_ref(), request.as_ref());
                let told = Notification { death: death_of, request, ..told };
                let then = self.followers(&told, to.as_deref(), now_ms);
                (Task::Update(id, Record { death, last, ..record }, then), Ended::Dead)
            }
        };
        let followers: Vec<_> = match &task {
            Task::Finish { then, .. } | Task::Update(.., then) => {
                then.iter().map(|then| (then.new.id, then.new.record.function.clone())).collect()
            }
            _ => Vec::new(),
        };
        self.insist(task).await;
        followers.iter().for_each(|(id, function)| self.follows(*id, function));
        ended
    }

    /// Returns the jobs that tell what came of a job: the URL that was named with it, and
    /// `dead_letters`.
    fn followers(
        &self,
        told: &Notification<'_>,
        dead_letters: Option<&str>,
        now_ms: u64,
    ) -> Vec<Follower> {
        let Record { function, callback, .. } = told.record;
        let takes_events = |name: &str| {
            let function = self.functions.listing.function(name).ok();
            let version = function.as_ref().and_then(|function| function.foremost());
            version.is_some_and(|version| version.kind == Kind::Lambda)
        };
        let callback = callback
            .as_deref()
            .map(|url| (Recipient::url(function, url), Notification { request: None, ..*told }));
        let dead_letters = dead_letters
            .and_then(|to| Recipient::of_dead_letters(function, to, takes_events))
            .map(|to| (to, Notification { reply: None, ..*told }));
        let each = callback.into_iter().chain(dead_letters);
        each.map(|(to, told)| notification::follower(to, &told, self.bounds, now_ms)).collect()
    }

    /// Returns the request of a job, if it is whole.
    async fn request(&self, id: JobId) -> Option<Request> {
        match self.insist(Task::Load(id)).await {
            Answer::Loaded(loaded) => Some(loaded.1),
            _ => None,
        }
    }

    /// Does a task. The database is asked again while it cannot be used, until the node stops.
    async fn insist(&self, task: Task) -> Answer {
        loop {
            match self.ask(task.clone()).await {
                Answer::Unavailable(_) if self.known().is_loaded => sleep(AGAIN).await,
                answer => return answer,
            }
        }
    }

    /// Has a job run that has followed from another.
    fn follows(&self, id: JobId, function: &str) {
        let (mut known, now_ms) = (self.known(), clock::unix_ms());
        if known.is_loaded {
            known.queue.insert(id, function, now_ms, now_ms);
            self.news.notify_one();
        }
    }
}

/// Returns why a job is tried no more, as a sentence.
fn reason(why: Reason, policy: Policy, last: Option<&Attempt>) -> String {
    let last = last.and_then(|last| last.error.as_deref());
    match (why, last) {
        (Reason::Attempts(attempts), Some(error)) => {
            format!("{attempts} attempts have failed, the last because {error}")
        }
        (Reason::Attempts(attempts), None) => format!("{attempts} attempts have failed"),
        (Reason::Age, _) => {
            let age = humantime::format_duration(Duration::from_millis(policy.age_max_ms));
            format!("it would be older than {age} (--job-age) at the next attempt")
        }
        (Reason::Gone, Some(error)) => error.to_owned(),
        (Reason::Gone, None) => "there is no such function".to_owned(),
    }
}
