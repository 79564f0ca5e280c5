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

mod give;
mod giver;
mod message;
mod peer;
mod successor;
mod take;
mod taker;

use std::os::fd::OwnedFd;

use abi::message::Awaits;

pub(crate) use self::giver::Giver;
pub(crate) use self::peer::Door;
pub(crate) use self::successor::Successor;
pub(crate) use self::taker::ask;

/// The socket's name in the data folder.
pub(crate) const SOCKET: &str = "take-over.sock";

/// A connection on its way from one engine or worker to another.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) socket: OwnedFd,
    /// What has been read from it already.
    pub(crate) read: Vec<u8>,
    pub(crate) awaits: Awaits,
}
