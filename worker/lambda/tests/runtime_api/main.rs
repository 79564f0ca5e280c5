//! The Runtime API over TCP, as clients that behave like Go's, Rust's and curl see it.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod answers;
mod client;
mod extensions;
mod lifecycle;
mod refusals;
mod streams;
