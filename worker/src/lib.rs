//! The worker, and the program of bundles: two programs of the same parts.
//!
//! [`worker_main`] is a process of a node, which its engine starts and gives connections.
//! [`standalone_main`] is a process of its own, for one function that is in its own file
//! ([`abi::bundle`]). Each is one thread, which runs guests.

mod counters;
mod deadline;
mod drain;
mod edge;
mod facts;
mod guest_log;
mod link;
mod log;
mod origin;
mod process;
mod push;
mod run;
mod serve;
mod spool;
mod standalone;
mod start;
mod state;
mod trace;
mod worker;

pub use self::process::{standalone_main, worker_main};

/// A worker mostly makes small allocations on one thread. mimalloc is measurably faster at them
/// than the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
