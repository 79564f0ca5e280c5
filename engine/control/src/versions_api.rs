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

use api::endpoints::{ListAliases, ListVersions, RemoveAlias, RollBack, SetAlias};
use api::versions::{AliasChange, Rollback};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use super::routes::{Answered, Router, Routes as _};
use super::server::{Control, Failed, bad_request};

/// The paths, with what answers them.
pub(super) fn routes() -> Router {
    Router::new()
        .serve(ListVersions, versions)
        .serve(RollBack, roll_back)
        .serve(ListAliases, aliases)
        .serve(SetAlias, set_alias)
        .serve(RemoveAlias, remove_alias)
}

/// What a body says; without one, nothing.
pub(super) fn read<T: DeserializeOwned + Default>(body: &Bytes) -> Result<T, Failed> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(bad_request)
}

async fn versions(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
) -> Answered<ListVersions> {
    Ok(Json(control.functions.listing.versions(&name)?))
}

async fn aliases(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
) -> Answered<ListAliases> {
    Ok(Json(control.functions.listing.aliases(&name)?))
}

async fn roll_back(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answered<RollBack> {
    let Rollback { version } = read(&body)?;
    Ok(Json(control.functions.aliases.roll_back(&name, version.as_deref()).await?))
}

async fn set_alias(
    State(control): State<Arc<Control>>,
    Path((name, alias)): Path<(String, String)>,
    body: Bytes,
) -> Answered<SetAlias> {
    let change: AliasChange = read(&body)?;
    Ok(Json(control.functions.aliases.set(&name, &alias, change).await?))
}

async fn remove_alias(
    State(control): State<Arc<Control>>,
    Path((name, alias)): Path<(String, String)>,
) -> Result<StatusCode, Failed> {
    control.functions.aliases.remove(&name, &alias).await?;
    Ok(StatusCode::NO_CONTENT)
}
