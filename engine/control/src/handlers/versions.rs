//! Versions and aliases. Owns no fds.
//!
//! ```text
//! GET    /v1/functions/NAME/versions
//! GET    /v1/functions/NAME/versions/VERSION
//! POST   /v1/functions/NAME/rollback           {"version": "v12"}, or without for the one before
//! GET    /v1/functions/NAME/aliases
//! PUT    /v1/functions/NAME/aliases/ALIAS
//!        {"targets": [{"version": "v12", "weight": 90}], "env": {}, "config": {}}
//! DELETE /v1/functions/NAME/aliases/ALIAS
//! ```

use std::sync::Arc;

use api::endpoints::{GetVersion, ListAliases, ListVersions, RollBack, SetAlias};
use api::versions::{AliasChange, Rollback};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::make;
use super::read;
use crate::control::Control;
use crate::failed::Failed;
use crate::routes::Answered;

pub(crate) async fn versions(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
) -> Answered<ListVersions> {
    Ok(Json(control.functions.listing.versions(&name)?))
}

pub(crate) async fn version(
    State(control): State<Arc<Control>>,
    Path((name, version)): Path<(String, String)>,
) -> Answered<GetVersion> {
    Ok(Json(control.functions.listing.version(&name, &version)?))
}

pub(crate) async fn aliases(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
) -> Answered<ListAliases> {
    Ok(Json(control.functions.listing.aliases(&name)?))
}

pub(crate) async fn roll_back(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answered<RollBack> {
    let Rollback { version } = read(&body)?;
    let rolling_back =
        async move { control.functions.aliases.roll_back(&name, version.as_deref()).await };
    Ok(Json(make(rolling_back).await?))
}

pub(crate) async fn set_alias(
    State(control): State<Arc<Control>>,
    Path((name, alias)): Path<(String, String)>,
    body: Bytes,
) -> Answered<SetAlias> {
    let change: AliasChange = read(&body)?;
    let setting = async move { control.functions.aliases.set(&name, &alias, change).await };
    Ok(Json(make(setting).await?))
}

pub(crate) async fn remove_alias(
    State(control): State<Arc<Control>>,
    Path((name, alias)): Path<(String, String)>,
) -> Result<StatusCode, Failed> {
    make(async move { control.functions.aliases.remove(&name, &alias).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
