//! Decisions, without I/O: each is a function of a state, an event and the time. Owns no fds.
//!
//! [`admit`] is whether a connection is taken, [`verdict`] what a head means, [`choose`] which
//! worker gets a connection, [`waiting`] who waits for one, [`fleet`] which workers there are and
//! what they serve by, [`restart`] when a dead one is replaced, [`starting`] when one does not come
//! to serve, [`watch`] when a living one counts as stuck. Shards and supervisor carry events in and
//! actions out; the simulation in `simulation` (tests only) does the same with everything that can
//! go wrong, by a seed.

pub(crate) mod admit;
pub(crate) mod choose;
pub(crate) mod fleet;
pub(crate) mod restart;
#[cfg(test)]
mod simulation;
pub(crate) mod starting;
pub(crate) mod verdict;
pub(crate) mod waiting;
pub(crate) mod watch;

/// Whose workers may run a function.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Pool {
    /// Every worker that is not somebody's own.
    Shared,
    /// The one worker of this function.
    Function(String),
    /// A worker that only tries versions of this function, and leaves when it has.
    Trial(String),
}
