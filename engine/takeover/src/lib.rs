//! Taking over: a new engine, of this build or another, gets the running one's listening sockets,
//! its lock and its idle connections, so that an upgrade loses nobody.
//!
//! ```text
//! new                                   running
//! hello ───────────────────────────────▶ begins no deploy any more; one under way ends
//!        ◀──────── listening sockets, the data folder's lock
//! opens store and cache, starts workers
//! and shards that do not accept yet
//! working, working, ready ─────────────▶ its shards accept until here
//!        ◀─────────────────────── yours
//! accepts                                stops accepting; workers end what they are on and give back the rest
//!        ◀─────── connections, one by one
//!        ◀──────────────────────── done  exits with 0
//! ```
//! Until `yours` has left, anything that goes wrong ends the new engine, and the running one goes
//! on as if nothing had happened. The folder's lock belongs to the open file that both have, so
//! there is never a moment without it. [`give`] and [`take`] decide and are pure, as is
//! [`message`]; [`peer`] is the socket, [`giver`] and [`taker`] do what was decided, and
//! [`successor`] starts a new engine when a signal asks for one.

#![expect(
    missing_docs,
    reason = "names of fields say what they are, and each variant of an error has its sentence"
)]

mod give;
mod giver;
pub mod message;
mod peer;
mod successor;
mod take;
mod taker;

use std::os::fd::OwnedFd;

use abi::message::Awaits;

pub use self::giver::Giver;
pub use self::peer::Door;
pub use self::successor::Successor;
pub use self::taker::ask;

/// The socket's name in the data folder.
pub const SOCKET: &str = "take-over.sock";

/// How a node begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// By itself; an engine that runs on the same data folder is an error.
    Alone,
    /// By taking over from such an engine, if there is one.
    TakeOver,
}

/// A connection on its way from one engine or worker to another.
#[derive(Debug)]
pub struct Handed {
    pub socket: OwnedFd,
    /// What has been read from it already.
    pub read: Vec<u8>,
    pub awaits: Awaits,
}
