//! What an endpoint is: a method and a path, and which types go there and come back.

use std::marker::PhantomData;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The header that a client of a node's TCP address has its token in, as `Bearer TOKEN`. Unlike
/// `authorization`, it is not one that a function's own callers use.
pub const TOKEN_HEADER: &str = "sockhop-authorization";

/// A method of HTTP, as far as the API uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Replaces.
    Put,
    /// Does something.
    Post,
    /// Removes.
    Delete,
    /// Any of them: what it means is for a function to say.
    Any,
}

/// What a request's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestBody {
    /// There is none.
    Nothing,
    /// JSON. Without a body, everything in it is as its default.
    Json,
    /// Bytes that mean something to a function only.
    Bytes,
    /// The form of a deploy, with the options and the file.
    DeployForm,
}

/// What an answer's body is, if all goes well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerBody {
    /// JSON, with the status 200.
    Json,
    /// JSON, with the status 201.
    Created,
    /// JSON, with the status 202.
    Accepted,
    /// None, with the status 204.
    Nothing,
    /// JSON with the status 200, or none with the status 204.
    JsonOrNothing,
    /// JSON with the status 200, or Server-Sent Events if the request asks for them.
    JsonOrEvents,
    /// A file, with the status 200.
    File,
    /// Whatever a function replies.
    OfFunction,
}

/// One endpoint of the API. [`crate::endpoints`] lists them all.
pub trait Endpoint {
    /// The name of the endpoint in the OpenAPI document.
    const NAME: &'static str;
    /// What it does, in a sentence.
    const SUMMARY: &'static str;
    /// Its method.
    const METHOD: Method;
    /// Its path, with each parameter in braces.
    const PATH: &'static str;
    /// What its query may have; `()` for nothing.
    type Query: Serialize + DeserializeOwned + JsonSchema;
    /// What is sent to it; `()` for nothing.
    type Request: Serialize + JsonSchema;
    /// How that is sent.
    const REQUEST: RequestBody;
    /// What it answers; `()` for nothing that has a type.
    type Answer: Serialize + DeserializeOwned + JsonSchema;
    /// How that is answered.
    const ANSWER: AnswerBody;
}

/// An endpoint with the parameters of its path filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call<E> {
    path: String,
    endpoint: PhantomData<E>,
}

impl<E: Endpoint> Call<E> {
    pub(crate) fn new(path: String) -> Self {
        Self { path, endpoint: PhantomData }
    }

    /// Adds a query. Call it once at most.
    #[must_use]
    pub fn with(mut self, query: &E::Query) -> Self {
        let query = query_text(query);
        if !query.is_empty() {
            self.path.extend(["?", &query]);
        }
        self
    }

    /// Returns the path, and the query if there is one.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// Returns `key=value&...` with all fields of `query` that are not null.
fn query_text(query: &impl Serialize) -> String {
    let Ok(Value::Object(fields)) = serde_json::to_value(query) else { return String::new() };
    let pair = |(key, value): (String, Value)| {
        let value = match value {
            Value::Null => return None,
            Value::String(text) => text,
            other => other.to_string(),
        };
        Some(format!("{key}={}", escaped(&value)))
    };
    fields.into_iter().filter_map(pair).collect::<Vec<_>>().join("&")
}

/// What a segment of a path does not have as it is.
const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// Returns `text` without characters that have a meaning in a query.
fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// Nothing but an object, as the OpenAPI document is to those who only pass it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct AnyObject(pub serde_json::Map<String, Value>);

/// An endpoint as a value, for those who need all of them.
#[derive(Debug, Clone, Copy)]
pub struct Description {
    /// See [`Endpoint::NAME`].
    pub name: &'static str,
    /// See [`Endpoint::SUMMARY`].
    pub summary: &'static str,
    /// See [`Endpoint::METHOD`].
    pub method: Method,
    /// See [`Endpoint::PATH`].
    pub path: &'static str,
    pub(crate) query: MakeSchema,
    pub(crate) request: (RequestBody, MakeSchema),
    pub(crate) answer: (AnswerBody, MakeSchema),
}

/// Makes the schema of a type.
pub(crate) type MakeSchema = fn(&mut SchemaGenerator) -> Schema;

impl Description {
    pub(crate) const fn of<E: Endpoint>() -> Self {
        Self {
            name: E::NAME,
            summary: E::SUMMARY,
            method: E::METHOD,
            path: E::PATH,
            // Its properties become parameters, so it is never a reference.
            query: E::Query::json_schema,
            request: (E::REQUEST, SchemaGenerator::subschema_for::<E::Request>),
            answer: (E::ANSWER, SchemaGenerator::subschema_for::<E::Answer>),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::LogsQuery;

    #[test]
    fn a_query_has_what_is_said_and_no_character_with_a_meaning() {
        let since = Some("2026-01-01 00:00&x=+".to_owned());
        let query = LogsQuery { since, limit: Some(7), newest: true, ..LogsQuery::default() };
        let expected = "limit=7&newest=true&since=2026-01-01%2000:00%26x%3D%2B";
        assert_eq!(query_text(&query), expected);
        assert_eq!(
            (query_text(&LogsQuery::default()), query_text(&())),
            (String::new(), String::new())
        );
    }
}
