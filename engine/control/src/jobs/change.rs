//! What operators ask about jobs, and do with them. Owns no fds.

use abi::job::{self, Progress};
use api::jobs::{Job, JobAttempt, JobState, JobsQuery, LIST_MAX};
use host::clock;
use jobs::JobId;
use jobs::queue::State;
use jobs::record::{Attempt, Target};
use jobs::store::{Answer, Filter, Found, Task};

use super::{JobError, Jobs};

impl Jobs {
    /// Returns what is known of a job.
    ///
    /// # Errors
    /// A [`JobError`] if there is no such job, or the database cannot be read.
    pub(crate) async fn show(&self, id: JobId) -> Result<Job, JobError> {
        match self.ask(Task::Show(id)).await {
            Answer::Shown(known) => Ok(self.describe(id, *known)),
            Answer::Unavailable(why) => Err(JobError::Unavailable(why)),
            _ => Err(JobError::Unknown(id)),
        }
    }

    /// Returns jobs, the newest last.
    ///
    /// # Errors
    /// A [`JobError`] if the database cannot be read.
    pub(crate) async fn list(&self, query: JobsQuery) -> Result<Vec<Job>, JobError> {
        let JobsQuery { function, state, limit } = query;
        let limit = limit.unwrap_or(LIST_MAX).min(LIST_MAX);
        if state == Some(JobState::Running) {
            return self.list_running(function.as_deref(), limit).await;
        }
        let with = |wanted| state.is_none_or(|state| state == wanted);
        let filter = Filter {
            function,
            with_queued: with(JobState::Queued),
            with_dead: with(JobState::Dead),
            with_done: with(JobState::Done),
            limit,
        };
        let listed = match self.ask(Task::List(filter)).await {
            Answer::Listed(listed) => listed,
            Answer::Unavailable(why) => return Err(JobError::Unavailable(why)),
            _ => Vec::new(),
        };
        let listed = listed.into_iter().map(|(id, known)| self.describe(id, known));
        Ok(listed.filter(|job| state.is_none_or(|state| job.state == state)).collect())
    }

