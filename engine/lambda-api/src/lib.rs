//! The API of AWS Lambda, as far as a node has what it asks for: what the AWS CLI, the SDKs and
//! cargo-lambda call with `--endpoint-url http://ADDRESS`.
//!
//! ```text
//! router ── authenticate ── handlers ──▶ trait Lambda (the node)
//!               └─ sigv4        └─ names, function, alias, invocation, environment
//! ```
//!
//! [`router()`] is an axum router over whatever implements [`Lambda`]; who serves it owns the
//! sockets. This crate knows the wire: paths, shapes, limits, errors and signatures. What a
//! function, a version or an invocation is, the implementation knows, and it is told in the plain
//! types of [`function`], [`alias`] and [`invocation`]. The wire is that of service `lambda`,
//! version 2015-03-31, of botocore's models. Owns no fds.

#![forbid(unsafe_code)]

pub mod alias;
mod api;
mod authenticate;
pub mod environment;
pub mod error;
mod event_stream;
mod failure;
pub mod function;
mod handlers;
pub mod invocation;
mod json;
mod lambda;
pub mod names;
mod operations;
mod place;
mod router;
pub mod sigv4;

pub use api::Settings;
pub use error::LambdaError;
pub use lambda::Lambda;
pub use place::Place;
pub use router::router;
