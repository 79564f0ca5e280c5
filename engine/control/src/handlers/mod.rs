//! Handlers of the control API's endpoints, a module an area. Owns no fds.

pub(crate) mod deploys;
pub(crate) mod functions;
pub(crate) mod health;
pub(crate) mod invoke;
pub(crate) mod logs;
pub(crate) mod secrets;
pub(crate) mod top;
pub(crate) mod versions;

use axum::body::Bytes;
use serde::de::DeserializeOwned;

use crate::failed::{Failed, bad_request};

/// Reads a body of JSON. An empty one says nothing.
fn read<T: DeserializeOwned + Default>(body: &Bytes) -> Result<T, Failed> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(bad_request)
}
