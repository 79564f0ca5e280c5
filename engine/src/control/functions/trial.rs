//! Before a version counts: a worker instantiates it, and its health path answers.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;

use super::{ChangeError, Functions};
use crate::control::{catalogue, invoke};
use crate::core::Pool;
use crate::store::alias::Alias;
use crate::store::contents::Function;
use crate::store::manifest::{Isolation, Manifest};
use crate::workers::supervise::{Command, TrialError};

/// What a worker gets to instantiate a version beyond the function's own time limit: it may have other things to do.
const GRACE: Duration = Duration::from_secs(30);
/// Workers that have to die before the version is blamed.
const DEATHS_MAX: u32 = 2;
/// How long a trial waits for a worker that serves, and how often it looks. One that was killed is replaced sooner.
const WORKER_WAIT: Duration = Duration::from_secs(10);
const WORKER_PAUSE: Duration = Duration::from_millis(50);
/// So much of an unhealthy version's answer is told.
const ANSWER_BYTES_MAX: usize = 300;

impl Functions {
    /// Has a worker instantiate a version, with what `alias` lays over it; `changed` is its function as it is to be. A worker
    /// that dies meanwhile may have been killed for another reason, and the next one is asked.
    ///
    /// What is to run in a worker of its own runs no code in a shared one, nor in the one that serves.
    pub(in crate::control) async fn try_out(
        &self,
        version: &Manifest,
        alias: Option<&Alias>,
        changed: &Function,
    ) -> Result<(), ChangeError> {
        let own = [version.isolation, catalogue::isolation(changed)].contains(&Isolation::Process);
        let pool = if own { Pool::Trial(version.name.clone()) } else { Pool::Shared };
        let catalogue = catalogue::of_one(version, alias, &|artefact, kind| self.cache.key(artefact, kind)).seal()?;
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

    async fn try_out_once(&self, version: &Manifest, catalogue: Arc<OwnedFd>, pool: Pool) -> Result<(), ChangeError> {
        let (done, tried) = oneshot::channel();
        self.supervisor.send(Command::Try { catalogue, pool, done }).map_err(|_| ChangeError::Stopping)?;
        let within = Duration::from_millis(version.limits.timeout_ms.into()) + GRACE;
        let tried = tokio::time::timeout(within, tried).await.map_err(|_| TrialError::Slow(within))?;
        Ok(tried.map_err(|_| ChangeError::Stopping)??)
    }

    /// Asks a version, which nothing names yet, whether it is well. `changed` is its function with it.
    pub(super) async fn try_health(
        &self,
        version: &Manifest,
        changed: &Function,
        path: &str,
    ) -> Result<(), ChangeError> {
        let before = self.served.lock().await.clone();
        let served = self.served_with(&version.name, changed).await;
        self.check_limits(&version.name, &served)?;
        let well = async {
            self.publish(served).await?;
            let unhealthy = |reason| ChangeError::Unhealthy { path: path.to_owned(), reason };
            let (address, within) = (
                format!("{}@{}", version.name, version.version),
                Duration::from_millis(version.limits.timeout_ms.into()),
            );
            let asked = invoke::invoke(&self.supervisor, &address, path, Request::new(Body::empty()));
            let late = || unhealthy(format!("there was no answer within its --timeout of {within:?}"));
            let answer = tokio::time::timeout(within, asked).await.map_err(|_| late())?;
            let answer = answer.map_err(|error| unhealthy(error.to_string()))?;
            if answer.status().is_success() {
                return Ok(());
            }
            let status = answer.status();
            let body = tokio::time::timeout(within, answer.into_body().collect()).await.map_err(|_| late())?;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            let said = String::from_utf8_lossy(&body[..body.len().min(ANSWER_BYTES_MAX)]).into_owned();
            Err(unhealthy(format!("it answered {status}: {}", said.trim())))
        };
        let well = well.await;
        if well.is_err() {
            // Should this fail too, the next change takes it away.
            self.publish(before).await?;
        }
        well
    }
}
