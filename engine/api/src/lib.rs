//! The control API as types: each request and answer of `/v1`, in a module for each area.
//!
//! The node builds these types and the command line reads them, so that a field that is renamed on
//! one side only does not compile. [`endpoints`] lists which paths there are and which types belong
//! to each; the node's router, its clients and the OpenAPI document of [`openapi`] are all made
//! from that list.
//!
//! A command may talk to a node of an earlier build, so a field that is added to an answer later is
//! an `Option`, or has a default (`#[serde(default)]`).
//!
//! The types say how JSON looks, and those of a deploy's [`options`] also how `sockhop.toml` and
//! the command line do. What the node keeps in its store has types of its own, so that either can
//! change without the other; what a function is, all share with the catalogue
//! ([`abi::function`]). Owns no fds.

#![forbid(unsafe_code)]

pub mod bundles;
pub mod cron;
pub mod deploys;
pub mod difference;
pub mod domains;
pub mod endpoint;
pub mod endpoints;
pub mod errors;
pub mod functions;
pub mod jobs;
pub mod kv;
pub mod logs;
pub mod openapi;
pub mod options;
mod path;
pub mod removed;
pub mod secrets;
pub mod status;
pub mod top;
pub mod versions;
