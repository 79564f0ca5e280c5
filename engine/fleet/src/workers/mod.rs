//! Worker processes: started, listened to, replaced when they die, stopped at the end.
//!
//! [`crate::core::fleet`] decides; [`spawn`] makes a process, [`link`] is one worker's channel and
//! process, [`last_words`] what it says before it serves, [`process`] how its process is;
//! [`supervise`] runs them all on the engine's main thread.

mod last_words;
pub mod link;
mod process;
mod spawn;
pub use spawn::Binary;
pub mod supervise;

use crate::core::fleet::WorkerId;

/// A change among the worker processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerChange {
    /// It has been started, and has no segment of the log to write to yet.
    Started(WorkerId),
    /// Its process has ended: it writes no more.
    Exited(WorkerId),
}
