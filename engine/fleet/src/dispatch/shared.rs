//! What all shards and the supervisor work with. Owns no fds but those in the snapshot.

use abi::names::Names;
use arc_swap::ArcSwap;

use super::Snapshot;
use super::challenges::Challenger;
use super::parking::Parking;
use crate::core::admit::ConnectionLimits;
use crate::metrics::Metrics;

/// What shards and the supervisor share. Each part is replaced whole, and read without locks.
#[derive(Debug)]
pub struct Shared {
    /// What connections are routed by. Only the supervisor replaces it.
    pub snapshot: ArcSwap<Snapshot>,
    /// By which names functions are found besides the catalogue's domains.
    pub names: ArcSwap<Names>,
    /// How many connections are accepted.
    pub limits: ArcSwap<ConnectionLimits>,
    /// The secret by which clients' addresses are counted.
    pub address_seed: u64,
    /// Who answers challenges of certificate authorities. `None` if nobody does: they are requests
    /// like others then.
    pub challenger: Option<Challenger>,
    /// Where connections wait that no worker takes at once.
    pub parking: Parking,
    /// What the node counts.
    pub metrics: Metrics,
}
