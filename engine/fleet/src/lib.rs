//! The worker processes and who gets a connection: [`core`] decides, without I/O; [`workers`] runs
//! the processes, [`shard`] accepts connections on each core, [`dispatch`] is what both share to
//! send a connection to a worker, and [`metrics`] counts.
//!
//! Arrows between them run one way: shard and workers use dispatch and metrics, all use core.

#![expect(
    missing_docs,
    reason = "names of fields say what they are, and each variant of an error has its sentence"
)]

pub mod core;
pub mod dispatch;
pub mod metrics;
pub mod shard;
pub mod workers;
