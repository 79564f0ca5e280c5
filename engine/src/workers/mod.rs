//! Worker processes: started, listened to, replaced when they die, stopped at the end.
//!
//! [`restart`] and [`stuck`] decide when, and are pure; [`spawn`] makes a process, [`link`] is one worker's channel and process,
//! [`supervise`] runs them all on the engine's main thread.

pub(crate) mod link;
mod restart;
mod spawn;
pub(crate) use spawn::binary as worker_binary;
mod stuck;
pub(crate) mod supervise;
