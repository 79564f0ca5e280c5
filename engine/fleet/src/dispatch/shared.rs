//! What all shards and the supervisor work with. Owns no fds but those in the snapshot.

use arc_swap::{ArcSwap, ArcSwapOption};

use super::Snapshot;
use super::parking::Parking;
use crate::core::admit::ConnectionLimits;
use crate::metrics::Metrics;

/// What shards and the supervisor share. Each part is replaced whole, and read without locks.
#[derive(Debug)]
pub struct Shared {
    /// What connections are routed by. Only the supervisor replaces it.
    pub snapshot: ArcSwap<Snapshot>,
    /// The domain whose subdomains are functions.
    pub domain: ArcSwapOption<String>,
    /// How many connections are accepted.
    pub limits: ArcSwap<ConnectionLimits>,
    /// The secret by which clients' addresses are counted.
    pub address_seed: u64,
    /// Where connections wait that no worker takes at once.
    pub parking: Parking,
    /// What the node counts.
    pub metrics: Metrics,
}
