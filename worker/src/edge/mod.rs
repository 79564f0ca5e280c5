//! The edge: how requests arrive, and how their replies leave. It knows no runtimes.
//!
//! Each way in is a folder: [`h1`] has connections that speak HTTP/1.1. A way in gives each request
//! to [`crate::serve`]. Owns no fds.

pub(crate) mod h1;
#[cfg(test)]
mod memory;
