//! Handlers of the control API's endpoints, a module an area. Owns no fds.

pub(crate) mod bundles;
pub(crate) mod cron;
pub(crate) mod deploys;
pub(crate) mod domains;
pub(crate) mod functions;
pub(crate) mod health;
pub(crate) mod invoke;
pub(crate) mod jobs;
pub(crate) mod kv;
pub(crate) mod logs;
pub(crate) mod secrets;
pub(crate) mod top;
pub(crate) mod versions;

use std::future::Future;

use axum::body::Bytes;
use serde::de::DeserializeOwned;

use crate::failed::{Failed, bad_request};
use crate::functions::ChangeError;

/// Reads a body of JSON. An empty one says nothing.
fn read<T: DeserializeOwned + Default>(body: &Bytes) -> Result<T, Failed> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(bad_request)
}

/// Makes a change on a task of its own, and returns its outcome. A client that leaves meanwhile has
/// asked for it all the same: a change that is begun comes to its end, or the store would have what
/// no worker serves.
async fn make<T: Send + 'static>(
    change: impl Future<Output = Result<T, ChangeError>> + Send + 'static,
) -> Result<T, ChangeError> {
    tokio::spawn(change).await.unwrap_or(Err(ChangeError::Stopping))
}
