//! AWS Lambda's contract with the process that runs a function's code: a `bootstrap` made for the
//! runtimes `provided.al2023` and `provided.al2` runs unchanged behind it.
//!
//! * [`runtime_api`] is the server that the process gets its invocations from. It knows no
//!   sandboxes: whoever starts the process gives it the connections that the process makes.
//! * [`event`] makes an event of an HTTP request, [`reply`] makes an HTTP response of a result, and
//!   [`prelude`] finds the head of a streamed one.
//! * [`environment`] is the process's, [`log_lines`] are those around each invocation,
//!   [`shutdown`] is how it is asked to end.
//! * [`failure`] is why an invocation has no result. [`invoke`] is what the Invoke API tells its
//!   callers, with and without one.
//! * [`handler`] is the other side, for a program that is itself a `bootstrap`: events become HTTP
//!   requests, and responses become results.
//!
//! All but `runtime_api` is pure. Nothing here opens, accepts or closes anything, and no time limit
//! is kept: both are the worker's. The crate owns no fds above those of the connections that it is
//! given, and nothing in it is [`Send`]: a process is served by one thread.
//!
//! # Example
//!
//! A worker has started a process and told it where to connect. Here the process is played by a
//! few lines of text.
//!
//! ```
//! use std::num::NonZeroUsize;
//! use std::time::Instant;
//!
//! use lambda::runtime_api::{Answer, Config, Invocation, RuntimeApi};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # tokio::task::LocalSet::new().block_on(&runtime, async {
//! let api = RuntimeApi::new(Config {
//!     function_name: "hello".to_owned(),
//!     function_version: "1".to_owned(),
//!     handler: "bootstrap".to_owned(),
//!     region: "us-east-1".to_owned(),
//!     account_id: "000000000000".to_owned(),
//!     concurrency: NonZeroUsize::MIN,
//!     external_extensions: Vec::new(),
//!     clock: Instant::now,
//! });
//! // Each connection that the process makes is served by a task of its own.
//! let (mut process, connection) = tokio::io::duplex(4096);
//! tokio::task::spawn_local(api.clone().serve(connection));
//!
//! // The process asks for its first event, and so is initialized.
//! process.write_all(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n\r\n").await.unwrap();
//! api.initialized().await.unwrap();
//! let begun = api
//!     .begin(Invocation {
//!         id: "8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned(),
//!         event: "{}".into(),
//!         content_type: None,
//!         deadline_unix_ms: 1_681_837_306_806,
//!         qualifier: None,
//!         trace_id: None,
//!         client_context: None,
//!         cognito: None,
//!         tenant_id: None,
//!     })
//!     .unwrap();
//!
//! // The process gets the event, and responds.
//! let mut event = [0; 4096];
//! assert!(process.read(&mut event).await.unwrap() > 0);
//! process
//!     .write_all(
//!         b"POST /2018-06-01/runtime/invocation/8476a536-e9f4-11e8-9739-2dfe598c3fcd/response \
//!           HTTP/1.1\r\nContent-Length: 5\r\n\r\n\"hi!\"",
//!     )
//!     .await
//!     .unwrap();
//! let Answer::Buffered { body, .. } = begun.answering.await else { unreachable!() };
//! assert_eq!(body, "\"hi!\"");
//! assert_eq!(lambda::reply::reply(body).unwrap().head.status, 200);
//!
//! // Its next request for an event completes the invocation.
//! process.write_all(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n\r\n").await.unwrap();
//! let completion = begun.completing.await;
//! println!("it took {:?}", completion.duration);
//! # });
//! ```

#![forbid(unsafe_code)]

pub mod environment;
pub mod error_body;
pub mod event;
pub mod exit;
pub mod failure;
pub mod handler;
mod hop_by_hop;
pub mod invoke;
pub mod limits;
pub mod log_lines;
pub mod prelude;
pub mod reply;
pub mod response_head;
pub mod runtime_api;
pub mod shutdown;
pub mod timestamp;
