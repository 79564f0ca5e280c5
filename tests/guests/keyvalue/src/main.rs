//! Uses `wasi:keyvalue`: by `0.2.0-draft` at `/1`, by `0.2.0-draft2` at `/2`.
//!
//! The body is a JSON array of operations, each an array of its name and what it takes; the node
//! must reply with an array of what came of each, `{"ok": VALUE}` or `{"err": REASON}`:
//!
//! ```text
//! ["open", NAME]   of the operations behind it (none: "default")
//! ["get", KEY] ["exists", KEY] ["set", KEY, VALUE] ["delete", KEY] ["list", CURSOR]
//! ["increment", KEY, NUMBER] ["get-many", [KEY]] ["set-many", [[KEY, VALUE]]] ["delete-many", [KEY]]
//! ["cas", KEY] ["current"] ["swap", VALUE]   by /2
//! ["append", KEY, VALUE]   by /2: swaps until it succeeds
//! ["fill", KEY, LENGTH]   a value of so many bytes
//! ["repeat", COUNT, OPERATION]   the last result
//! ["time", COUNT, OPERATION]   how many nanoseconds one took
//! ```
//!
//! A number in place of a key is a key of so many bytes.

mod draft;
mod draft2;

use std::time::Instant;

use serde_json::{Value, json};
use wstd::http::{Body, Error, Request, Response};

/// What came of an operation.
type Outcome = Result<Value, String>;

/// A draft of the interface.
trait Draft {
    /// Does one operation.
    fn perform(&mut self, name: &str, of: &[Value]) -> Outcome;
}

#[wstd::http_server]
async fn main(mut request: Request<Body>) -> Result<Response<Body>, Error> {
    let body = request.body_mut().contents().await?;
    let operations: Vec<Value> = serde_json::from_slice(body)?;
    let mut draft: Box<dyn Draft> = match request.uri().path() {
        "/1" => Box::new(draft::Buckets::default()),
        _ => Box::new(draft2::Buckets::default()),
    };
    let outcomes: Vec<Value> = operations
        .iter()
        .map(|operation| match perform(&mut *draft, operation) {
            Ok(value) => json!({ "ok": value }),
            Err(why) => json!({ "err": why }),
        })
        .collect();
    Ok(Response::new(serde_json::to_vec(&outcomes)?.into()))
}

fn perform(draft: &mut dyn Draft, operation: &Value) -> Outcome {
    let operation = operation.as_array().expect("an operation is an array");
    let (name, of) = operation.split_first().expect("it has a name");
    let count = || of[0].as_u64().expect("a count");
    match name.as_str().expect("the name is a text") {
        "repeat" => (0..count()).map(|_| perform(draft, &of[1])).last().expect("more than none"),
        "time" => {
            let begun = Instant::now();
            for _ in 0..count() {
                perform(draft, &of[1])?;
            }
            Ok(json!(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX) / count()))
        }
        name => draft.perform(name, of),
    }
}

/// A key, or one of so many bytes.
fn key(value: &Value) -> String {
    match value.as_u64() {
        Some(length) => "k".repeat(usize::try_from(length).expect("it fits")),
        None => value.as_str().expect("a key").to_owned(),
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    value.as_str().expect("a value").as_bytes().to_vec()
}

fn keys(value: &Value) -> Vec<String> {
    value.as_array().expect("keys").iter().map(key).collect()
}

fn entries(value: &Value) -> Vec<(String, Vec<u8>)> {
    let entries = value.as_array().expect("entries").iter();
    entries.map(|entry| (key(&entry[0]), bytes(&entry[1]))).collect()
}

fn text(value: Option<Vec<u8>>) -> Value {
    value.map_or(Value::Null, |value| String::from_utf8_lossy(&value).into())
}

fn texts(found: Vec<Option<(String, Vec<u8>)>>) -> Value {
    found
        .into_iter()
        .map(|entry| entry.map_or(Value::Null, |(key, value)| json!([key, text(Some(value))])))
        .collect()
}
