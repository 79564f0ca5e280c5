//! Decisions without I/O: each is a function of a state, an event and the time. Owns no fds.
//!
//! | module | what it decides |
//! |---|---|
//! | [`admit`] | whether a connection is taken |
//! | [`verdict`] | what the head of a request means |
//! | [`choose`] | which worker gets a connection |
//! | [`waiting`] | which connections wait for a worker, and for how long |
//! | [`fleet`] | which workers there are, and by which catalogue they serve |
//! | [`restart`] | when a dead worker is replaced |
//! | [`starting`] | when a worker that starts is given up |
//! | [`watch`] | when a running worker counts as stuck |
//!
//! Shards and the supervisor carry events in and actions out. The simulation in `simulation` (tests
//! only) does the same with everything that can go wrong, by a seed.

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
    /// The workers that run all functions without one of their own.
    Shared,
    /// The one worker of this function.
    Function(String),
    /// The processes that end TLS. They run no functions.
    Edge,
    /// A worker that only tries versions of this function, and then ends.
    Trial(String),
}
