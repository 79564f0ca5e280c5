//! The addresses of functions. Every function of a node has one, which anybody may call; creating
//! it changes nothing, and it cannot be deleted. Owns no fds.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Failure, Target, created, expect_not_asked, invalid, ok, read};
use crate::api::Api;
use crate::json::function_url as shape;
use crate::lambda::Lambda;
use crate::names::{FunctionReference, Qualifier};

/// The body of `CreateFunctionUrlConfig` and `UpdateFunctionUrlConfig`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct UrlShape {
    auth_type: Option<String>,
    invoke_mode: Option<String>,
    cors: Value,
}

impl UrlShape {
    fn check(&self) -> Result<(), Failure> {
        if self.auth_type.as_deref().is_some_and(|kind| kind != "NONE") {
            return Err(invalid("AuthType must be NONE; this node's addresses are open to all"));
        }
        let modes = [None, Some("BUFFERED"), Some("RESPONSE_STREAM")];
        if !modes.contains(&self.invoke_mode.as_deref()) {
            return Err(invalid("InvokeMode must be BUFFERED or RESPONSE_STREAM"));
        }
        expect_not_asked(&[("Cors", &self.cors)])
    }
}

/// Returns what has an address: a function or an alias.
fn addressed(target: Target) -> Result<FunctionReference, Failure> {
    match target.reference.qualifier {
        None | Some(Qualifier::Alias(_)) => Ok(target.reference),
        Some(Qualifier::Version(_)) => {
            Err(invalid("a function's URL is of the function or of an alias, not of a version"))
        }
    }
}

pub(crate) async fn create<L: Lambda>(
    State(api): State<Arc<Api<L>>>,
    target: Target,
    body: Bytes,
) -> Answer {
    read::<UrlShape>(&body)?.check()?;
    let url = api.lambda.function_url(addressed(target)?).await?;
    created(shape(&api.settings.place, &url))
}

pub(crate) async fn update<L: Lambda>(
    State(api): State<Arc<Api<L>>>,
    target: Target,
    body: Bytes,
) -> Answer {
    read::<UrlShape>(&body)?.check()?;
    get(State(api), target).await
}

pub(crate) async fn get<L: Lambda>(State(api): State<Arc<Api<L>>>, target: Target) -> Answer {
    let url = api.lambda.function_url(addressed(target)?).await?;
    ok(shape(&api.settings.place, &url))
}

pub(crate) async fn list<L: Lambda>(State(api): State<Arc<Api<L>>>, target: Target) -> Answer {
    let function = target.function()?;
    let url = api.lambda.function_url(function.into()).await?;
    ok(json!({"FunctionUrlConfigs": [shape(&api.settings.place, &url)]}))
}
