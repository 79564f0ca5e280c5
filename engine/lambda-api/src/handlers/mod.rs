//! What is done for each operation: read what is asked, ask the node, write the answer. A file an
//! area; here is what they share. Owns no fds.

pub(crate) mod account;
pub(crate) mod aliases;
mod code;
pub(crate) mod concurrency;
pub(crate) mod functions;
pub(crate) mod invoke;
mod options;
mod paging;
pub(crate) mod url;
pub(crate) mod versions;

use std::collections::HashMap;

use axum::Json;
use axum::extract::{FromRequestParts, Path, Query};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use serde_json::Value;

use crate::error::LambdaError;
use crate::failure::Failure;
use crate::names::{AliasName, FunctionName, FunctionReference};

/// What a handler returns.
type Answer = Result<Response, Failure>;

/// What a request names: the function and the qualifier of its path and query, and the alias if its
/// path has one.
pub(crate) struct Target {
    reference: FunctionReference,
    alias: Option<String>,
}

impl Target {
    /// Returns the function, for what is of no version.
    fn function(self) -> Result<FunctionName, Failure> {
        Ok(self.reference.unqualified()?)
    }

    /// Returns the function and the alias.
    fn alias(self) -> Result<(FunctionName, AliasName), Failure> {
        let alias = AliasName::parse(self.alias.as_deref().unwrap_or_default())?;
        Ok((self.reference.unqualified()?, alias))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = Failure;

    async fn from_request_parts(head: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Parameters(query) = Parameters::from_request_parts(head, state).await?;
        let path = Path::<HashMap<String, String>>::from_request_parts(head, state).await;
        let mut path = path.map(|Path(path)| path).map_err(|error| invalid(error.body_text()))?;
        let name = path.remove("name").unwrap_or_default();
        let reference = FunctionReference::parse(&name)?;
        let reference = reference.with_qualifier(query.get("Qualifier").map(String::as_str))?;
        Ok(Self { reference, alias: path.remove("alias") })
    }
}

/// The parameters of a request's query.
pub(crate) struct Parameters(HashMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Failure;

    async fn from_request_parts(head: &mut Parts, state: &S) -> Result<Self, Failure> {
        let query = Query::<HashMap<String, String>>::from_request_parts(head, state).await;
        query.map(|Query(query)| Self(query)).map_err(|error| invalid(error.body_text()))
    }
}

impl Parameters {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Returns the failure of a parameter that is not valid.
fn invalid(message: impl Into<String>) -> Failure {
    LambdaError::InvalidParameterValue(message.into()).into()
}

/// Reads a document. An empty body is one without fields.
fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("Could not parse request body into json: {error}");
        LambdaError::InvalidRequestContent(message).into()
    })
}

fn ok(shape: Value) -> Answer {
    Ok(Json(shape).into_response())
}

fn created(shape: Value) -> Answer {
    Ok((StatusCode::CREATED, Json(shape)).into_response())
}

fn no_content() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Returns whether `value`, of a part of a request that the node cannot do, asks for anything.
/// Tools send such parts empty.
fn is_asked(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty() && text != "None",
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => fields.values().any(is_asked),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// Refuses parts of a request that ask for what this node has not.
fn expect_not_asked(parts: &[(&str, &Value)]) -> Result<(), Failure> {
    match parts.iter().find(|(_, value)| is_asked(value)) {
        Some((name, _)) => {
            Err(invalid(format!("{name} is not supported by this node; leave it out")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_that_ask_for_nothing_are_taken() {
        for value in [
            json!(null),
            json!([]),
            json!({}),
            json!(""),
            json!({"SubnetIds": [], "SecurityGroupIds": []}),
            json!({"ApplyOn": "None"}),
            json!({"Ipv6AllowedForDualStack": false}),
        ] {
            assert!(!is_asked(&value), "{value}");
        }
        for value in [json!(["a"]), json!({"TargetArn": "a"}), json!(0), json!(true), json!("a")] {
            assert!(is_asked(&value), "{value}");
        }
    }
}
