//! Which addresses are public: those that anybody on the internet would reach too. Owns no fds.
//!
//! After the IANA special-purpose address registries (RFC 6890, RFC 8190) as of 2025, read
//! strictly: what is globally reachable only as a protocol's own anycast address is not public
//! here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 blocks that are not public.
const NOT_PUBLIC_V4: [(Ipv4Addr, u32); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8), // this network, RFC 791 3.2; Linux takes 0.0.0.0 for loopback
    (Ipv4Addr::new(10, 0, 0, 0), 8), // private, RFC 1918
    (Ipv4Addr::new(100, 64, 0, 0), 10), // shared (CGNAT), RFC 6598; has Alibaba's metadata, 100.100.100.200
    (Ipv4Addr::new(127, 0, 0, 0), 8),   // loopback, RFC 1122 3.2.1.3
    (Ipv4Addr::new(168, 63, 129, 16), 32), // Azure's metadata and host agent, on a public number
    (Ipv4Addr::new(169, 254, 0, 0), 16), // link-local, RFC 3927; has most clouds' metadata, 169.254.169.254
    (Ipv4Addr::new(172, 16, 0, 0), 12),  // private, RFC 1918
    (Ipv4Addr::new(192, 0, 0, 0), 24), // protocol assignments, RFC 6890 2.1; has Oracle's metadata
    (Ipv4Addr::new(192, 0, 2, 0), 24), // documentation, RFC 5737
    (Ipv4Addr::new(192, 88, 99, 0), 24), // 6to4 relays, withdrawn by RFC 7526
    (Ipv4Addr::new(192, 168, 0, 0), 16), // private, RFC 1918
    (Ipv4Addr::new(198, 18, 0, 0), 15), // benchmarking, RFC 2544
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation, RFC 5737
    (Ipv4Addr::new(203, 0, 113, 0), 24), // documentation, RFC 5737
    (Ipv4Addr::new(224, 0, 0, 0), 4),  // multicast, RFC 5771
    (Ipv4Addr::new(240, 0, 0, 0), 4),  // reserved, RFC 1112 4; and broadcast, RFC 919
];

/// IPv6 blocks within 2000::/3 that are not public; without, nothing is. 6to4 and Teredo are looked
/// into instead.
const NOT_PUBLIC_V6: [(Ipv6Addr, u32); 3] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments, RFC 2928
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation, RFC 3849
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation, RFC 9637
];

/// Whether an address is of the public internet: not loopback, private, link-local, multicast,
/// reserved, nor one at which a cloud tells a machine its secrets. An IPv6 address that carries an
/// IPv4 address is what that one is.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !NOT_PUBLIC_V4.iter().any(|(block, prefix)| same_v4(address, *block, *prefix))
        }
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let v4 = |high: u16, low: u16| {
        is_public(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)).into())
    };
    match address.segments() {
        // IPv4-mapped, RFC 4291 2.5.5.2: the kernel makes it an IPv4 connection.
        [0, 0, 0, 0, 0, 0xffff, high, low] => v4(high, low),
        // NAT64 by the well-known prefix, RFC 6052 2.1. That for local use, 64:ff9b:1::/48 (RFC
        // 8215), is not public.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // 6to4, RFC 3056 2: tunnelled to the IPv4 address.
        [0x2002, high, low, ..] => v4(high, low),
        // Teredo, RFC 4380 4: tunnelled by a server to a client, whose address is inverted.
        [0x2001, 0, server_high, server_low, _, _, high, low] => {
            v4(server_high, server_low) && v4(!high, !low)
        }
        // Of all else, only 2000::/3 is given out as global unicast (RFC 4291 2.4): not ::, ::1,
        // the IPv4-compatible, fc00::/7 (which has AWS's metadata, fd00:ec2::254), fe80::/10,
        // fec0::/10, ff00::/8, 100::/64, 5f00::/16.
        [first, ..] => {
            first & 0xe000 == 0x2000
                && !NOT_PUBLIC_V6.iter().any(|(block, prefix)| same_v6(address, *block, *prefix))
        }
    }
}

/// Whether two addresses agree in their first `prefix` bits.
pub(super) fn same_v4(one: Ipv4Addr, other: Ipv4Addr, prefix: u32) -> bool {
    let differing = one.to_bits() ^ other.to_bits();
    differing.checked_shr(u32::BITS.saturating_sub(prefix)).unwrap_or(0) == 0
}

/// Whether two addresses agree in their first `prefix` bits.
pub(super) fn same_v6(one: Ipv6Addr, other: Ipv6Addr, prefix: u32) -> bool {
    let differing = one.to_bits() ^ other.to_bits();
    differing.checked_shr(u128::BITS.saturating_sub(prefix)).unwrap_or(0) == 0
}
