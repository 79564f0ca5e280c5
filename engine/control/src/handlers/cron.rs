//! Schedules: which functions are rung when. Owns no fds.
//!
//! ```text
//! GET    /v1/cron
//! POST   /v1/functions/NAME/cron   {"schedule": "0 3 * * *", "path": "/nightly"}
//! PUT    /v1/functions/NAME/cron   [{...}, ...]   those of the function's sockhop.toml, and no others
//! DELETE /v1/cron/ID
//! POST   /v1/cron/ID/run
//! ```

use std::sync::Arc;

use api::cron::CronOptions;
use api::endpoints::{AddCron, ListCron, RunCron, SetProjectCron};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::make;
use super::read;
use crate::control::Control;
use crate::failed::Failed;
use crate::routes::Answered;

pub(crate) async fn list(State(control): State<Arc<Control>>) -> Answered<ListCron> {
    let listed = control.functions.schedules.list().into_iter();
    Ok(Json(listed.map(|listed| control.cron.describe(listed)).collect()))
}

pub(crate) async fn add(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answered<AddCron> {
    let options: CronOptions = read(&body)?;
    Ok(Json(make(async move { control.functions.schedules.add(&name, options).await }).await?))
}

pub(crate) async fn set_project(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answered<SetProjectCron> {
    let wanted: Vec<CronOptions> = read(&body)?;
    let setting = async move { control.functions.schedules.set_project(&name, wanted).await };
    Ok(Json(make(setting).await?))
}

pub(crate) async fn remove(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Failed> {
    make(async move { control.functions.schedules.remove(&id).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn run(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
) -> Answered<RunCron> {
    // A client that leaves has asked for it all the same.
    Ok(Json(make(async move { control.cron.run_now(&id).await }).await?))
}