    async fn list_running(
        &self,
        function: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Job>, JobError> {
        let running: Vec<JobId> = self.known().queue.running().collect();
        let mut listed = Vec::new();
        for id in running {
            match self.show(id).await {
                Ok(job) if function.is_none_or(|function| job.function == function) => {
                    listed.push(job);
                }
                Ok(_) | Err(JobError::Unknown(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(listed.split_off(listed.len().saturating_sub(limit)))
    }

    /// Removes a job that waits, or a dead letter.
    ///
    /// # Errors
    /// A [`JobError`] if there is no such job, or it runs.
    pub(crate) async fn cancel(&self, id: JobId) -> Result<(), JobError> {
        self.expect_usable(id).await?;
        // Before anything else, so that it does not begin meanwhile.
        let state = self.usable()?.queue.remove(id);
        match state {
            Some(State::Queued | State::Dead) => {}
            Some(State::Running) => return Err(JobError::Running(id)),
            // Another node's, which notices.
            None if self.store.is_shared() => {}
            None => return Err(self.missing(id).await),
        }
        match self.ask(Task::Remove(id)).await {
            Answer::Unavailable(why) => {
                self.news_of_database();
                Err(JobError::Unavailable(why))
            }
            Answer::Unknown if state.is_none() => Err(self.missing(id).await),
            _ => Ok(()),
        }
    }

    /// Has a job that waits, or a dead letter, be tried now. A dead letter has all its attempts again.
    ///
    /// # Errors
    /// A [`JobError`] if there is no such job, or it runs.
    pub(crate) async fn retry(&self, id: JobId) -> Result<Job, JobError> {
        self.expect_usable(id).await?;
        let state = self.usable()?.queue.state(id);
        match state {
            Some(State::Queued) => {}
            Some(State::Running) => return Err(JobError::Running(id)),
            None if !self.store.is_shared() => return Err(self.missing(id).await),
            Some(State::Dead) | None => match self.ask(Task::Retry(id, clock::unix_ms())).await {
                Answer::Unavailable(why) => return Err(JobError::Unavailable(why)),
                Answer::Unknown => return Err(self.missing(id).await),
                _ => {}
            },
        }
        self.usable()?.queue.hasten(id);
        self.news.notify_one();
        self.show(id).await
    }

    /// Says why a job is not in the queue.
    async fn missing(&self, id: JobId) -> JobError {
        match self.ask(Task::Show(id)).await {
            Answer::Shown(found) => match *found {
                Found::Finished(_) => JobError::IsDone(id),
                Found::Kept(_) => JobError::NotHere,
            },
            Answer::Unavailable(why) => JobError::Unavailable(why),
            _ => JobError::Unknown(id),
        }
    }

    /// Checks that jobs can be changed here.
    async fn expect_usable(&self, id: JobId) -> Result<(), JobError> {
        if self.usable().is_ok() {
            return Ok(());
        }
        match self.ask(Task::Show(id)).await {
            Answer::Unavailable(why) => Err(JobError::Unavailable(why)),
            _ => Err(JobError::NotHere),
        }
    }

    /// Returns what is known, if that is what can be changed here.
    fn usable(&self) -> Result<std::sync::MutexGuard<'_, super::Known>, JobError> {
        let known = self.known();
        let is_usable = known.is_loaded || self.store.is_shared();
        if is_usable { Ok(known) } else { Err(JobError::NotHere) }
    }

    fn describe(&self, id: JobId, known: Found) -> Job {
        let (state, due_ms) = {
            let known = self.known();
            (known.queue.state(id), known.queue.due_ms(id))
        };
        described(id, known, state, due_ms)
    }
}

/// Returns whose a job is, and how far it is, for a client of the function.
pub(super) fn progress(known: Found, in_queue: Option<State>) -> (String, Progress) {
    match known {
        Found::Kept(record) => {
            let state = match (&record.death, state_of(in_queue)) {
                (Some(_), _) | (None, State::Dead) => job::State::Dead,
                (None, State::Running) => job::State::Running,
                (None, State::Queued) => job::State::Queued,
            };
            let status = record.last.and_then(|last| last.status);
            (record.function, Progress { state, attempts: record.attempts, status })
        }
        Found::Finished(finished) => {
            let (attempts, status) = (finished.attempts, finished.last.status);
            (finished.function, Progress { state: job::State::Done, attempts, status })
        }
    }
}

/// Returns what a job is at that is no dead letter.
fn state_of(in_queue: Option<State>) -> State {
    if in_queue == Some(State::Running) { State::Running } else { State::Queued }
}

fn described(id: JobId, known: Found, in_queue: Option<State>, due_ms: Option<u64>) -> Job {
    match known {
        Found::Kept(record) => {
            let state = match (&record.death, state_of(in_queue)) {
                (Some(_), _) => JobState::Dead,
                (None, State::Running) => JobState::Running,
                (None, _) => JobState::Queued,
            };
            let next_ms = (state == JobState::Queued).then(|| due_ms.unwrap_or(record.due_ms));
            Job {
                id: id.to_string(),
                function: record.function,
                reference: record.reference,
                callback_to: match record.target {
                    Target::Callback(url) => Some(url),
                    Target::Function | Target::Event => None,
                },
                about: record.about,
                state,
                enqueued_ms: record.enqueued_ms,
                next_ms,
                ended_ms: record.death.as_ref().map(|death| death.at_ms),
                attempts: record.attempts,
                bytes: Some(record.bytes),
                reason: record.death.map(|death| death.reason),
                last: record.last.map(attempt),
            }
        }
        Found::Finished(finished) => Job {
            id: id.to_string(),
            function: finished.function,
            reference: None,
            callback_to: None,
            about: None,
            state: JobState::Done,
            enqueued_ms: finished.enqueued_ms,
            next_ms: None,
            ended_ms: Some(finished.ended_ms),
            attempts: finished.attempts,
            bytes: None,
            reason: None,
            last: Some(attempt(finished.last)),
        },
    }
}

fn attempt(last: Attempt) -> JobAttempt {
    let Attempt { began_ms, duration_ms, status, invocation, error } = last;
    JobAttempt { began_ms, duration_ms, status, invocation, error }
}
