//! Where a connection comes from, if its socket does not say it.
//!
//! A client's own TCP socket says it. The plaintext end of a TLS connection does not: whoever made
//! it says it once, and it goes with the socket from then on. Owns no fds.

#![allow(
    missing_docs,
    reason = "rkyv's derives make resolvers without docs; every type of ours has them"
)]

use std::net::SocketAddr;

use rkyv::{Archive, Deserialize, Serialize};

/// The two ends of a client's connection, and what it is inside of.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The client's address.
    pub client: SocketAddr,
    /// The address that the connection was accepted on.
    pub local: SocketAddr,
    /// Whether the client's connection is TLS.
    pub https: bool,
}
