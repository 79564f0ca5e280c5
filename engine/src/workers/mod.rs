//! Worker processes: started, listened to, replaced when they die, stopped at the end.
//!
//! [`restart`] decides when, and is pure; [`spawn`] makes a process, [`link`] is one worker's channel and process,
//! [`supervise`] runs them all on the engine's main thread.

pub(crate) mod link;
mod restart;
mod spawn;
pub(crate) use spawn::binary as worker_binary;
pub(crate) mod supervise;
