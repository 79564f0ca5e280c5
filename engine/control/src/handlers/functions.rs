//! The node and its functions: what there is, removing one, and restoring it. Owns no fds.
//!
//! ```text
//! GET    /v1/status
//! GET    /v1/functions
//! GET    /v1/functions/NAME
//! DELETE /v1/functions/NAME           it can be restored for a day, but with ?for-good=true;
//!                                     ?with-state=true removes its own bucket, too
//! POST   /v1/functions/NAME/restore   {"id": "..."}, or without for what was removed last
//! GET    /v1/removed                  what can be restored
//! GET    /v1/openapi.json             the control API as an OpenAPI document
//! ```

use std::sync::Arc;

use abi::board;
use api::endpoint::Endpoint;
use api::endpoints::{
    GetFunction, GetOpenApi, GetStatus, ListFunctions, ListRemoved, RemoveFunction, RestoreFunction,
};
use api::functions::{InspectedFunction, Reuse};
use api::removed::{RemoveQuery, Restore};
use api::status::Status;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::make;
use super::read;
use crate::control::Control;
use crate::failed::Failed;
use crate::functions::ChangeError;
use crate::routes::{Answered, QueryOf};

pub(crate) async fn status(State(control): State<Arc<Control>>) -> Answered<GetStatus> {
    let state = control.state_use().await;
    Ok(Json(Status { node: control.node(), workers: control.workers().await?, state }))
}

pub(crate) async fn list(State(control): State<Arc<Control>>) -> Answered<ListFunctions> {
    Ok(Json(control.functions.listing.list()))
}

pub(crate) async fn inspect(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
) -> Answered<GetFunction> {
    let function = control.functions.listing.inspect(&name)?;
    Ok(Json(InspectedFunction { reuse: reuse(&control, &name), ..function }))
}

/// Returns what became of a function's instances that have served a request and may serve several.
/// Returns `None` if there were none.
fn reuse(control: &Control, name: &str) -> Option<Reuse> {
    let reading = control.shared.metrics.read(&control.shared.snapshot.load().catalogue);
    let function = reading.functions.iter().find(|function| function.name == name)?;
    let count = |outcome: board::Reuse| function.tally.reuses[outcome as usize];
    let reuse = Reuse {
        kept: count(board::Reuse::Kept),
        memory: count(board::Reuse::Memory),
        request: count(board::Reuse::Request),
        room: count(board::Reuse::Room),
        served: count(board::Reuse::Served),
    };
    (reuse != Reuse::default()).then_some(reuse)
}

pub(crate) async fn removed(State(control): State<Arc<Control>>) -> Answered<ListRemoved> {
    Ok(Json(control.functions.removals.removed().await?))
}

pub(crate) async fn open_api() -> Answered<GetOpenApi> {
    Ok(Json(api::openapi::document(abi::BUILD_ID)))
}

pub(crate) async fn remove(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    QueryOf(RemoveQuery { for_good, with_state }): QueryOf<RemoveFunction>,
) -> Result<Response, Failed> {
    let (of, function) = (Arc::clone(&control), name.clone());
    let removing = async move { of.functions.removals.remove(&function, for_good).await };
    let mut removed: Result<<RemoveFunction as Endpoint>::Answer, ChangeError> =
        make(removing).await;
    if with_state
        && matches!(removed, Ok(_) | Err(ChangeError::Unknown(_) | ChangeError::Removed(_)))
        && control.clear_state(&name).await?
    {
        // The function may be gone for long.
        removed = Ok(removed.unwrap_or_default());
    }
    Ok(match removed? {
        Some(removed) => Json(removed).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

pub(crate) async fn restore(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answered<RestoreFunction> {
    let Restore { id } = read(&body)?;
    let restoring = async move { control.functions.removals.restore(&name, id.as_deref()).await };
    Ok(Json(make(restoring).await?))
}
