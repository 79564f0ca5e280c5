//! The request that a version must answer before it is deployed, and what counts as an answer. Owns
//! a connection for as long as it asks.

use std::time::{Duration, Instant};

use abi::message::Awaits;
use abi::problem::{CONTENT_TYPE as PROBLEM_CONTENT_TYPE, INVOCATION_ID_HEADER};
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{Request, Response, StatusCode};
use fleet::workers::supervise::Command;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use store::manifest::Manifest;
use tokio::sync::mpsc::Sender;

use super::error::ChangeError;
use crate::call;

/// For how long a version is asked again because the node is full, and how often.
const ROOM_WAIT: Duration = Duration::from_secs(10);
const ROOM_PAUSE: Duration = Duration::from_millis(250);
/// What a worker gets to instantiate a version beyond the function's own time limit: it may have
/// other things to do.
pub(super) const GRACE: Duration = Duration::from_secs(30);
/// How much of a bad answer is shown to whoever deploys.
const ANSWER_BYTES_MAX: usize = 300;
/// How much of an answer's body is read, and for how long.
const ANSWER_BYTES_READ: usize = 64 * 1024;
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// The header that says to the guest that a request is a trial, which should have no effects.
const TRIAL_HEADER: &str = "sockhop-trial";

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

    /// Returns whether this status is a good answer. A function that has no `/`, or has a login
    /// before it, answers 4xx and works.
    fn is_well(&self, status: StatusCode) -> bool {
        match self {
            Self::Health(_) => status.is_success(),
            Self::Trial => !status.is_server_error(),
        }
    }

    /// Returns the error of a version that does not answer this well. `invocation` is the id of the
    /// request, if it got one.
    fn failed(&self, invocation: Option<String>, reason: String) -> ChangeError {
        match self {
            Self::Health(path) => ChangeError::Unhealthy { path: path.clone(), reason },
            Self::Trial => ChangeError::TrialRequest { reason, invocation },
        }
    }

    /// Asks a version that is in the catalogue, by its id.
    ///
    /// # Errors
    /// [`ChangeError::Unhealthy`] or [`ChangeError::TrialRequest`], with what it answered instead.
    pub(super) async fn ask(
        &self,
        version: &Manifest,
        supervisor: &Sender<Command>,
    ) -> Result<(), ChangeError> {
        let answer = self.first_answer(version, supervisor).await?;
        let (status, id) = (answer.status(), answer.headers().get(INVOCATION_ID_HEADER));
        let id = id.and_then(|id| id.to_str().ok()).map(str::to_owned);
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_READ).collect();
        let body = tokio::time::timeout(ANSWER_WAIT, body).await;
        if self.is_well(status) {
            return match body {
                Ok(Err(cut)) if !cut.is::<LengthLimitError>() => {
                    Err(self.failed(id, format!("its answer {status} was cut short: {cut}")))
                }
                // All of the body, or the part that was read, is fine.
                _ => Ok(()),
            };
        }
        let body = body.ok().and_then(Result::ok).map(|body| body.to_bytes()).unwrap_or_default();
        let said = String::from_utf8_lossy(&body[..body.len().min(ANSWER_BYTES_MAX)]).into_owned();
        Err(self.failed(id, format!("it answered {status}: {}", said.trim())))
    }

    /// Asks until the version itself answers: the node's own refusal says nothing of the version.
    async fn first_answer(
        &self,
        version: &Manifest,
        supervisor: &Sender<Command>,
    ) -> Result<Response<Body>, ChangeError> {
        let reference = format!("{}@{}", version.name, version.version);
        let timeout = Duration::from_millis(version.limits.timeout_ms.into());
        let within = if *self == Self::Trial { timeout + GRACE } else { timeout };
        let late = || {
            self.failed(None, format!("there was no answer within its --timeout of {timeout:?}"))
        };
        let began = Instant::now();
        loop {
            let request = Request::get("/")
                .header(TRIAL_HEADER, "deploy")
                .body(Body::empty())
                .unwrap_or_default();
            let asked = call::call(supervisor, &reference, self.path(), request, Awaits::Admin);
            let answer = tokio::time::timeout(within, asked).await.map_err(|_| late())?;
            let answer = answer.map_err(|error| self.failed(None, error.to_string()))?;
            if !is_full(&answer) {
                return Ok(answer);
            }
            if began.elapsed() >= ROOM_WAIT {
                let status = answer.status();
                let reason = format!(
                    "the node could not ask it, as it or the function is full ({status}); \
                     try again, or deploy with --no-trial"
                );
                return Err(self.failed(None, reason));
            }
            tokio::time::sleep(ROOM_PAUSE).await;
        }
    }
}

/// Returns whether the node has refused to run the function for now.
fn is_full<B>(answer: &Response<B>) -> bool {
    let problem =
        answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM_CONTENT_TYPE);
    let refused =
        matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    refused && problem && answer.headers().contains_key(RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_needs_an_answer_and_a_health_path_a_good_one() {
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
