//! Before a version counts: a worker instantiates it, and it answers a request.

use std::os::fd::OwnedFd;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use abi::function::Isolation;
use abi::problem::{CONTENT_TYPE as PROBLEM_CONTENT_TYPE, INVOCATION_ID_HEADER};
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::oneshot;

use super::{ChangeError, Functions};
use crate::{catalogue, invoke};
use fleet::core::Pool;
use fleet::workers::supervise::{Command, TrialError};
use store::alias::Alias;
use store::contents::Function;
use store::manifest::Manifest;

/// How long a version is asked again that the node itself could not ask, as it is full.
const ROOM_WAIT: Duration = Duration::from_secs(10);
const ROOM_PAUSE: Duration = Duration::from_millis(250);
/// What a worker gets to instantiate a version beyond the function's own time limit: it may have
/// other things to do.
const GRACE: Duration = Duration::from_secs(30);
/// Workers that have to die before the version is blamed.
const DEATHS_MAX: u32 = 2;
/// How long a trial waits for a worker that serves, and how often it looks. One that was killed is
/// replaced sooner.
const WORKER_WAIT: Duration = Duration::from_secs(10);
const WORKER_PAUSE: Duration = Duration::from_millis(50);
/// So much of a bad answer is told.
const ANSWER_BYTES_MAX: usize = 300;
/// So much of an answer's body is read, and for so long.
const ANSWER_BYTES_READ: usize = 64 * 1024;
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// Says to the guest that a request is a trial: it is asked nothing that should have effects.
const TRIAL_HEADER: &str = "sockhop-trial";

impl Functions {
    /// Has a worker instantiate a version, with what `alias` lays over it; `changed` is its
    /// function as it is to be. A worker that dies meanwhile may have been killed for another
    /// reason, and the next one is asked.
    ///
    /// What is to run in a worker of its own runs no code in a shared one, nor in the one that
    /// serves.
    pub(crate) async fn try_out(
        &self,
        version: &Manifest,
        alias: Option<&Alias>,
        changed: &Function,
    ) -> Result<(), ChangeError> {
        let own = [version.isolation, catalogue::isolation(changed)].contains(&Isolation::Process);
        let pool = if own { Pool::Trial(version.name.clone()) } else { Pool::Shared };
        let catalogue =
            catalogue::of_one(version, alias, &|artefact, kind| self.cache.key(artefact, kind))
                .seal()?;
        let (catalogue, began, mut deaths) = (Arc::new(catalogue), Instant::now(), 0);
        loop {
            match self.try_out_once(version, Arc::clone(&catalogue), pool.clone()).await {
                Err(ChangeError::Trial(TrialError::Died)) if deaths + 1 < DEATHS_MAX => deaths += 1,
                Err(ChangeError::Trial(TrialError::NoWorker)) if began.elapsed() < WORKER_WAIT => {
                    tokio::time::sleep(WORKER_PAUSE).await;
                }
                tried => return tried,
            }
        }
    }

    async fn try_out_once(
        &self,
        version: &Manifest,
        catalogue: Arc<OwnedFd>,
        pool: Pool,
    ) -> Result<(), ChangeError> {
        let (done, tried) = oneshot::channel();
        self.supervisor
            .send(Command::Try { catalogue, pool, done })
            .map_err(|_| ChangeError::Stopping)?;
        let within = Duration::from_millis(version.limits.timeout_ms.into()) + GRACE;
        let tried =
            tokio::time::timeout(within, tried).await.map_err(|_| TrialError::Slow(within))?;
        Ok(tried.map_err(|_| ChangeError::Stopping)??)
    }

    /// Asks a version that nothing names yet. It is served from then on, until it is kept or given
    /// up.
    pub(super) async fn ask(
        &self,
        version: &Arc<Manifest>,
        question: &Question,
    ) -> Result<(), ChangeError> {
        self.set_candidate(Some(Arc::clone(version))).await?;
        self.answer(version, question).await
    }

    /// Serves no candidate any more, if there is one.
    pub(super) async fn give_up_candidate(&self) {
        if self.candidate().is_some()
            && let Err(error) = self.set_candidate(None).await
        {
            tracing::warn!(
                "a version that was not kept is served by its id until the next change: {error}"
            );
        }
    }

