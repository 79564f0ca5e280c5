//! A network of IP addresses, as in `10.0.0.0/8` (RFC 4632 3.1, RFC 4291 2.3). Pure; owns no fds.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use rkyv::{Archive, Deserialize, Serialize};

/// The bits of an address before those of an IPv4 address that is written as an IPv6 one (RFC 4291
/// 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// All addresses that begin with the same bits. IPv4 addresses are the IPv6 addresses that they are
/// mapped to.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: [u8; 16],
    bits: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an address or a network, for example 192.0.2.1, 10.0.0.0/8 or fd00::/8")]
pub struct NetworkError;

impl Network {
    /// Returns whether an address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let differing = u128::from_be_bytes(mapped(address)) ^ u128::from_be_bytes(self.address);
        differing & mask(self.bits) == 0
    }

    /// Whether it can have been parsed: what another process sent need not be.
    pub(crate) fn is_good(&self) -> bool {
        self.bits <= 128
    }
}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn mask(bits: u8) -> u128 {
    u128::MAX.checked_shl(128_u32.saturating_sub(bits.into())).unwrap_or(0)
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let (all, before) = if address.is_ipv4() { (32, MAPPED_BITS) } else { (128, 0) };
        let bits: u8 = match bits {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| NetworkError)?
            }
            Some(_) => return Err(NetworkError),
            None => all,
        };
        if bits > all {
            return Err(NetworkError);
        }
        let bits = bits + before;
        let address = u128::from_be_bytes(mapped(address)) & mask(bits);
        Ok(Self { address: address.to_be_bytes(), bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from(self.address);
        match (address.to_ipv4_mapped(), self.bits.checked_sub(MAPPED_BITS)) {
            (Some(address), Some(bits)) => write!(f, "{address}/{bits}"),
            _ => write!(f, "{address}/{}", self.bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_in_a_network() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.1.2.3/8", "10.255.0.1", "9.255.255.255"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("192.0.2.1", "::ffff:192.0.2.1", "::192.0.2.1"),
            ("0.0.0.0/0", "203.0.113.7", "2001:db8::1"),
            ("::/0", "203.0.113.7", ""),
            ("fd00::/8", "fdff::1", "fe80::1"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(
                outside.parse().map_or(true, |outside| !network.contains(outside)),
                "{network} {outside}"
            );
        }
    }

    #[test]
    fn what_is_no_network() {
        for text in [
            "",
            "a",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0/8",
            "/8",
            "10.0.0.0/8/8",
            "10.0.0.1:80",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn it_is_written_as_it_is_read(address: IpAddr, bits in 0u8..=128) {
            let bits = if address.is_ipv4() { bits % 33 } else { bits };
            let network: Network = format!("{address}/{bits}").parse().unwrap();
            prop_assert!(network.contains(address));
            prop_assert_eq!(network.to_string().parse::<Network>(), Ok(network));
        }
    }
}
