//! The control API: what `sockhop deploy`, `list` and the others talk to.
//!
//! axum on a Unix socket, and on TCP if asked, on a thread and runtime of its own, so that uploads
//! and disks never hold up the supervisor. From the top to what all stand on:
//!
//! * [`server`] has the socket and routes to [`handlers`], [`tcp`] is the way in from elsewhere,
//!   and [`sync`] keeps up with what other nodes deploy;
//! * [`handlers`] answer, an area a module. They share [`control`], [`failed`], [`routes`], which
//!   has them answer at the paths that [`api::endpoints`] lists, [`names`], which checks what a
//!   path may name, [`deploys`], which knows the deploys under way, and [`metrics`];
//! * [`functions`] is what is deployed, and how that changes;
//! * [`answers`] makes what the API answers of what is stored, [`call`] sends a request to a
//!   function, [`cron`] does when it is due, [`mod@jobs`] later and until it is
//!   done, [`turn`] says which engine does, [`token`] is what clients over TCP show, and [`life`] says whether the node stops.
//!
//! What is sent and answered has its types in the crate `api`.

#![expect(
    missing_docs,
    reason = "names of fields say what they are, and each variant of an error has its sentence"
)]

pub mod answers;
mod call;
mod control;
pub mod cron;
pub mod deploys;
mod failed;
pub mod functions;
mod handlers;
pub mod jobs;
mod lambda;
mod life;
mod metrics;
pub mod names;
mod routes;
pub mod server;
pub mod sync;
pub mod tcp;
pub mod token;
mod turn;

pub use self::control::Control;
pub use self::life::Life;
