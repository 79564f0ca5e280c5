//! Secrets: set, listed by key, removed. No reply has a value. Owns no fds.
//!
//! ```text
//! GET    /v1/functions/NAME/secrets
//! PUT    /v1/functions/NAME/secrets/KEY    the body is the value
//! DELETE /v1/functions/NAME/secrets/KEY
//! ```

use std::sync::Arc;

use abi::limits::SECRET_BYTES_MAX;
use api::endpoints::ListSecrets;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use futures_util::StreamExt as _;
use zeroize::Zeroizing;

use super::make;
use crate::control::Control;
use crate::failed::{Failed, bad_request};
use crate::functions::ChangeError;
use crate::routes::Answered;
use secrets::{RuleError, SecretError};

pub(crate) async fn list(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
) -> Answered<ListSecrets> {
    Ok(Json(control.functions.secrets.list(&name)?))
}

pub(crate) async fn set(
    State(control): State<Arc<Control>>,
    Path((name, key)): Path<(String, String)>,
    body: Body,
) -> Result<StatusCode, Failed> {
    let value = received(body).await?;
    make(async move { control.functions.secrets.set(&name, &key, &value).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn remove(
    State(control): State<Arc<Control>>,
    Path((name, key)): Path<(String, String)>,
) -> Result<StatusCode, Failed> {
    make(async move { control.functions.secrets.remove(&name, &key).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns the whole body. It is read to its end whatever its length, since a client that is still
/// sending when its connection is closed does not see why.
async fn received(body: Body) -> Result<Zeroizing<Vec<u8>>, Failed> {
    let (mut body, mut bytes) = (body.into_data_stream(), 0);
    // Never moved to make room: that would leave a copy behind.
    let mut value = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX));
    while let Some(part) = body.next().await {
        let part = part.map_err(bad_request)?;
        bytes += part.len();
        if bytes <= SECRET_BYTES_MAX {
            value.extend_from_slice(&part);
        }
    }
    match bytes {
        _ if bytes > SECRET_BYTES_MAX => {
            Err(ChangeError::from(SecretError::from(RuleError::TooLarge { bytes })).into())
        }
        _ => Ok(value),
    }
}
