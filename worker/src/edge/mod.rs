//! Ways in: from whom requests come, and how their replies go back. It knows no runtimes.
//!
//! Each is a folder: [`h1`] has connections that speak HTTP/1.1. What a way in has of a request it
//! gives to [`crate::serve`]. Owns no fds.

pub(crate) mod h1;
#[cfg(test)]
mod memory;
