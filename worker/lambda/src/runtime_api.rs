//! The Runtime API, which a function's runtime gets its events from, and the Extensions API beside
//! it (AWS: "Using the Lambda runtime API for custom runtimes", "Using the Lambda Extensions API").
//!
//! ```text
//! worker ──begin──▶ process ◀──▶ state, extensions     (decide)
//!                      ▲
//!            service, post, receive, stream             (requests)
//!                      ▲
//!             serve, connection                         (HTTP/1.1 on a stream)
//! ```
//!
//! Owns no fds: a connection is owned by the future that serves it.

mod answer;
mod connection;
mod endpoint;
mod extensions;
mod invocation;
mod post;
mod process;
mod receive;
mod responses;
mod serve;
mod service;
mod state;
mod stream;

pub use answer::{Answer, Answering, Begun, Completing, Completion, CompletionReason};
pub use invocation::{CognitoIdentity, Invocation};
pub use process::{BeginError, Config, InitFailure, Initialized, RuntimeApi};
pub use stream::{StreamBody, StreamError};
