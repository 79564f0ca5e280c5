//! Programs made of functions. Owns no fds.
//!
//! ```text
//! GET /v1/functions/NAME/bundle?reference=v3
//! ```

use std::sync::Arc;

use api::bundles::BundleQuery;
use api::endpoints::GetBundle;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use crate::control::Control;
use crate::failed::Failed;
use crate::routes::QueryOf;

pub(crate) async fn program(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    QueryOf(BundleQuery { reference }): QueryOf<GetBundle>,
) -> Result<impl IntoResponse, Failed> {
    let program = control.functions.bundles.program(&name, reference.as_deref()).await?;
    Ok(([(CONTENT_TYPE, "application/octet-stream")], program))
}
