//! The node as an account, and tags, of which there are none. Owns no fds.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde_json::json;

use super::{Answer, invalid, ok};
use crate::api::Api;
use crate::json::account_settings;
use crate::lambda::Lambda;
use crate::names::FunctionReference;

pub(crate) async fn settings<L: Lambda>(State(api): State<Arc<Api<L>>>) -> Answer {
    let account = api.lambda.account_settings().await?;
    ok(account_settings(&account, api.settings.zip_bytes_max))
}

/// Answers `ListTags` of a function that there is.
pub(crate) async fn tags<L: Lambda>(
    State(api): State<Arc<Api<L>>>,
    arn: Result<Path<String>, PathRejection>,
) -> Answer {
    let Path(arn) = arn.map_err(|error| invalid(error.body_text()))?;
    let function = FunctionReference::parse(&arn)?.unqualified()?;
    api.lambda.function(function.into()).await?;
    ok(json!({"Tags": {}}))
}
