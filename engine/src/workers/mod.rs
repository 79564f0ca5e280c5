//! Worker processes: started, listened to, replaced when they die, stopped at the end.
//!
//! [`crate::core::fleet`] decides; [`spawn`] makes a process, [`link`] is one worker's channel and
//! process, [`last_words`] what it says before it serves, [`process`] how its process is;
//! [`supervise`] runs them all on the engine's main thread.

mod last_words;
pub(crate) mod link;
mod process;
mod spawn;
pub(crate) use spawn::Binary;
pub(crate) mod supervise;
