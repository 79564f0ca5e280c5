//! The control API: what `sockhop deploy`, `list` and the others talk to.
//!
//! axum on a Unix socket, and on TCP if asked, on a thread and runtime of its own, so that uploads
//! and disks never hold up the supervisor. [`server`] is the wire, [`tcp`] the way in from
//! elsewhere and [`token`] its key, [`functions`] what is deployed and how that changes, [`deploy`]
//! the form of a deploy, [`deploys`] how far each is, [`sync`] how a node keeps up with what others
//! deploy, [`mod@versions`] versions and aliases with their [wire](versions_api), [`catalogue`]
//! what workers are told of all functions, [`secrets`] the wire of secrets, [`slots`] functions'
//! places on the board, [`invoke`] a call through the front door, [`health`] what probes and
//! Prometheus ask, [`top`] what `sockhop top` does, [`logs`] what `sockhop logs` does, [`names`]
//! what a path may name.
//!
//! What is sent and answered has its types in the crate `api`. [`answers`] makes them of what is
//! stored, [`options`] reads what is deployed with, and [`routes`] has handlers answer at the paths
//! that are listed there.

#![expect(
    missing_docs,
    reason = "names of fields say what they are, and each variant of an error has its sentence"
)]

mod answers;
mod call;
mod deploy;
pub mod deploys;
pub mod functions;
mod health;
pub mod logs;
mod metrics;
pub mod names;
mod routes;
mod secrets;
pub mod server;
pub mod sync;
pub mod tcp;
pub mod token;
pub mod top;
mod versions_api;

/// What becomes of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It serves, and goes on to.
    Serving,
    /// It is stopping.
    Draining,
    /// Another engine has taken over.
    Replaced,
}
