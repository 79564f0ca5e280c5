//! Whether a new connection is taken at all. Pure; owns no fds.

use abi::problem::Problem;

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    pub(crate) connections_max: u32,
    /// From one address.
    pub(crate) per_address_max: u32,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    Node,
    Address,
}

impl From<Full> for Problem {
    fn from(full: Full) -> Self {
        match full {
            Full::Node => Self::new(503, "this node has as many connections as it takes; try again"),
            Full::Address => {
                Self::new(429, "this node has as many connections from your address as it takes; try again")
            }
        }
    }
}

/// Whether one more is taken, where there are `open`. `from_address` counts those from the same address; it is asked only when
/// there could be too many of them.
pub(crate) fn admit(open: u64, from_address: impl FnOnce() -> u32, limits: ConnectionLimits) -> Result<(), Full> {
    if open >= u64::from(limits.connections_max) {
        Err(Full::Node)
    } else if open >= u64::from(limits.per_address_max) && from_address() >= limits.per_address_max {
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
        let limits = ConnectionLimits { connections_max: 10, per_address_max: 4 };
        let not_asked = || -> u32 { panic!("nobody can have four of three") };
        assert_eq!(admit(3, not_asked, limits), Ok(()));
        assert_eq!(admit(10, not_asked, limits), Err(Full::Node));
        assert_eq!(admit(9, || 3, limits), Ok(()));
        assert_eq!(admit(4, || 4, limits), Err(Full::Address));
    }
}