    pub(super) fn candidate(&self) -> MutexGuard<'_, Option<Arc<Manifest>>> {
        self.candidate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves this version beside all others, by its id alone.
    async fn set_candidate(&self, version: Option<Arc<Manifest>>) -> Result<(), ChangeError> {
        let turn = self.turn_to_change().await;
        *self.candidate() = version;
        let _one_at_a_time = turn?;
        let served = self.served.lock().await.clone();
        self.publish(served).await
    }

    async fn answer(&self, version: &Manifest, question: &Question) -> Result<(), ChangeError> {
        let (reference, path) = (format!("{}@{}", version.name, version.version), question.path());
        let failed = |invocation: Option<String>, reason: String| {
            let path = path.to_owned();
            match question {
                Question::Health(_) => ChangeError::Unhealthy { path, reason },
                Question::Trial => ChangeError::TrialRequest { reason, invocation },
            }
        };
        let timeout = Duration::from_millis(version.limits.timeout_ms.into());
        let within = if *question == Question::Trial { timeout + GRACE } else { timeout };
        let late =
            || failed(None, format!("there was no answer within its --timeout of {timeout:?}"));
        let began = Instant::now();
        let answer = loop {
            let request = Request::get("/")
                .header(TRIAL_HEADER, "deploy")
                .body(Body::empty())
                .unwrap_or_default();
            let asked = invoke::invoke(&self.supervisor, &reference, path, request);
            let answer = tokio::time::timeout(within, asked).await.map_err(|_| late())?;
            let answer = answer.map_err(|error| failed(None, error.to_string()))?;
            // The node's own refusal says nothing of the version.
            if !is_full(&answer) {
                break answer;
            }
            if began.elapsed() >= ROOM_WAIT {
                let status = answer.status();
                let reason = format!(
                    "the node could not ask it, as it or the function is full ({status}); try again, or deploy with \
                     --no-trial"
                );
                return Err(failed(None, reason));
            }
            tokio::time::sleep(ROOM_PAUSE).await;
        };
        let (status, id) = (answer.status(), answer.headers().get(INVOCATION_ID_HEADER));
        let id = id.and_then(|id| id.to_str().ok()).map(str::to_owned);
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_READ).collect();
        let body = tokio::time::timeout(ANSWER_WAIT, body).await;
        if question.is_well(status) {
            return match body {
                Ok(Err(cut)) if !cut.is::<LengthLimitError>() => {
                    Err(failed(id, format!("its answer {status} was cut short: {cut}")))
                }
                // All of it, or what was read is fine so far.
                _ => Ok(()),
            };
        }
        let body = body.ok().and_then(Result::ok).map(|body| body.to_bytes()).unwrap_or_default();
        let said = String::from_utf8_lossy(&body[..body.len().min(ANSWER_BYTES_MAX)]).into_owned();
        Err(failed(id, format!("it answered {status}: {}", said.trim())))
    }
}

/// Whether the node has refused to run the function for now.
fn is_full<B>(answer: &Response<B>) -> bool {
    let problem =
        answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM_CONTENT_TYPE);
    let refused =
        matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    refused && problem && answer.headers().contains_key(RETRY_AFTER)
}

/// What a version is asked before it becomes active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    /// Whether it is well, at this path.
    Health(String),
    /// Anything: that it answers at all is enough.
    Trial,
}

impl Question {
    fn path(&self) -> &str {
        match self {
            Self::Health(path) => path,
            Self::Trial => "/",
        }
    }

    /// Whether this status is a good answer. Who has no `/`, or wants a login for it, says so with
    /// 4xx, and works.
    fn is_well(&self, status: StatusCode) -> bool {
        match self {
            Self::Health(_) => status.is_success(),
            Self::Trial => !status.is_server_error(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_wants_an_answer_and_a_health_path_a_good_one() {
        for (status, trial, health) in [
            (200, true, true),
            (204, true, true),
            (302, true, false),
            (404, true, false),
            (500, false, false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(Question::Trial.is_well(status), trial, "{status}");
            assert_eq!(Question::Health("/x".to_owned()).is_well(status), health, "{status}");
        }
    }
}
