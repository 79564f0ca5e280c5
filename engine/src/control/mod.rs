//! The control API: what `sockhop deploy`, `list` and the others talk to.
//!
//! axum on a Unix socket, on a thread and runtime of its own, so that uploads and disks never hold up the supervisor.
//! [`api`] is the wire, [`functions`] what is deployed and how that changes, [`slots`] their places on
//! the board, [`invoke`] a call through the front door, [`status`] what is told of workers.

pub(crate) mod api;
pub(crate) mod functions;
mod invoke;
mod slots;
pub(crate) mod status;
