//! The edge: how requests arrive, and how their replies leave. It knows no runtimes.
//!
//! Each way in is a folder: [`h1`] has connections that speak HTTP/1.1, [`h2`] those of HTTP/2, [`lambda`] takes the events
//! of AWS Lambda, which it has answered from [`memory`]. A connection that changes to WebSocket is
//! [`websocket`]'s from then on. A way in gives each request to [`crate::serve`]. [`tls`] is what stands in front of them in a process of its own. Owns no fds.

pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod lambda;
mod memory;
pub(crate) mod tls;
mod websocket;
