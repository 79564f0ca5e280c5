//! The `state-server` command: keys and values by a native program, which asks Redis or has SQLite
//! inside. It speaks as the guest `keyvalue` does, so that the same requests may be sent to both.
//!
//! ```text
//! ["get", KEY] ["set", KEY, VALUE] ["increment", KEY, NUMBER]
//! ["repeat", COUNT, OPERATION]   the last result
//! ["time", COUNT, OPERATION]   how many nanoseconds one took
//! ```
//!
//! One thread, one tokio runtime, served by `hyper_server`. Owns the listener; `backend` owns the
//! connection to Redis and SQLite's files.

mod backend;

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::LocalSet;

use crate::cli::StateServerArguments;
use crate::hyper_server;
pub use backend::Synchronous;
use backend::{Backend, BackendError};

/// It cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No keys and values.
    #[error("cannot keep keys and values: {0}")]
    Backend(#[from] BackendError),
    /// No listener, no runtime.
    #[error("cannot serve on 127.0.0.1 ({0}); raise the limit on open files (ulimit -n)?")]
    Serve(#[from] io::Error),
}

/// A request that it does not understand, or cannot do.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("the body is no JSON ({0})")]
    Json(#[from] serde_json::Error),
    #[error("`{0}` is no operation")]
    Operation(Value),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error("the body is broken off ({0})")]
    Body(#[from] hyper::Error),
}

/// The command: serves until a signal ends it.
pub fn command(arguments: &StateServerArguments) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let backend = match (&arguments.redis, &arguments.sqlite) {
            (Some(socket), _) => Backend::redis(socket).await?,
            (None, Some(file)) => Backend::sqlite(file, arguments.synchronous)?,
            (None, None) => unreachable!("the command line needs one of them"),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("ready http://{}/", listener.local_addr()?);
        io::stdout().flush()?;
        hyper_server::serve(listener, None, move |request| answer(request, backend.clone())).await;
        Ok(())
    })
}

async fn answer(
    request: Request<Incoming>,
    backend: Backend,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match perform_all(request, &backend).await {
        Ok(body) => (200, body),
        Err(failed) => (500, failed.to_string().into_bytes()),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    Ok(response)
}

async fn perform_all(request: Request<Incoming>, backend: &Backend) -> Result<Vec<u8>, Failed> {
    let body = request.into_body().collect().await?.to_bytes();
    let operations: Vec<Value> = serde_json::from_slice(&body)?;
    let mut outcomes = Vec::new();
    for operation in &operations {
        outcomes.push(json!({ "ok": perform(operation, backend).await? }));
    }
    Ok(serde_json::to_vec(&outcomes)?)
}

async fn perform(operation: &Value, backend: &Backend) -> Result<Value, Failed> {
    let unfit = || Failed::Operation(operation.clone());
    let [Value::String(name), of @ ..] = operation.as_array().map_or(&[][..], Vec::as_slice) else {
        return Err(unfit());
    };
    match (&**name, of) {
        ("repeat", [count, repeated]) => {
            let mut last = Value::Null;
            for _ in 0..count.as_u64().ok_or_else(unfit)? {
                last = perform_one(repeated, backend).await?;
            }
            Ok(last)
        }
        ("time", [count, timed]) => {
            let (begun, count) = (Instant::now(), count.as_u64().ok_or_else(unfit)?.max(1));
            for _ in 0..count {
                perform_one(timed, backend).await?;
            }
            Ok(json!(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX) / count))
        }
        _ => perform_one(operation, backend).await,
    }
}

async fn perform_one(operation: &Value, backend: &Backend) -> Result<Value, Failed> {
    let parts: Vec<&Value> = operation.as_array().into_iter().flatten().collect();
    match parts[..] {
        [Value::String(name), Value::String(key)] if name == "get" => {
            let found = backend.get(key).await?;
            Ok(found.map_or(Value::Null, |value| String::from_utf8_lossy(&value).into()))
        }
        [Value::String(name), Value::String(key), Value::String(value)] if name == "set" => {
            backend.set(key, value.as_bytes()).await?;
            Ok(Value::Null)
        }
        [Value::String(name), Value::String(key), delta] if name == "increment" => {
            let delta = delta.as_i64().ok_or_else(|| Failed::Operation(operation.clone()))?;
            Ok(json!(backend.increment(key, delta).await?))
        }
        _ => Err(Failed::Operation(operation.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_as_the_guest_does() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for synchronous in [Synchronous::Full, Synchronous::Normal] {
            let file = folder.path().join(format!("{synchronous:?}"));
            let backend = Backend::sqlite(&file, synchronous).unwrap();
            let done = |operation: Value| runtime.block_on(perform(&operation, &backend));
            assert_eq!(done(json!(["get", "k"])).unwrap(), Value::Null);
            assert_eq!(done(json!(["set", "k", "v"])).unwrap(), Value::Null);
            assert_eq!(done(json!(["get", "k"])).unwrap(), json!("v"));
            assert_eq!(done(json!(["increment", "n", 2])).unwrap(), json!(2));
            assert_eq!(done(json!(["repeat", 3, ["increment", "n", -1]])).unwrap(), json!(-1));
            assert_eq!(done(json!(["get", "n"])).unwrap(), json!("-1"));
            assert!(done(json!(["time", 2, ["get", "k"]])).unwrap().as_u64().unwrap() > 0);
            for bad in [json!(null), json!([]), json!(["get"]), json!(["time", "x", ["get", "k"]])]
            {
                assert!(matches!(done(bad), Err(Failed::Operation(_))));
            }
        }
    }
}
