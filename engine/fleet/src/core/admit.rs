//! Whether a new connection is taken at all. Pure; owns no fds.

use std::net::IpAddr;
use std::time::Duration;

use abi::network::Network;
use abi::problem::Problem;

/// How many connections the node may have, and who they may be from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// From all addresses together.
    pub connections_max: u32,
    /// From one address.
    pub per_address_max: u32,
    /// The trusted proxies. A proxy's connections are those of many clients, so only
    /// `connections_max` limits them.
    pub proxies: Vec<Network>,
    /// How long a new connection may take to say whose it is, if it has to.
    pub head_timeout: Duration,
}

/// Why there is no room for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The node has as many connections as it may.
    Node,
    /// Its address has as many connections as it may.
    Address,
}

impl From<Full> for Problem {
    fn from(full: Full) -> Self {
        match full {
            Full::Node => {
                Self::new(503, "this node has as many connections as it takes; try again")
            }
            Full::Address => Self::new(
                429,
                "this node has as many connections from your address as it takes; try again",
            ),
        }
    }
}

/// Decides whether the node takes one more connection when it has `open`. `peer` returns the
/// address of the new one, and `from` the number of connections from an address. Both cost
/// something, so they are called only when that number could be too high.
///
/// # Errors
/// Returns [`Full`] if there is no room.
pub fn admit(
    open: u64,
    peer: impl FnOnce() -> Option<IpAddr>,
    from: impl FnOnce(IpAddr) -> u32,
    limits: &ConnectionLimits,
) -> Result<(), Full> {
    let is_proxy = |peer: &IpAddr| limits.proxies.iter().any(|network| network.contains(*peer));
    if open >= u64::from(limits.connections_max) {
        Err(Full::Node)
    } else if open >= u64::from(limits.per_address_max)
        && let Some(peer) = peer().filter(|peer| !is_proxy(peer))
        && from(peer) >= limits.per_address_max
    {
        Err(Full::Address)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_comes_first_and_addresses_are_only_counted_when_they_could_be_full() {
        let proxies = vec!["10.0.0.0/8".parse().unwrap()];
        let limits = ConnectionLimits {
            connections_max: 10,
            per_address_max: 4,
            proxies,
            head_timeout: Duration::from_secs(1),
        };
        let (client, proxy) = (|| "192.0.2.1".parse().ok(), || "10.1.2.3".parse().ok());
        let not_asked =
            |_| -> u32 { panic!("nobody can have four of three, and a proxy may have them") };
        assert_eq!(admit(3, || panic!("nor is its address"), not_asked, &limits), Ok(()));
        assert_eq!(admit(10, client, not_asked, &limits), Err(Full::Node));
        assert_eq!(admit(9, client, |_| 3, &limits), Ok(()));
        assert_eq!(admit(4, client, |_| 4, &limits), Err(Full::Address));
        assert_eq!(admit(9, proxy, not_asked, &limits), Ok(()));
        assert_eq!(admit(9, || None, not_asked, &limits), Ok(()));
    }
}
