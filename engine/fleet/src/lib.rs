//! The worker processes, and which of them gets a connection.
//!
//! [`core`] decides, without I/O. [`workers`] runs the processes, [`shard`] accepts connections on
//! each core, [`dispatch`] is what both share to send a connection to a worker, and [`metrics`]
//! counts. Modules use one another in one direction: `shard` and `workers` use `dispatch`, which
//! uses `metrics`, and all use `core`.

#![expect(
    missing_docs,
    reason = "names of fields say what they are, and each variant of an error has its sentence"
)]

pub mod core;
pub mod dispatch;
pub mod metrics;
pub mod shard;
pub mod workers;
