//! How many invocations a function may have at a time. Owns no fds.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Answer, Target, no_content, ok, read};
use crate::api::Api;
use crate::lambda::Lambda;

/// The body of `PutFunctionConcurrency`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ConcurrencyShape {
    reserved_concurrent_executions: u32,
}

pub(crate) async fn get<L: Lambda>(State(api): State<Arc<Api<L>>>, target: Target) -> Answer {
    match api.lambda.concurrency(target.function()?).await? {
        Some(concurrency_max) => ok(json!({"ReservedConcurrentExecutions": concurrency_max})),
        None => ok(json!({})),
    }
}

pub(crate) async fn set<L: Lambda>(
    State(api): State<Arc<Api<L>>>,
    target: Target,
    body: Bytes,
) -> Answer {
    let function = target.function()?;
    let ConcurrencyShape { reserved_concurrent_executions: concurrency_max } = read(&body)?;
    api.lambda.set_concurrency(function, Some(concurrency_max)).await?;
    ok(json!({"ReservedConcurrentExecutions": concurrency_max}))
}

pub(crate) async fn unset<L: Lambda>(State(api): State<Arc<Api<L>>>, target: Target) -> Answer {
    api.lambda.set_concurrency(target.function()?, None).await?;
    no_content()
}
