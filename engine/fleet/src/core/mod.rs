//! Decisions, without I/O: each is a function of a state, an event and the time. Owns no fds.
//!
//! [`admit`] is whether a connection is taken, [`verdict`] what a head means, [`choose`] which
//! worker gets a connection, [`waiting`] who waits for one, [`fleet`] which workers there are and
//! what they serve by, [`restart`] when a dead one is replaced, [`starting`] when one does not come
//! to serve, [`watch`] when a living one counts as stuck. Shards and supervisor carry events in and
//! actions out; the simulation in `simulation` (tests only) does the same with everything that can
//! go wrong, by a seed.

pub mod admit;
pub mod choose;
pub mod fleet;
pub mod restart;
#[cfg(test)]
mod simulation;
pub mod starting;
pub mod verdict;
pub mod waiting;
pub mod watch;

/// Whose workers may run a function.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pool {
    /// Every worker that is not somebody's own.
    Shared,
    /// The one worker of this function.
    Function(String),
    /// A worker that only tries versions of this function, and leaves when it has.
    Trial(String),
}
