//! Versions and aliases on the control API's wire. Owns no fds.
//!
//! ```text
//! GET    /v1/functions/NAME/versions
//! POST   /v1/functions/NAME/rollback           {"version": "v12"}, or without for the one before
//! GET    /v1/functions/NAME/aliases
//! PUT    /v1/functions/NAME/aliases/ALIAS      {"targets": [{"version": "v12", "weight": 90}], "env": {}, "config": {}}
//! DELETE /v1/functions/NAME/aliases/ALIAS
//! ```

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::api::{Control, Failed, bad_request};
use super::versions::Said;

/// The paths, with what answers them.
pub(super) fn routes() -> Router<Arc<Control>> {
    Router::new()
        .route("/v1/functions/{name}/versions", get(versions))
        .route("/v1/functions/{name}/rollback", post(roll_back))
        .route("/v1/functions/{name}/aliases", get(aliases))
        .route("/v1/functions/{name}/aliases/{alias}", put(set_alias).delete(remove_alias))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Back {
    version: Option<String>,
}

/// What a body says; without one, nothing.
pub(super) fn read<T: DeserializeOwned + Default>(body: &Bytes) -> Result<T, Failed> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(bad_request)
}

async fn versions(State(control): State<Arc<Control>>, Path(name): Path<String>) -> Result<Json<Value>, Failed> {
    Ok(Json(control.functions.versions(&name).await?))
}

async fn aliases(State(control): State<Arc<Control>>, Path(name): Path<String>) -> Result<Json<Value>, Failed> {
    Ok(Json(control.functions.aliases(&name).await?))
}

async fn roll_back(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Failed> {
    let Back { version } = read(&body)?;
    Ok(Json(control.functions.roll_back(&name, version.as_deref()).await?))
}

async fn set_alias(
    State(control): State<Arc<Control>>,
    Path((name, alias)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>, Failed> {
    let said: Said = read(&body)?;
    Ok(Json(control.functions.set_alias(&name, &alias, said).await?))
}

async fn remove_alias(
    State(control): State<Arc<Control>>,
    Path((name, alias)): Path<(String, String)>,
) -> Result<StatusCode, Failed> {
    control.functions.remove_alias(&name, &alias).await?;
    Ok(StatusCode::NO_CONTENT)
}
