//! The take-over: a new engine, of this build or another, gets the listening sockets, the lock and
//! the idle connections of the running one, so that an upgrade loses no client.
//!
//! ```text
//! new                                   running
//! hello ───────────────────────────────▶ begins no deploy any more; one under way ends
//!        ◀──────── listening sockets, the data folder's lock
//! opens store and cache, starts workers
//! and shards that do not accept yet
//! working, working, ready ─────────────▶ its shards accept until here
//!        ◀─────────────────────── yours
//! accepts                                stops accepting; workers end what they are on
//!                                        and give back the rest
//!        ◀─────── connections, one by one
//!        ◀──────────────────────── done  exits with 0
//! ```
//! Until `yours` was sent, anything that goes wrong ends the new engine, and the running one goes
//! on as if nothing had happened. The folder's lock belongs to the open file that both engines
//! have, so the folder is locked at every moment.
//!
//! [`give`] and [`take`] decide and are pure, as is [`message`]. [`peer`] is the socket, [`giver`]
//! and [`taker`] perform what was decided, and [`successor`] starts a new engine when a signal asks
//! for one.

mod give;
mod giver;
pub mod message;
mod peer;
mod successor;
mod take;
mod taker;

use std::os::fd::OwnedFd;

use abi::message::Awaits;
use abi::origin::Origin;

pub use self::giver::Giver;
pub use self::peer::Entrance;
pub use self::successor::Successor;
pub use self::taker::ask;

/// The name of the take-over's socket in the data folder.
pub const SOCKET: &str = "take-over.sock";

/// How a node begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// By itself. It fails if an engine runs on the same data folder.
    Alone,
    /// By taking over from the engine that runs on the same data folder, if there is one.
    TakeOver,
}

/// A connection on its way from one engine or worker to another.
#[derive(Debug)]
pub struct Handed {
    /// The client's socket.
    pub socket: OwnedFd,
    /// What has been read from it already.
    pub read: Vec<u8>,
    /// Which request it waits for.
    pub awaits: Awaits,
    /// Where it comes from, if the socket does not say it.
    pub origin: Option<Origin>,
}
