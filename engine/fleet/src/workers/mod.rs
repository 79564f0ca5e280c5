//! Worker processes: how they are started, listened to, replaced when they die, and stopped.
//!
//! [`crate::core::fleet`] decides. [`spawn`] starts a process, [`link`] is one worker's process and
//! channel, [`last_words`] is what it writes before it serves, and [`process`] is the state of its
//! process. [`grants`] says which buckets it may use. [`supervise`] runs them all on the engine's main thread.

pub mod grants;
mod last_words;
pub mod link;
mod process;
mod spawn;
pub use spawn::Binary;
pub mod supervise;

use std::collections::BTreeSet;

use crate::core::fleet::WorkerId;

/// The workers that were sent their settings and have not exited. The supervisor keeps it, and the
/// log gives each worker in it a segment to write to. It is a set and not a queue of changes, so
/// that it stays small however late it is read.
pub type Roster = BTreeSet<WorkerId>;
